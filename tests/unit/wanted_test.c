#include "workers/copier/wanted.h"

#include "tests/support/unit.h"

#include <math.h>

enum { MINUTE_MS = 60000 };

static void as_many_copiers_as_clear_the_queue_in_time(void **state)
{
    (void)state;
    static const struct {
        int64_t open_count;
        uint64_t done_count;
        int64_t busy_ms;
        size_t slots;
        int64_t target_ms;
        double wanted;
    } rows[] = {
        /* a job takes 10 s, a copier has 100 slots: 600 jobs a minute */
        {600, 50, 500000, 100, MINUTE_MS, 1},       {6000, 50, 500000, 100, MINUTE_MS, 10},
        {6000, 50, 500000, 100, 10 * MINUTE_MS, 1}, {30, 50, 500000, 100, MINUTE_MS, 0.05},
        {0, 50, 500000, 100, MINUTE_MS, 0},         {0, 0, 0, 100, MINUTE_MS, 0},
        {600, 0, 400000, 100, MINUTE_MS, -1},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct wanted wanted = {0};
        struct engine_load load = {rows[i].open_count, rows[i].done_count, rows[i].busy_ms, rows[i].slots};
        assert_true(fabs(wanted_copiers(&wanted, &load, rows[i].target_ms) - rows[i].wanted) < 1e-9);
        wanted_look(&wanted, &load);
        assert_true(fabs(wanted_copiers(&wanted, &load, rows[i].target_ms) - rows[i].wanted) < 1e-9);
    }
}

static void what_jobs_took_long_ago_counts_less_and_less(void **state)
{
    (void)state;
    struct wanted wanted = {0};
    struct engine_load load = {100, 0, 0, 1};
    for (int look = 0; look < 100; look++) {
        load.done_count += 10;
        load.busy_ms += 10 * 1000;
        wanted_look(&wanted, &load);
    }
    double before = wanted_copiers(&wanted, &load, 1000);
    assert_true(fabs(before - 100) < 0.5);
    for (int look = 0; look < 60; look++) {
        load.done_count += 10;
        load.busy_ms += 10 * 2000;
        wanted_look(&wanted, &load);
    }
    assert_true(fabs(wanted_copiers(&wanted, &load, 1000) - 200) < 1);
}

static void an_idle_hour_is_not_a_slow_one(void **state)
{
    (void)state;
    struct wanted wanted = {0};
    struct engine_load load = {0, 10, 10 * 1000, 1};
    for (int look = 0; look < 360; look++) {
        wanted_look(&wanted, &load);
    }
    load.open_count = 60;
    assert_true(fabs(wanted_copiers(&wanted, &load, MINUTE_MS) - 1) < 1e-9);
}

static void a_job_that_takes_longer_than_a_look_counts_with_its_whole_time(void **state)
{
    (void)state;
    struct wanted wanted = {0};
    struct engine_load load = {60, 0, 0, 1};
    for (int look = 0; look < 30; look++) {
        load.busy_ms += WANTED_LOOK_MS;
        wanted_look(&wanted, &load);
    }
    load.done_count = 1;
    wanted_look(&wanted, &load);
    assert_true(fabs(wanted_copiers(&wanted, &load, MINUTE_MS) - 60 * 5) < 1e-9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_many_copiers_as_clear_the_queue_in_time),
        cmocka_unit_test(what_jobs_took_long_ago_counts_less_and_less),
        cmocka_unit_test(an_idle_hour_is_not_a_slow_one),
        cmocka_unit_test(a_job_that_takes_longer_than_a_look_counts_with_its_whole_time),
    };
    return cmocka_run_group_tests_name("wanted", tests, NULL, NULL);
}
