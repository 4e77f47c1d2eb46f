/*
 * The public protocol tests of S3, through the client and a socket: what stands in the request line and in Host. The
 * host is the rules' one with ".localhost" behind it, which libcurl finds on the loopback without asking anybody.
 */
#include "tests/support/fixtures.h"
#include "tests/support/scripted_aws.h"
#include "tests/support/unit.h"
#include "workers/common/aws/s3.h"
#include "workers/common/aws/uri.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM = 1 << 16 };

static const char file[] = "s3-protocol/s3-protocol-tests.json";

static const char *text(const cJSON *object, const char *name)
{
    const char *value = cJSON_GetStringValue(cJSON_GetObjectItem(object, name));
    return value != NULL ? value : "";
}

struct ending {
    bool is_done;
    struct error err;
    char code[64];
};

static void on_done(void *context, const struct aws_result *result)
{
    struct ending *ending = context;
    ending->is_done = true;
    ending->err = result->err;
    (void)snprintf(ending->code, sizeof(ending->code), "%s", result->failure.code);
}

/* Runs the request of a test against a server that answers with one answer. */
static struct ending run(const cJSON *test, enum s3_addressing addressing, const struct http_script_answer *answer,
                         char **ret_host, char **ret_target)
{
    const cJSON *params = cJSON_GetObjectItem(test, "params");
    const char *key = text(params, "Key");
    struct scripted_aws aws;
    struct ending ending = {0};
    AUTO(buffer) struct buffer path;
    buffer_init(&path, ROOM);
    scripted_aws_start(&aws, answer, 1);
    AUTO(text)
    char *url = text_format("http://%s.localhost%s", text(test, "host"), strrchr(http_script_url(aws.script), ':'));
    struct aws_client_settings settings = {.endpoints = {.s3_url = url, .s3_addressing = addressing}};
    aws_client_free(aws.client);
    aws.client = aws_client_new(aws.loop, &settings);
    if (key[0] != '\0') {
        buffer_append_char(&path, '/');
        uri_encode_path(&path, slice_of(key));
    }
    struct aws_request request = {
        .service = AWS_S3,
        .region = "us-west-2",
        .bucket = text(params, "Bucket"),
        .method = text(test, "method"),
        .path = path.ptr,
        .query = cJSON_GetStringValue(cJSON_GetArrayItem(cJSON_GetObjectItem(test, "queryParams"), 0)),
        .credentials = aws.key,
        .attempt_timeout_ms = 20000,
        .deadline_ms = scripted_deadline_ms(),
        .answer_maximum_bytes = ROOM,
        .operation = text(test, "id"),
    };
    (void)aws_call_start(aws.client, &request, on_done, &ending);
    loop_until(aws.loop, &ending.is_done);
    assert_int_equal(http_script_count(aws.script), 1);
    assert_string_equal(http_script_method(aws.script, 0), request.method);
    *ret_host = http_script_header(aws.script, 0, "Host");
    *ret_target = text_copy(http_script_target(aws.script, 0));
    scripted_aws_stop(&aws);
    return ending;
}

/* How to reach what a test expects; and why not, in *ret_reason. */
static enum s3_addressing addressing_of(const cJSON *test, const char **ret_reason)
{
    const cJSON *scoped = cJSON_GetObjectItem(cJSON_GetObjectItem(test, "vendorParams"), "scopedConfig");
    const cJSON *s3 = cJSON_GetObjectItem(cJSON_GetObjectItem(scoped, "client"), "s3");
    *ret_reason = cJSON_GetObjectItem(s3, "use_accelerate_endpoint") != NULL ? "accelerated endpoints"
                  : cJSON_GetObjectItem(s3, "use_dualstack_endpoint") != NULL
                      ? "dual-stack (not with a custom endpoint; see the endpoint rules)"
                  : cJSON_GetObjectItem(scoped, "operation") != NULL     ? "an addressing for each operation"
                  : strcmp(text(test, "id"), "S3DefaultAddressing") == 0 ? "virtual hosts by default (ours is the path)"
                                                                         : NULL;
    return strcmp(text(s3, "addressing_style"), "path") == 0 ? S3_ADDRESSING_PATH : S3_ADDRESSING_VIRTUAL;
}

static void requests_go_where_they_should(void **state)
{
    (void)state;
    static const struct http_script_answer fine = {.status = 200};
    if (!fixture_is_here(file, "S3 protocol fixtures, 11 requests")) {
        skip();
    }
    cJSON *json = fixture_json(file);
    size_t run_count = 0;
    size_t skipped = 0;
    const cJSON *one;
    cJSON_ArrayForEach(one, json)
    {
        const cJSON *test = cJSON_GetObjectItem(one, "test");
        const char *reason;
        enum s3_addressing addressing = addressing_of(test, &reason);
        if (strcmp(text(one, "kind"), "request") != 0) {
            continue;
        }
        if (reason != NULL) {
            (void)printf("skipped: %s: %s\n", text(test, "id"), reason);
            skipped++;
            continue;
        }
        AUTO(text) char *host = NULL;
        AUTO(text) char *target = NULL;
        struct ending ending = run(test, addressing, &fine, &host, &target);
        const char *query = cJSON_GetStringValue(cJSON_GetArrayItem(cJSON_GetObjectItem(test, "queryParams"), 0));
        AUTO(text)
        char *expected = text_format("%s%s%s", text(test, "uri"), query != NULL ? "?" : "", query != NULL ? query : "");
        AUTO(text) char *expected_host = text_format("%s.localhost:", text(test, "resolvedHost"));
        assert_int_equal(ending.err.action, ERROR_NONE);
        assert_string_equal(target, expected);
        assert_int_equal(strncmp(host, expected_host, strlen(expected_host)), 0);
        run_count++;
    }
    assert_int_equal(run_count, 6);
    assert_int_equal(skipped, 5);
    cJSON_Delete(json);
}

static void an_error_without_a_wrapping_is_read(void **state)
{
    (void)state;
    if (!fixture_is_here(file, "S3 protocol fixtures, 1 error and 1 response")) {
        skip();
    }
    cJSON *json = fixture_json(file);
    size_t run_count = 0;
    const cJSON *one;
    cJSON_ArrayForEach(one, json)
    {
        const cJSON *test = cJSON_GetObjectItem(one, "test");
        if (strcmp(text(one, "kind"), "response") == 0) {
            (void)printf("skipped: %s: not an operation of ours\n", text(test, "id"));
        }
        if (strcmp(text(one, "kind"), "error-response") != 0) {
            continue;
        }
        static const char request[] =
            "{\"id\": \"error\", \"host\": \"s3\", \"method\": \"GET\", \"params\": {\"Bucket\": \"bucket\"}}";
        cJSON *any = cJSON_Parse(request);
        struct http_script_answer answer = {
            .status = (int)cJSON_GetNumberValue(cJSON_GetObjectItem(test, "code")),
            .headers = "Content-Type: application/xml\r\n",
            .body = text(test, "body"),
        };
        AUTO(text) char *host = NULL;
        AUTO(text) char *target = NULL;
        struct ending ending = run(any, S3_ADDRESSING_PATH, &answer, &host, &target);
        assert_string_equal(ending.code, text(one, "shape"));
        assert_int_equal(ending.err.action, ERROR_REJECT);
        run_count++;
        cJSON_Delete(any);
    }
    assert_int_equal(run_count, 1);
    cJSON_Delete(json);
}

/* What the clock of one bucket's host teaches holds for the next bucket's. */
static void buckets_of_a_region_share_what_is_known_of_its_clock(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {
        {.status = 403,
         .headers = "Date: Thu, 01 Jan 2032 00:00:00 GMT\r\n",
         .body = "<Error><Code>AccessDenied</Code></Error>"},
        {.status = 200},
    };
    struct scripted_aws aws;
    scripted_aws_start(&aws, answers, 2);
    AUTO(text) char *url = text_format("http://localhost%s", strrchr(http_script_url(aws.script), ':'));
    struct aws_client_settings settings = {.endpoints = {.s3_url = url, .s3_addressing = S3_ADDRESSING_VIRTUAL}};
    aws_client_free(aws.client);
    aws.client = aws_client_new(aws.loop, &settings);
    static const char *const buckets[] = {"one", "two"};
    for (size_t i = 0; i < 2; i++) {
        struct ending ending = {0};
        struct aws_request request = {
            .service = AWS_S3,
            .region = "us-east-1",
            .bucket = buckets[i],
            .method = "HEAD",
            .path = "/key",
            .credentials = aws.key,
            .attempt_timeout_ms = 20000,
            .deadline_ms = scripted_deadline_ms(),
            .answer_maximum_bytes = ROOM,
            .operation = "HeadObject",
        };
        (void)aws_call_start(aws.client, &request, on_done, &ending);
        loop_until(aws.loop, &ending.is_done);
    }
    AUTO(text) char *first = http_script_header(aws.script, 0, "Host");
    AUTO(text) char *second = http_script_header(aws.script, 1, "Host");
    AUTO(text) char *date = http_script_header(aws.script, 1, "x-amz-date");
    AUTO(text) char *signature = http_script_header(aws.script, 1, "Authorization");
    assert_int_equal(strncmp(first, "one.localhost:", 14), 0);
    assert_int_equal(strncmp(second, "two.localhost:", 14), 0);
    assert_int_equal(strncmp(date, "203", 3), 0);
    assert_non_null(strstr(signature, "SignedHeaders=host;"));
    assert_true(aws_client_clock_skew_ms(aws.client, url + strlen("http://")) > 0);
    scripted_aws_stop(&aws);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_go_where_they_should),
        cmocka_unit_test(an_error_without_a_wrapping_is_read),
        cmocka_unit_test(buckets_of_a_region_share_what_is_known_of_its_clock),
    };
    return cmocka_run_group_tests_name("s3_protocol", tests, NULL, NULL);
}
