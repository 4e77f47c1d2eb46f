#include "workers/common/aws/endpoint.h"

#include "tests/support/fixtures.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { URL_MAXIMUM = 1000 };

static const struct endpoint_settings aws;

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
        assert_true(endpoint_url(&aws, AWS_S3, cases[i].region, &url, &err));
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

static void fips_and_dual_stack_have_hosts_of_their_own(void **state)
{
    (void)state;
    static const struct {
        const char *region;
        bool is_fips;
        bool is_dualstack;
        const char *s3; /* NULL: refused */
        const char *sts;
    } cases[] = {
        {"us-east-1", true, false, "https://s3-fips.us-east-1.amazonaws.com",
         "https://sts-fips.us-east-1.amazonaws.com"},
        {"us-east-1", false, true, "https://s3.dualstack.us-east-1.amazonaws.com", "https://sts.us-east-1.api.aws"},
        {"us-east-1", true, true, "https://s3-fips.dualstack.us-east-1.amazonaws.com",
         "https://sts-fips.us-east-1.api.aws"},
        {"us-gov-west-1", true, false, "https://s3-fips.us-gov-west-1.amazonaws.com",
         "https://sts.us-gov-west-1.amazonaws.com"},
        {"us-gov-west-1", true, true, "https://s3-fips.dualstack.us-gov-west-1.amazonaws.com",
         "https://sts-fips.us-gov-west-1.api.aws"},
        {"cn-north-1", false, true, "https://s3.dualstack.cn-north-1.amazonaws.com.cn",
         "https://sts.cn-north-1.api.amazonwebservices.com.cn"},
        {"cn-north-1", true, false, NULL, "https://sts-fips.cn-north-1.amazonaws.com.cn"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct endpoint_settings settings = {.is_fips = cases[i].is_fips, .is_dualstack = cases[i].is_dualstack};
        AUTO(buffer) struct buffer s3;
        AUTO(buffer) struct buffer sts;
        struct error err = {0};
        buffer_init(&s3, URL_MAXIMUM);
        buffer_init(&sts, URL_MAXIMUM);
        assert_int_equal(endpoint_url(&settings, AWS_S3, cases[i].region, &s3, &err), cases[i].s3 != NULL);
        assert_string_equal(s3.ptr, cases[i].s3 != NULL ? cases[i].s3 : "");
        assert_true(endpoint_url(&settings, AWS_STS, cases[i].region, &sts, &err));
        assert_string_equal(sts.ptr, cases[i].sts);
    }
}

static void settings_that_contradict_are_refused_at_once(void **state)
{
    (void)state;
    static const char s3[] = "https://minio.example.com";
    static const struct {
        struct endpoint_settings settings;
        const char *trouble; /* NULL: fine */
    } cases[] = {
        {{.s3_url = s3, .s3_addressing = S3_ADDRESSING_VIRTUAL}, NULL},
        {{.is_fips = true, .is_dualstack = true}, NULL},
        {{.s3_url = "", .sts_url = "", .is_fips = true}, NULL},
        {{.s3_url = s3, .is_fips = true}, "FIPS endpoints are AWS's own"},
        {{.sts_url = s3, .is_dualstack = true}, "dual-stack endpoints are AWS's own"},
        {{.sts_url = "minio.example.com"}, "must be http://host"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct error err = {0};
        assert_int_equal(endpoint_settings_check(&cases[i].settings, &err), cases[i].trouble == NULL);
        assert_int_equal(err.action, cases[i].trouble == NULL ? ERROR_NONE : ERROR_REJECT);
        assert_non_null(strstr(err.text, cases[i].trouble != NULL ? cases[i].trouble : ""));
    }
}

static void a_bucket_goes_where_the_addressing_says(void **state)
{
    (void)state;
    static const struct {
        enum s3_addressing addressing;
        const char *custom;
        const char *bucket;
        const char *url;
    } cases[] = {
        {S3_ADDRESSING_PATH, NULL, "bucket", "https://s3.us-east-1.amazonaws.com/bucket"},
        {S3_ADDRESSING_VIRTUAL, NULL, "bucket", "https://bucket.s3.us-east-1.amazonaws.com"},
        {S3_ADDRESSING_AUTO, NULL, "bucket", "https://bucket.s3.us-east-1.amazonaws.com"},
        {S3_ADDRESSING_VIRTUAL, "http://store:9000", "bucket", "http://bucket.store:9000"},
        {S3_ADDRESSING_AUTO, "http://store:9000", "bucket", "http://store:9000/bucket"},
        {S3_ADDRESSING_VIRTUAL, NULL, "my.bucket", "https://s3.us-east-1.amazonaws.com/my.bucket"},
        {S3_ADDRESSING_VIRTUAL, "http://store", "my.bucket", "http://my.bucket.store"},
        {S3_ADDRESSING_VIRTUAL, "http://store", "tenant:bucket", "http://store/tenant%3Abucket"},
        {S3_ADDRESSING_VIRTUAL, "http://127.0.0.1:9000", "bucket", "http://127.0.0.1:9000/bucket"},
        {S3_ADDRESSING_VIRTUAL, "http://[::1]:9000", "bucket", "http://[::1]:9000/bucket"},
        {S3_ADDRESSING_VIRTUAL, "http://1.2.3.example", "bucket", "http://bucket.1.2.3.example"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct endpoint_settings settings = {.s3_url = cases[i].custom, .s3_addressing = cases[i].addressing};
        AUTO(buffer) struct buffer url;
        AUTO(buffer) struct buffer path;
        struct error err;
        buffer_init(&url, URL_MAXIMUM);
        buffer_init(&path, URL_MAXIMUM);
        assert_true(endpoint_url(&settings, AWS_S3, "us-east-1", &url, &err));
        endpoint_add_bucket(&settings, cases[i].bucket, &url, &path);
        buffer_append(&url, buffer_slice(&path));
        assert_string_equal(url.ptr, cases[i].url);
    }
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

/* The old one host for all regions: only ever meant for us-east-1 with S3, for some old regions with STS. */
static bool is_global(const cJSON *params, const char *expected_url)
{
    return strcmp(text(params, "Region"), "aws-global") == 0 ||
           (flag(params, "UseGlobalEndpoint") &&
            (ends_with(expected_url, "//sts.amazonaws.com") || strstr(expected_url, "s3.amazonaws.com") != NULL));
}

/* Why a case is none of ours; NULL when it is. */
static const char *unsupported(const cJSON *params, const char *expected_url)
{
    const char *bucket = text(params, "Bucket");
    const char *endpoint = text(params, "Endpoint");
    const char *host = strstr(endpoint, "://");
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
        return "bucket ARNs: access points, Outposts, object lambda, multi-region";
    }
    if (ends_with(bucket, "--op-s3")) {
        return "Outposts";
    }
    if (cJSON_GetObjectItem(params, "Region") == NULL) {
        return "no region (ours has a default)";
    }
    if (is_global(params, expected_url)) {
        return "global endpoints";
    }
    if (expected_url[0] != '\0' && host != NULL && strchr(host + 3, '/') != NULL) {
        return "custom endpoints with a path";
    }
    return NULL;
}

/* What the SDKs say, and what we do. */
static const struct {
    const char *theirs;
    const char *ours;
} troubles[] = {
    {"Invalid region: region was not a valid DNS name.", "is not a region"},
    {"Cannot set dual-stack in combination with a custom endpoint.", "dual-stack endpoints are AWS's own"},
    {"A custom endpoint cannot be combined with FIPS", "FIPS endpoints are AWS's own"},
    {"Partition does not support FIPS", "S3 has no FIPS endpoint in region"},
    {"Custom endpoint `abcde://nota#url` was not a valid URI", "must be http://host"},
    {"Invalid Configuration: FIPS and custom endpoint are not supported", "FIPS endpoints are AWS's own"},
    {"Invalid Configuration: Dualstack and custom endpoint are not supported", "dual-stack endpoints are AWS's own"},
};

static void expect_trouble(const char *name, const char *theirs, const struct error *err)
{
    for (size_t i = 0; i < sizeof(troubles) / sizeof(troubles[0]); i++) {
        if (strcmp(troubles[i].theirs, theirs) == 0) {
            if (err->action != ERROR_REJECT || strstr(err->text, troubles[i].ours) == NULL) {
                fail_msg("%s: \"%s\", expected \"...%s...\"", name, err->text, troubles[i].ours);
            }
            return;
        }
    }
    fail_msg("%s: unknown trouble \"%s\"", name, theirs);
}

static void expect_signing(const char *name, const cJSON *endpoint, enum aws_service service, const char *region)
{
    const cJSON *schemes = cJSON_GetObjectItem(cJSON_GetObjectItem(endpoint, "properties"), "authSchemes");
    const cJSON *scheme = cJSON_GetArrayItem(schemes, 0);
    if (scheme == NULL) {
        return; /* as usual */
    }
    if (strcmp(text(scheme, "signingRegion"), region) != 0 ||
        strcmp(text(scheme, "signingName"), aws_service_name(service)) != 0) {
        fail_msg("%s: not signed for %s of %s", name, aws_service_name(service), region);
    }
}

static void rule_run(const cJSON *test, enum aws_service service)
{
    const cJSON *params = cJSON_GetObjectItem(test, "params");
    const cJSON *expect = cJSON_GetObjectItem(test, "expect");
    const cJSON *endpoint = cJSON_GetObjectItem(expect, "endpoint");
    const char *name = text(test, "documentation");
    const char *custom = cJSON_GetStringValue(cJSON_GetObjectItem(params, "Endpoint"));
    const char *bucket = text(params, "Bucket");
    struct endpoint_settings settings = {
        .s3_url = custom,
        .sts_url = custom,
        .is_fips = flag(params, "UseFIPS"),
        .is_dualstack = flag(params, "UseDualStack"),
        .s3_addressing = flag(params, "ForcePathStyle") ? S3_ADDRESSING_PATH : S3_ADDRESSING_VIRTUAL,
    };
    AUTO(buffer) struct buffer url;
    AUTO(buffer) struct buffer path;
    struct error err = {0};
    buffer_init(&url, URL_MAXIMUM);
    buffer_init(&path, URL_MAXIMUM);
    bool is_found = endpoint_url(&settings, service, text(params, "Region"), &url, &err);
    if (is_found != (endpoint != NULL)) {
        fail_msg("%s: %s", name, is_found ? url.ptr : err.text);
    }
    if (!is_found) {
        expect_trouble(name, text(expect, "error"), &err);
        return;
    }
    if (bucket[0] != '\0') {
        endpoint_add_bucket(&settings, bucket, &url, &path);
    }
    buffer_append(&url, buffer_slice(&path));
    if (strcmp(url.ptr, text(endpoint, "url")) != 0) {
        fail_msg("%s: %s, not %s", name, url.ptr, text(endpoint, "url"));
    }
    expect_signing(name, endpoint, service, text(params, "Region"));
}

struct skipped {
    const char *reason; /* NULL ends the list */
    size_t count;
};

static void rules_run(const char *file, enum aws_service service, size_t run_expected, const struct skipped *expected)
{
    cJSON *json = fixture_json(file);
    size_t counts[16] = {0};
    size_t run = 0;
    const cJSON *test;
    cJSON_ArrayForEach(test, cJSON_GetObjectItem(json, "testCases"))
    {
        const cJSON *endpoint = cJSON_GetObjectItem(cJSON_GetObjectItem(test, "expect"), "endpoint");
        const char *reason = unsupported(cJSON_GetObjectItem(test, "params"), text(endpoint, "url"));
        size_t i = 0;
        if (reason == NULL) {
            rule_run(test, service);
            run++;
            continue;
        }
        while (expected[i].reason != NULL && strcmp(expected[i].reason, reason) != 0) {
            i++;
        }
        if (expected[i].reason == NULL) {
            fail_msg("%s: skipped for \"%s\"", text(test, "documentation"), reason);
        }
        counts[i]++;
    }
    (void)printf("%s: %zu cases run\n", file, run);
    for (size_t i = 0; expected[i].reason != NULL; i++) {
        (void)printf("skipped: %zu cases of %s\n", counts[i], expected[i].reason);
        assert_int_equal(counts[i], expected[i].count);
    }
    assert_int_equal(run, run_expected);
    cJSON_Delete(json);
}

static void the_s3_endpoint_rules_come_out(void **state)
{
    (void)state;
    if (!fixture_is_here("s3-endpoints/s3-endpoint-tests.json", "S3 endpoint fixtures, 393 cases")) {
        skip();
    }
    static const struct skipped skipped[] = {
        {"accelerated endpoints", 30},
        {"object lambda", 8},
        {"S3 Express", 115},
        {"bucket ARNs: access points, Outposts, object lambda, multi-region", 88},
        {"Outposts", 11},
        {"no region (ours has a default)", 1},
        {"global endpoints", 33},
        {"custom endpoints with a path", 2},
        {0},
    };
    rules_run("s3-endpoints/s3-endpoint-tests.json", AWS_S3, 105, skipped);
}

static void the_sts_endpoint_rules_come_out(void **state)
{
    (void)state;
    if (!fixture_is_here("s3-endpoints/sts-endpoint-tests.json", "STS endpoint fixtures, 69 cases")) {
        skip();
    }
    static const struct skipped skipped[] = {
        {"no region (ours has a default)", 3},
        {"global endpoints", 17},
        {0},
    };
    rules_run("s3-endpoints/sts-endpoint-tests.json", AWS_STS, 49, skipped);
}

static void a_bucket_stands_before_a_host_only_where_it_can(void **state)
{
    (void)state;
    if (!fixture_is_here("s3-endpoints/functions/is-virtual-hostable-s3-bucket.json",
                         "bucket name fixtures, 15 cases")) {
        skip();
    }
    cJSON *json = fixture_json("s3-endpoints/functions/is-virtual-hostable-s3-bucket.json");
    size_t run = 0;
    const cJSON *test;
    cJSON_ArrayForEach(test, cJSON_GetObjectItem(json, "testCases"))
    {
        const char *bucket = text(cJSON_GetObjectItem(test, "params"), "BucketName");
        const char *url = text(cJSON_GetObjectItem(cJSON_GetObjectItem(test, "expect"), "endpoint"), "url");
        if (bucket_name_is_hostable(bucket, true) != (url[0] != '\0') ||
            bucket_name_is_hostable(bucket, false) != (strncmp(url, "https:", 6) == 0)) {
            fail_msg("%s", text(test, "documentation"));
        }
        run++;
    }
    assert_int_equal(run, 15);
    cJSON_Delete(json);
}

/* Ours takes no path, which the rules allow. */
static void the_custom_endpoints_that_are_none_are_refused(void **state)
{
    (void)state;
    if (!fixture_is_here("s3-endpoints/functions/parse-url.json", "URL fixtures, 14 cases")) {
        skip();
    }
    cJSON *json = fixture_json("s3-endpoints/functions/parse-url.json");
    size_t run = 0;
    size_t paths = 0;
    const cJSON *test;
    cJSON_ArrayForEach(test, cJSON_GetObjectItem(json, "testCases"))
    {
        const char *url = text(cJSON_GetObjectItem(test, "params"), "Endpoint");
        const char *path = strchr(strstr(url, "://") + 3, '/');
        bool is_valid = cJSON_GetObjectItem(cJSON_GetObjectItem(test, "expect"), "error") == NULL;
        struct error err;
        if (is_valid && path != NULL && path[1] != '\0') {
            paths++;
            continue;
        }
        if (endpoint_check(url, &err) != is_valid) {
            fail_msg("%s: %s", text(test, "documentation"), url);
        }
        run++;
    }
    (void)printf("skipped: %zu cases of custom endpoints with a path\n", paths);
    assert_int_equal(run, 9);
    assert_int_equal(paths, 5);
    cJSON_Delete(json);
}

static void the_region_labels_of_the_rules_are_known(void **state)
{
    (void)state;
    if (!fixture_is_here("s3-endpoints/functions/valid-hostlabel.json", "host label fixtures, 5 cases")) {
        skip();
    }
    cJSON *json = fixture_json("s3-endpoints/functions/valid-hostlabel.json");
    size_t run = 0;
    const cJSON *test;
    cJSON_ArrayForEach(test, cJSON_GetObjectItem(json, "testCases"))
    {
        const char *region = text(cJSON_GetObjectItem(test, "params"), "Region");
        const cJSON *endpoint = cJSON_GetObjectItem(cJSON_GetObjectItem(test, "expect"), "endpoint");
        /* A region with a dot would be two labels; none has one. */
        bool is_label = endpoint != NULL && strstr(text(endpoint, "url"), "-subdomains") == NULL;
        assert_int_equal(region_is_valid(region), is_label);
        run++;
    }
    assert_int_equal(run, 5);
    cJSON_Delete(json);
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
        assert_string_equal(partition->dualstack_suffix, text(outputs, "dualStackDnsSuffix"));
        /* No table of who has what: everybody has both, but for S3 in China, which is a rule of S3's own. */
        assert_true(flag(outputs, "supportsFIPS") && flag(outputs, "supportsDualStack"));
        cJSON_ArrayForEach(region, cJSON_GetObjectItem(known, "regions"))
        {
            if (ends_with(region->string, "-global")) {
                continue; /* a name for what has no region */
            }
            assert_true(region_is_valid(region->string));
            assert_null(cJSON_GetObjectItem(region, "supportsFIPS"));
            assert_null(cJSON_GetObjectItem(region, "supportsDualStack"));
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
        cmocka_unit_test(fips_and_dual_stack_have_hosts_of_their_own),
        cmocka_unit_test(settings_that_contradict_are_refused_at_once),
        cmocka_unit_test(a_bucket_goes_where_the_addressing_says),
        cmocka_unit_test(the_s3_endpoint_rules_come_out),
        cmocka_unit_test(the_sts_endpoint_rules_come_out),
        cmocka_unit_test(a_bucket_stands_before_a_host_only_where_it_can),
        cmocka_unit_test(the_custom_endpoints_that_are_none_are_refused),
        cmocka_unit_test(the_region_labels_of_the_rules_are_known),
        cmocka_unit_test(every_known_region_is_in_its_partition),
    };
    return cmocka_run_group_tests_name("endpoint", tests, NULL, NULL);
}
