#include "workers/common/aws/s3.h"

#include "tests/support/scripted_aws.h"
#include "tests/support/unit.h"
#include "workers/common/base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COPIED                                                                                                         \
    "<CopyObjectResult><LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>&quot;e1&quot;</ETag>"               \
    "</CopyObjectResult>"

/* ---- CopyObject ---- */

struct copy_ending {
    bool is_done;
    struct error err;
    struct failure failure;
    unsigned attempts;
    char etag[64];
    char version[64];
    char source_version[64];
};

static void copy_done(void *context, struct s3_answer *result)
{
    struct copy_ending *ending = context;
    ending->is_done = true;
    ending->err = result->result->err;
    ending->failure = result->result->failure;
    ending->attempts = result->result->attempts;
    (void)snprintf(ending->etag, sizeof(ending->etag), "%s", result->etag != NULL ? result->etag : "NULL");
    (void)snprintf(ending->version, sizeof(ending->version), "%s", result->version_id);
    (void)snprintf(ending->source_version, sizeof(ending->source_version), "%s", result->source_version_id);
}

struct copy_request {
    struct s3_subject target;
    struct s3_copy_source source;
    struct s3_write write;
};

static struct copy_request copy_request(const struct scripted_aws *aws)
{
    return (struct copy_request){
        .source = {.bucket = {.name = "main", .region = "us-east-1", .owner = "111111111111"},
                   .key = "builds/a b+c/\xc3\xa9.bin",
                   .etag = "\"e0\"",
                   .size_bytes = 17},
        .target = {.bucket = {.name = "tenant", .region = "eu-west-1", .owner = "222222222222"},
                   .key = "in/a b&c?.bin",
                   .credentials = aws->key,
                   .deadline_ms = scripted_deadline_ms()},
    };
}

static struct s3_call *copy_start(struct scripted_aws *aws, const struct copy_request *request,
                                  struct copy_ending *ending)
{
    return s3_copy_object(aws->client, &request->target, &request->source, &request->write, copy_done, ending);
}

static struct copy_ending copy(struct scripted_aws *aws, const struct copy_request *request)
{
    struct copy_ending ending = {0};
    (void)copy_start(aws, request, &ending);
    assert_false(ending.is_done);
    loop_until(aws->loop, &ending.is_done);
    return ending;
}

static void a_copy_names_its_source_and_the_owners_of_both_sides(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {
        {.status = 200,
         .headers = "x-amz-version-id: v2\r\nx-amz-copy-source-version-id: v1\r\n",
         .body = "<?xml version=\"1.0\"?>\n" COPIED},
        {.status = 200, .body = COPIED},
    };
    struct scripted_aws aws;
    scripted_aws_start(&aws, answers, 2);
    struct copy_request request = copy_request(&aws);
    struct copy_ending ending = copy(&aws, &request);
    assert_int_equal(ending.err.action, ERROR_NONE);
    assert_string_equal(ending.etag, "\"e1\"");
    assert_string_equal(ending.version, "v2");
    assert_string_equal(ending.source_version, "v1");
    assert_string_equal(http_script_method(aws.script, 0), "PUT");
    assert_string_equal(http_script_target(aws.script, 0), "/tenant/in/a%20b%26c%3F.bin");
    scripted_expect_header(&aws, 0, "x-amz-copy-source", "/main/builds/a%20b%2Bc/%C3%A9.bin");
    scripted_expect_header(&aws, 0, "x-amz-copy-source-if-match", "\"e0\"");
    scripted_expect_header(&aws, 0, "x-amz-expected-bucket-owner", "222222222222");
    scripted_expect_header(&aws, 0, "x-amz-source-expected-bucket-owner", "111111111111");
    scripted_expect_header(&aws, 0, "Content-Length", "0");
    AUTO(text) char *authorization = http_script_header(aws.script, 0, "Authorization");
    assert_non_null(strstr(authorization, "/eu-west-1/s3/"));
    assert_non_null(strstr(authorization, "x-amz-copy-source;x-amz-copy-source-if-match;"));
    request.source.bucket.owner = NULL;
    request.target.bucket.owner = NULL;
    request.source.etag = NULL;
    request.source.version = "v 1";
    request.source.size_bytes = -1;
    ending = copy(&aws, &request);
    assert_string_equal(ending.version, "");
    scripted_expect_header(&aws, 1, "x-amz-copy-source", "/main/builds/a%20b%2Bc/%C3%A9.bin?versionId=v%201");
    scripted_expect_header(&aws, 1, "x-amz-expected-bucket-owner", NULL);
    scripted_expect_header(&aws, 1, "x-amz-source-expected-bucket-owner", NULL);
    scripted_expect_header(&aws, 1, "x-amz-copy-source-if-match", NULL);
    scripted_aws_stop(&aws);
}

static void an_error_in_the_body_of_a_200_is_a_failure_of_the_copy_and_tried_again(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {
        {.status = 200, .body = "\n<?xml version=\"1.0\"?><Error><Code>InternalError</Code></Error>"},
        {.status = 200, .body = "<Error><Code>SlowDown</Code></Error>"},
        {.status = 200, .body = COPIED},
    };
    struct scripted_aws aws;
    scripted_aws_start(&aws, answers, 3);
    struct copy_request request = copy_request(&aws);
    struct copy_ending ending = copy(&aws, &request);
    assert_int_equal(ending.err.action, ERROR_NONE);
    assert_int_equal(ending.attempts, 3);
    assert_string_equal(ending.etag, "\"e1\"");
    scripted_aws_stop(&aws);
}

static void an_error_in_a_200_that_stays_is_not_taken_for_a_copy(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        unsigned attempts;
        enum failure_kind kind;
        enum error_action action;
        bool is_uncertain;
    } cases[] = {
        {"<Error><Code>AccessDenied</Code></Error>", 1, FAILURE_ACCESS_DENIED, ERROR_REJECT, false},
        {"<Error><Code>InternalError</Code></Error>", SCRIPTED_ATTEMPTS, FAILURE_TRANSIENT, ERROR_RETRY, false},
        {"", SCRIPTED_ATTEMPTS, FAILURE_TRANSIENT, ERROR_RETRY, true},
        {"<CopyObjectResult/>", SCRIPTED_ATTEMPTS, FAILURE_TRANSIENT, ERROR_RETRY, true},
        {"<CopyObjectResult><ETag>x</ETag>", SCRIPTED_ATTEMPTS, FAILURE_TRANSIENT, ERROR_RETRY, true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http_script_answer answers[SCRIPTED_ATTEMPTS];
        for (size_t k = 0; k < SCRIPTED_ATTEMPTS; k++) {
            answers[k] = (struct http_script_answer){.status = 200, .body = cases[i].body};
        }
        struct scripted_aws aws;
        scripted_aws_start(&aws, answers, SCRIPTED_ATTEMPTS);
        struct copy_request request = copy_request(&aws);
        struct copy_ending ending = copy(&aws, &request);
        assert_int_equal(ending.failure.kind, cases[i].kind);
        assert_int_equal(ending.err.action, cases[i].action);
        assert_int_equal(ending.attempts, cases[i].attempts);
        assert_int_equal(ending.failure.is_uncertain, cases[i].is_uncertain);
        assert_string_equal(ending.etag, "NULL");
        scripted_aws_stop(&aws);
    }
}

static void a_source_that_has_changed_is_not_copied(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {
        {.status = 412, .body = "<Error><Code>PreconditionFailed</Code></Error>"}};
    struct scripted_aws aws;
    scripted_aws_start(&aws, answers, 1);
    struct copy_request request = copy_request(&aws);
    struct copy_ending ending = copy(&aws, &request);
    assert_int_equal(ending.failure.kind, FAILURE_PRECONDITION);
    assert_int_equal(ending.err.action, ERROR_REJECT);
    assert_int_equal(ending.attempts, 1);
    scripted_aws_stop(&aws);
}

static void a_source_of_more_than_5_gb_is_refused_without_a_request(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {{.status = 200, .body = COPIED}};
    struct scripted_aws aws;
    scripted_aws_start(&aws, answers, 1);
    struct copy_request request = copy_request(&aws);
    request.source.size_bytes = S3_COPY_MAXIMUM_BYTES + 1;
    struct copy_ending ending = copy(&aws, &request);
    assert_int_equal(ending.err.action, ERROR_REJECT);
    assert_int_equal(ending.failure.kind, FAILURE_INVALID);
    assert_non_null(strstr(ending.err.text, "5368709121 bytes; one copy takes at most 5 GB"));
    assert_int_equal(http_script_count(aws.script), 0);
    request.source.size_bytes = S3_COPY_MAXIMUM_BYTES;
    ending = copy(&aws, &request);
    assert_int_equal(ending.err.action, ERROR_NONE);
    scripted_aws_stop(&aws);
}

static void a_key_too_long_to_be_sent_is_refused_and_not_cut(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {{.status = 200, .body = COPIED},
                                                        {.status = 200, .body = COPIED}};
    struct scripted_aws aws;
    scripted_aws_start(&aws, answers, 2);
    AUTO(text) char *key = memory_zeroed(20001, 1);
    memset(key, '+', 20000);
    struct copy_request request = copy_request(&aws);
    request.source.key = key;
    struct copy_ending ending = copy(&aws, &request);
    assert_int_equal(ending.err.action, ERROR_REJECT);
    request = copy_request(&aws);
    request.target.key = key;
    ending = copy(&aws, &request);
    assert_int_equal(ending.err.action, ERROR_REJECT);
    assert_int_equal(http_script_count(aws.script), 0);
    scripted_aws_stop(&aws);
}

static void a_cancelled_copy_is_not_called_back(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {{.is_silent = true}};
    struct scripted_aws aws;
    struct copy_ending endings[2] = {{0}};
    scripted_aws_start(&aws, answers, 1);
    struct copy_request request = copy_request(&aws);
    struct s3_call *in_flight = copy_start(&aws, &request, &endings[0]);
    loop_until_requests(aws.loop, aws.script, 1);
    request.source.size_bytes = INT64_MAX;
    struct s3_call *refused = copy_start(&aws, &request, &endings[1]);
    s3_cancel(in_flight);
    s3_cancel(refused);
    s3_cancel(NULL);
    loop_for(aws.loop, 20);
    assert_false(endings[0].is_done || endings[1].is_done);
    scripted_aws_stop(&aws);
}

/* ---- HeadObject ---- */

struct head_ending {
    bool is_done;
    struct error err;
    struct failure failure;
    char etag[64];
    char version[64];
    int64_t size_bytes;
    int64_t modified_wall_ms;
};

static void head_done(void *context, struct s3_answer *result)
{
    struct head_ending *ending = context;
    ending->is_done = true;
    ending->err = result->result->err;
    ending->failure = result->result->failure;
    ending->size_bytes = result->size_bytes;
    ending->modified_wall_ms = result->modified_wall_ms;
    (void)snprintf(ending->etag, sizeof(ending->etag), "%s", result->etag != NULL ? result->etag : "NULL");
    (void)snprintf(ending->version, sizeof(ending->version), "%s",
                   result->version_id != NULL ? result->version_id : "");
}

static struct head_ending head(struct scripted_aws *aws, const char *version)
{
    struct head_ending ending = {0};
    struct s3_subject subject = {
        .bucket = {.name = "main", .region = "us-east-1", .owner = "111111111111"},
        .key = "a b",
        .credentials = aws->key,
        .deadline_ms = scripted_deadline_ms(),
    };
    (void)s3_head_object(aws->client, &subject, version, head_done, &ending);
    loop_until(aws->loop, &ending.is_done);
    return ending;
}

static void a_head_tells_what_the_headers_say(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {
        {.status = 200,
         .headers = "ETag: \"e\"\r\nContent-Length: 5368709121\r\nLast-Modified: Fri, 02 Jan 2026 03:04:05 GMT\r\n"
                    "x-amz-version-id: v1\r\n"},
        {.status = 200, .headers = "Content-Length: 0\r\n"},
        {.status = 404},
    };
    struct scripted_aws aws;
    scripted_aws_start(&aws, answers, 3);
    struct head_ending ending = head(&aws, "v/1");
    assert_int_equal(ending.err.action, ERROR_NONE);
    assert_string_equal(ending.etag, "\"e\"");
    assert_string_equal(ending.version, "v1");
    assert_int_equal(ending.size_bytes, 5368709121);
    assert_int_equal(ending.modified_wall_ms, 1767323045000);
    assert_string_equal(http_script_method(aws.script, 0), "HEAD");
    assert_string_equal(http_script_target(aws.script, 0), "/main/a%20b?versionId=v%2F1");
    scripted_expect_header(&aws, 0, "x-amz-expected-bucket-owner", "111111111111");
    ending = head(&aws, NULL);
    assert_string_equal(ending.etag, "");
    assert_string_equal(ending.version, "");
    assert_int_equal(ending.modified_wall_ms, 0);
    assert_string_equal(http_script_target(aws.script, 1), "/main/a%20b");
    ending = head(&aws, NULL);
    assert_int_equal(ending.failure.kind, FAILURE_NO_KEY);
    assert_string_equal(ending.etag, "NULL");
    scripted_aws_stop(&aws);
}

static void a_store_that_does_not_know_checksums_is_asked_without_from_then_on(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {
        {.status = 501},
        {.status = 200, .headers = "ETag: \"e\"\r\nContent-Length: 0\r\n"},
        {.status = 501},
    };
    struct scripted_aws aws;
    scripted_aws_start(&aws, answers, 3);
    struct head_ending ending = head(&aws, NULL);
    assert_int_equal(ending.err.action, ERROR_RETRY);
    scripted_expect_header(&aws, 0, "x-amz-checksum-mode", "ENABLED");
    ending = head(&aws, NULL);
    assert_int_equal(ending.err.action, ERROR_NONE);
    scripted_expect_header(&aws, 1, "x-amz-checksum-mode", NULL);
    ending = head(&aws, NULL);
    assert_int_equal(ending.err.action, ERROR_REJECT);
    scripted_aws_stop(&aws);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_names_its_source_and_the_owners_of_both_sides),
        cmocka_unit_test(an_error_in_the_body_of_a_200_is_a_failure_of_the_copy_and_tried_again),
        cmocka_unit_test(an_error_in_a_200_that_stays_is_not_taken_for_a_copy),
        cmocka_unit_test(a_source_that_has_changed_is_not_copied),
        cmocka_unit_test(a_source_of_more_than_5_gb_is_refused_without_a_request),
        cmocka_unit_test(a_key_too_long_to_be_sent_is_refused_and_not_cut),
        cmocka_unit_test(a_cancelled_copy_is_not_called_back),
        cmocka_unit_test(a_head_tells_what_the_headers_say),
        cmocka_unit_test(a_store_that_does_not_know_checksums_is_asked_without_from_then_on),
    };
    return cmocka_run_group_tests_name("s3", tests, NULL, NULL);
}
