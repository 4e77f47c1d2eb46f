#include "tests/support/s3_calls.h"

#include "tests/support/unit.h"
#include "workers/common/aws/listing.h"
#include "workers/common/aws/sts.h"

#include <dirent.h>
#include <stdio.h>

enum { PART_ATTEMPTS = 8 };

static struct s3_subject subject_of(const struct s3_call_case *call)
{
    return (struct s3_subject){
        .bucket = {.name = call->bucket, .region = "us-east-1"},
        .key = "in/a b.bin",
        .credentials = call->aws->key,
        .deadline_ms = call->deadline_ms,
        .is_region_fixed = call->is_region_fixed,
    };
}

static const struct s3_copy_source copied = {
    .bucket = {.name = "main", .region = "us-east-1"}, .key = "a.bin", .etag = "\"e0\"", .size_bytes = 17};
static const struct s3_body sent = {.bytes = {"seventeen bytes!!", 17}};
static const struct s3_write plain;

static void end(struct s3_ending *ending, const struct aws_result *result, bool has_answer)
{
    ending->is_done = true;
    ending->calls++;
    ending->err = result->err;
    ending->failure = result->failure;
    ending->attempts = result->attempts;
    ending->has_answer = has_answer;
    (void)snprintf(ending->region, sizeof(ending->region), "%s", result->region);
}

static void s3_ended(void *context, struct s3_answer *answer)
{
    struct s3_ending *ending = context;
    end(ending, answer->result, answer->etag != NULL);
    (void)snprintf(ending->etag, sizeof(ending->etag), "%s", answer->etag != NULL ? answer->etag : "");
}

static void list_ended(void *context, struct s3_list_result *result)
{
    end(context, result->result, result->listing != NULL);
}

static void role_assumed(void *context, struct sts_result *result)
{
    end(context, result->result, result->credentials != NULL);
}

static void start_copy(struct s3_call_case *call)
{
    struct s3_subject subject = subject_of(call);
    (void)s3_copy_object(call->aws->client, &subject, &copied, &plain, s3_ended, &call->ending);
}

static void start_copy_part(struct s3_call_case *call)
{
    struct s3_subject subject = subject_of(call);
    (void)s3_upload_part_copy(call->aws->client, &subject, "U1", 2, &copied, 0, 17, s3_ended, &call->ending);
}

static void start_send_part(struct s3_call_case *call)
{
    struct s3_subject subject = subject_of(call);
    (void)s3_upload_part(call->aws->client, &subject, "U1", 1, &sent, s3_ended, &call->ending);
}

static void start_create(struct s3_call_case *call)
{
    struct s3_subject subject = subject_of(call);
    (void)s3_create_upload(call->aws->client, &subject, &plain, s3_ended, &call->ending);
}

static void start_complete(struct s3_call_case *call)
{
    struct s3_subject subject = subject_of(call);
    const char *etags[] = {"\"p1\"", "\"p2\""};
    (void)s3_complete_upload(call->aws->client, &subject, "U1", etags, 2, &plain, s3_ended, &call->ending);
}

static void start_abort(struct s3_call_case *call)
{
    struct s3_subject subject = subject_of(call);
    (void)s3_abort_upload(call->aws->client, &subject, "U1", s3_ended, &call->ending);
}

static void start_uploads(struct s3_call_case *call)
{
    struct s3_subject subject = subject_of(call);
    (void)s3_list_uploads(call->aws->client, &subject, s3_ended, &call->ending);
}

static void start_head(struct s3_call_case *call)
{
    struct s3_subject subject = subject_of(call);
    (void)s3_head_object(call->aws->client, &subject, NULL, s3_ended, &call->ending);
}

static void start_get_range(struct s3_call_case *call)
{
    struct s3_subject subject = subject_of(call);
    (void)s3_get_object(call->aws->client, &subject, "\"e1\"", 0, 17, s3_ended, &call->ending);
}

static void start_get(struct s3_call_case *call)
{
    struct s3_subject subject = subject_of(call);
    (void)s3_get_object(call->aws->client, &subject, NULL, -1, -1, s3_ended, &call->ending);
}

static void start_put(struct s3_call_case *call)
{
    struct s3_subject subject = subject_of(call);
    (void)s3_put_object(call->aws->client, &subject, &sent, &plain, s3_ended, &call->ending);
}

static void start_tags(struct s3_call_case *call)
{
    struct s3_subject subject = subject_of(call);
    (void)s3_get_tags(call->aws->client, &subject, s3_ended, &call->ending);
}

static void start_list(struct s3_call_case *call)
{
    struct s3_subject subject = subject_of(call);
    struct s3_list_request request = {
        .bucket = subject.bucket,
        .prefix = "builds/",
        .objects_maximum = 10,
        .credentials = subject.credentials,
        .deadline_ms = subject.deadline_ms,
        .is_region_fixed = subject.is_region_fixed,
    };
    (void)s3_list_objects(call->aws->client, &request, list_ended, &call->ending);
}

static void start_assume(struct s3_call_case *call)
{
    struct sts_assume_role_request request = {
        .region = "us-east-1",
        .role_arn = "arn:aws:iam::222222222222:role/tagfleet",
        .session_name = "session",
        .caller = call->aws->key,
        .deadline_ms = call->deadline_ms,
    };
    (void)sts_assume_role(call->aws->client, &request, role_assumed, &call->ending);
}

#define ANSWER(text)                                                                                                   \
    {                                                                                                                  \
        .status = 200, .body = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n" text                                     \
    }
#define XMLNS " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""

const struct s3_call_kind s3_call_kinds[] = {
    {"CopyObject", start_copy, ANSWER("<CopyObjectResult" XMLNS "><ETag>&quot;e1&quot;</ETag></CopyObjectResult>"),
     SCRIPTED_ATTEMPTS, .is_document = true, .has_region = true},
    {"UploadPartCopy", start_copy_part, ANSWER("<CopyPartResult" XMLNS "><ETag>&quot;e1&quot;</ETag></CopyPartResult>"),
     PART_ATTEMPTS, .is_document = true, .has_region = true},
    {"UploadPart", start_send_part, {.status = 200, .headers = "ETag: \"e1\"\r\n"}, PART_ATTEMPTS, .has_region = true},
    {"CreateMultipartUpload", start_create,
     ANSWER("<InitiateMultipartUploadResult" XMLNS "><UploadId>U1</UploadId></InitiateMultipartUploadResult>"),
     SCRIPTED_ATTEMPTS, .is_document = true, .has_region = true},
    {"CompleteMultipartUpload", start_complete,
     ANSWER("<CompleteMultipartUploadResult" XMLNS "><ETag>\"e1\"</ETag></CompleteMultipartUploadResult>"),
     PART_ATTEMPTS, .is_document = true, .has_region = true},
    {"AbortMultipartUpload",
     start_abort,
     {.status = 204, .headers = "Content-Length: 0\r\n"},
     SCRIPTED_ATTEMPTS,
     .has_region = true},
    {"ListMultipartUploads", start_uploads,
     ANSWER("<ListMultipartUploadsResult" XMLNS "><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>"),
     SCRIPTED_ATTEMPTS, .is_document = true, .has_region = true},
    {"HeadObject",
     start_head,
     {.status = 200, .headers = "ETag: \"e1\"\r\nContent-Length: 17\r\nx-amz-meta-a: b\r\n"},
     SCRIPTED_ATTEMPTS,
     .is_head = true,
     .has_region = true},
    {"GetObject of a range",
     start_get_range,
     {.status = 206, .headers = "ETag: \"e1\"\r\nContent-Range: bytes 0-16/99\r\n", .body = "seventeen bytes!!"},
     SCRIPTED_ATTEMPTS,
     .is_opaque = true,
     .has_region = true},
    {"GetObject",
     start_get,
     {.status = 200, .headers = "ETag: \"e1\"\r\n", .body = "{\"files\": []}"},
     SCRIPTED_ATTEMPTS,
     .has_region = true},
    {"PutObject", start_put, {.status = 200, .headers = "ETag: \"e1\"\r\n"}, SCRIPTED_ATTEMPTS, .has_region = true},
    {"GetObjectTagging", start_tags,
     ANSWER("<Tagging" XMLNS "><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"), SCRIPTED_ATTEMPTS,
     .is_document = true, .has_region = true},
    {"ListObjectsV2", start_list,
     ANSWER("<ListBucketResult" XMLNS "><IsTruncated>false</IsTruncated><Contents><Key>builds/a</Key><Size>1</Size>"
            "</Contents></ListBucketResult>"),
     SCRIPTED_ATTEMPTS, .is_document = true, .has_region = true},
    {"AssumeRole", start_assume,
     ANSWER("<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>"
            "<AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>"
            "<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"),
     SCRIPTED_ATTEMPTS, .is_document = true},
};

const size_t s3_call_kind_count = sizeof(s3_call_kinds) / sizeof(s3_call_kinds[0]);

void s3_call_play(const struct s3_call_kind *kind, struct s3_call_case *call)
{
    call->ending = (struct s3_ending){0};
    call->bucket = call->bucket != NULL ? call->bucket : "tenant";
    kind->start(call);
    assert_false(call->ending.is_done);
    loop_until(call->aws->loop, &call->ending.is_done);
    assert_int_equal(call->ending.calls, 1);
    assert_int_equal(call->ending.has_answer, call->ending.err.action == ERROR_NONE);
}

size_t descriptors_open(void)
{
    size_t count = 0;
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    while (readdir(folder) != NULL) {
        count++;
    }
    closedir(folder);
    return count;
}
