/*
 * Bitbucket Data Center (Server): GET /rest/api/1.0/projects/{key}/repos/{slug}/tags and /branches, also for ~user.
 * latestCommit is the commit, also of annotated tags (whose `hash` is the tag object); isLastPage and nextPageStart of
 * the body lead on. Dates are not told.
 * https://developer.atlassian.com/server/bitbucket/rest/
 */
#include "producer/api/api_host.h"

#include "producer/api/entries.h"

#include <inttypes.h>
#include <stdio.h>

enum { PAGE_SIZE = 100, START_MAXIMUM = 1000 * 1000 * 1000 };

static const char *check_name(const char *repository)
{
    return name_is_pair(repository) ? NULL : "must be project/repository, or ~user/repository";
}

static char *first_page(const char *repository, enum ref_kind kind)
{
    return pair_target("/rest/api/1.0/projects/", repository, "/repos/",
                       kind == REF_TAG ? "/tags?limit=100&start=0" : "/branches?limit=100&start=0");
}

static bool read_page(const struct page_answer *answer, struct page *page, struct error *err)
{
    static const struct entry_shape shape = {.list = "values", .name = "displayId", .commit = "latestCommit"};
    AUTO(json) cJSON *root = NULL;
    if (!entries_read(answer, &shape, page, &root, err)) {
        return false;
    }
    if (cJSON_IsTrue(json_member(root, "isLastPage"))) {
        return true;
    }
    const cJSON *start = json_member(root, "nextPageStart");
    if (!cJSON_IsNumber(start) || start->valuedouble < 1 || start->valuedouble > START_MAXIMUM) {
        return error_set(err, ERROR_REJECT, "it has neither isLastPage nor nextPageStart");
    }
    char number[24];
    (void)snprintf(number, sizeof(number), "%" PRId64, (int64_t)start->valuedouble);
    page->next = target_with(answer->target, "start", number);
    return true;
}

static const char *const headers[] = {"Accept: application/json", NULL};

const struct api_host bitbucket_server_api = {
    .provider = "bitbucket-server",
    .token_header = "Authorization: Bearer ",
    .headers = headers,
    .page_size = PAGE_SIZE,
    .check_name = check_name,
    .first_page = first_page,
    .read_page = read_page,
};
