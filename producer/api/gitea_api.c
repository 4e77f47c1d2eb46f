/*
 * Gitea and Forgejo: GET /api/v1/repos/{owner}/{repo}/tags (commit.sha) and /branches (commit.id). Their Link holds the
 * address that the instance believes to have, which is often not the one it is asked at from within: it only tells that
 * there is a next page, whose number is ours.
 * https://docs.gitea.com/api/#tag/repository/operation/repoListTags
 */
#include "producer/api/api_host.h"

#include "schemas/json.h"
#include <inttypes.h>
#include <stdio.h>

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

static bool rows_read(const cJSON *list, const struct page_answer *answer, struct page *page, struct error *err)
{
    const cJSON *entry;
    size_t entries = 0;
    cJSON_ArrayForEach(entry, list)
    {
        const cJSON *commit = json_member(entry, "commit");
        const char *sha = json_text(commit, answer->kind == REF_TAG ? "sha" : "id");
        const char *date = json_text(commit, answer->kind == REF_TAG ? "created" : "timestamp");
        entries++;
        if (!page_add(page, answer->kind, json_text(entry, "name"), sha, date, err)) {
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
    AUTO(text) char *next = link_next(answer->link);
    if (next != NULL) {
        char number[24];
        (void)snprintf(number, sizeof(number), "%" PRId64, target_number(answer->target, "page", 1) + 1);
        page->next = target_with(answer->target, "page", number);
    }
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
