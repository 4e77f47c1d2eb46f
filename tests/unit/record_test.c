#include "workers/recorder/record.h"

#include "tests/support/unit.h"

#include "workers/common/base/command.h"

#include <string.h>

static const char id[] = "d-00000000000000aa";
static const char commit[] = "5f2c1e0a9d3b4c6e8f7a1b2c3d4e5f60718293a4";

static void history_auto(struct history *history)
{
    history_clear(history);
}

static struct history_news add(struct history *history, struct buffer *body)
{
    struct record record = {.value = buffer_slice(body)};
    struct history_news news;
    history_add(history, &record, &news);
    return news;
}

static struct history_news add_deployment(struct history *history, const char *deployment_id,
                                          enum deployment_outcome outcome, size_t accounts)
{
    AUTO(deployment) struct deployment *deployment = memory_zeroed(1, sizeof(*deployment));
    envelope_fill(&deployment->envelope, deployment_id, "tests", NULL);
    deployment->deployment = text_copy(deployment_id);
    deployment->outcome = (int)outcome;
    deployment->event = text_copy("event");
    deployment->repository = text_copy("acme/app");
    deployment->ref = text_copy("refs/heads/main");
    deployment->commit = text_copy(commit);
    deployment->reason = outcome != DEPLOYMENT_ACCEPTED ? text_copy("because") : NULL;
    for (size_t i = 0; i < accounts; i++) {
        AUTO(text) char *account = text_format("%012zu", i);
        texts_add(&deployment->accounts, account);
    }
    AUTO(buffer) struct buffer body;
    buffer_init(&body, MESSAGE_MAXIMUM_BYTES);
    deployment_format(deployment, &body);
    return add(history, &body);
}

static struct history_news add_result(struct history *history, size_t account, enum result_outcome outcome)
{
    AUTO(result) struct result *result = memory_zeroed(1, sizeof(*result));
    AUTO(text) char *name = text_format("%012zu", account);
    envelope_fill(&result->envelope, "result", "tests", NULL);
    result->deployment = text_copy(id);
    result->account = text_copy(name);
    result->outcome = (int)outcome;
    result->reason = text_copy("because");
    AUTO(buffer) struct buffer body;
    buffer_init(&body, MESSAGE_MAXIMUM_BYTES);
    result_format(result, &body);
    return add(history, &body);
}

static void a_deployment_is_finished_when_every_account_has_ended(void **state)
{
    (void)state;
    __attribute__((cleanup(history_auto))) struct history history = {0};
    const struct recorded *recorded = add_deployment(&history, id, DEPLOYMENT_ACCEPTED, 2).recorded;
    assert_false(recorded_is_finished(recorded));
    (void)add_result(&history, 0, RESULT_SUCCEEDED);
    (void)add_result(&history, 0, RESULT_SUCCEEDED);
    assert_false(recorded_is_finished(recorded));
    (void)add_result(&history, 1, RESULT_UNCHANGED);
    assert_true(recorded_is_finished(recorded));
    struct result_counts counts;
    recorded_count(recorded, &counts);
    assert_int_equal(counts.by_outcome[RESULT_SUCCEEDED], 1);
    assert_int_equal(counts.by_outcome[RESULT_UNCHANGED], 1);
    assert_int_equal(recorded_exit_code(recorded), EXIT_OK);
}

static void a_result_may_be_read_before_its_deployment(void **state)
{
    (void)state;
    __attribute__((cleanup(history_auto))) struct history history = {0};
    const struct recorded *recorded = add_result(&history, 0, RESULT_SUCCEEDED).recorded;
    assert_false(recorded_is_finished(recorded));
    (void)add_deployment(&history, id, DEPLOYMENT_ACCEPTED, 1);
    assert_true(recorded_is_finished(recorded));
}

static void the_exit_code_says_how_it_ended(void **state)
{
    (void)state;
    static const struct {
        enum result_outcome outcomes[2];
        int exit_code;
    } rows[] = {
        {{RESULT_SUCCEEDED, RESULT_SUCCEEDED}, EXIT_OK},     {{RESULT_SKIPPED, RESULT_UNCHANGED}, EXIT_OK},
        {{RESULT_SUCCEEDED, RESULT_FAILED}, EXIT_NEGATIVE},  {{RESULT_TIMED_OUT, RESULT_SUCCEEDED}, EXIT_NEGATIVE},
        {{RESULT_SUPERSEDED, RESULT_FAILED}, EXIT_NEGATIVE}, {{RESULT_SUPERSEDED, RESULT_SUCCEEDED}, EXIT_SUPERSEDED},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        __attribute__((cleanup(history_auto))) struct history history = {0};
        const struct recorded *recorded = add_deployment(&history, id, DEPLOYMENT_ACCEPTED, 2).recorded;
        (void)add_result(&history, 0, rows[i].outcomes[0]);
        (void)add_result(&history, 1, rows[i].outcomes[1]);
        assert_int_equal(recorded_exit_code(recorded), rows[i].exit_code);
    }
    static const struct {
        enum deployment_outcome outcome;
        int exit_code;
    } whole[] = {{DEPLOYMENT_DROPPED, EXIT_DROPPED},
                 {DEPLOYMENT_REJECTED, EXIT_REJECTED},
                 {DEPLOYMENT_SUPERSEDED, EXIT_SUPERSEDED},
                 {DEPLOYMENT_IGNORED, EXIT_OK}};
    for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++) {
        __attribute__((cleanup(history_auto))) struct history history = {0};
        const struct recorded *recorded = add_deployment(&history, id, whole[i].outcome, 0).recorded;
        assert_true(recorded_is_finished(recorded));
        assert_int_equal(recorded_exit_code(recorded), whole[i].exit_code);
    }
}

static void what_was_noted_is_not_finished(void **state)
{
    (void)state;
    __attribute__((cleanup(history_auto))) struct history history = {0};
    assert_false(recorded_is_finished(add_deployment(&history, id, DEPLOYMENT_NOTED, 0).recorded));
    /* Its build comes and makes another deployment of the same ref and commit, which is the one that is meant. */
    const struct recorded *deployed = add_deployment(&history, "d-00000000000000bb", DEPLOYMENT_ACCEPTED, 1).recorded;
    assert_ptr_equal(history_find_ref(&history, "acme/app", "refs/heads/main", commit), deployed);
    assert_ptr_equal(history_find_ref(&history, "acme/app", "refs/heads/main", "5f2c1e0"), deployed);
    assert_null(history_find_ref(&history, "acme/app", "refs/heads/other", commit));
    assert_null(history_find_ref(&history, "acme/other", "refs/heads/main", commit));
}

static void what_was_accepted_is_not_taken_back_by_a_late_event(void **state)
{
    (void)state;
    __attribute__((cleanup(history_auto))) struct history history = {0};
    const struct recorded *recorded = add_deployment(&history, id, DEPLOYMENT_ACCEPTED, 1).recorded;
    (void)add_result(&history, 0, RESULT_SUCCEEDED);
    assert_null(add_deployment(&history, id, DEPLOYMENT_SUPERSEDED, 0).recorded);
    assert_int_equal(recorded->deployment->outcome, DEPLOYMENT_ACCEPTED);
    assert_int_equal(recorded_exit_code(recorded), EXIT_OK);
}

static void what_cannot_be_read_changes_nothing(void **state)
{
    (void)state;
    __attribute__((cleanup(history_auto))) struct history history = {0};
    static const char *const bodies[] = {"", "{", "{\"type\":\"tagfleet.result.v1\"}", "{\"type\":\"other\"}"};
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        struct record record = {.value = slice_of(bodies[i])};
        struct history_news news;
        history_add(&history, &record, &news);
        assert_null(news.recorded);
    }
    assert_int_equal(history.deployments.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_deployment_is_finished_when_every_account_has_ended),
        cmocka_unit_test(a_result_may_be_read_before_its_deployment),
        cmocka_unit_test(the_exit_code_says_how_it_ended),
        cmocka_unit_test(what_was_noted_is_not_finished),
        cmocka_unit_test(what_was_accepted_is_not_taken_back_by_a_late_event),
        cmocka_unit_test(what_cannot_be_read_changes_nothing),
    };
    return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
