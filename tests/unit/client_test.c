#include "workers/common/aws/client.h"

#include "tests/support/scripted_aws.h"
#include "tests/support/unit.h"
#include "workers/common/base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROOM = 1 << 16, HOUR_MS = 3600000 };

/* How a call ended. */
struct ending {
    bool is_done;
    unsigned calls;
    struct error err;
    struct failure failure;
    unsigned attempts;
    char region[32];
    char request_id[128];
    char body[64];
};

static void on_done(void *context, const struct aws_result *result)
{
    struct ending *ending = context;
    ending->is_done = true;
    ending->calls++;
    ending->err = result->err;
    ending->failure = result->failure;
    ending->attempts = result->attempts;
    (void)snprintf(ending->region, sizeof(ending->region), "%s", result->region);
    (void)snprintf(ending->request_id, sizeof(ending->request_id), "%s", result->request_id);
    if (result->answer != NULL) {
        (void)snprintf(ending->body, sizeof(ending->body), "%.*s", (int)result->answer->body.len,
                       result->answer->body.ptr);
    }
    assert_int_equal(result->answer != NULL, result->err.action == ERROR_NONE);
    assert_int_equal(result->failure.kind == FAILURE_NONE, result->err.action == ERROR_NONE);
}

static struct aws_request s3_request(const struct scripted_aws *aws)
{
    return (struct aws_request){
        .service = AWS_S3,
        .region = "us-east-1",
        .bucket = "bucket",
        .method = "GET",
        .path = "/key",
        .credentials = aws->key,
        .attempt_timeout_ms = 20000,
        .deadline_ms = scripted_deadline_ms(),
        .answer_maximum_bytes = ROOM,
        .operation = "GetObject s3://bucket/key",
        .quota_key = "bucket",
    };
}

static struct ending run(struct scripted_aws *aws, const struct aws_request *request)
{
    struct ending ending = {0};
    (void)aws_call_start(aws->client, request, on_done, &ending);
    assert_false(ending.is_done);
    loop_until(aws->loop, &ending.is_done);
    assert_int_equal(ending.calls, 1);
    return ending;
}

static void expect_header(struct scripted_aws *aws, size_t position, const char *name, const char *part)
{
    AUTO(text) char *value = http_script_header(aws->script, position, name);
    if (value == NULL || strstr(value, part) == NULL) {
        fail_msg("request %zu: %s is %s, without %s", position, name, value, part);
    }
}

static void a_call_is_signed_and_its_answer_handed_on(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {
        {.status = 200, .headers = "x-amz-request-id: R1\r\n", .body = "content"}};
    static const struct sigv4_header headers[] = {{"x-amz-meta-one", "1"}, {"x-amz-empty", ""}};
    struct scripted_aws aws;
    scripted_aws_start(&aws, answers, 1);
    struct aws_request request = s3_request(&aws);
    request.headers = headers;
    request.header_count = 2;
    request.query = "versionId=1";
    struct ending ending = run(&aws, &request);
    assert_int_equal(ending.err.action, ERROR_NONE);
    assert_string_equal(ending.body, "content");
    assert_string_equal(ending.request_id, "R1");
    assert_string_equal(ending.region, "us-east-1");
    assert_int_equal(ending.attempts, 1);
    assert_string_equal(http_script_target(aws.script, 0), "/bucket/key?versionId=1");
    expect_header(&aws, 0, "Authorization", "AWS4-HMAC-SHA256 Credential=AKIDSCRIPT/");
    expect_header(&aws, 0, "Authorization",
                  "/us-east-1/s3/aws4_request, SignedHeaders="
                  "host;x-amz-content-sha256;x-amz-date;x-amz-empty;x-amz-meta-one;"
                  "x-amz-security-token, Signature=");
    expect_header(&aws, 0, "x-amz-security-token", "token");
    expect_header(&aws, 0, "x-amz-content-sha256", SIGV4_EMPTY_PAYLOAD);
    expect_header(&aws, 0, "x-amz-meta-one", "1");
    expect_header(&aws, 0, "x-amz-empty", "");
    assert_true(aws_client_is_custom(aws.client, AWS_S3));
    assert_ptr_equal(aws_client_loop(aws.client), aws.loop);
    scripted_aws_stop(&aws);
}

/* What was signed is what was sent: the server's side of the check, from the request as it arrived. */
static void the_signature_is_that_of_the_request_as_it_arrives(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {{.status = 200}};
    struct scripted_aws aws;
    scripted_aws_start(&aws, answers, 1);
    struct aws_request request = s3_request(&aws);
    char body[] = "a body";
    request.method = "PUT";
    request.path = "/a%20b//c%2B";
    request.body = slice_of(body);
    (void)run(&aws, &request);
    AUTO(text) char *host = http_script_header(aws.script, 0, "Host");
    AUTO(text) char *hash = http_script_header(aws.script, 0, "x-amz-content-sha256");
    AUTO(text) char *date = http_script_header(aws.script, 0, "x-amz-date");
    AUTO(text) char *authorization = http_script_header(aws.script, 0, "Authorization");
    AUTO(text) char *target = text_copy(http_script_target(aws.script, 0));
    struct sigv4_header headers[] = {{"host", host}, {"x-amz-content-sha256", hash}};
    struct tm parts = {0};
    assert_non_null(strptime(date, "%Y%m%dT%H%M%SZ", &parts));
    char body_hash[SIGV4_HASH_SIZE];
    sigv4_hash(slice_of(http_script_body(aws.script, 0)), body_hash);
    assert_string_equal(hash, body_hash);
    struct sigv4_request check = {
        .method = http_script_method(aws.script, 0),
        .path = target,
        .headers = headers,
        .header_count = 2,
        .payload_hash = hash,
        .region = "us-east-1",
        .service = "s3",
        .wall_ms = (int64_t)timegm(&parts) * 1000,
        .credentials = aws.key,
    };
    struct sigv4 *sigv4 = sigv4_new();
    struct sigv4_signed signature;
    sigv4_sign(sigv4, &check, &signature);
    assert_string_equal(authorization, signature.authorization.ptr);
    sigv4_free(sigv4);
    scripted_aws_stop(&aws);
}

static void passing_failures_are_tried_again_and_others_are_not(void **state)
{
    (void)state;
    static const struct {
        struct http_script_answer first;
        unsigned attempts;
        enum failure_kind kind; /* in the end; the second answer is a success */
    } cases[] = {
        {{.status = 500}, 2, FAILURE_NONE},
        {{.status = 503, .body = "<Error><Code>SlowDown</Code></Error>"}, 2, FAILURE_NONE},
        {{.status = 429}, 2, FAILURE_NONE},
        {{.status = 0}, 2, FAILURE_NONE}, /* the connection was closed */
        {{.status = 200, .body = "cut", .is_cut = true}, 2, FAILURE_NONE},
        {{.status = 200, .body = "<Error><Code>InternalError</Code></Error>"}, 2, FAILURE_NONE},
        {{.status = 400, .body = "<Error><Code>RequestTimeout</Code></Error>"}, 2, FAILURE_NONE},
        {{.status = 403}, 1, FAILURE_ACCESS_DENIED},
        {{.status = 404}, 1, FAILURE_NO_KEY},
        {{.status = 400, .body = "<Error><Code>ExpiredToken</Code></Error>"}, 1, FAILURE_EXPIRED_TOKEN},
        {{.status = 200, .body = "<Error><Code>AccessDenied</Code></Error>"}, 1, FAILURE_ACCESS_DENIED},
        {{.status = 301, .headers = "Location: /x\r\n"}, 1, FAILURE_WRONG_REGION},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http_script_answer answers[] = {cases[i].first, {.status = 200}};
        struct scripted_aws aws;
        scripted_aws_start(&aws, answers, 2);
        struct aws_request request = s3_request(&aws);
        struct ending ending = run(&aws, &request);
        if (ending.failure.kind != cases[i].kind || ending.attempts != cases[i].attempts) {
            fail_msg("case %zu: %u attempts, %s", i, ending.attempts, ending.err.text);
        }
        assert_int_equal(http_script_count(aws.script), cases[i].attempts);
        scripted_aws_stop(&aws);
    }
}

static void an_expired_token_asks_for_another_try_with_a_new_one(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {
        {.status = 400, .body = "<Error><Code>ExpiredToken</Code><Message>It has expired</Message></Error>"}};
    struct scripted_aws aws;
    scripted_aws_start(&aws, answers, 1);
    struct aws_request request = s3_request(&aws);
    struct ending ending = run(&aws, &request);
    assert_int_equal(ending.err.action, ERROR_RETRY);
    assert_string_equal(ending.err.text, "GetObject s3://bucket/key: the credentials have expired for script "
                                         "(400 ExpiredToken: It has expired)");
    scripted_aws_stop(&aws);
}

static void after_the_last_attempt_the_failure_is_told(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {
        {.status = 500}, {.status = 500}, {.status = 500}, {.status = 503}, {.status = 200}};
    struct scripted_aws aws;
    scripted_aws_start(&aws, answers, 5);
    struct aws_request request = s3_request(&aws);
    struct ending ending = run(&aws, &request);
    assert_int_equal(ending.attempts, SCRIPTED_ATTEMPTS);
    assert_int_equal(ending.err.action, ERROR_RETRY);
    assert_int_equal(ending.failure.kind, FAILURE_TRANSIENT);
    assert_int_equal(ending.failure.status, 503);
    assert_true(ending.failure.is_uncertain);
    assert_int_equal(http_script_count(aws.script), SCRIPTED_ATTEMPTS);
    scripted_aws_stop(&aws);
}

static void every_attempt_is_signed_anew(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {{.status = 503, .headers = "Retry-After: 1\r\n"},
                                                        {.status = 200}};
    struct scripted_aws aws;
    scripted_aws_start(&aws, answers, 2);
    struct aws_request request = s3_request(&aws);
    int64_t start_ms = clock_monotonic_ms();
    struct ending ending = run(&aws, &request);
    assert_int_equal(ending.err.action, ERROR_NONE);
    /* What the server asked for is a lower bound. */
    assert_true(clock_monotonic_ms() - start_ms >= 1000);
    AUTO(text) char *first = http_script_header(aws.script, 0, "x-amz-date");
    AUTO(text) char *second = http_script_header(aws.script, 1, "x-amz-date");
    AUTO(text) char *first_signature = http_script_header(aws.script, 0, "Authorization");
    AUTO(text) char *second_signature = http_script_header(aws.script, 1, "Authorization");
    assert_true(strcmp(first, second) < 0);
    assert_string_not_equal(first_signature, second_signature);
    scripted_aws_stop(&aws);
}

static void no_attempt_is_waited_for_that_would_begin_after_the_deadline(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {
        {.status = 503, .headers = "Retry-After: 3600\r\n", .body = "<Error><Code>SlowDown</Code></Error>"},
        {.status = 200}};
    struct scripted_aws aws;
    scripted_aws_start(&aws, answers, 2);
    struct aws_request request = s3_request(&aws);
    struct ending ending = run(&aws, &request);
    assert_int_equal(ending.failure.kind, FAILURE_THROTTLED);
    assert_int_equal(ending.err.action, ERROR_RETRY);
    assert_int_equal(http_script_count(aws.script), 1);
    scripted_aws_stop(&aws);
}

static void an_attempt_ends_at_the_deadline_at_the_latest(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {{.is_silent = true}, {.is_silent = true}};
    struct scripted_aws aws;
    scripted_aws_start(&aws, answers, 2);
    struct aws_request request = s3_request(&aws);
    request.deadline_ms = clock_monotonic_ms() + 1500; /* far before the attempt's own time-out of 20 s */
    struct ending ending = run(&aws, &request);
    assert_int_equal(ending.failure.kind, FAILURE_UNREACHABLE);
    assert_true(ending.failure.is_uncertain);
    assert_int_equal(http_script_count(aws.script), 1);
    scripted_aws_stop(&aws);
}

static void a_bucket_elsewhere_is_followed_by_signing_for_its_region_and_remembered(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {
        {.status = 301,
         .headers = "x-amz-bucket-region: eu-west-1\r\n",
         .body = "<Error><Code>PermanentRedirect</Code></Error>"},
        {.status = 200},
        {.status = 200},
        {.status = 200},
    };
    struct scripted_aws aws;
    scripted_aws_start(&aws, answers, 4);
    struct aws_request request = s3_request(&aws);
    struct ending ending = run(&aws, &request);
    assert_int_equal(ending.err.action, ERROR_NONE);
    assert_string_equal(ending.region, "eu-west-1");
    expect_header(&aws, 0, "Authorization", "/us-east-1/s3/");
    expect_header(&aws, 1, "Authorization", "/eu-west-1/s3/");
    ending = run(&aws, &request);
    assert_string_equal(ending.region, "eu-west-1");
    expect_header(&aws, 2, "Authorization", "/eu-west-1/s3/");
    request.bucket = "another";
    (void)run(&aws, &request);
    expect_header(&aws, 3, "Authorization", "/us-east-1/s3/");
    scripted_aws_stop(&aws);
}

static void a_region_that_cannot_be_one_is_not_followed(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {
        {.status = 301, .headers = "x-amz-bucket-region: evil.example.com/\r\n"}, {.status = 200}};
    struct scripted_aws aws;
    scripted_aws_start(&aws, answers, 2);
    struct aws_request request = s3_request(&aws);
    struct ending ending = run(&aws, &request);
    assert_int_equal(ending.failure.kind, FAILURE_WRONG_REGION);
    assert_int_equal(ending.err.action, ERROR_REJECT);
    assert_int_equal(http_script_count(aws.script), 1);
    scripted_aws_stop(&aws);
}

static void buckets_that_send_us_in_a_circle_are_given_up(void **state)
{
    (void)state;
    static const struct http_script_answer east = {.status = 301, .headers = "x-amz-bucket-region: us-east-1\r\n"};
    static const struct http_script_answer west = {.status = 301, .headers = "x-amz-bucket-region: us-west-1\r\n"};
    const struct http_script_answer answers[] = {west, east, west, east, west, east};
    struct scripted_aws aws;
    scripted_aws_start(&aws, answers, 6);
    struct aws_request request = s3_request(&aws);
    struct ending ending = run(&aws, &request);
    assert_int_equal(ending.failure.kind, FAILURE_WRONG_REGION);
    assert_int_equal(http_script_count(aws.script), 4);
    scripted_aws_stop(&aws);
}

static char *http_date(int64_t wall_ms)
{
    char text[64];
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm parts;
    assert_non_null(gmtime_r(&seconds, &parts));
    assert_true(strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &parts) > 0);
    return text_copy(text);
}

static void a_clock_that_differs_is_learned_and_the_call_signed_by_the_servers(void **state)
{
    (void)state;
    AUTO(text) char *date = http_date(clock_wall_ms() + HOUR_MS);
    AUTO(text) char *header = text_format("Date: %s\r\n", date);
    AUTO(text) char *cached = text_format("Date: %s\r\nAge: 5\r\n", "Thu, 01 Jan 1970 00:00:00 GMT");
    const struct http_script_answer answers[] = {
        {.status = 403, .headers = header, .body = "<Error><Code>RequestTimeTooSkewed</Code></Error>"},
        {.status = 200, .headers = cached}, /* an answer from a cache tells nothing about the clock */
    };
    struct scripted_aws aws;
    scripted_aws_start(&aws, answers, 2);
    struct aws_request request = s3_request(&aws);
    struct ending ending = run(&aws, &request);
    assert_int_equal(ending.err.action, ERROR_NONE);
    assert_int_equal(ending.attempts, 2);
    const char *host = http_script_url(aws.script) + strlen("http://");
    int64_t skew_ms = aws_client_clock_skew_ms(aws.client, host);
    assert_true(skew_ms > HOUR_MS - 60000 && skew_ms < HOUR_MS + 60000);
    assert_int_equal(aws_client_clock_skew_ms(aws.client, "another"), 0);
    AUTO(text) char *first = http_script_header(aws.script, 0, "x-amz-date");
    AUTO(text) char *second = http_script_header(aws.script, 1, "x-amz-date");
    struct tm first_parts = {0};
    struct tm second_parts = {0};
    assert_non_null(strptime(first, "%Y%m%dT%H%M%SZ", &first_parts));
    assert_non_null(strptime(second, "%Y%m%dT%H%M%SZ", &second_parts));
    assert_true(timegm(&second_parts) - timegm(&first_parts) > 3500);
    scripted_aws_stop(&aws);
}

static void what_cannot_be_sent_is_refused_from_a_later_turn(void **state)
{
    (void)state;
    static const struct {
        const char *region;
        const char *bucket;
        const char *text;
    } cases[] = {
        {"not a region", "bucket", "GetObject s3://bucket/key: \"not a region\" is not a region"},
        {"", "bucket", "is not a region"},
        {"us-east-1", "a/b", "GetObject s3://bucket/key: \"a/b\" is not a bucket's name"},
        {"us-east-1", "..", "is not a bucket's name"},
    };
    struct scripted_aws aws;
    scripted_aws_start(&aws, NULL, 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct aws_request request = s3_request(&aws);
        request.region = cases[i].region;
        request.bucket = cases[i].bucket;
        struct ending ending = run(&aws, &request);
        assert_int_equal(ending.err.action, ERROR_REJECT);
        assert_int_equal(ending.failure.kind, FAILURE_INVALID);
        assert_int_equal(ending.attempts, 0);
        assert_non_null(strstr(ending.err.text, cases[i].text));
    }
    assert_int_equal(http_script_count(aws.script), 0);
    scripted_aws_stop(&aws);
}

static void a_url_that_is_too_long_is_refused_and_not_cut(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {{.status = 200}, {.status = 200}};
    struct scripted_aws aws;
    scripted_aws_start(&aws, answers, 2);
    AUTO(text) char *long_path = memory_zeroed(20001, 1);
    memset(long_path, 'x', 20000);
    long_path[0] = '/';
    struct aws_request request = s3_request(&aws);
    request.path = long_path;
    struct ending ending = run(&aws, &request);
    assert_int_equal(ending.err.action, ERROR_REJECT);
    assert_string_equal(ending.err.text, "GetObject s3://bucket/key: the request's URL is too long");
    request = s3_request(&aws);
    request.query = long_path + 1;
    ending = run(&aws, &request);
    assert_int_equal(ending.err.action, ERROR_REJECT);
    assert_int_equal(http_script_count(aws.script), 0);
    scripted_aws_stop(&aws);
}

struct accepting {
    unsigned calls;
    unsigned refuses;
};

static bool accept_late(void *context, const struct http_answer *answer, struct error *err)
{
    struct accepting *accepting = context;
    (void)answer;
    return accepting->calls++ >= accepting->refuses || error_set(err, ERROR_RETRY, "no good (%u)", accepting->calls);
}

static void an_answer_that_is_not_accepted_is_a_damaged_one(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {{.status = 200}, {.status = 200}, {.status = 200},
                                                        {.status = 200}, {.status = 200}, {.status = 200}};
    struct scripted_aws aws;
    scripted_aws_start(&aws, answers, 6);
    struct accepting once = {.refuses = 1};
    struct aws_request request = s3_request(&aws);
    request.accept = accept_late;
    request.accept_context = &once;
    struct ending ending = run(&aws, &request);
    assert_int_equal(ending.err.action, ERROR_NONE);
    assert_int_equal(ending.attempts, 2);
    struct accepting never = {.refuses = 100};
    request.accept_context = &never;
    ending = run(&aws, &request);
    assert_int_equal(ending.err.action, ERROR_RETRY);
    assert_int_equal(ending.failure.kind, FAILURE_TRANSIENT);
    assert_true(ending.failure.is_uncertain);
    assert_string_equal(ending.err.text,
                        "GetObject s3://bucket/key: the service has trouble of its own (200: no good (4))");
    scripted_aws_stop(&aws);
}

static void a_broken_bucket_uses_up_its_own_retries_only(void **state)
{
    (void)state;
    enum { BROKEN = RETRY_QUOTA_CAPACITY / RETRY_COST + 1 }; /* the first attempt and the retries it has tokens for */
    struct http_script_answer answers[BROKEN + 2];
    for (size_t i = 0; i < BROKEN + 2; i++) {
        answers[i] = (struct http_script_answer){.status = i < BROKEN + 1 ? 500 : 200};
    }
    struct scripted_aws aws;
    scripted_aws_start(&aws, answers, BROKEN + 2);
    struct aws_client_settings settings = {
        .endpoints = {.s3_url = http_script_url(aws.script)},
        .retry = {.attempts_maximum = 1000, .base_ms = 1, .throttled_base_ms = 1, .maximum_ms = 1},
    };
    aws_client_free(aws.client);
    aws.client = aws_client_new(aws.loop, &settings);
    struct aws_request request = s3_request(&aws);
    struct ending ending = run(&aws, &request);
    assert_int_equal(ending.attempts, BROKEN);
    assert_int_equal(ending.err.action, ERROR_RETRY);
    request.quota_key = "another";
    ending = run(&aws, &request);
    assert_int_equal(ending.attempts, 2);
    assert_int_equal(ending.err.action, ERROR_NONE);
    scripted_aws_stop(&aws);
}

static void a_cancelled_call_is_never_called_back(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {{.is_silent = true},
                                                        {.status = 503, .headers = "Retry-After: 1\r\n"}};
    struct scripted_aws aws;
    scripted_aws_start(&aws, answers, 2);
    struct ending endings[3] = {{0}};
    struct aws_request request = s3_request(&aws);
    struct aws_call *in_flight = aws_call_start(aws.client, &request, on_done, &endings[0]);
    loop_until_requests(aws.loop, aws.script, 1);
    struct aws_call *pausing = aws_call_start(aws.client, &request, on_done, &endings[1]);
    loop_until_requests(aws.loop, aws.script, 2);
    loop_for(aws.loop, 100);
    request.region = "no region";
    struct aws_call *refused = aws_call_start(aws.client, &request, on_done, &endings[2]);
    aws_call_cancel(pausing);
    aws_call_cancel(in_flight);
    aws_call_cancel(refused);
    aws_call_cancel(NULL);
    loop_for(aws.loop, 50);
    assert_false(endings[0].is_done || endings[1].is_done || endings[2].is_done);
    scripted_aws_stop(&aws);
}

static void a_client_that_goes_calls_nobody(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {{.is_silent = true}, {.is_silent = true}};
    struct scripted_aws aws;
    scripted_aws_start(&aws, answers, 2);
    struct ending endings[2] = {{0}};
    struct aws_request request = s3_request(&aws);
    (void)aws_call_start(aws.client, &request, on_done, &endings[0]);
    (void)aws_call_start(aws.client, &request, on_done, &endings[1]);
    loop_until_requests(aws.loop, aws.script, 2);
    aws_client_free(aws.client);
    aws.client = NULL;
    loop_for(aws.loop, 20);
    assert_false(endings[0].is_done || endings[1].is_done);
    scripted_aws_stop(&aws);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_is_signed_and_its_answer_handed_on),
        cmocka_unit_test(the_signature_is_that_of_the_request_as_it_arrives),
        cmocka_unit_test(passing_failures_are_tried_again_and_others_are_not),
        cmocka_unit_test(an_expired_token_asks_for_another_try_with_a_new_one),
        cmocka_unit_test(after_the_last_attempt_the_failure_is_told),
        cmocka_unit_test(every_attempt_is_signed_anew),
        cmocka_unit_test(no_attempt_is_waited_for_that_would_begin_after_the_deadline),
        cmocka_unit_test(an_attempt_ends_at_the_deadline_at_the_latest),
        cmocka_unit_test(a_bucket_elsewhere_is_followed_by_signing_for_its_region_and_remembered),
        cmocka_unit_test(a_region_that_cannot_be_one_is_not_followed),
        cmocka_unit_test(buckets_that_send_us_in_a_circle_are_given_up),
        cmocka_unit_test(a_clock_that_differs_is_learned_and_the_call_signed_by_the_servers),
        cmocka_unit_test(what_cannot_be_sent_is_refused_from_a_later_turn),
        cmocka_unit_test(a_url_that_is_too_long_is_refused_and_not_cut),
        cmocka_unit_test(an_answer_that_is_not_accepted_is_a_damaged_one),
        cmocka_unit_test(a_broken_bucket_uses_up_its_own_retries_only),
        cmocka_unit_test(a_cancelled_call_is_never_called_back),
        cmocka_unit_test(a_client_that_goes_calls_nobody),
    };
    return cmocka_run_group_tests_name("client", tests, NULL, NULL);
}
