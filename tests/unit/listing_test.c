#include "workers/common/aws/listing.h"

#include "tests/support/scripted_aws.h"
#include "tests/support/unit.h"

#include <stdlib.h>
#include <string.h>

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
        scripted_expect_header(&aws, i, "x-amz-expected-bucket-owner", "111111111111");
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

static void a_page_with_sizes_that_are_none_or_that_follows_itself_is_a_damaged_one(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        PAGE_HEAD "<Contents><Key>a</Key><Size>-5</Size></Contents></ListBucketResult>",
        PAGE_HEAD "<Contents><Key>a</Key><Size>1e3</Size></Contents></ListBucketResult>",
        PAGE_HEAD "<Contents><Key>a</Key><Size></Size></Contents></ListBucketResult>",
        PAGE_HEAD "<Contents><Key>a</Key><Size>9999999999999999999</Size></Contents></ListBucketResult>",
        PAGE_HEAD
        "<IsTruncated>true</IsTruncated><NextContinuationToken>next</NextContinuationToken></ListBucketResult>",
    };
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        struct http_script_answer answers[1 + SCRIPTED_ATTEMPTS];
        for (size_t k = 0; k <= SCRIPTED_ATTEMPTS; k++) {
            answers[k] = (struct http_script_answer){.status = 200, .body = bodies[i]};
        }
        struct scripted_aws aws;
        scripted_aws_start(&aws, answers, 1 + SCRIPTED_ATTEMPTS);
        struct list_ending ending = list(&aws, 10);
        assert_int_equal(ending.failure.kind, FAILURE_TRANSIENT);
        assert_int_equal(ending.err.action, ERROR_RETRY);
        assert_null(ending.listing);
        scripted_aws_stop(&aws);
    }
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_listing_is_all_its_pages_with_their_keys_decoded),
        cmocka_unit_test(keys_of_a_store_that_does_not_encode_are_taken_as_they_are),
        cmocka_unit_test(an_empty_bucket_has_an_empty_listing),
        cmocka_unit_test(a_damaged_page_is_asked_for_again_and_counted_once),
        cmocka_unit_test(a_page_with_sizes_that_are_none_or_that_follows_itself_is_a_damaged_one),
        cmocka_unit_test(more_objects_than_allowed_are_refused),
        cmocka_unit_test(a_bucket_of_somebody_else_is_told),
    };
    return cmocka_run_group_tests_name("listing", tests, NULL, NULL);
}
