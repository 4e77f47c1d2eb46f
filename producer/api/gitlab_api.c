/*
 * GitLab: GET /api/v4/projects/{the whole path, encoded}/repository/tags and /branches. commit.id is the commit, also
 * of annotated tags (whose `target` is the tag object). The next page by X-Next-Page, else by Link.
 * https://docs.gitlab.com/api/tags/
 */
#include "producer/api/api_host.h"

#include "schemas/json.h"
#include "workers/common/aws/uri.h"

enum { PAGE_SIZE = 100, NAME_MAXIMUM_BYTES = 1024 };

static const char *check_name(const char *repository)
{
    bool is_path = strchr(repository, '/') != NULL && repository[0] != '/' && repository[strlen(repository) - 1] != '/';
    return is_path ? NULL : "must be group/project, or group/subgroup/project";
}

static char *first_page(const char *repository, enum ref_kind kind)
{
    AUTO(buffer) struct buffer name;
    buffer_init(&name, NAME_MAXIMUM_BYTES);
    uri_encode(&name, slice_of(repository));
    return text_format("/api/v4/projects/%s/repository/%s?per_page=100", name.ptr,
                       kind == REF_TAG ? "tags" : "branches");
}

static bool rows_read(const cJSON *list, const struct page_answer *answer, struct page *page, struct error *err)
{
    const cJSON *entry;
    size_t entries = 0;
    cJSON_ArrayForEach(entry, list)
    {
        const cJSON *commit = json_member(entry, "commit");
        entries++;
        if (!page_add(page, answer->kind, json_text(entry, "name"), json_text(commit, "id"),
                      json_text(commit, "committed_date"), err)) {
            return false;
        }
    }
    return page_check(page, entries, err);
}

static bool read_page(const struct page_answer *answer, struct page *page, struct error *err)
{
    AUTO(json) cJSON *root = NULL;
    if (!json_parse(answer->body, API_ANSWER_MAXIMUM_BYTES, &root, err)) {
        return false;
    }
    if (!cJSON_IsArray(root)) {
        return error_set(err, ERROR_REJECT, "it is no list");
    }
    if (!rows_read(root, answer, page, err)) {
        return false;
    }
    if (answer->next_page.len > 0) {
        AUTO(text) char *number = slice_copy(answer->next_page);
        page->next = target_with(answer->target, "page", number);
    } else if (answer->next_page.ptr == NULL) {
        page->next = link_next(answer->link);
    }
    return true;
}

static const char *const headers[] = {"Accept: application/json", NULL};

const struct api_host gitlab_api = {
    .provider = "gitlab",
    .public_url = "https://gitlab.com",
    .token_header = "PRIVATE-TOKEN: ",
    .headers = headers,
    .page_size = PAGE_SIZE,
    .check_name = check_name,
    .first_page = first_page,
    .read_page = read_page,
};
