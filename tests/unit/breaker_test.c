#include "workers/copier/breaker.h"

#include "tests/support/unit.h"

#include <string.h>

static struct job job_of(const char *account, int64_t attempt)
{
    return (struct job){.account = (char *)account, .attempt = attempt};
}

static bool lets_through(struct breaker *breaker, const char *account, int64_t attempt, int64_t now_ms)
{
    struct error reason;
    struct job job = job_of(account, attempt);
    return breaker_lets_through(breaker, &job, now_ms, &reason);
}

static void after_some_failures_in_a_row_the_next_job_fails_at_once_and_says_why(void **state)
{
    (void)state;
    struct breaker *breaker = breaker_new(3, 1000);
    struct job job = job_of("222222222222", 1);
    struct error reason;
    for (int i = 0; i < 3; i++) {
        assert_true(lets_through(breaker, "222222222222", 1, 10));
        breaker_learn(breaker, "222222222222", "role x may not write", 10);
    }
    assert_false(breaker_lets_through(breaker, &job, 11, &reason));
    assert_int_equal(reason.action, ERROR_REJECT);
    assert_string_equal(reason.text, "not tried: the last 3 jobs of account 222222222222 failed, the last with: role x "
                                     "may not write");
    assert_true(lets_through(breaker, "333333333333", 1, 11));
    breaker_free(breaker);
}

static void a_success_in_between_begins_the_count_anew(void **state)
{
    (void)state;
    struct breaker *breaker = breaker_new(2, 1000);
    breaker_learn(breaker, "222222222222", "no", 0);
    breaker_learn(breaker, "222222222222", NULL, 0);
    breaker_learn(breaker, "222222222222", "no", 0);
    assert_true(lets_through(breaker, "222222222222", 1, 1));
    breaker_free(breaker);
}

static void after_the_pause_one_job_decides(void **state)
{
    (void)state;
    struct breaker *breaker = breaker_new(1, 1000);
    assert_int_equal(breaker_open_count(breaker), 0);
    breaker_learn(breaker, "222222222222", "no", 0);
    assert_int_equal(breaker_open_count(breaker), 1);
    assert_false(lets_through(breaker, "222222222222", 1, 999));
    assert_true(lets_through(breaker, "222222222222", 1, 1000));
    breaker_learn(breaker, "222222222222", "still no", 1100);
    assert_false(lets_through(breaker, "222222222222", 1, 2099));
    assert_true(lets_through(breaker, "222222222222", 1, 2100));
    assert_int_equal(breaker_open_count(breaker), 1);
    breaker_learn(breaker, "222222222222", NULL, 2200);
    assert_int_equal(breaker_open_count(breaker), 0);
    assert_true(lets_through(breaker, "222222222222", 1, 2201));
    breaker_free(breaker);
}

static void who_asks_again_is_always_let_through(void **state)
{
    (void)state;
    struct breaker *breaker = breaker_new(1, 1000);
    breaker_learn(breaker, "222222222222", "no", 0);
    assert_true(lets_through(breaker, "222222222222", 2, 1));
    breaker_free(breaker);
}

static void with_no_maximum_it_never_opens(void **state)
{
    (void)state;
    struct breaker *breaker = breaker_new(0, 1000);
    for (int i = 0; i < 100; i++) {
        breaker_learn(breaker, "222222222222", "no", 0);
    }
    assert_true(lets_through(breaker, "222222222222", 1, 1));
    breaker_free(breaker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(after_some_failures_in_a_row_the_next_job_fails_at_once_and_says_why),
        cmocka_unit_test(a_success_in_between_begins_the_count_anew),
        cmocka_unit_test(after_the_pause_one_job_decides),
        cmocka_unit_test(who_asks_again_is_always_let_through),
        cmocka_unit_test(with_no_maximum_it_never_opens),
    };
    return cmocka_run_group_tests_name("breaker", tests, NULL, NULL);
}
