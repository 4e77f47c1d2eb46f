#include "producer/emit.h"

#include "tests/support/unit.h"

#include <string.h>

static const char commit[] = "5f2c1e0a9d3b4c6e8f7a1b2c3d4e5f60718293a4";

static void an_emit_becomes_the_neutral_event(void **state)
{
    (void)state;
    static const struct {
        struct emit_request request;
        enum event_kind kind;
        const char *repository;
        const char *ref;
    } rows[] = {
        {{"acme/app", "refs/heads/main", commit, "b1", NULL, NULL},
         EVENT_BUILD_PUBLISHED,
         "acme/app",
         "refs/heads/main"},
        {{"Acme/App", "branch/main", commit, NULL, NULL, NULL}, EVENT_BRANCH_UPDATED, "acme/app", "refs/heads/main"},
        {{"https://user@bitbucket.org/Acme/App.git", "tag/v-1-qa", commit, NULL, NULL, NULL},
         EVENT_TAG_CREATED,
         "acme/app",
         "refs/tags/v-1-qa"},
        {{"git@bitbucket.org:acme/app.git", "refs/tags/v-1-qa", commit, NULL, "1234567", NULL},
         EVENT_TAG_MOVED,
         "acme/app",
         "refs/tags/v-1-qa"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct error err = {0};
        AUTO(event) struct event *event = NULL;
        if (!emit_event(&rows[i].request, &event, &err)) {
            fail_msg("row %zu: %s", i, err.text);
        }
        assert_int_equal(event->kind, rows[i].kind);
        assert_string_equal(event->repository, rows[i].repository);
        assert_string_equal(event->ref, rows[i].ref);
        assert_string_equal(event->after, commit);
    }
}

static void what_is_missing_or_ill_formed_is_named(void **state)
{
    (void)state;
    static const struct {
        struct emit_request request;
        const char *named;
    } rows[] = {
        {{NULL, "branch/main", commit, NULL, NULL, NULL}, "--repository is missing"},
        {{"a/b", NULL, commit, NULL, NULL, NULL}, "--ref is missing"},
        {{"a/b", "branch/main", NULL, NULL, NULL, NULL}, "--commit is missing"},
        {{"a/b", "main", commit, NULL, NULL, NULL}, "ref \"main\""},
        {{"a/b", "branch/a b", commit, NULL, NULL, NULL}, "ref \"refs/heads/a b\""},
        {{"a/b", "branch/main", "HEAD", NULL, NULL, NULL}, "commit \"head\""},
        {{"a/b", "branch/main", "0000000000", NULL, NULL, NULL}, "all zeros"},
        {{"a/b", "branch/main", commit, "../x", NULL, NULL}, "build \"../x\""},
        {{"a/b", "branch/main", commit, "", NULL, NULL}, "build \"\""},
        {{"a/b", "branch/main", commit, NULL, "yesterday", NULL}, "before \"yesterday\""},
        {{"", "branch/main", commit, NULL, NULL, NULL}, "repository \"\""},
        {{"$REPOSITORY", "branch/main", commit, NULL, NULL, NULL}, "repository \"$REPOSITORY\" is a placeholder"},
        {{"acme/${APP}", "branch/main", commit, NULL, NULL, NULL}, "is a placeholder"},
        {{"a/b", "refs/tags/{{ tag }}", commit, NULL, NULL, NULL}, "ref \"refs/tags/{{ tag }}\" is a placeholder"},
        {{"a/b", "branch/main", "<commit id>", NULL, NULL, NULL}, "commit \"<commit id>\" is a placeholder"},
        {{"a/b", "branch/main", commit, "null", NULL, NULL}, "build \"null\" is a placeholder"},
        {{"a/b", "branch/main", commit, "Undefined", NULL, NULL}, "build \"Undefined\" is a placeholder"},
        {{"a/b", "branch/main", commit, "%BUILD%", NULL, NULL}, "build \"%BUILD%\" is a placeholder"},
        {{"a/b", "branch/main", commit, "$(id)", NULL, NULL}, "build \"$(id)\" is a placeholder"},
        {{"a/b", "branch/main", commit, NULL, "none", NULL}, "before \"none\" is a placeholder"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct error err = {0};
        struct event *event = NULL;
        assert_false(emit_event(&rows[i].request, &event, &err));
        assert_null(event);
        assert_int_equal(err.action, ERROR_REJECT);
        if (strstr(err.text, rows[i].named) == NULL) {
            fail_msg("\"%s\" lacks \"%s\"", err.text, rows[i].named);
        }
    }
}

/* CodeBuild's variables, as name and value in turn. */
static const char *const *variables;

static const char *get(const char *name)
{
    for (const char *const *at = variables; *at != NULL; at += 2) {
        if (strcmp(at[0], name) == 0) {
            return at[1];
        }
    }
    return NULL;
}

static const char *const of_a_build[] = {"CODEBUILD_BUILD_ID",
                                         "dynamic-cicd-buildproject:6f1b7a60-1111-4222-8333-444455556666",
                                         "CODEBUILD_BUILD_SUCCEEDING",
                                         "1",
                                         "CODEBUILD_WEBHOOK_TRIGGER",
                                         "tag/v-1.4.0-prod",
                                         "CODEBUILD_SOURCE_VERSION",
                                         "refs/tags/v-1.4.0-prod",
                                         "CODEBUILD_RESOLVED_SOURCE_VERSION",
                                         commit,
                                         "CODEBUILD_SOURCE_REPO_URL",
                                         "https://bitbucket.org/Acme/App.git",
                                         NULL};

static void codebuilds_variables_say_everything(void **state)
{
    (void)state;
    struct error err;
    char scratch[200];
    variables = of_a_build;
    struct emit_request request = {0};
    AUTO(event) struct event *event = NULL;
    assert_true(emit_from_codebuild(get, &request, scratch, sizeof(scratch), &err));
    assert_true(emit_event(&request, &event, &err));
    assert_string_equal(event->repository, "acme/app");
    assert_string_equal(event->ref, "refs/tags/v-1.4.0-prod");
    assert_string_equal(event->after, commit);
    assert_string_equal(event->build, "6f1b7a60-1111-4222-8333-444455556666");
}

static void a_flag_stands_over_a_variable(void **state)
{
    (void)state;
    struct error err;
    char scratch[200];
    variables = of_a_build;
    struct emit_request request = {.ref = "branch/main", .build = "mine"};
    assert_true(emit_from_codebuild(get, &request, scratch, sizeof(scratch), &err));
    assert_string_equal(request.ref, "branch/main");
    assert_string_equal(request.build, "mine");
    assert_string_equal(request.commit, commit);
}

static void a_failed_build_is_refused(void **state)
{
    (void)state;
    struct error err;
    char scratch[200];
    static const char *const failed[] = {"CODEBUILD_BUILD_ID", "p:1", "CODEBUILD_BUILD_SUCCEEDING", "0", NULL};
    variables = failed;
    struct emit_request request = {0};
    assert_false(emit_from_codebuild(get, &request, scratch, sizeof(scratch), &err));
    assert_int_equal(err.action, ERROR_REJECT);
    assert_non_null(strstr(err.text, "the build has failed"));
}

static void a_build_started_by_hand_must_say_its_ref(void **state)
{
    (void)state;
    struct error err;
    char scratch[200];
    static const char *const by_hand[] = {"CODEBUILD_BUILD_ID", "p:1", "CODEBUILD_WEBHOOK_TRIGGER", "", NULL};
    variables = by_hand;
    struct emit_request request = {0};
    assert_false(emit_from_codebuild(get, &request, scratch, sizeof(scratch), &err));
    assert_non_null(strstr(err.text, "--ref"));
}

static void a_line_of_a_file_says_the_same_as_flags(void **state)
{
    (void)state;
    AUTO(event) struct event *of_line = NULL;
    AUTO(event) struct event *of_flags = NULL;
    struct error err = {0};
    const struct emit_request request = {"acme/app", "refs/tags/v-1-qa", commit, "b1", NULL, "somebody"};
    assert_true(emit_from_line(
        slice_of("{\"repository\":\"Acme/App\",\"ref\":\"refs/tags/v-1-qa\",\"commit\":"
                 "\"5f2c1e0a9d3b4c6e8f7a1b2c3d4e5f60718293a4\",\"build\":\"b1\",\"actor\":\"somebody\"}"),
        &of_line, &err));
    assert_true(emit_event(&request, &of_flags, &err));
    assert_string_equal(of_line->envelope.id, of_flags->envelope.id);
    assert_string_equal(of_line->envelope.source, of_flags->envelope.source);
    assert_int_equal(of_line->kind, of_flags->kind);
    assert_int_equal(of_line->origin, ORIGIN_EMIT);
    assert_null(of_line->provider);
}

static void a_line_that_cannot_be_right_is_refused_in_words(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        const char *said;
    } rows[] = {
        {"acme/app", "JSON"},
        {"[]", "object"},
        {"{\"repository\":\"a/b\",\"ref\":\"refs/heads/main\"}", "commit is needed"},
        {"{\"repository\":\"a/b\",\"ref\":\"refs/heads/main\",\"commit\":\"1234567\",\"sha\":\"1\"}", "is not a field"},
        {"{\"repository\":\"a/b\",\"ref\":\"refs/heads/main\",\"commit\":\"1234567\",\"build\":\"null\"}",
         "is a placeholder"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct error err = {0};
        struct event *event = NULL;
        assert_false(emit_from_line(slice_of(rows[i].line), &event, &err));
        assert_null(event);
        if (strstr(err.text, rows[i].said) == NULL) {
            fail_msg("%s: %s", rows[i].line, err.text);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_emit_becomes_the_neutral_event),
        cmocka_unit_test(what_is_missing_or_ill_formed_is_named),
        cmocka_unit_test(codebuilds_variables_say_everything),
        cmocka_unit_test(a_flag_stands_over_a_variable),
        cmocka_unit_test(a_failed_build_is_refused),
        cmocka_unit_test(a_build_started_by_hand_must_say_its_ref),
        cmocka_unit_test(a_line_of_a_file_says_the_same_as_flags),
        cmocka_unit_test(a_line_that_cannot_be_right_is_refused_in_words),
    };
    return cmocka_run_group_tests_name("emit", tests, NULL, NULL);
}
