/*
 * Bitbucket Cloud: GET /2.0/repositories/{workspace}/{repo}/refs/tags and /refs/branches. target.hash is the commit,
 * also of annotated tags; `next` of the body is the next page.
 * https://developer.atlassian.com/cloud/bitbucket/rest/api-group-refs/
 */
#include "producer/api/api_host.h"

#include "producer/api/entries.h"

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

static bool read_page(const struct page_answer *answer, struct page *page, struct error *err)
{
    static const struct entry_shape shape = {
        .list = "values", .name = "name", .target = "target", .commit = "hash", .date = "date"};
    AUTO(json) cJSON *root = NULL;
    if (!entries_read(answer, &shape, page, &root, err)) {
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
