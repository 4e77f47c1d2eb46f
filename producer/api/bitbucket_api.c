/*
 * Bitbucket Cloud: GET /2.0/repositories/{workspace}/{repo}/refs/tags and /refs/branches. target.hash is the commit,
 * also of annotated tags; `next` of the body is the next page.
 * https://developer.atlassian.com/cloud/bitbucket/rest/api-group-refs/
 */
#include "producer/api/api_host.h"

#include "schemas/json.h"

enum { PAGE_SIZE = 100 };

static const char *check_name(const char *repository)
{
    return name_is_pair(repository) ? NULL : "must be workspace/repository";
}

static char *first_page(const char *repository, enum ref_kind kind)
{
    return pair_target("/2.0/repositories/", repository, "/",
                       kind == REF_TAG ? "/refs/tags?pagelen=100" : "/refs/branches?pagelen=100");
}

static bool rows_read(const cJSON *list, const struct page_answer *answer, struct page *page, struct error *err)
{
    const cJSON *entry;
    size_t entries = 0;
    cJSON_ArrayForEach(entry, list)
    {
        const cJSON *target = json_member(entry, "target");
        entries++;
        if (!page_add(page, answer->kind, json_text(entry, "name"), json_text(target, "hash"),
                      json_text(target, "date"), err)) {
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
    const cJSON *values = json_member(root, "values");
    if (!cJSON_IsArray(values)) {
        return error_set(err, ERROR_REJECT, "it has no list \"values\"");
    }
    if (!rows_read(values, answer, page, err)) {
        return false;
    }
    page->next = text_copy_or_null(json_text(root, "next"));
    return true;
}

static const char *const headers[] = {"Accept: application/json", NULL};

const struct api_host bitbucket_api = {
    .provider = "bitbucket",
    .public_url = "https://api.bitbucket.org",
    .token_header = "Authorization: Bearer ",
    .headers = headers,
    .page_size = PAGE_SIZE,
    .check_name = check_name,
    .first_page = first_page,
    .read_page = read_page,
};
