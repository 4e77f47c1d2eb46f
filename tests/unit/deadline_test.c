#include "workers/copier/deadline.h"

#include "tests/support/unit.h"

enum { NOW_MS = 1000000, MINUTE_MS = 60000, HOUR_MS = 60 * MINUTE_MS };

#define GB ((int64_t)1000000000)

static void a_round_at_most_and_large_objects_as_long_as_they_need(void **state)
{
    (void)state;
    static const struct {
        enum job_mode mode;
        int64_t size_bytes;
        int64_t give_up_in_ms;
        int64_t request_in_ms;
        int64_t object_in_ms;
    } rows[] = {
        {JOB_COPY, 0, HOUR_MS, 2 * MINUTE_MS, 2 * MINUTE_MS},
        {JOB_COPY, 1 * GB, HOUR_MS, 2 * MINUTE_MS, 2 * MINUTE_MS},
        {JOB_COPY, 1 * GB, MINUTE_MS, MINUTE_MS, 100000}, /* 10 MB/s, beyond the job's own end */
        {JOB_COPY, 6 * GB, HOUR_MS, 2 * MINUTE_MS, 10 * MINUTE_MS},
        {JOB_RELAY, 6 * GB, HOUR_MS, 2 * MINUTE_MS, 100 * MINUTE_MS},
        {JOB_RELAY, 1000, 5, 5, 5},
        {JOB_COPY, 1000, -5, -5, 0}, /* it should have been given up: nothing is waited for */
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct job job = {.mode = rows[i].mode};
        int64_t give_up_at_ms = NOW_MS + rows[i].give_up_in_ms;
        assert_int_equal(deadline_of_request(give_up_at_ms, NOW_MS), NOW_MS + rows[i].request_in_ms);
        assert_int_equal(deadline_of_object(&job, rows[i].size_bytes, give_up_at_ms, NOW_MS),
                         NOW_MS + rows[i].object_in_ms);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_round_at_most_and_large_objects_as_long_as_they_need),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
