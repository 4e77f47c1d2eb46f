/*
 * Gitea and Forgejo: GET /api/v1/repos/{owner}/{repo}/tags (commit.sha) and /branches (commit.id). Branches have a
 * Link; it holds the address that the instance believes to have, which is often not the one it is asked at from within,
 * so it only tells that there is a next page, whose number is ours. Tags have none: how many there are is in
 * X-Total-Count. An instance may give fewer a page than asked for (MAX_RESPONSE_ITEMS), and does not say so: its first
 * page tells how many. Of a tag of an annotated tag, which git itself advises against, it names that tag's object
 * instead of the commit. https://docs.gitea.com/api/#tag/repository/operation/repoListTags
 */
#include "producer/api/api_host.h"

#include "producer/api/entries.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { PAGE_SIZE = 50 };

static const char *check_name(const char *repository)
{
    return name_is_pair(repository) ? NULL : "must be owner/repository";
}

static char *first_page(const char *repository, enum ref_kind kind)
{
    return pair_target("/api/v1/repos/", repository, "/",
                       kind == REF_TAG ? "/tags?limit=50&page=1" : "/branches?limit=50&page=1");
}

static char *target_with_number(const char *target, const char *parameter, int64_t number)
{
    char text[24];
    (void)snprintf(text, sizeof(text), "%" PRId64, number);
    return target_with(target, parameter, text);
}

/* The page after one of so many entries; NULL: that was the last. */
static char *page_after(const struct page_answer *answer, int64_t entries)
{
    int64_t number = target_number(answer->target, "page", 1);
    int64_t limit = target_number(answer->target, "limit", PAGE_SIZE);
    AUTO(text) char *next = link_next(answer->link);
    if (next != NULL) {
        return target_with_number(answer->target, "page", number + 1);
    }
    AUTO(text) char *total = answer->total.len > 0 ? slice_copy(answer->total) : NULL;
    bool is_last = total != NULL ? (number - 1) * limit + entries >= strtoll(total, NULL, 10) : entries < limit;
    if (entries == 0 || is_last) {
        return NULL;
    }
    AUTO(text) char *limited = target_with_number(answer->target, "limit", number == 1 ? entries : limit);
    return target_with_number(limited, "page", number + 1);
}

static bool read_page(const struct page_answer *answer, struct page *page, struct error *err)
{
    static const struct entry_shape tag = {.name = "name", .target = "commit", .commit = "sha", .date = "created"};
    static const struct entry_shape branch = {.name = "name", .target = "commit", .commit = "id", .date = "timestamp"};
    AUTO(json) cJSON *root = NULL;
    if (!entries_read(answer, answer->kind == REF_TAG ? &tag : &branch, page, &root, err)) {
        return false;
    }
    page->next = page_after(answer, cJSON_GetArraySize(root));
    return true;
}

static const char *const headers[] = {"Accept: application/json", NULL};

const struct api_host gitea_api = {
    .provider = "gitea",
    .token_header = "Authorization: token ",
    .headers = headers,
    .page_size = PAGE_SIZE,
    .check_name = check_name,
    .first_page = first_page,
    .read_page = read_page,
};
