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

static void expect_header(struct scripted_aws *aws, size_t position, const char *name, const char *expected)
{
    AUTO(text) char *value = http_script_header(aws->script, position, name);
    if (expected == NULL) {
        assert_null(value);
        return;
    }
    if (value == NULL) {
        fail_msg("request %zu has no %s", position, name);
        return;
    }
    assert_string_equal(value, expected);
}

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

static void copy_done(void *context, const struct s3_copy_result *result)
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

static struct s3_copy_request copy_request(const struct scripted_aws *aws)
{
    return (struct s3_copy_request){
        .source = {.name = "main", .region = "us-east-1", .owner = "111111111111"},
        .source_key = "builds/a b+c/\xc3\xa9.bin",
        .source_etag = "\"e0\"",
        .source_size_bytes = 17,
        .target = {.name = "tenant", .region = "eu-west-1", .owner = "222222222222"},
        .target_key = "in/a b&c?.bin",
        .credentials = aws->key,
        .deadline_ms = scripted_deadline_ms(),
    };
}

static struct copy_ending copy(struct scripted_aws *aws, const struct s3_copy_request *request)
{
    struct copy_ending ending = {0};
    (void)s3_copy_object(aws->client, request, copy_done, &ending);
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
    struct s3_copy_request request = copy_request(&aws);
    struct copy_ending ending = copy(&aws, &request);
    assert_int_equal(ending.err.action, ERROR_NONE);
    assert_string_equal(ending.etag, "\"e1\"");
    assert_string_equal(ending.version, "v2");
    assert_string_equal(ending.source_version, "v1");
    assert_string_equal(http_script_method(aws.script, 0), "PUT");
    assert_string_equal(http_script_target(aws.script, 0), "/tenant/in/a%20b%26c%3F.bin");
    expect_header(&aws, 0, "x-amz-copy-source", "/main/builds/a%20b%2Bc/%C3%A9.bin");
    expect_header(&aws, 0, "x-amz-copy-source-if-match", "\"e0\"");
    expect_header(&aws, 0, "x-amz-expected-bucket-owner", "222222222222");
    expect_header(&aws, 0, "x-amz-source-expected-bucket-owner", "111111111111");
    expect_header(&aws, 0, "Content-Length", "0");
    AUTO(text) char *authorization = http_script_header(aws.script, 0, "Authorization");
    assert_non_null(strstr(authorization, "/eu-west-1/s3/"));
    assert_non_null(strstr(authorization, "x-amz-copy-source;x-amz-copy-source-if-match;"));
    request.source.owner = NULL;
    request.target.owner = NULL;
    request.source_etag = NULL;
    request.source_version = "v 1";
    request.source_size_bytes = -1;
    ending = copy(&aws, &request);
    assert_string_equal(ending.version, "");
    expect_header(&aws, 1, "x-amz-copy-source", "/main/builds/a%20b%2Bc/%C3%A9.bin?versionId=v%201");
    expect_header(&aws, 1, "x-amz-expected-bucket-owner", NULL);
    expect_header(&aws, 1, "x-amz-source-expected-bucket-owner", NULL);
    expect_header(&aws, 1, "x-amz-copy-source-if-match", NULL);
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
    struct s3_copy_request request = copy_request(&aws);
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
        struct s3_copy_request request = copy_request(&aws);
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
    struct s3_copy_request request = copy_request(&aws);
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
    struct s3_copy_request request = copy_request(&aws);
    request.source_size_bytes = S3_COPY_MAXIMUM_BYTES + 1;
    struct copy_ending ending = copy(&aws, &request);
    assert_int_equal(ending.err.action, ERROR_REJECT);
    assert_int_equal(ending.failure.kind, FAILURE_INVALID);
    assert_non_null(strstr(ending.err.text, "5368709121 bytes; one copy takes at most 5 GB"));
    assert_int_equal(http_script_count(aws.script), 0);
    request.source_size_bytes = S3_COPY_MAXIMUM_BYTES;
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
    struct s3_copy_request request = copy_request(&aws);
    request.source_key = key;
    struct copy_ending ending = copy(&aws, &request);
    assert_int_equal(ending.err.action, ERROR_REJECT);
    request = copy_request(&aws);
    request.target_key = key;
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
    struct s3_copy_request request = copy_request(&aws);
    struct s3_call *in_flight = s3_copy_object(aws.client, &request, copy_done, &endings[0]);
    loop_until_requests(aws.loop, aws.script, 1);
    request.source_size_bytes = INT64_MAX;
    struct s3_call *refused = s3_copy_object(aws.client, &request, copy_done, &endings[1]);
    s3_cancel(in_flight);
    s3_cancel(refused);
    s3_cancel(NULL);
    loop_for(aws.loop, 20);
    assert_false(endings[0].is_done || endings[1].is_done);
    scripted_aws_stop(&aws);
}

/* ---- ListObjectsV2 ---- */

struct list_ending {
    bool is_done;
    struct error err;
    struct failure failure;
    unsigned attempts;
    unsigned pages;
    bool has_answer;
    struct s3_listing *listing;
};

static void list_done(void *context, struct s3_list_result *result)
{
    struct list_ending *ending = context;
    ending->is_done = true;
    ending->err = result->result->err;
    ending->failure = result->result->failure;
    ending->attempts = result->result->attempts;
    ending->pages = result->pages;
    ending->has_answer = result->result->answer != NULL;
    ending->listing = TAKE(result->listing);
}

static struct list_ending list(struct scripted_aws *aws, size_t objects_maximum)
{
    struct list_ending ending = {0};
    struct s3_list_request request = {
        .bucket = {.name = "main", .region = "us-east-1", .owner = "111111111111"},
        .prefix = "builds/a b/",
        .objects_maximum = objects_maximum,
        .credentials = aws->key,
        .deadline_ms = scripted_deadline_ms(),
    };
    (void)s3_list_objects(aws->client, &request, list_done, &ending);
    assert_false(ending.is_done);
    loop_until(aws->loop, &ending.is_done);
    return ending;
}

#define OBJECT(key, size)                                                                                              \
    "<Contents><Key>" key "</Key><LastModified>2026-01-02T03:04:05.678Z</LastModified>"                                \
    "<ETag>&quot;" size "&quot;</ETag><Size>" size "</Size><StorageClass>STANDARD</StorageClass></Contents>"
#define PAGE_HEAD                                                                                                      \
    "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>main</Name>"

static void a_listing_is_all_its_pages_with_their_keys_decoded(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {
        {.status = 200,
         .body = PAGE_HEAD "<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>" OBJECT(
             "builds/a+b/%C3%A9%26%2B", "1") "<NextContinuationToken>to/ken+=&amp;</NextContinuationToken>"
                                             "</ListBucketResult>"},
        {.status = 200,
         .body = PAGE_HEAD "<EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>" OBJECT(
             "builds/a+b/%2525", "22") "<NextContinuationToken>second</NextContinuationToken></ListBucketResult>"},
        {.status = 200,
         .body = PAGE_HEAD "<EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>" OBJECT(
             "builds/a+b/z", "333") "<CommonPrefixes><Prefix>x/</Prefix></CommonPrefixes></ListBucketResult>"},
    };
    struct scripted_aws aws;
    scripted_aws_start(&aws, answers, 3);
    struct list_ending ending = list(&aws, 3);
    assert_int_equal(ending.err.action, ERROR_NONE);
    assert_int_equal(ending.pages, 3);
    assert_int_equal(ending.attempts, 3);
    assert_int_equal(ending.listing->count, 3);
    static const char *const keys[] = {"builds/a b/%25", "builds/a b/z", "builds/a b/\xc3\xa9&+"};
    static const int64_t sizes[] = {22, 333, 1};
    for (size_t i = 0; i < 3; i++) {
        const struct s3_object *object = &ending.listing->objects[i];
        assert_string_equal(object->key, keys[i]);
        assert_int_equal(object->size_bytes, sizes[i]);
        assert_int_equal(object->modified_wall_ms, 1767323045678);
        assert_ptr_equal(s3_listing_find(ending.listing, keys[i]), object);
    }
    assert_string_equal(ending.listing->objects[0].etag, "\"22\"");
    assert_null(s3_listing_find(ending.listing, "builds/a b/y"));
    s3_listing_free(ending.listing);
    static const char query[] = "/main?list-type=2&encoding-type=url&prefix=builds%2Fa%20b%2F";
    AUTO(text) char *second = text_format("%s&continuation-token=to%%2Fken%%2B%%3D%%26", query);
    AUTO(text) char *third = text_format("%s&continuation-token=second", query);
    assert_string_equal(http_script_target(aws.script, 0), query);
    assert_string_equal(http_script_target(aws.script, 1), second);
    assert_string_equal(http_script_target(aws.script, 2), third);
    for (size_t i = 0; i < 3; i++) {
        expect_header(&aws, i, "x-amz-expected-bucket-owner", "111111111111");
    }
    scripted_aws_stop(&aws);
}

static void keys_of_a_store_that_does_not_encode_are_taken_as_they_are(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {
        {.status = 200,
         .body = "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>a+b%20&amp;</Key><Size>9</Size>"
                 "</Contents></ListBucketResult>"}};
    struct scripted_aws aws;
    scripted_aws_start(&aws, answers, 1);
    struct list_ending ending = list(&aws, 10);
    assert_int_equal(ending.listing->count, 1);
    assert_string_equal(ending.listing->objects[0].key, "a+b%20&");
    assert_string_equal(ending.listing->objects[0].etag, "");
    assert_int_equal(ending.listing->objects[0].modified_wall_ms, 0);
    s3_listing_free(ending.listing);
    scripted_aws_stop(&aws);
}

static void an_empty_bucket_has_an_empty_listing(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {
        {.status = 200, .body = "<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"}};
    struct scripted_aws aws;
    scripted_aws_start(&aws, answers, 1);
    struct list_ending ending = list(&aws, 0);
    assert_int_equal(ending.err.action, ERROR_NONE);
    assert_int_equal(ending.listing->count, 0);
    assert_null(s3_listing_find(ending.listing, "a"));
    s3_listing_free(ending.listing);
    s3_listing_free(NULL);
    scripted_aws_stop(&aws);
}

static void a_damaged_page_is_asked_for_again_and_counted_once(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {
        {.status = 200,
         .body = PAGE_HEAD
         "<IsTruncated>true</IsTruncated>" OBJECT("a", "1") "<NextContinuationToken>next"
                                                            "</NextContinuationToken></ListBucketResult>"},
        {.status = 200, .body = PAGE_HEAD "<IsTruncated>false</IsTruncated>" OBJECT("b", "2")}, /* cut short */
        {.status = 200, .body = "<html>It works</html>"},
        {.status = 200, .body = PAGE_HEAD "<IsTruncated>true</IsTruncated></ListBucketResult>"}, /* where to? */
        {.status = 200, .body = PAGE_HEAD "<IsTruncated>false</IsTruncated>" OBJECT("b", "2") "</ListBucketResult>"},
    };
    struct scripted_aws aws;
    scripted_aws_start(&aws, answers, 5);
    struct list_ending ending = list(&aws, 10);
    assert_int_equal(ending.err.action, ERROR_NONE);
    assert_int_equal(ending.listing->count, 2);
    assert_string_equal(ending.listing->objects[1].key, "b");
    assert_int_equal(ending.pages, 2);
    assert_int_equal(ending.attempts, 5);
    for (size_t i = 1; i < 5; i++) {
        assert_non_null(strstr(http_script_target(aws.script, i), "&continuation-token=next"));
    }
    s3_listing_free(ending.listing);
    scripted_aws_stop(&aws);
}

static void more_objects_than_allowed_are_refused(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {
        {.status = 200,
         .body = PAGE_HEAD "<IsTruncated>true</IsTruncated>" OBJECT("a", "1")
             OBJECT("b", "1") "<NextContinuationToken>next</NextContinuationToken></ListBucketResult>"}};
    struct scripted_aws aws;
    scripted_aws_start(&aws, answers, 1);
    struct list_ending ending = list(&aws, 1);
    assert_int_equal(ending.err.action, ERROR_REJECT);
    assert_int_equal(ending.failure.kind, FAILURE_INVALID);
    assert_string_equal(ending.err.text, "ListObjectsV2 s3://main/builds/a b/: more than 1 objects");
    assert_null(ending.listing);
    assert_false(ending.has_answer);
    assert_int_equal(http_script_count(aws.script), 1);
    scripted_aws_stop(&aws);
}

static void a_bucket_of_somebody_else_is_told(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {
        {.status = 403, .body = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"}};
    struct scripted_aws aws;
    scripted_aws_start(&aws, answers, 1);
    struct list_ending ending = list(&aws, 10);
    assert_int_equal(ending.failure.kind, FAILURE_ACCESS_DENIED);
    assert_string_equal(ending.err.text, "ListObjectsV2 s3://main/builds/a b/: access denied for script "
                                         "(403 AccessDenied: Access Denied)");
    assert_null(ending.listing);
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

static void head_done(void *context, const struct s3_head_result *result)
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
    struct s3_head_request request = {
        .bucket = {.name = "main", .region = "us-east-1", .owner = "111111111111"},
        .key = "a b",
        .version = version,
        .credentials = aws->key,
        .deadline_ms = scripted_deadline_ms(),
    };
    (void)s3_head_object(aws->client, &request, head_done, &ending);
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
    expect_header(&aws, 0, "x-amz-expected-bucket-owner", "111111111111");
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
        cmocka_unit_test(a_listing_is_all_its_pages_with_their_keys_decoded),
        cmocka_unit_test(keys_of_a_store_that_does_not_encode_are_taken_as_they_are),
        cmocka_unit_test(an_empty_bucket_has_an_empty_listing),
        cmocka_unit_test(a_damaged_page_is_asked_for_again_and_counted_once),
        cmocka_unit_test(more_objects_than_allowed_are_refused),
        cmocka_unit_test(a_bucket_of_somebody_else_is_told),
        cmocka_unit_test(a_head_tells_what_the_headers_say),
    };
    return cmocka_run_group_tests_name("s3", tests, NULL, NULL);
}
