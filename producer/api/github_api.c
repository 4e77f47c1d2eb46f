/*
 * GitHub, and GitHub Enterprise with api_url = "https://host/api/v3": GET /repos/{owner}/{repo}/tags and /branches.
 * commit.sha is the commit, also of annotated tags; dates are not told. The next page by Link.
 * https://docs.github.com/en/rest/repos/repos#list-repository-tags
 */
#include "producer/api/api_host.h"

#include "producer/api/entries.h"

enum { PAGE_SIZE = 100 };

static const char *check_name(const char *repository)
{
    return name_is_pair(repository) ? NULL : "must be owner/repository";
}

static char *first_page(const char *repository, enum ref_kind kind)
{
    return pair_target("/repos/", repository, "/", kind == REF_TAG ? "/tags?per_page=100" : "/branches?per_page=100");
}

static bool read_page(const struct page_answer *answer, struct page *page, struct error *err)
{
    static const struct entry_shape shape = {.name = "name", .target = "commit", .commit = "sha"};
    AUTO(json) cJSON *root = NULL;
    if (!entries_read(answer, &shape, page, &root, err)) {
        return false;
    }
    page->next = link_next(answer->link);
    return true;
}

static const char *const headers[] = {"Accept: application/vnd.github+json", "X-GitHub-Api-Version: 2022-11-28", NULL};

const struct api_host github_api = {
    .provider = "github",
    .public_url = "https://api.github.com",
    .token_header = "Authorization: Bearer ",
    .headers = headers,
    .page_size = PAGE_SIZE,
    .check_name = check_name,
    .first_page = first_page,
    .read_page = read_page,
};
