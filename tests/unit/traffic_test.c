#include "workers/common/aws/traffic.h"

#include "tests/support/unit.h"

static bool says(const struct traffic *traffic, const char *line)
{
    AUTO(buffer) struct buffer text;
    buffer_init(&text, 1024 * 1024);
    traffic_write(traffic, &text);
    return strstr(text.ptr, line) != NULL;
}

static void requests_are_counted_by_the_name_of_their_operation_and_status(void **state)
{
    (void)state;
    struct traffic traffic = {0};
    traffic_add(&traffic, "CopyObject s3://a/b to s3://c/d", 200, 12);
    traffic_add(&traffic, "CopyObject s3://a/e to s3://c/f", 200, 12);
    traffic_add(&traffic, "CopyObject s3://a/b to s3://c/d", 503, 3);
    traffic_add(&traffic, "Copy s3://a/b", 0, 3);
    assert_true(says(&traffic, "tagfleet_s3_requests_total{op=\"CopyObject\",code=\"200\"} 2\n"));
    assert_true(says(&traffic, "tagfleet_s3_requests_total{op=\"CopyObject\",code=\"503\"} 1\n"));
    assert_true(says(&traffic, "tagfleet_s3_requests_total{op=\"Copy\",code=\"0\"} 1\n"));
    assert_true(says(&traffic, "tagfleet_s3_request_seconds_count{op=\"CopyObject\"} 3\n"));
}

static void whatever_comes_there_are_only_so_many_rows(void **state)
{
    (void)state;
    struct traffic traffic = {0};
    for (int i = 0; i < 1000; i++) {
        AUTO(text) char *operation = text_format("Operation%d s3://a", i);
        traffic_add(&traffic, operation, 200, 1);
        traffic_add(&traffic, "Operation0", 100 + i, 1);
    }
    assert_int_equal(traffic.operation_count, TRAFFIC_OPERATIONS_MAXIMUM);
    assert_int_equal(traffic.operations[0].status_count, TRAFFIC_STATUSES_MAXIMUM);
    assert_int_equal(histogram_count(&traffic.operations[0].lasted), 1001);
    uint64_t all = 0;
    for (size_t i = 0; i < traffic.operation_count; i++) {
        all += histogram_count(&traffic.operations[i].lasted);
    }
    assert_int_equal(all, 2000);
}

static void repetitions_are_counted_by_their_reason(void **state)
{
    (void)state;
    struct traffic traffic = {0};
    assert_true(says(&traffic, "tagfleet_retries_total{class=\"throttled\"} 0\n"));
    traffic_retry(&traffic, FAILURE_THROTTLED);
    traffic_retry(&traffic, FAILURE_THROTTLED);
    assert_true(says(&traffic, "tagfleet_retries_total{class=\"throttled\"} 2\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_counted_by_the_name_of_their_operation_and_status),
        cmocka_unit_test(whatever_comes_there_are_only_so_many_rows),
        cmocka_unit_test(repetitions_are_counted_by_their_reason),
    };
    return cmocka_run_group_tests_name("traffic", tests, NULL, NULL);
}
