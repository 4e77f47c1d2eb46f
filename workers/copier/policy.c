#include "workers/copier/policy.h"

#include "workers/common/aws/endpoint.h"

#include <string.h>

static bool bucket_is_first(const struct job *job, size_t position, bool is_source)
{
    const struct job_copy *copies = job->copies.items;
    const char *name = is_source ? copies[position].source_bucket : copies[position].target_bucket;
    for (size_t i = 0; i < position; i++) {
        if (strcmp(is_source ? copies[i].source_bucket : copies[i].target_bucket, name) == 0) {
            return false;
        }
    }
    return true;
}

/* Buckets (suffix "") or what is in them ("/" and "*"). Names have no character that JSON would have to escape, or S3
 * refuses them. */
static void append_resources(const struct job *job, bool is_source, const char *suffix, struct buffer *policy)
{
    const struct job_copy *copies = job->copies.items;
    const char *partition = partition_of_region(is_source ? job->source_region : job->region)->name;
    const char *comma = "";
    buffer_append_text(policy, "[");
    for (size_t i = 0; i < job->copies.count; i++) {
        if (bucket_is_first(job, i, is_source)) {
            buffer_append_format(policy, "%s\"arn:%s:s3:::%s%s\"", comma, partition,
                                 is_source ? copies[i].source_bucket : copies[i].target_bucket, suffix);
            comma = ",";
        }
    }
    buffer_append_text(policy, "]");
}

static bool names_are_plain(const struct job *job)
{
    const struct job_copy *copies = job->copies.items;
    for (size_t i = 0; i < job->copies.count; i++) {
        if (!bucket_name_is_valid(copies[i].source_bucket, true) || strpbrk(copies[i].source_bucket, "\"\\*") != NULL ||
            !bucket_name_is_valid(copies[i].target_bucket, true) || strpbrk(copies[i].target_bucket, "\"\\*") != NULL) {
            return false;
        }
    }
    return true;
}

bool policy_of_job(const struct job *job, bool has_kms, struct buffer *policy, struct error *err)
{
    static const char allow[] = "{\"Effect\":\"Allow\",\"Action\":";
    size_t before = policy->len;
    if (!names_are_plain(job)) {
        return error_set(err, ERROR_REJECT, "a bucket's name is not one");
    }
    buffer_append_text(policy, "{\"Version\":\"2012-10-17\",\"Statement\":[");
    buffer_append_format(policy,
                         "%s[\"s3:GetObject\",\"s3:GetObjectTagging\",\"s3:GetObjectVersion\"],\"Resource\":", allow);
    append_resources(job, true, "/*", policy);
    buffer_append_format(policy, "},%s\"s3:ListBucket\",\"Resource\":", allow);
    append_resources(job, true, "", policy);
    buffer_append_format(policy, "},%s[\"s3:GetObject\",\"s3:PutObject\",%s\"s3:PutObjectTagging\",", allow,
                         job->acl != NULL ? "\"s3:PutObjectAcl\"," : "");
    buffer_append_text(policy, "\"s3:AbortMultipartUpload\"],\"Resource\":");
    append_resources(job, false, "/*", policy);
    buffer_append_format(policy, "},%s[\"s3:ListBucket\",\"s3:ListBucketMultipartUploads\"],\"Resource\":", allow);
    append_resources(job, false, "", policy);
    if (has_kms) {
        /* Which keys the buckets use by themselves is not known here; the role's own policy and the keys' say which. */
        buffer_append_format(policy, "},%s[\"kms:Decrypt\",\"kms:GenerateDataKey*\"],\"Resource\":\"*\"", allow);
    }
    buffer_append_text(policy, "}]}");
    return (policy->len - before <= POLICY_MAXIMUM_BYTES && !policy->is_overflowed) ||
           error_set(err, ERROR_REJECT,
                     "the job has so many buckets that its session policy is longer than the %d bytes that STS takes: "
                     "use fewer buckets, or set copier.session_policy = false",
                     POLICY_MAXIMUM_BYTES);
}
