#include "workers/common/base/rate.h"

#include "tests/support/unit.h"

#include <stdbool.h>

static void without_a_limit_nobody_waits(void **state)
{
    (void)state;
    struct rate rate = rate_new(0, 1);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(rate_take(&rate, 5), 0);
    }
}

static void a_thousand_at_once_are_spread_over_their_seconds_in_order(void **state)
{
    (void)state;
    struct rate rate = rate_new(100, 1);
    int64_t last_ms = 0;
    for (int i = 0; i < 1000; i++) {
        int64_t wait_ms = rate_take(&rate, 1000000);
        assert_true(wait_ms >= last_ms);
        assert_in_range(wait_ms, i * 10 > 1 ? i * 10 - 1 : 0, i * 10 + 1);
        last_ms = wait_ms;
    }
}

static void after_a_pause_a_burst_goes_at_once_and_no_more(void **state)
{
    (void)state;
    struct rate rate = rate_new(10, 5);
    for (int pause = 0; pause < 2; pause++) {
        int64_t now_ms = 1000 + pause * 3600000;
        int at_once = 0;
        while (rate_take(&rate, now_ms) == 0) {
            at_once++;
        }
        assert_int_equal(at_once, 5);
    }
}

static void who_cannot_wait_takes_nobodys_turn(void **state)
{
    (void)state;
    struct rate rate = rate_new(10, 2);
    assert_true(rate_has_turn(&rate, 1000));
    assert_true(rate_has_turn(&rate, 1000));
    for (int i = 0; i < 100; i++) {
        assert_false(rate_has_turn(&rate, 1000));
    }
    assert_true(rate_has_turn(&rate, 1100));
    assert_false(rate_has_turn(&rate, 1100));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_limit_nobody_waits),
        cmocka_unit_test(a_thousand_at_once_are_spread_over_their_seconds_in_order),
        cmocka_unit_test(after_a_pause_a_burst_goes_at_once_and_no_more),
        cmocka_unit_test(who_cannot_wait_takes_nobodys_turn),
    };
    return cmocka_run_group_tests_name("rate", tests, NULL, NULL);
}
