#include "producer/api/status.h"

#include "producer/status/link.h"
#include "schemas/json.h"
#include "tests/support/unit.h"

#include <string.h>

#define SHA "5f2c1e0a9d3b4c6e8f7a1b2c3d4e5f60718293a4"
#define LINK "https://deploy.example.org/d"

struct sample {
    const char *provider;
    const char *repository;
    enum commit_state state;
    const char *link;
    const char *api_url;
    const char *target;
    const char *body;
};

static const struct sample samples[] = {
    {"github", "acme/app", COMMIT_PENDING, LINK, NULL, "/repos/acme/app/statuses/" SHA,
     "{\"state\":\"pending\",\"context\":\"tagfleet/qa\",\"description\":\"2 of 3\",\"target_url\":\"" LINK "\"}"},
    {"github", "acme/größe", COMMIT_ERROR, NULL, NULL, "/repos/acme/gr%C3%B6%C3%9Fe/statuses/" SHA,
     "{\"state\":\"error\",\"context\":\"tagfleet/qa\",\"description\":\"2 of 3\"}"},
    {"gitea", "acme/a?b#c", COMMIT_FAILURE, LINK, NULL, "/api/v1/repos/acme/a%3Fb%23c/statuses/" SHA,
     "{\"state\":\"failure\",\"context\":\"tagfleet/qa\",\"description\":\"2 of 3\",\"target_url\":\"" LINK "\"}"},
    {"gitlab", "group/sub/app+1", COMMIT_FAILURE, LINK, NULL, "/api/v4/projects/group%2Fsub%2Fapp%2B1/statuses/" SHA,
     "{\"state\":\"failed\",\"name\":\"tagfleet/qa\",\"description\":\"2 of 3\",\"target_url\":\"" LINK "\"}"},
    {"gitlab", "group/app", COMMIT_ERROR, NULL, NULL, "/api/v4/projects/group%2Fapp/statuses/" SHA,
     "{\"state\":\"failed\",\"name\":\"tagfleet/qa\",\"description\":\"2 of 3\"}"},
    {"bitbucket", "acme/a b", COMMIT_SUCCESS, LINK, NULL, "/2.0/repositories/acme/a%20b/commit/" SHA "/statuses/build",
     "{\"state\":\"SUCCESSFUL\",\"key\":\"tagfleet/qa\",\"name\":\"tagfleet/qa\",\"description\":\"2 of "
     "3\",\"url\":\"" LINK "\"}"},
    {"bitbucket", "acme/app", COMMIT_PENDING, NULL, NULL, "/2.0/repositories/acme/app/commit/" SHA "/statuses/build",
     "{\"state\":\"INPROGRESS\",\"key\":\"tagfleet/qa\",\"name\":\"tagfleet/qa\",\"description\":\"2 of 3\","
     "\"url\":\"https://bitbucket.org/acme/app/commits/" SHA "\"}"},
    {"bitbucket-server", "~ada/app", COMMIT_ERROR, NULL, "https://git.example.com/bb/",
     "/rest/api/latest/projects/~ada/repos/app/commits/" SHA "/builds",
     "{\"state\":\"FAILED\",\"key\":\"tagfleet/qa\",\"name\":\"tagfleet/qa\",\"description\":\"2 of 3\","
     "\"url\":\"https://git.example.com/bb/projects/~ada/repos/app/commits/" SHA "\"}"},
};

static void each_host_is_told_in_its_own_words(void **unused)
{
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        const struct sample *sample = &samples[i];
        struct status status = {sample->repository, SHA,          "tagfleet/qa",  sample->state,
                                "2 of 3",           sample->link, sample->api_url};
        AUTO(text) char *target = status_target(sample->provider, &status);
        AUTO(buffer) struct buffer body;
        buffer_init(&body, 4096);
        status_body(sample->provider, &status, &body);
        assert_string_equal(target, sample->target);
        assert_string_equal(body.ptr, sample->body);
    }
}

static char *member_of(const char *provider, const struct status *status, const char *name)
{
    struct error err;
    AUTO(buffer) struct buffer body;
    buffer_init(&body, 64 * 1024);
    status_body(provider, status, &body);
    AUTO(json) cJSON *root = NULL;
    assert_true(json_parse(buffer_slice(&body), 64 * 1024, &root, &err));
    return text_copy(json_text(root, name));
}

static void a_long_context_is_hashed_and_stays_apart_from_its_like(void **unused)
{
    struct status one = {"acme/app", SHA, "tagfleet/branch/a-very-long-name-of-a-branch-1", COMMIT_SUCCESS, "x"};
    struct status two = one;
    two.context = "tagfleet/branch/a-very-long-name-of-a-branch-2";
    AUTO(text) char *first = member_of("bitbucket", &one, "key");
    AUTO(text) char *again = member_of("bitbucket", &one, "key");
    AUTO(text) char *second = member_of("bitbucket", &two, "key");
    AUTO(text) char *name = member_of("bitbucket", &one, "name");
    AUTO(text) char *github = member_of("github", &one, "context");
    assert_int_equal(strlen(first), 40);
    assert_string_equal(first, again);
    assert_string_not_equal(first, second);
    assert_string_equal(name, one.context);
    assert_string_equal(github, one.context);
    one.context = "tagfleet/0123456789012345678901234567890";
    AUTO(text) char *fits = member_of("bitbucket", &one, "key");
    assert_string_equal(fits, one.context);
}

static void descriptions_are_cut_between_characters(void **unused)
{
    char text[3 * 300 + 1] = "";
    for (size_t i = 0; i < 300; i++) {
        memcpy(text + 2 * i, "ö", 3);
    }
    struct status status = {"acme/app", SHA, "tagfleet/qa", COMMIT_SUCCESS, text};
    AUTO(text) char *github = member_of("github", &status, "description");
    AUTO(text) char *gitlab = member_of("gitlab", &status, "description");
    assert_int_equal(strlen(github), 2 * 137 + 3);
    assert_int_equal(strlen(gitlab), 2 * 252 + 3);
    assert_string_equal(github + 2 * 137, "...");
    text[2 * 140] = '\0';
    AUTO(text) char *whole = member_of("github", &status, "description");
    assert_string_equal(whole, text);
    status.description = "\xff half \xc3";
    AUTO(text) char *mended = member_of("github", &status, "description");
    assert_string_equal(mended, "? half ?");
}

static void gitlabs_refusal_of_the_same_state_is_no_failure(void **unused)
{
    struct slice words = slice_of("{\"message\":\"Cannot transition status via :enqueue from :pending (Reason(s): "
                                  "Status cannot transition via \\\"enqueue\\\")\"}");
    assert_true(status_is_there("gitlab", 400, words));
    assert_false(status_is_there("gitlab", 422, words));
    assert_false(status_is_there("github", 400, words));
    assert_false(status_is_there("gitlab", 400, slice_of("{\"message\":\"400 Bad request\"}")));
    assert_false(status_is_there("gitlab", 400, (struct slice){0}));
}

static void a_link_is_filled_with_encoded_values(void **unused)
{
    AUTO(text)
    char *link = link_fill("https://d.example.org/{repository}?d={deployment}&r={ref}&c={commit}", "d-1", "acme/a b",
                           "refs/tags/v&1", SHA);
    assert_string_equal(link, "https://d.example.org/acme/a%20b?d=d-1&r=refs/tags/v%261&c=" SHA);
    assert_null(link_fill(NULL, "d-1", "acme/app", "refs/heads/main", SHA));
    static const char *const good[] = {"https://h", "http://h:8080/x", "https://h/{deployment}{ref}"};
    static const char *const bad[] = {"",           "h/x",           "javascript:x", "https://",         "https:///x",
                                      "https://h ", "https://h/{x}", "https://h/}",  "https://{commit}/"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_null(link_mistake(good[i]));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_non_null(link_mistake(bad[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_host_is_told_in_its_own_words),
        cmocka_unit_test(a_long_context_is_hashed_and_stays_apart_from_its_like),
        cmocka_unit_test(descriptions_are_cut_between_characters),
        cmocka_unit_test(gitlabs_refusal_of_the_same_state_is_no_failure),
        cmocka_unit_test(a_link_is_filled_with_encoded_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
