#include "workers/copier/policy.h"

#include "schemas/json.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct job job_with(struct job_copy *copies, size_t count)
{
    return (struct job){
        .region = (char *)"us-gov-west-1", .source_region = (char *)"us-east-1", .copies = {copies, count}};
}

static void a_session_reads_the_sources_and_writes_the_targets_and_nothing_else(void **state)
{
    (void)state;
    struct job_copy copies[] = {
        {(char *)"builds", (char *)"b1/", (char *)"web-2", (char *)"", false},
        {(char *)"builds", (char *)"b1/z", (char *)"arc-2", (char *)"z", true},
    };
    struct job job = job_with(copies, 2);
    struct error err;
    AUTO(buffer) struct buffer policy;
    buffer_init(&policy, 16384);
    assert_true(policy_of_job(&job, true, &policy, &err));
    assert_string_equal(
        policy.ptr,
        "{\"Version\":\"2012-10-17\",\"Statement\":["
        "{\"Effect\":\"Allow\",\"Action\":[\"s3:GetObject\",\"s3:GetObjectTagging\",\"s3:GetObjectVersion\"],"
        "\"Resource\":[\"arn:aws:s3:::builds/*\"]},"
        "{\"Effect\":\"Allow\",\"Action\":\"s3:ListBucket\",\"Resource\":[\"arn:aws:s3:::builds\"]},"
        "{\"Effect\":\"Allow\",\"Action\":[\"s3:GetObject\",\"s3:PutObject\",\"s3:PutObjectTagging\","
        "\"s3:AbortMultipartUpload\"],"
        "\"Resource\":[\"arn:aws-us-gov:s3:::web-2/*\",\"arn:aws-us-gov:s3:::arc-2/*\"]},"
        "{\"Effect\":\"Allow\",\"Action\":[\"s3:ListBucket\",\"s3:ListBucketMultipartUploads\"],"
        "\"Resource\":[\"arn:aws-us-gov:s3:::web-2\",\"arn:aws-us-gov:s3:::arc-2\"]},"
        "{\"Effect\":\"Allow\",\"Action\":[\"kms:Decrypt\",\"kms:GenerateDataKey*\"],\"Resource\":\"*\"}]}");
    buffer_clear(&policy);
    job.acl = (char *)"private";
    assert_true(policy_of_job(&job, false, &policy, &err));
    assert_non_null(strstr(policy.ptr, "\"s3:PutObjectAcl\""));
    assert_null(strstr(policy.ptr, "kms:"));
    AUTO(json) cJSON *json = NULL;
    assert_true(json_parse(buffer_slice(&policy), POLICY_MAXIMUM_BYTES, &json, &err));
}

static void a_policy_that_sts_would_not_take_is_refused_and_says_what_helps(void **state)
{
    (void)state;
    enum { COUNT = 40 };
    struct job_copy copies[COUNT];
    char names[COUNT][64];
    for (size_t i = 0; i < COUNT; i++) {
        (void)snprintf(names[i], sizeof(names[i]), "a-rather-long-name-of-a-bucket-number-%zu", i);
        copies[i] = (struct job_copy){(char *)"builds", (char *)"b1/", names[i], (char *)"", false};
    }
    struct job job = job_with(copies, COUNT);
    struct error err;
    AUTO(buffer) struct buffer policy;
    buffer_init(&policy, 65536);
    assert_false(policy_of_job(&job, true, &policy, &err));
    assert_int_equal(err.action, ERROR_REJECT);
    assert_non_null(strstr(err.text, "copier.session_policy = false"));
}

static void a_name_that_would_widen_the_policy_is_refused(void **state)
{
    (void)state;
    static const char *const names[] = {"*", "a*", "a\"],\"x\":[\"b", "a\\", "", "a/b"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct job_copy copy = {(char *)"builds", (char *)"b1/", (char *)names[i], (char *)"", false};
        struct job job = job_with(&copy, 1);
        struct error err;
        AUTO(buffer) struct buffer policy;
        buffer_init(&policy, 65536);
        assert_false(policy_of_job(&job, true, &policy, &err));
        assert_int_equal(err.action, ERROR_REJECT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_reads_the_sources_and_writes_the_targets_and_nothing_else),
        cmocka_unit_test(a_policy_that_sts_would_not_take_is_refused_and_says_what_helps),
        cmocka_unit_test(a_name_that_would_widen_the_policy_is_refused),
    };
    return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
