/* The samples are our own, after the shapes that the hosts document. */
#include "producer/api/api_host.h"
#include "producer/api/verdict.h"
#include "producer/poll/remote.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <string.h>

#define SHA "5f2c1e0a9d3b4c6e8f7a1b2c3d4e5f60718293a4"

struct sample {
    const char *provider;
    const char *repository;
    enum ref_kind kind;
    const char *first; /* target of the first page */
    const char *link;
    const char *next_page;
    const char *body;
    const char *row;  /* ref of the only row; NULL: the page is refused */
    const char *next; /* NULL: the last page */
};

static const struct sample samples[] = {
    {"github", "acme/app", REF_TAG, "/repos/acme/app/tags?per_page=100",
     "<https://api.github.com/repositories/1/tags?per_page=100&page=2>; rel=\"next\", <https://x/>; rel=\"last\"", NULL,
     "[{\"name\":\"v-1\",\"commit\":{\"sha\":\"" SHA "\",\"url\":\"https://x\"}}]", "refs/tags/v-1",
     "https://api.github.com/repositories/1/tags?per_page=100&page=2"},
    {"github", "acme/app", REF_BRANCH, "/repos/acme/app/branches?per_page=100", NULL, NULL,
     "[{\"name\":\"main\",\"commit\":{\"sha\":\"" SHA "\"},\"protected\":true}]", "refs/heads/main", NULL},
    {"github", "acme/app", REF_TAG, NULL, NULL, NULL, "{\"message\":\"x\"}", NULL, NULL},
    {"github", "acme/app", REF_TAG, NULL, NULL, NULL, "[{\"name\":\"v-1\"}]", NULL, NULL},
    {"github", "acme/app", REF_TAG, NULL, NULL, NULL, "[{\"name\":\"v-1\",\"commit\":{\"sha\":\"x\"}}]", NULL, NULL},
    {"gitlab", "acme/sub/app", REF_TAG, "/api/v4/projects/acme%2Fsub%2Fapp/repository/tags?per_page=100", NULL, "2",
     "[{\"name\":\"v-1\",\"target\":\"0123456\",\"commit\":{\"id\":\"" SHA
     "\",\"committed_date\":\"2026-01-02T03:04:05.000+00:00\"}}]",
     "refs/tags/v-1", "/api/v4/projects/acme%2Fsub%2Fapp/repository/tags?per_page=100&page=2"},
    {"gitlab", "acme/app", REF_BRANCH, "/api/v4/projects/acme%2Fapp/repository/branches?per_page=100", NULL, "",
     "[{\"name\":\"main\",\"commit\":{\"id\":\"" SHA "\"}}]", "refs/heads/main", NULL},
    {"gitea", "acme/app", REF_TAG, "/api/v1/repos/acme/app/tags?limit=50&page=1",
     "<https://elsewhere.example.com/api/v1/x?page=2>; rel=\"next\"", NULL,
     "[{\"name\":\"v-1\",\"id\":\"0123456\",\"commit\":{\"sha\":\"" SHA "\",\"created\":\"2026-01-02T03:04:05Z\"}}]",
     "refs/tags/v-1", "/api/v1/repos/acme/app/tags?limit=50&page=2"},
    {"gitea", "acme/app", REF_BRANCH, "/api/v1/repos/acme/app/branches?limit=50&page=1", NULL, NULL,
     "[{\"name\":\"a/b\",\"commit\":{\"id\":\"" SHA "\",\"timestamp\":\"2026-01-02T03:04:05Z\"}}]", "refs/heads/a/b",
     NULL},
    {"bitbucket", "acme/app", REF_TAG, "/2.0/repositories/acme/app/refs/tags?pagelen=100", NULL, NULL,
     "{\"values\":[{\"name\":\"v-1\",\"type\":\"tag\",\"target\":{\"hash\":\"" SHA
     "\",\"date\":\"2026-01-02T03:04:05+00:00\"}}],\"next\":\"https://api.bitbucket.org/2.0/x?page=2\"}",
     "refs/tags/v-1", "https://api.bitbucket.org/2.0/x?page=2"},
    {"bitbucket-server", "~ada/app", REF_TAG, "/rest/api/1.0/projects/~ada/repos/app/tags?limit=100&start=0", NULL,
     NULL,
     "{\"size\":1,\"isLastPage\":false,\"nextPageStart\":100,\"values\":[{\"id\":\"refs/tags/"
     "v-1\",\"displayId\":\"v-1\","
     "\"latestCommit\":\"" SHA "\",\"hash\":\"0123456\"}]}",
     "refs/tags/v-1", "/rest/api/1.0/projects/~ada/repos/app/tags?limit=100&start=100"},
    {"bitbucket-server", "acme/app", REF_BRANCH, "/rest/api/1.0/projects/acme/repos/app/branches?limit=100&start=0",
     NULL, NULL, "{\"isLastPage\":true,\"values\":[{\"displayId\":\"main\",\"latestCommit\":\"" SHA "\"}]}",
     "refs/heads/main", NULL},
    {"bitbucket-server", "acme/app", REF_TAG, NULL, NULL, NULL, "{\"values\":[]}", NULL, NULL},
};

static void sample_check(const struct sample *sample)
{
    const struct api_host *host = api_host_named(sample->provider);
    assert_null(host->check_name(sample->repository));
    AUTO(text) char *first = host->first_page(sample->repository, sample->kind);
    if (sample->first != NULL) {
        assert_string_equal(first, sample->first);
    }
    struct page_answer answer = {
        .kind = sample->kind,
        .target = first,
        .body = slice_of(sample->body),
        .link = slice_of(sample->link),
        .next_page = slice_of(sample->next_page),
    };
    struct page page = {0};
    struct error err;
    assert_int_equal(host->read_page(&answer, &page, &err), sample->row != NULL);
    if (sample->row != NULL) {
        const struct page_row *row = page.rows.items;
        assert_int_equal(page.rows.count, 1);
        assert_string_equal(row->ref, sample->row);
        assert_string_equal(row->commit, SHA);
        assert_true(sample->next == NULL ? page.next == NULL : strcmp(page.next, sample->next) == 0);
        assert_true(strstr(sample->body, "03:04:05") == NULL || row->committed_ms == 1767323045000);
    }
    page_clear(&page);
}

static void each_hosts_pages_are_read(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        sample_check(&samples[i]);
    }
}

/* A page of so many tags. */
static char *gitea_next(const char *target, int entries, const char *total)
{
    AUTO(buffer) struct buffer body;
    buffer_init(&body, 65536);
    for (int i = 0; i < entries; i++) {
        buffer_append_format(&body, "%c{\"name\":\"v-%d\",\"commit\":{\"sha\":\"" SHA "\"}}", i == 0 ? '[' : ',', i);
    }
    buffer_append_text(&body, entries == 0 ? "[]" : "]");
    struct page_answer answer = {
        .kind = REF_TAG, .target = target, .body = buffer_slice(&body), .total = slice_of(total)};
    struct page page = {0};
    struct error err;
    assert_true(api_host_named("gitea")->read_page(&answer, &page, &err));
    char *next = text_copy_or_null(page.next);
    page_clear(&page);
    return next;
}

/* Gitea's tags have no Link; an instance that gives four a page was asked for fifty. */
static void giteas_tags_go_on_by_their_count(void **unused)
{
    (void)unused;
    static const struct {
        const char *target;
        int entries;
        const char *total;
        const char *next;
    } pages[] = {
        {"/tags?limit=50&page=1", 4, "10", "/tags?limit=4&page=2"},
        {"/tags?limit=4&page=2", 4, "10", "/tags?limit=4&page=3"},
        {"/tags?limit=4&page=3", 2, "10", NULL},
        {"/tags?limit=4&page=3", 0, "10", NULL},
        {"/tags?limit=50&page=1", 4, "4", NULL},
        {"/tags?limit=50&page=1", 0, "0", NULL},
        {"/tags?limit=50&page=1", 50, "51", "/tags?limit=50&page=2"},
        {"/tags?limit=50&page=2", 1, "51", NULL},
        {"/tags?limit=50&page=1", 50, NULL, "/tags?limit=50&page=2"},
        {"/tags?limit=50&page=1", 4, NULL, NULL},
        {"/tags?limit=50&page=1", 4, "many", NULL},
    };
    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        AUTO(text) char *next = gitea_next(pages[i].target, pages[i].entries, pages[i].total);
        if (pages[i].next == NULL ? next != NULL : next == NULL || strcmp(next, pages[i].next) != 0) {
            fail_msg("page %zu goes on with %s", i, next != NULL ? next : "nothing");
        }
    }
}

static void the_next_link_is_found_among_others(void **unused)
{
    (void)unused;
    static const struct {
        const char *link;
        const char *next;
    } links[] = {
        {"<https://a/1>; rel=\"prev\", <https://a/3>; rel=\"next\"", "https://a/3"},
        {"<https://a/3>;rel=next", "https://a/3"},
        {"<https://a/?x=1,2;3>; title=\"a, rel=next\"; rel=\"last next\"", "https://a/?x=1,2;3"},
        {"<https://a/3>; rel=\"nextish\"", NULL},
        {"<https://a/3; rel=\"next\"", NULL},
        {"<https://a/ 3>; rel=\"next\"", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
        AUTO(text) char *next = link_next(slice_of(links[i].link));
        assert_true(links[i].next == NULL ? next == NULL : next != NULL && strcmp(next, links[i].next) == 0);
    }
}

static void limits_are_read_from_what_the_host_says(void **unused)
{
    (void)unused;
    static const struct {
        int status;
        const char *headers;
        const char *body;
        enum api_outcome outcome;
        int64_t limited_ms;
    } answers[] = {
        {200, "", "", API_OK, 0},
        {304, "", "", API_UNCHANGED, 0},
        {404, "", "", API_MISSING, 0},
        {301, "", "", API_MISSING, 0},
        {401, "", "", API_REFUSED, 0},
        {403, "", "", API_REFUSED, 0},
        {422, "", "", API_WRONG, 0},
        {502, "", "", API_LATER, 0},
        {503, "Retry-After: 7\r\n", "", API_LATER, 7000},
        {429, "Retry-After: 30\r\n", "", API_LIMITED, 30000},
        {429, "", "", API_LIMITED, VERDICT_LIMIT_DEFAULT_MS},
        {403, "X-RateLimit-Remaining: 0\r\nX-RateLimit-Reset: 1000090\r\n", "", API_LIMITED, 90000},
        {200, "X-RateLimit-Remaining: 0\r\nX-RateLimit-Reset: 1000090\r\n", "", API_OK, 90000},
        {200, "X-RateLimit-Remaining: 5\r\nX-RateLimit-Reset: 1000090\r\n", "", API_OK, 0},
        {429, "RateLimit-Remaining: 0\r\nRateLimit-Reset: 1000010\r\n", "", API_LIMITED, 10000},
        {429, "X-RateLimit-Reset: 999\r\n", "", API_LIMITED, 1000},
        {429, "Retry-After: 99999999\r\n", "", API_LIMITED, VERDICT_LIMIT_MAXIMUM_MS},
        {403, "", "You have exceeded a secondary rate limit", API_LIMITED, VERDICT_LIMIT_DEFAULT_MS},
        {429, "Date: Mon, 12 Jan 1970 13:46:40 GMT\r\nX-RateLimit-Reset: 1000020\r\n", "", API_LIMITED, 20000},
    };
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        struct http_answer answer = {.status = answers[i].status, .body = slice_of(answers[i].body)};
        AUTO(text) char *lines = text_format("HTTP/1.1 %d x\r\n%s\r\n", answers[i].status, answers[i].headers);
        answer.header_lines = slice_of(lines);
        struct verdict verdict = verdict_of(&answer, 1000000LL * 1000);
        if (verdict.outcome != answers[i].outcome || verdict.limited_ms != answers[i].limited_ms) {
            fail_msg("answer %zu: %d, %lld ms", i, (int)verdict.outcome, (long long)verdict.limited_ms);
        }
    }
}

static void what_ls_remote_prints_is_read(void **unused)
{
    (void)unused;
    struct page page = {0};
    struct error err;
    static const char output[] = "1111111111\trefs/heads/main\n2222222222\trefs/tags/v-1\n" SHA "\trefs/tags/v-1^{}\n"
                                 "3333333333\trefs/tags/v-2\n4444444444\trefs/pull/1/head\n";
    assert_true(remote_read(slice_of(output), &page, &err));
    const struct page_row *row = page.rows.items;
    assert_int_equal(page.rows.count, 3);
    assert_string_equal(row[1].ref, "refs/tags/v-1");
    assert_string_equal(row[1].commit, SHA);
    assert_string_equal(row[2].commit, "3333333333");
    page_clear(&page);
    static const char *const wrong[] = {"x\n", "1111111111\trefs/heads/main", "zz\trefs/heads/main\n"};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_false(remote_read(slice_of(wrong[i]), &page, &err));
        page_clear(&page);
    }
}

static void only_addresses_that_git_may_be_given_are_taken(void **unused)
{
    (void)unused;
    static const char *const good[] = {"https://h/a.git", "ssh://git@h/a", "git@h:a/b.git", "file:///srv/a",
                                       "git://h/a"};
    static const char *const bad[] = {"ext::sh -c x",
                                      "ext::x",
                                      "--upload-pack=x",
                                      "/srv/a",
                                      "",
                                      "https://u:p@h/a",
                                      "ssh://-oProxyCommand=x/a",
                                      "https://h/a b",
                                      "file://",
                                      "fd::7"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_null(remote_check_url(good[i]));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_non_null(remote_check_url(bad[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_hosts_pages_are_read),
        cmocka_unit_test(giteas_tags_go_on_by_their_count),
        cmocka_unit_test(the_next_link_is_found_among_others),
        cmocka_unit_test(limits_are_read_from_what_the_host_says),
        cmocka_unit_test(what_ls_remote_prints_is_read),
        cmocka_unit_test(only_addresses_that_git_may_be_given_are_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
