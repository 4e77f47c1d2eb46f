#include "workers/common/base/metric.h"

#include "tests/support/unit.h"

static void a_metric_is_written_as_prometheus_reads_it(void **state)
{
    (void)state;
    AUTO(buffer) struct buffer text;
    buffer_init(&text, 4096);
    metric_begin(&text, "jobs_total", METRIC_COUNTER, "Jobs by their end.");
    metric_sample(&text, "jobs_total", 12345678901.0, "role", "copier", "result", "ok", NULL);
    metric_write(&text, "lag_seconds", METRIC_GAUGE, "How late.", 0.25, NULL);
    assert_string_equal(text.ptr, "# HELP tagfleet_jobs_total Jobs by their end.\n"
                                  "# TYPE tagfleet_jobs_total counter\n"
                                  "tagfleet_jobs_total{role=\"copier\",result=\"ok\"} 12345678901\n"
                                  "# HELP tagfleet_lag_seconds How late.\n"
                                  "# TYPE tagfleet_lag_seconds gauge\n"
                                  "tagfleet_lag_seconds 0.25\n");
}

static void a_label_cannot_forge_a_line(void **state)
{
    (void)state;
    AUTO(buffer) struct buffer text;
    buffer_init(&text, 4096);
    metric_sample(&text, "x", 1, "hook", "a\"} 9\ny{z=\\", NULL);
    assert_string_equal(text.ptr, "tagfleet_x{hook=\"a\\\"} 9\\ny{z=\\\\\"} 1\n");
}

static void a_histogram_counts_each_duration_in_every_bucket_that_holds_it(void **state)
{
    (void)state;
    struct histogram histogram = {0};
    AUTO(buffer) struct buffer text;
    buffer_init(&text, 8192);
    histogram_add(&histogram, 5);
    histogram_add(&histogram, 6);
    histogram_add(&histogram, 3600001);
    histogram_add(&histogram, -4);
    assert_int_equal(histogram_count(&histogram), 4);
    histogram_write(&text, "lasted_seconds", &histogram, "role", "copier");
    assert_non_null(strstr(text.ptr, "tagfleet_lasted_seconds_bucket{le=\"0.005\",role=\"copier\"} 2\n"));
    assert_non_null(strstr(text.ptr, "tagfleet_lasted_seconds_bucket{le=\"0.01\",role=\"copier\"} 3\n"));
    assert_non_null(strstr(text.ptr, "tagfleet_lasted_seconds_bucket{le=\"3600\",role=\"copier\"} 3\n"));
    assert_non_null(strstr(text.ptr, "tagfleet_lasted_seconds_bucket{le=\"+Inf\",role=\"copier\"} 4\n"));
    assert_non_null(strstr(text.ptr, "tagfleet_lasted_seconds_sum{role=\"copier\"} 3600.012\n"));
    assert_non_null(strstr(text.ptr, "tagfleet_lasted_seconds_count{role=\"copier\"} 4\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_metric_is_written_as_prometheus_reads_it),
        cmocka_unit_test(a_label_cannot_forge_a_line),
        cmocka_unit_test(a_histogram_counts_each_duration_in_every_bucket_that_holds_it),
    };
    return cmocka_run_group_tests_name("metric", tests, NULL, NULL);
}
