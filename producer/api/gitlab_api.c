/*
 * GitLab: GET /api/v4/projects/{the whole path, encoded}/repository/tags and /branches. commit.id is the commit, also
 * of annotated tags (whose `target` is the tag object). The next page by X-Next-Page, else by Link.
 * https://docs.gitlab.com/api/tags/
 */
#include "producer/api/api_host.h"

#include "producer/api/entries.h"
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

static bool read_page(const struct page_answer *answer, struct page *page, struct error *err)
{
    static const struct entry_shape shape = {
        .name = "name", .target = "commit", .commit = "id", .date = "committed_date"};
    AUTO(json) cJSON *root = NULL;
    if (!entries_read(answer, &shape, page, &root, err)) {
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
