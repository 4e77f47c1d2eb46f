#include "workers/copier/tally.h"

#include "tests/support/unit.h"

static void each_outcome_counts_once_and_only_a_build_that_arrived_has_a_time(void **state)
{
    (void)state;
    static const struct {
        enum result_outcome outcome;
        enum job_result job_result;
        bool has_build;
    } rows[] = {
        {RESULT_SUCCEEDED, JOB_OK, true},        {RESULT_UNCHANGED, JOB_SKIPPED, true},
        {RESULT_FAILED, JOB_FAILED, false},      {RESULT_TIMED_OUT, JOB_FAILED, false},
        {RESULT_SUPERSEDED, JOB_SKIPPED, false}, {RESULT_SKIPPED, JOB_SKIPPED, false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct tally tally = {0};
        const struct result result = {.outcome = rows[i].outcome, .finished_ms = 5000};
        assert_int_equal(tally_job_result(rows[i].outcome), rows[i].job_result);
        tally_add(&tally, &result, 1000);
        tally_add(&tally, &result, 0);
        assert_int_equal(tally.outcomes[rows[i].outcome], 2);
        assert_int_equal(histogram_count(&tally.tag_to_done), rows[i].has_build ? 1 : 0);
        assert_int_equal(tally.tag_to_done.sum_ms, rows[i].has_build ? 4000 : 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_outcome_counts_once_and_only_a_build_that_arrived_has_a_time),
    };
    return cmocka_run_group_tests_name("tally", tests, NULL, NULL);
}
