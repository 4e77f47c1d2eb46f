#include "workers/common/aws/retry.h"

#include "tests/support/fixtures.h"
#include "tests/support/unit.h"
#include "workers/common/aws/failure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NONE = -1 };

static void the_delay_doubles_up_to_its_maximum(void **state)
{
    (void)state;
    static const struct {
        bool is_throttled;
        int64_t delays_ms[8];
    } cases[] = {
        {false, {50, 100, 200, 400, 800, 1600, 3200, 6400}},
        {true, {1000, 2000, 4000, 8000, 16000, 20000, 20000, 20000}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct retry_rules rules = retry_rules_standard();
        struct retry_quota quota = retry_quota_full(RETRY_QUOTA_CAPACITY);
        struct retry retry = {0};
        rules.attempts_maximum = 100;
        for (size_t k = 0; k < 8; k++) {
            int64_t delay_ms = NONE;
            assert_int_equal(
                retry_after_failure(&retry, &rules, &quota, cases[i].is_throttled, 1.0, NONE, NONE, &delay_ms),
                RETRY_AGAIN);
            assert_int_equal(delay_ms, cases[i].delays_ms[k]);
        }
    }
}

static void the_random_factor_scales_the_delay_and_may_be_nothing(void **state)
{
    (void)state;
    static const struct {
        double random;
        int64_t delay_ms;
    } cases[] = {{0.0, 0}, {0.5, 25}, {1.0, 50}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct retry_rules rules = retry_rules_standard();
        struct retry_quota quota = retry_quota_full(RETRY_QUOTA_CAPACITY);
        struct retry retry = {0};
        int64_t delay_ms = NONE;
        (void)retry_after_failure(&retry, &rules, &quota, false, cases[i].random, NONE, NONE, &delay_ms);
        assert_int_equal(delay_ms, cases[i].delay_ms);
    }
}

static void no_number_of_attempts_makes_the_delay_wrap(void **state)
{
    (void)state;
    struct retry_rules rules = retry_rules_standard();
    rules.attempts_maximum = 4000000000U;
    for (unsigned attempts = 0; attempts < 200; attempts++) {
        struct retry retry = {.attempts = attempts};
        struct retry_quota quota = retry_quota_full(RETRY_QUOTA_CAPACITY);
        int64_t delay_ms = NONE;
        (void)retry_after_failure(&retry, &rules, &quota, false, 1.0, NONE, NONE, &delay_ms);
        assert_true(delay_ms >= 50 && delay_ms <= 20000);
    }
}

static void what_the_server_asks_for_bounds_the_delay(void **state)
{
    (void)state;
    /* The own delay is 50 ms. x-amz-retry-after counts between it and 5 s more, Retry-After from below only. */
    static const struct {
        int64_t amz_ms;
        int64_t after_ms;
        int64_t delay_ms;
    } cases[] = {
        {NONE, NONE, 50},       {0, NONE, 50},
        {49, NONE, 50},         {1500, NONE, 1500},
        {5050, NONE, 5050},     {5051, NONE, 5050},
        {86400000, NONE, 5050}, {NONE, 0, 50},
        {NONE, 49, 50},         {NONE, 3000, 3000},
        {NONE, 60000, 60000},   {1500, 3000, 3000},
        {1500, 1000, 1500},     {86400000, 86400000, 86400000},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct retry_rules rules = retry_rules_standard();
        struct retry_quota quota = retry_quota_full(RETRY_QUOTA_CAPACITY);
        struct retry retry = {0};
        int64_t delay_ms = NONE;
        assert_int_equal(
            retry_after_failure(&retry, &rules, &quota, false, 1.0, cases[i].amz_ms, cases[i].after_ms, &delay_ms),
            RETRY_AGAIN);
        assert_int_equal(delay_ms, cases[i].delay_ms);
    }
}

static void the_last_attempt_is_not_followed_by_another_and_costs_nothing(void **state)
{
    (void)state;
    struct retry_rules rules = retry_rules_standard();
    struct retry_quota quota = retry_quota_full(RETRY_QUOTA_CAPACITY);
    struct retry retry = {0};
    int64_t delay_ms;
    assert_int_equal(rules.attempts_maximum, 3);
    assert_int_equal(retry_after_failure(&retry, &rules, &quota, false, 1, NONE, NONE, &delay_ms), RETRY_AGAIN);
    assert_int_equal(retry_after_failure(&retry, &rules, &quota, false, 1, NONE, NONE, &delay_ms), RETRY_AGAIN);
    unsigned available = quota.available;
    assert_int_equal(retry_after_failure(&retry, &rules, &quota, false, 1, NONE, NONE, &delay_ms),
                     RETRY_ATTEMPTS_EXCEEDED);
    assert_int_equal(quota.available, available);
    assert_int_equal(retry.attempts, 3);
}

static void an_empty_quota_forbids_retries_until_successes_fill_it(void **state)
{
    (void)state;
    struct retry_rules rules = retry_rules_standard();
    struct retry_quota quota = {.capacity = 20, .available = 13};
    int64_t delay_ms = NONE;
    struct retry retry = {0};
    assert_int_equal(retry_after_failure(&retry, &rules, &quota, false, 1, NONE, NONE, &delay_ms),
                     RETRY_QUOTA_EXCEEDED);
    assert_int_equal(quota.available, 13);
    struct retry first_try = {0};
    retry_after_success(&first_try, &quota);
    assert_int_equal(quota.available, 14);
    struct retry again = {0};
    assert_int_equal(retry_after_failure(&again, &rules, &quota, false, 1, NONE, NONE, &delay_ms), RETRY_AGAIN);
    assert_int_equal(quota.available, 0);
    retry_after_success(&again, &quota);
    assert_int_equal(quota.available, 14);
    for (int i = 0; i < 100; i++) {
        retry_after_success(&first_try, &quota);
    }
    assert_int_equal(quota.available, 20);
    retry_after_success(&again, &quota);
    assert_int_equal(quota.available, 20);
}

static void the_headers_are_read_or_ignored(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t amz_ms;
        int64_t after_ms;
    } cases[] = {
        {NULL, NONE, NONE},
        {"", NONE, NONE},
        {"0", 0, 0},
        {"1500", 1500, 1500000},
        {"120", 120, 120000},
        {"999999999999", 86400000, 86400000}, /* no longer than a day */
        {"9999999999999", NONE, NONE},
        {"-1", NONE, NONE},
        {"1.5", NONE, NONE},
        {" 1", NONE, NONE},
        {"1s", NONE, NONE},
        {"soon", NONE, NONE},
        {"Fri, 02 Jan 2026 03:04:35 GMT", NONE, 30000},
        {"Fri, 02 Jan 2026 03:04:05 GMT", NONE, 0},
        {"Thu, 01 Jan 1970 00:00:00 GMT", NONE, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(retry_read_amz_retry_after_ms(cases[i].text), cases[i].amz_ms);
        assert_int_equal(retry_read_retry_after_ms(cases[i].text, 1767323045000), cases[i].after_ms);
    }
}

static void an_http_date_is_read_and_nothing_else(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t wall_ms; /* NONE: refused */
    } cases[] = {
        {"Tue, 15 Nov 1994 08:12:31 GMT", 784887151000},
        {"Thu, 29 Feb 2024 00:00:00 GMT", 1709164800000},
        {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
        {"Tue, 15 Nov 1994 08:12:31 UTC", NONE},
        {"Tue, 15 Nov 1994 08:12:31 GMT ", NONE},
        {"Tue, 15 Nov 1994 08:12:31", NONE},
        {"Tue, 15 Nov 1994 25:12:31 GMT", NONE},
        {"15 Nov 1994 08:12:31 GMT", NONE},
        {"1994-11-15T08:12:31Z", NONE},
        {"", NONE},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t wall_ms = NONE;
        if (http_date_parse(cases[i].text, &wall_ms) != (cases[i].wall_ms != NONE) || wall_ms != cases[i].wall_ms) {
            fail_msg("\"%s\" was read as %lld", cases[i].text, (long long)wall_ms);
        }
    }
}

/* ---- the cases of the SDKs ---- */

static double number(const cJSON *object, const char *name, double otherwise)
{
    const cJSON *item = cJSON_GetObjectItem(object, name);
    return item != NULL ? cJSON_GetNumberValue(item) : otherwise;
}

/* The answer as our rules see it: through the table of failures. */
static struct failure failure_of(const cJSON *response)
{
    const char *code = cJSON_GetStringValue(cJSON_GetObjectItem(response, "error_code"));
    AUTO(text) char *body = text_format("<Error><Code>%s</Code></Error>", code != NULL ? code : "");
    struct http_answer answer = {
        .status = (int)number(response, "status_code", 0),
        .body = slice_of(body),
        .header_lines = slice_of(""),
    };
    struct failure failure;
    failure_read(&answer, false, &failure);
    return failure;
}

static void case_step(const char *name, const cJSON *step, const struct retry_rules *rules, struct retry_quota *quota,
                      struct retry *retry)
{
    const cJSON *response = cJSON_GetObjectItem(step, "response");
    const cJSON *expected = cJSON_GetObjectItem(step, "expected");
    const char *outcome = cJSON_GetStringValue(cJSON_GetObjectItem(expected, "outcome"));
    const cJSON *header = cJSON_GetObjectItem(cJSON_GetObjectItem(response, "headers"), "x-amz-retry-after");
    int64_t delay_ms = NONE;
    if (strcmp(outcome, "success") == 0) {
        retry_after_success(retry, quota);
        *retry = (struct retry){0}; /* what follows is another call */
    } else {
        struct failure failure = failure_of(response);
        assert_int_equal(failure_action(failure.kind), ERROR_RETRY);
        enum retry_verdict verdict = retry_after_failure(
            retry, rules, quota, failure.kind == FAILURE_THROTTLED, 1.0,
            retry_read_amz_retry_after_ms(header != NULL ? cJSON_GetStringValue(header) : NULL), NONE, &delay_ms);
        enum retry_verdict wanted = strcmp(outcome, "retry_request") == 0           ? RETRY_AGAIN
                                    : strcmp(outcome, "max_attempts_exceeded") == 0 ? RETRY_ATTEMPTS_EXCEEDED
                                                                                    : RETRY_QUOTA_EXCEEDED;
        if (verdict != wanted) {
            fail_msg("%s: %s expected, not verdict %d", name, outcome, (int)verdict);
        }
    }
    if (quota->available != (unsigned)number(expected, "retry_quota", -1)) {
        fail_msg("%s, %s: quota %u", name, outcome, quota->available);
    }
    double delay_s = number(expected, "delay", -1);
    if (delay_s >= 0 && delay_ms != (int64_t)(delay_s * 1000 + 0.5)) {
        fail_msg("%s, %s: delay %lld ms", name, outcome, (long long)delay_ms);
    }
}

static void the_retry_cases_of_the_sdks_come_out(void **state)
{
    (void)state;
    if (!fixture_is_here("retry/standard-retry-cases.json", "retry fixtures, 13 cases")) {
        skip();
    }
    cJSON *json = fixture_json("retry/standard-retry-cases.json");
    const cJSON *test;
    size_t count = 0;
    size_t skipped = 0;
    cJSON_ArrayForEach(test, json)
    {
        const cJSON *given = cJSON_GetObjectItem(test, "given");
        if (cJSON_GetObjectItem(given, "long_polling") != NULL || cJSON_GetObjectItem(test, "threads") != NULL) {
            (void)printf("skipped: retry case \"%s\" (%s)\n", test->string,
                         cJSON_GetObjectItem(test, "threads") != NULL ? "several threads" : "long polling");
            skipped++;
            continue;
        }
        struct retry_rules rules = retry_rules_standard();
        rules.attempts_maximum = (unsigned)number(given, "max_attempts", rules.attempts_maximum);
        rules.maximum_ms = (int64_t)(number(given, "max_backoff_time", 20) * 1000 + 0.5);
        struct retry_quota quota =
            retry_quota_full((unsigned)number(given, "initial_retry_tokens", RETRY_QUOTA_CAPACITY));
        struct retry retry = {0};
        const cJSON *step;
        cJSON_ArrayForEach(step, cJSON_GetObjectItem(test, "responses"))
        {
            case_step(test->string, step, &rules, &quota, &retry);
        }
        count++;
    }
    (void)printf("retry fixtures: %zu cases, %zu skipped\n", count, skipped);
    assert_int_equal(count, 13);
    assert_int_equal(skipped, 6);
    cJSON_Delete(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_delay_doubles_up_to_its_maximum),
        cmocka_unit_test(the_random_factor_scales_the_delay_and_may_be_nothing),
        cmocka_unit_test(no_number_of_attempts_makes_the_delay_wrap),
        cmocka_unit_test(what_the_server_asks_for_bounds_the_delay),
        cmocka_unit_test(the_last_attempt_is_not_followed_by_another_and_costs_nothing),
        cmocka_unit_test(an_empty_quota_forbids_retries_until_successes_fill_it),
        cmocka_unit_test(the_headers_are_read_or_ignored),
        cmocka_unit_test(an_http_date_is_read_and_nothing_else),
        cmocka_unit_test(the_retry_cases_of_the_sdks_come_out),
    };
    return cmocka_run_group_tests_name("retry", tests, NULL, NULL);
}
