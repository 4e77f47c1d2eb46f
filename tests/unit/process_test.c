#include "workers/common/aws/process.h"

#include "tests/support/http_script.h"
#include "tests/support/key_ending.h"
#include "tests/support/moved_clock.h"
#include "tests/support/scratch.h"
#include "tests/support/unit.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000 };

static struct key_ending run(const char *command, int64_t timeout_ms)
{
    struct loop *loop = loop_new(NULL);
    struct key_ending ending = {0};
    (void)process_ask(loop, command, "profile p", timeout_ms, key_ended, &ending);
    assert_false(ending.is_done);
    loop_until(loop, &ending.is_done);
    loop_free(loop);
    return ending;
}

/* A command that says something and goes on; its time is over only when it has been heard. */
static struct key_ending run_late(const char *says, const char *goes_on)
{
    struct loop *loop = loop_new(NULL);
    struct key_ending ending = {0};
    struct scratch scratch;
    assert_true(scratch_make(&scratch));
    AUTO(text) char *command = text_format("{ %s; } >&2; rm %s; %s", says, scratch.path, goes_on);
    (void)process_ask(loop, command, "profile p", PATIENCE_MS, key_ended, &ending);
    for (int turns = 0; turns < 2000 && access(scratch.path, F_OK) == 0; turns++) {
        loop_turn(loop, 10);
    }
    assert_int_not_equal(access(scratch.path, F_OK), 0);
    loop_turn(loop, 0);
    assert_false(ending.is_done);
    moved_clock_by(PATIENCE_MS);
    loop_until(loop, &ending.is_done);
    moved_clock_reset();
    loop_free(loop);
    return ending;
}

#define PRINT_KEY                                                                                                      \
    "echo '{\"Version\": 1, \"AccessKeyId\": \"ASIAP\", \"SecretAccessKey\": \"s\", \"SessionToken\": \"t\", "         \
    "\"Expiration\": \"2999-01-01T00:00:00Z\"}'"

static void a_command_prints_a_key(void **state)
{
    (void)state;
    struct key_ending ending = run(PRINT_KEY "; echo a warning >&2", PATIENCE_MS);
    assert_non_null(ending.key);
    assert_string_equal(ending.key->access_key, "ASIAP");
    assert_string_equal(ending.key->session_token, "t");
    assert_string_equal(ending.key->origin, "profile p");
    credentials_free(ending.key);
    ending = run("echo '{\"Version\":1,\"AccessKeyId\":\"AKIDP\",\"SecretAccessKey\":\"s\"}' | cat", PATIENCE_MS);
    assert_non_null(ending.key);
    assert_null(ending.key->session_token);
    assert_int_equal(ending.key->expires_wall_ms, 0);
    credentials_free(ending.key);
}

static void what_goes_wrong_is_told_without_what_was_printed(void **state)
{
    (void)state;
    static const struct {
        const char *command;
        int64_t timeout_ms;
        enum error_action action;
        const char *text;
    } cases[] = {
        {"exit 3", PATIENCE_MS, ERROR_RETRY, "exit status 3"},
        {"echo hidden; echo 'log in\tfirst' >&2; exit 1", PATIENCE_MS, ERROR_RETRY,
         "exit status 1; it says: log in first"},
        {"kill -9 $$", PATIENCE_MS, ERROR_RETRY, "ended by signal 9"},
        {"/nowhere/tool 2>/dev/null", PATIENCE_MS, ERROR_RETRY, "exit status 127"},
        {"echo hidden", PATIENCE_MS, ERROR_REJECT, "the answer is not a JSON object"},
        {"true", PATIENCE_MS, ERROR_REJECT, "the answer is not a JSON object"},
        {"echo '{\"Version\":2}'", PATIENCE_MS, ERROR_REJECT, "the answer's Version is not 1"},
        {"echo '{\"Version\":1,\"SecretAccessKey\":\"hidden\"}'", PATIENCE_MS, ERROR_REJECT,
         "the answer has no AccessKeyId"},
        {"yes hidden", PATIENCE_MS, ERROR_REJECT, "it prints more than 65536 bytes"},
        {"head -c 65537 /dev/zero", PATIENCE_MS, ERROR_REJECT, "it prints more than 65536 bytes"},
        {"echo hidden; trap '' TERM; sleep 100 & wait", 100, ERROR_RETRY, "not finished after 100 ms"},
        {"exec >&-; sleep 100", 100, ERROR_RETRY, "not finished after 100 ms"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct key_ending ending = run(cases[i].command, cases[i].timeout_ms);
        AUTO(text) char *expected = text_format("credential_process of profile p: %s", cases[i].text);
        assert_null(ending.key);
        assert_string_equal(ending.err.text, expected);
        assert_int_equal(ending.err.action, cases[i].action);
        assert_null(strstr(ending.err.text, "hidden"));
    }
    struct key_ending ending = run_late("echo waiting", "sleep 100");
    assert_string_equal(ending.err.text,
                        "credential_process of profile p: not finished after 20000 ms; it says: waiting");
    assert_int_equal(ending.err.action, ERROR_RETRY);
}

/* A long complaint is cut, and one without an end holds nobody. */
static void complaints_are_bounded(void **state)
{
    (void)state;
    struct key_ending ending = run("head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1", PATIENCE_MS);
    assert_non_null(strstr(ending.err.text, "exit status 1; it says: xxxx"));
    assert_true(strlen(ending.err.text) < 300);
    ending = run_late("echo y; echo y", "yes >&2");
    assert_non_null(strstr(ending.err.text, "not finished after 20000 ms; it says: y y"));
    ending = run("yes >&2 & " PRINT_KEY "; kill $!", PATIENCE_MS);
    assert_non_null(ending.key);
    credentials_free(ending.key);
}

static void what_the_command_leaves_running_does_not_hold_up_the_answer(void **state)
{
    (void)state;
    struct key_ending ending = run("sleep 30 & " PRINT_KEY, PATIENCE_MS);
    assert_non_null(ending.key);
    credentials_free(ending.key);
}

static void the_command_gets_no_signals_blocked_and_none_of_our_descriptors(void **state)
{
    (void)state;
    int pipes[2];
    sigset_t blocked;
    sigset_t before;
    assert_int_equal(pipe(pipes), 0); /* without O_CLOEXEC */
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    assert_int_equal(sigprocmask(SIG_BLOCK, &blocked, &before), 0);
    struct key_ending ending =
        run("grep SigBlk /proc/self/status >&2; ls /proc/self/fd | wc -l >&2; exit 1", PATIENCE_MS);
    assert_int_equal(sigprocmask(SIG_SETMASK, &before, NULL), 0);
    /* 0, 1, 2, and the folder that ls reads. */
    if (strstr(ending.err.text, "SigBlk: 0000000000000000 4") == NULL) {
        fail_msg("%s", ending.err.text);
    }
    close(pipes[0]);
    close(pipes[1]);
}

static void who_cancels_is_not_called_and_the_command_is_killed(void **state)
{
    (void)state;
    struct scratch scratch;
    struct key_ending ending = {0};
    struct loop *loop = loop_new(NULL);
    assert_true(scratch_make(&scratch));
    AUTO(text) char *command = text_format("sleep 0.3; rm %s", scratch.path);
    struct process_call *call = process_ask(loop, command, "profile p", PATIENCE_MS, key_ended, &ending);
    loop_turn(loop, 0);
    process_cancel(call);
    process_cancel(NULL);
    loop_for(loop, 500);
    assert_false(ending.is_done);
    assert_int_equal(access(scratch.path, F_OK), 0);
    assert_int_equal(scratch_remove(&scratch), 0);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_command_prints_a_key),
        cmocka_unit_test(what_goes_wrong_is_told_without_what_was_printed),
        cmocka_unit_test(complaints_are_bounded),
        cmocka_unit_test(what_the_command_leaves_running_does_not_hold_up_the_answer),
        cmocka_unit_test(the_command_gets_no_signals_blocked_and_none_of_our_descriptors),
        cmocka_unit_test(who_cancels_is_not_called_and_the_command_is_killed),
    };
    return cmocka_run_group_tests_name("process", tests, NULL, NULL);
}
