#include "workers/common/aws/endpoint.h"

#include "tests/support/fixtures.h"
#include "tests/support/unit.h"
#include "workers/common/aws/uri.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { URL_MAXIMUM = 1000 };

static void a_region_has_its_partitions_suffix(void **state)
{
    (void)state;
    static const struct {
        const char *region;
        const char *partition;
        const char *s3;
    } cases[] = {
        {"us-east-1", "aws", "https://s3.us-east-1.amazonaws.com"},
        {"eu-central-1", "aws", "https://s3.eu-central-1.amazonaws.com"},
        {"us-gov-west-1", "aws-us-gov", "https://s3.us-gov-west-1.amazonaws.com"},
        {"cn-north-1", "aws-cn", "https://s3.cn-north-1.amazonaws.com.cn"},
        {"us-iso-east-1", "aws-iso", "https://s3.us-iso-east-1.c2s.ic.gov"},
        {"us-isob-east-1", "aws-iso-b", "https://s3.us-isob-east-1.sc2s.sgov.gov"},
        {"eu-isoe-west-1", "aws-iso-e", "https://s3.eu-isoe-west-1.cloud.adc-e.uk"},
        {"us-isof-south-1", "aws-iso-f", "https://s3.us-isof-south-1.csp.hci.ic.gov"},
        {"eusc-de-east-1", "aws-eusc", "https://s3.eusc-de-east-1.amazonaws.eu"},
        {"mars-north-1", "aws", "https://s3.mars-north-1.amazonaws.com"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO(buffer) struct buffer url;
        struct error err;
        buffer_init(&url, URL_MAXIMUM);
        assert_true(endpoint_url(NULL, AWS_S3, cases[i].region, &url, &err));
        assert_string_equal(url.ptr, cases[i].s3);
        assert_string_equal(partition_of_region(cases[i].region)->name, cases[i].partition);
        assert_ptr_equal(partition_named(cases[i].partition), partition_of_region(cases[i].region));
    }
    assert_null(partition_named("aws-moon"));
    assert_null(partition_named(""));
}

static void a_custom_endpoint_is_taken_for_its_service_only(void **state)
{
    (void)state;
    static const struct endpoint_settings settings = {.s3_url = "http://127.0.0.1:9000/"};
    static const struct endpoint_settings empty = {.s3_url = "", .sts_url = ""};
    AUTO(buffer) struct buffer url;
    struct error err;
    buffer_init(&url, URL_MAXIMUM);
    assert_true(endpoint_url(&settings, AWS_S3, "us-east-1", &url, &err));
    assert_string_equal(url.ptr, "http://127.0.0.1:9000");
    buffer_clear(&url);
    assert_true(endpoint_url(&settings, AWS_STS, "us-east-1", &url, &err));
    assert_string_equal(url.ptr, "https://sts.us-east-1.amazonaws.com");
    buffer_clear(&url);
    assert_true(endpoint_url(&empty, AWS_S3, "us-east-1", &url, &err));
    assert_string_equal(url.ptr, "https://s3.us-east-1.amazonaws.com");
    buffer_clear(&url);
    assert_false(endpoint_url(&settings, AWS_S3, "us east", &url, &err));
    assert_int_equal(err.action, ERROR_REJECT);
}

static void a_custom_endpoint_is_scheme_and_host_and_perhaps_a_port(void **state)
{
    (void)state;
    static const struct {
        const char *url;
        bool is_valid;
    } cases[] = {
        {"http://127.0.0.1:9000", true},
        {"https://minio.example.com", true},
        {"https://minio.example.com/", true},
        {"http://[::1]:9000", true},
        {"http://localhost", true},
        {"", false},
        {"127.0.0.1:9000", false},
        {"ftp://host", false},
        {"file:///etc/passwd", false},
        {"http://", false},
        {"http:///", false},
        {"http://host/path", false},
        {"http://host//", false},
        {"http://host?x", false},
        {"http://host#x", false},
        {"http://user@host", false},
        {"http://user:secret@host", false},
        {"http://ho st", false},
        {"http://host\r\nx", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct error err = {0};
        if (endpoint_check(cases[i].url, &err) != cases[i].is_valid) {
            fail_msg("\"%s\"", cases[i].url);
        }
        assert_int_equal(err.action, cases[i].is_valid ? ERROR_NONE : ERROR_REJECT);
    }
}

static void a_region_is_one_label_of_a_host_name(void **state)
{
    (void)state;
    static const char *const valid[] = {"us-east-1", "a", "snow", "3aws4", "abcdefghijklmnopqrstuvwxyz012345"};
    static const char *const invalid[] = {"",
                                          "US-EAST-1",
                                          "us_east",
                                          "us.east",
                                          "-us",
                                          "us-",
                                          "us/1",
                                          "us east",
                                          "us\n",
                                          "us@evil",
                                          "abcdefghijklmnopqrstuvwxyz0123456"};
    for (size_t i = 0; i < sizeof(valid) / sizeof(valid[0]); i++) {
        assert_true(region_is_valid(valid[i]));
    }
    for (size_t i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++) {
        assert_false(region_is_valid(invalid[i]));
    }
}

static void an_account_id_is_twelve_digits(void **state)
{
    (void)state;
    assert_true(account_id_is_valid("012345678901"));
    static const char *const invalid[] = {
        "", "01234567890", "0123456789012", "01234567890a", "-12345678901", " 12345678901"};
    for (size_t i = 0; i < sizeof(invalid) / sizeof(invalid[0]); i++) {
        assert_false(account_id_is_valid(invalid[i]));
    }
}

static void a_bucket_name_follows_the_rules_of_its_store(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool is_valid;
        bool is_valid_elsewhere;
    } cases[] = {
        {"abc", true, true},
        {"my.bucket-1", true, true},
        {"1a2", true, true},
        {"0123456789012345678901234567890123456789012345678901234567890ab", true, true},
        {"0123456789012345678901234567890123456789012345678901234567890abc", false, true},
        {"ab", false, true},
        {"", false, false},
        {"Bucket", false, true},
        {"my_bucket", false, true},
        {"tenant:bucket", false, true},
        {"-abc", false, true},
        {"abc-", false, true},
        {".abc", false, true},
        {"a..b", false, true},
        {"a/b", false, false},
        {"a?b", false, false},
        {"a#b", false, false},
        {"a%2fb", false, false},
        {"a b", false, false},
        {"a\nb", false, false},
        {".", false, false},
        {"..", false, false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (bucket_name_is_valid(cases[i].name, false) != cases[i].is_valid ||
            bucket_name_is_valid(cases[i].name, true) != cases[i].is_valid_elsewhere) {
            fail_msg("\"%s\"", cases[i].name);
        }
    }
}

static void a_role_is_of_the_tenants_account_and_partition(void **state)
{
    (void)state;
    static const struct {
        const char *arn;
        const char *account;
        const char *region;
        const char *trouble; /* NULL: fine */
    } cases[] = {
        {"arn:aws:iam::123456789012:role/deployer", NULL, NULL, NULL},
        {"arn:aws:iam::123456789012:role/path/to/deployer", "123456789012", "us-east-1", NULL},
        {"arn:aws-cn:iam::123456789012:role/deployer", "123456789012", "cn-north-1", NULL},
        {"arn:aws:iam::123456789012:role/deployer", "210987654321", NULL, "belongs to another account than 2109"},
        {"arn:aws:iam::123456789012:role/deployer", NULL, "cn-north-1", "another partition than region cn-north-1"},
        {"arn:aws-cn:iam::123456789012:role/deployer", NULL, "us-east-1", "another partition than region us-east-1"},
        {"", NULL, NULL, "is not a role"},
        {"deployer", NULL, NULL, "is not a role"},
        {"arn:aws:iam::123456789012:user/deployer", NULL, NULL, "is not a role"},
        {"arn:aws:iam::123456789012:role/", NULL, NULL, "is not a role"},
        {"arn:aws:iam::12345678901:role/deployer", NULL, NULL, "is not a role"},
        {"arn:aws:iam::1234567890123:role/deployer", NULL, NULL, "is not a role"},
        {"arn:aws:iam::12345678901x:role/deployer", NULL, NULL, "is not a role"},
        {"arn::iam::123456789012:role/deployer", NULL, NULL, "is not a role"},
        {"arn:aws:iam:us-east-1:123456789012:role/deployer", NULL, NULL, "is not a role"},
        {"arn:aws:sts::123456789012:assumed-role/x/y", NULL, NULL, "is not a role"},
        {"ARN:aws:iam::123456789012:role/deployer", NULL, NULL, "is not a role"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct error err = {0};
        bool is_fine = role_arn_check(cases[i].arn, cases[i].account, cases[i].region, &err);
        if (is_fine != (cases[i].trouble == NULL) || (!is_fine && strstr(err.text, cases[i].trouble) == NULL)) {
            fail_msg("%s: %s", cases[i].arn, err.text);
        }
        assert_int_equal(err.action, is_fine ? ERROR_NONE : ERROR_REJECT);
    }
}

/* ---- the rules of the SDKs ---- */

static bool flag(const cJSON *params, const char *name)
{
    return cJSON_IsTrue(cJSON_GetObjectItem(params, name));
}

static const char *text(const cJSON *params, const char *name)
{
    const char *value = cJSON_GetStringValue(cJSON_GetObjectItem(params, name));
    return value != NULL ? value : "";
}

static bool ends_with(const char *whole, const char *ending)
{
    size_t length = strlen(whole);
    size_t ending_length = strlen(ending);
    return length >= ending_length && strcmp(whole + length - ending_length, ending) == 0;
}

/* Why a case is none of ours; NULL when it is. */
static const char *unsupported(const cJSON *params, bool is_s3)
{
    const char *bucket = text(params, "Bucket");
    const char *endpoint = text(params, "Endpoint");
    struct error err;
    if (flag(params, "UseFIPS")) {
        return "FIPS endpoints";
    }
    if (flag(params, "UseDualStack")) {
        return "dual-stack endpoints";
    }
    if (flag(params, "Accelerate")) {
        return "accelerated endpoints";
    }
    if (flag(params, "UseObjectLambdaEndpoint")) {
        return "object lambda";
    }
    if (strstr(bucket, "--x-s3") != NULL || ends_with(bucket, "--xa-s3") ||
        flag(params, "UseS3ExpressControlEndpoint")) {
        return "S3 Express";
    }
    if (strncmp(bucket, "arn:", 4) == 0) {
        return "bucket ARNs";
    }
    if (ends_with(bucket, "--op-s3")) {
        return "Outposts";
    }
    if (cJSON_GetObjectItem(params, "Region") == NULL) {
        return "no region (ours has a default)";
    }
    if ((flag(params, "UseGlobalEndpoint") && (!is_s3 || strcmp(text(params, "Region"), "us-east-1") == 0) &&
         endpoint[0] == '\0') ||
        strcmp(text(params, "Region"), "aws-global") == 0) {
        return "global endpoints";
    }
    if (is_s3 && bucket[0] != '\0' && !flag(params, "ForcePathStyle") && endpoint[0] == '\0' &&
        !bucket_name_is_valid(bucket, false)) {
        return "buckets that AWS does not have any more";
    }
    if (endpoint[0] != '\0' && strstr(endpoint, "://") != NULL && !endpoint_check(endpoint, &err) &&
        strchr(strstr(endpoint, "://") + 3, '/') != NULL) {
        return "custom endpoints with a path";
    }
    return NULL;
}

struct tally {
    const char *reason;
    size_t count;
};

static void tally_add(struct tally *tallies, size_t capacity, const char *reason)
{
    for (size_t i = 0; i < capacity; i++) {
        if (tallies[i].reason == NULL || strcmp(tallies[i].reason, reason) == 0) {
            tallies[i].reason = reason;
            tallies[i].count++;
            return;
        }
    }
    fail_msg("too many reasons");
}

/* The same place in path style: https://BUCKET.HOST becomes https://HOST/BUCKET. */
static char *path_style(const char *url, const char *bucket)
{
    const char *host = strstr(url, "://") + 3;
    size_t length = strlen(bucket);
    if (length > 0 && strncmp(host, bucket, length) == 0 && host[length] == '.') {
        return text_format("%.*s%s/%s", (int)(host - url), url, host + length + 1, bucket);
    }
    return text_copy(url);
}

static void rules_run(const char *file, enum aws_service service, size_t total)
{
    cJSON *json = fixture_json(file);
    struct tally tallies[24] = {{0}};
    size_t skipped = 0;
    size_t run = 0;
    const cJSON *test;
    cJSON_ArrayForEach(test, cJSON_GetObjectItem(json, "testCases"))
    {
        const cJSON *params = cJSON_GetObjectItem(test, "params");
        const cJSON *expect = cJSON_GetObjectItem(test, "expect");
        const char *name = text(test, "documentation");
        const char *reason = unsupported(params, service == AWS_S3);
        if (reason != NULL) {
            tally_add(tallies, sizeof(tallies) / sizeof(tallies[0]), reason);
            skipped++;
            continue;
        }
        run++;
        const char *custom = cJSON_GetStringValue(cJSON_GetObjectItem(params, "Endpoint"));
        struct endpoint_settings settings = {.s3_url = custom, .sts_url = custom};
        const char *url = cJSON_GetStringValue(cJSON_GetObjectItem(cJSON_GetObjectItem(expect, "endpoint"), "url"));
        const char *bucket = text(params, "Bucket");
        AUTO(buffer) struct buffer ours;
        struct error err = {0};
        buffer_init(&ours, URL_MAXIMUM);
        bool is_found = endpoint_url(&settings, service, text(params, "Region"), &ours, &err);
        if (is_found != (url != NULL)) {
            fail_msg("%s: %s", name, is_found ? ours.ptr : err.text);
        }
        if (url == NULL) {
            continue;
        }
        if (bucket[0] != '\0') {
            buffer_append_char(&ours, '/');
            uri_encode(&ours, slice_of(bucket));
        }
        AUTO(text) char *expected = path_style(url, bucket);
        if (strcmp(ours.ptr, expected) != 0) {
            fail_msg("%s: %s, not %s", name, ours.ptr, expected);
        }
    }
    (void)printf("%s: %zu cases run, %zu skipped\n", file, run, skipped);
    for (size_t i = 0; i < sizeof(tallies) / sizeof(tallies[0]) && tallies[i].reason != NULL; i++) {
        (void)printf("skipped: %zu cases of %s\n", tallies[i].count, tallies[i].reason);
    }
    assert_int_equal(run + skipped, total);
    assert_true(run >= 30);
    cJSON_Delete(json);
}

static void the_s3_endpoint_rules_come_out_in_path_style(void **state)
{
    (void)state;
    if (!fixture_is_here("s3-endpoints/s3-endpoint-tests.json", "S3 endpoint fixtures, 393 cases")) {
        skip();
    }
    rules_run("s3-endpoints/s3-endpoint-tests.json", AWS_S3, 393);
}

static void the_sts_endpoint_rules_come_out(void **state)
{
    (void)state;
    if (!fixture_is_here("s3-endpoints/sts-endpoint-tests.json", "STS endpoint fixtures, 69 cases")) {
        skip();
    }
    rules_run("s3-endpoints/sts-endpoint-tests.json", AWS_STS, 69);
}

static void every_known_region_is_in_its_partition(void **state)
{
    (void)state;
    if (!fixture_is_here("s3-endpoints/partitions.json", "partition fixtures, 8 partitions")) {
        skip();
    }
    cJSON *json = fixture_json("s3-endpoints/partitions.json");
    const cJSON *known;
    size_t regions = 0;
    cJSON_ArrayForEach(known, cJSON_GetObjectItem(json, "partitions"))
    {
        const struct partition *partition = partition_named(text(known, "id"));
        const cJSON *outputs = cJSON_GetObjectItem(known, "outputs");
        const cJSON *region;
        if (partition == NULL) {
            fail_msg("%s is missing", text(known, "id"));
            return;
        }
        assert_string_equal(partition->dns_suffix, text(outputs, "dnsSuffix"));
        assert_string_equal(partition->default_region, text(outputs, "implicitGlobalRegion"));
        cJSON_ArrayForEach(region, cJSON_GetObjectItem(known, "regions"))
        {
            if (ends_with(region->string, "-global")) {
                continue; /* a name for what has no region */
            }
            assert_true(region_is_valid(region->string));
            assert_string_equal(partition_of_region(region->string)->name, partition->name);
            regions++;
        }
    }
    assert_true(regions > 40);
    cJSON_Delete(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_region_has_its_partitions_suffix),
        cmocka_unit_test(a_custom_endpoint_is_taken_for_its_service_only),
        cmocka_unit_test(a_custom_endpoint_is_scheme_and_host_and_perhaps_a_port),
        cmocka_unit_test(a_region_is_one_label_of_a_host_name),
        cmocka_unit_test(an_account_id_is_twelve_digits),
        cmocka_unit_test(a_bucket_name_follows_the_rules_of_its_store),
        cmocka_unit_test(a_role_is_of_the_tenants_account_and_partition),
        cmocka_unit_test(the_s3_endpoint_rules_come_out_in_path_style),
        cmocka_unit_test(the_sts_endpoint_rules_come_out),
        cmocka_unit_test(every_known_region_is_in_its_partition),
    };
    return cmocka_run_group_tests_name("endpoint", tests, NULL, NULL);
}
