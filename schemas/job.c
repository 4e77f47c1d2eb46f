#include "schemas/job.h"

#include "schemas/json.h"

const char *const job_credentials_names[] = {"assume_role", "profile", NULL};
const char *const job_mode_names[] = {"copy", "relay", NULL};
const char *const job_encryption_names[] = {"default", "AES256", "aws:kms", "aws:kms:dsse", NULL};

static const char *check_key(const char *text)
{
    return strlen(text) <= 1024 ? NULL : "is longer than 1,024 bytes";
}

static const struct field copy_fields[] = {
    MEMBER_TEXT(job_copy, source_bucket, REQUIRED, check_not_empty),
    MEMBER_TEXT(job_copy, source_key, REQUIRED, check_not_empty),
    MEMBER_TEXT(job_copy, target_bucket, REQUIRED, check_not_empty),
    MEMBER_TEXT(job_copy, target_key, REQUIRED, check_key),
    MEMBER_BOOLEAN(job_copy, trigger),
    {0},
};

static const char *check_header_value(const char *text)
{
    for (const char *at = text; *at != '\0'; at++) {
        if (*at < ' ' || *at > '~') {
            return "must be printable ASCII";
        }
    }
    return check_not_empty(text);
}

static const struct field cache_control_fields[] = {
    MEMBER_TEXT(job_cache_control, suffix, REQUIRED, check_key),
    MEMBER_TEXT(job_cache_control, value, REQUIRED, check_header_value),
    {0},
};

static const char *job_check(const void *message)
{
    const struct job *job = message;
    if (job->attempt == 0) {
        return "attempt counts from 1";
    }
    if (job->copies.count == 0) {
        return "copies must not be empty";
    }
    if (job->credentials == JOB_ASSUME_ROLE && job->role == NULL) {
        return "role is missing: credentials are assume_role";
    }
    if (job->credentials == JOB_PROFILE && job->profile == NULL) {
        return "profile is missing: credentials are profile";
    }
    return NULL;
}

static const struct field job_fields[] = {
    MEMBER_TEXT(job, deployment, REQUIRED, check_deployment),
    MEMBER_TEXT(job, account, REQUIRED, check_account),
    MEMBER_TEXT(job, repository, REQUIRED, check_repository),
    MEMBER_TEXT(job, application, REQUIRED, check_not_empty),
    MEMBER_TEXT(job, ref, REQUIRED, check_ref),
    MEMBER_TEXT(job, tag, REQUIRED, check_deploy_tag),
    MEMBER_TEXT(job, version, OPTIONAL, check_not_empty),
    MEMBER_TEXT(job, commit, REQUIRED, check_commit),
    MEMBER_TEXT(job, build, OPTIONAL, check_artifact_name),
    MEMBER_TEXT(job, region, REQUIRED, check_not_empty),
    MEMBER_TEXT(job, source_region, REQUIRED, check_not_empty),
    MEMBER_TEXT(job, source_owner, OPTIONAL, check_account),
    MEMBER_CHOICE(job, credentials, job_credentials_names),
    MEMBER_TEXT(job, role, OPTIONAL, check_not_empty),
    MEMBER_TEXT(job, external_id, OPTIONAL, check_not_empty),
    MEMBER_TEXT(job, profile, OPTIONAL, check_not_empty),
    MEMBER_CHOICE_OR_FIRST(job, mode, job_mode_names),
    MEMBER_CHOICE_OR_FIRST(job, encryption, job_encryption_names),
    MEMBER_TEXT(job, kms_key, OPTIONAL, check_arn),
    MEMBER_BOOLEAN(job, bucket_key),
    MEMBER_TEXT(job, storage_class, OPTIONAL, check_not_empty),
    MEMBER_TEXT(job, acl, OPTIONAL, check_not_empty),
    MEMBER_BOOLEAN(job, new_only),
    MEMBER_TEXT(job, manifest, OPTIONAL, check_not_empty),
    MEMBER_GROUPS(job, cache_control, OPTIONAL, cache_control_fields, job_cache_control),
    MEMBER_INTEGER(job, attempt, REQUIRED),
    MEMBER_TIME(job, accepted, REQUIRED),
    MEMBER_TIME(job, requested, OPTIONAL),
    MEMBER_GROUPS(job, copies, REQUIRED, copy_fields, job_copy),
    {0},
};

const struct codec job_codec = {"tagfleet.job.v1", sizeof(struct job), job_fields, job_check};

bool job_parse(struct slice body, struct job **ret_job, struct error *err)
{
    void *message;
    if (!message_parse(&job_codec, body, &message, err)) {
        return error_prefix(err, "job");
    }
    *ret_job = message;
    return true;
}

void job_format(const struct job *job, struct buffer *buffer)
{
    message_format(&job_codec, job, buffer);
}

void job_free(struct job *job)
{
    message_free(&job_codec, job);
}

bool job_read_id(struct slice body, char **ret_deployment, char **ret_account)
{
    struct error err;
    AUTO(json) cJSON *root = NULL;
    if (!json_parse(body, MESSAGE_MAXIMUM_BYTES, &root, &err)) {
        return false;
    }
    const char *id = json_text(root, "id");
    const char *slash = id != NULL ? strchr(id, '/') : NULL;
    if (slash == NULL || check_account(slash + 1) != NULL) {
        return false;
    }
    char *deployment = slice_copy(slice_from(id, (size_t)(slash - id)));
    if (check_deployment(deployment) != NULL) {
        free(deployment);
        return false;
    }
    *ret_deployment = deployment;
    *ret_account = text_copy(slash + 1);
    return true;
}
