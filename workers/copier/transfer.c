#include "workers/copier/transfer.h"

#include "workers/copier/judge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the object was copied from, in the metadata of objects whose ETag cannot tell: so that the next deployment finds
 * it unchanged. */
static const char source_header[] = "x-amz-meta-tagfleet-source";

struct transfer {
    const struct transfer_shared *shared;
    const struct job *job;
    const struct copy_object *object;
    struct credentials *writer;
    struct credentials *reader;
    int64_t deadline_ms;
    bool may_read_target;
    char *key;
    struct source_wait *source_wait;
    struct source *source; /* NULL: not needed */
    struct s3_call *call;
    struct multipart *multipart;
    struct relay_copy *relay_copy;
    struct transfer_result result;
    char *etag;
    char *version;
    char checksum[96];
    transfer_done *done;
    transfer_expired *expired;
    void *context;
};

/* --- beginning and ending --- */

static void transfer_free(struct transfer *transfer)
{
    source_wait_cancel(transfer->source_wait);
    source_release(transfer->source);
    s3_cancel(transfer->call);
    multipart_cancel(transfer->multipart);
    relay_cancel(transfer->relay_copy);
    credentials_free(transfer->writer);
    credentials_free(transfer->reader);
    free(transfer->key);
    free(transfer->etag);
    free(transfer->version);
    free(transfer);
}

void transfer_cancel(struct transfer *transfer)
{
    if (transfer != NULL) {
        transfer_free(transfer);
    }
}

static void transfer_end(struct transfer *transfer)
{
    struct transfer_result result = transfer->result;
    transfer_done *done = transfer->done;
    void *context = transfer->context;
    if (result.err.action == ERROR_NONE) {
        result.etag = transfer->etag;
        result.version = transfer->version;
        result.checksum = transfer->checksum[0] != '\0' ? transfer->checksum : NULL;
    }
    transfer->result = result;
    done(context, &result);
    transfer_free(transfer);
}

static void transfer_fail(struct transfer *transfer, const struct aws_result *result)
{
    transfer->result.err = result->err;
    transfer->result.failure = result->failure;
    transfer->result.may_have_written = transfer->result.may_have_written || result->failure.is_uncertain;
    transfer_end(transfer);
}

static struct s3_subject transfer_target(const struct transfer *transfer)
{
    return (struct s3_subject){
        .bucket = {transfer->object->rule->target_bucket, transfer->job->region, transfer->job->account},
        .key = transfer->key,
        .credentials = transfer->writer,
        .deadline_ms = transfer->deadline_ms,
        .is_region_fixed = !transfer->shared->follows_region,
    };
}

static struct s3_subject transfer_source(const struct transfer *transfer)
{
    return (struct s3_subject){
        .bucket = {transfer->object->rule->source_bucket, transfer->job->source_region, transfer->job->source_owner},
        .key = transfer->object->source->key,
        .credentials = transfer->reader,
        .deadline_ms = transfer->deadline_ms,
    };
}

/* --- what is to be written --- */

static bool transfer_is_relayed(const struct transfer *transfer)
{
    return transfer->job->mode == JOB_RELAY;
}

static bool transfer_is_multipart(const struct transfer *transfer)
{
    return transfer->object->source->size_bytes > transfer->shared->multipart_threshold_bytes;
}

static const char *transfer_cache_control(const struct transfer *transfer)
{
    const struct job *job = transfer->job;
    size_t length = strlen(transfer->key);
    for (size_t i = 0; i < job->cache_control.count; i++) {
        const struct job_cache_control *rule = (const struct job_cache_control *)job->cache_control.items + i;
        size_t suffix = strlen(rule->suffix);
        if (length >= suffix && strcmp(transfer->key + length - suffix, rule->suffix) == 0) {
            return rule->value;
        }
    }
    return NULL;
}

/* Content headers and metadata have to be said again where S3 does not take them over by itself. */
static bool transfer_says_attributes(const struct transfer *transfer)
{
    return transfer_is_relayed(transfer) || transfer_is_multipart(transfer) || transfer_cache_control(transfer) != NULL;
}

static const char *object_sha256(const struct copy_object *object)
{
    return object->named != NULL ? object->named->sha256 : NULL;
}

static struct s3_write transfer_write(const struct transfer *transfer, struct headers *attributes)
{
    const struct job *job = transfer->job;
    const struct copy_object *object = transfer->object;
    struct s3_write write = {
        .encryption = job->encryption != JOB_ENCRYPTION_OF_BUCKET ? job_encryption_names[job->encryption] : NULL,
        .kms_key = job->kms_key,
        .is_bucket_key = job->bucket_key,
        .storage_class = job->storage_class,
        .acl = job->acl,
        .is_new_only = job->new_only,
        .checksum = object_sha256(object) != NULL && !transfer_is_multipart(transfer) ? "SHA256" : NULL,
    };
    if (!transfer_says_attributes(transfer)) {
        return write;
    }
    headers_add_all(attributes, &transfer->source->attributes);
    headers_set(attributes, "cache-control", transfer_cache_control(transfer));
    write.attributes = attributes;
    if (transfer_is_relayed(transfer) || transfer_is_multipart(transfer)) {
        write.tags = transfer->source->tags;
        headers_set(attributes, source_header, object->source->etag);
    }
    return write;
}

/* --- comparing --- */

static struct judge_side source_side(const struct transfer *transfer)
{
    const struct s3_object *source = transfer->object->source;
    struct judge_side side = {.size_bytes = source->size_bytes, .etag = source->etag};
    if (transfer->source != NULL) {
        side.checksums = transfer->source->checksums;
    }
    return side;
}

static struct judgement transfer_judge(struct transfer *transfer, const struct s3_answer *answer, int64_t size_bytes)
{
    struct judge_side source = source_side(transfer);
    struct judge_side target = {size_bytes, answer->etag, answer->checksums};
    struct judgement judgement = judge(&source, &target, object_sha256(transfer->object));
    transfer->result.check = judgement.check;
    (void)snprintf(transfer->checksum, sizeof(transfer->checksum), "%s", judgement.checksum);
    return judgement;
}

static void transfer_keep(struct transfer *transfer, const struct s3_answer *answer)
{
    free(transfer->etag);
    free(transfer->version);
    transfer->etag = text_copy(answer->etag);
    transfer->version = text_copy_or_null(answer->version_id);
}

/* What was written is not what was meant: the round is made again, from fresh listings. */
static void transfer_end_different(struct transfer *transfer, const struct judgement *judgement)
{
    transfer->result.may_have_written = true;
    transfer->result.failure.kind = FAILURE_PRECONDITION;
    (void)error_set(&transfer->result.err, ERROR_RETRY, "s3://%s/%s %s", transfer->object->rule->target_bucket,
                    transfer->key, judgement->reason);
    transfer_end(transfer);
}

static void transfer_checked(void *context, struct s3_answer *answer)
{
    struct transfer *transfer = context;
    const struct aws_result *result = answer->result;
    transfer->call = NULL;
    transfer->result.attempts += result->attempts;
    if (result->err.action == ERROR_RETRY) {
        transfer->result.may_have_written = true;
        transfer_fail(transfer, result);
        return;
    }
    if (result->err.action != ERROR_NONE) {
        /* It may write here, but not read: what S3 answered to the copy is all that can be had. */
        transfer->result.target_is_opaque = result->failure.kind == FAILURE_ACCESS_DENIED;
        transfer_end(transfer);
        return;
    }
    struct judgement judgement = transfer_judge(transfer, answer, answer->size_bytes);
    if (judgement.verdict == JUDGE_DIFFERENT) {
        transfer_end_different(transfer, &judgement);
        return;
    }
    transfer_end(transfer);
}

/* --- copying --- */

static void transfer_diagnosed(void *context, struct s3_answer *answer)
{
    struct transfer *transfer = context;
    const struct copy_object *object = transfer->object;
    bool is_source = answer->result->failure.kind == FAILURE_ACCESS_DENIED;
    AUTO(text) char *words = text_copy(transfer->result.err.text);
    transfer->call = NULL;
    if (is_source) {
        (void)error_set(&transfer->result.err, ERROR_REJECT,
                        "%.120s may not read bucket %.80s: add it to the bucket's policy (s3:GetObject), and to the "
                        "key's policy (kms:Decrypt) where the bucket is encrypted with KMS: %.220s",
                        transfer->writer->origin, object->rule->source_bucket, words);
    } else if (answer->result->err.action == ERROR_NONE) {
        (void)error_set(&transfer->result.err, ERROR_REJECT,
                        "%.120s may not write bucket %.80s: its own policy must allow s3:PutObject there, and the "
                        "key's policy kms:GenerateDataKey where the bucket is encrypted with KMS: %.220s",
                        transfer->writer->origin, object->rule->target_bucket, words);
    }
    transfer_end(transfer);
}

/* A copy was denied: which of the two sides was it? */
static void transfer_diagnose(struct transfer *transfer, const struct aws_result *result)
{
    struct s3_subject source = transfer_source(transfer);
    transfer->result.err = result->err;
    transfer->result.failure = result->failure;
    transfer->call = s3_head_object(transfer->shared->client, &source, NULL, transfer_diagnosed, transfer);
}

/* Nothing may be overwritten, and something is there: the same, as a repeated request finds it? */
static void transfer_present(void *context, struct s3_answer *answer)
{
    struct transfer *transfer = context;
    const struct copy_object *object = transfer->object;
    const struct aws_result *result = answer->result;
    transfer->call = NULL;
    if (result->err.action == ERROR_NONE &&
        transfer_judge(transfer, answer, answer->size_bytes).verdict == JUDGE_SAME) {
        transfer->result.err = (struct error){0};
        transfer->result.failure = (struct failure){0};
        transfer->result.is_unchanged = true;
        transfer_keep(transfer, answer);
    } else if (result->failure.kind != FAILURE_NO_KEY) {
        transfer->result.failure.kind = FAILURE_INVALID;
        (void)error_set(&transfer->result.err, ERROR_REJECT,
                        "s3://%.80s/%.200s is there already with other content, and new_only forbids to overwrite it",
                        object->rule->target_bucket, transfer->key);
    }
    transfer_end(transfer);
}

static void transfer_look_at_present(struct transfer *transfer, const struct aws_result *result)
{
    struct s3_subject target = transfer_target(transfer);
    transfer->result.err = result->err;
    transfer->result.failure = result->failure;
    transfer->call = s3_head_object(transfer->shared->client, &target, NULL, transfer_present, transfer);
}

static void transfer_copied(void *context, struct s3_answer *answer)
{
    struct transfer *transfer = context;
    const struct aws_result *result = answer->result;
    transfer->call = NULL;
    transfer->multipart = NULL;
    transfer->relay_copy = NULL;
    transfer->result.attempts += result->attempts;
    if (result->failure.kind == FAILURE_ACCESS_DENIED && !transfer_is_relayed(transfer)) {
        transfer_diagnose(transfer, result);
        return;
    }
    if (result->failure.kind == FAILURE_PRECONDITION && transfer->job->new_only) {
        transfer_look_at_present(transfer, result);
        return;
    }
    if (result->err.action != ERROR_NONE) {
        transfer_fail(transfer, result);
        return;
    }
    transfer_keep(transfer, answer);
    struct judgement judgement = transfer_judge(transfer, answer, -1);
    if (judgement.verdict == JUDGE_DIFFERENT) {
        transfer_end_different(transfer, &judgement);
    } else if (judgement.verdict == JUDGE_OPEN && transfer->may_read_target) {
        struct s3_subject target = transfer_target(transfer);
        transfer->call = s3_head_object(transfer->shared->client, &target, NULL, transfer_checked, transfer);
    } else {
        transfer_end(transfer);
    }
}

static void transfer_credentials_expired(void *context, const struct credentials *expired)
{
    struct transfer *transfer = context;
    transfer->expired(transfer->context, expired);
}

static struct s3_copy_source transfer_copy_source(const struct transfer *transfer)
{
    const struct s3_subject source = transfer_source(transfer);
    return (struct s3_copy_source){
        .bucket = source.bucket,
        .key = source.key,
        .etag = transfer->object->source->etag[0] != '\0' ? transfer->object->source->etag : NULL,
        .size_bytes = transfer->object->source->size_bytes,
    };
}

static void transfer_copy(struct transfer *transfer)
{
    const struct transfer_shared *shared = transfer->shared;
    AUTO(headers) struct headers attributes = {0};
    struct s3_write write = transfer_write(transfer, &attributes);
    struct s3_subject target = transfer_target(transfer);
    struct s3_copy_source source = transfer_copy_source(transfer);
    if (transfer_is_relayed(transfer)) {
        struct relay_request request = {
            .source = transfer_source(transfer),
            .source_etag = transfer->object->source->etag,
            .source_crc64nvme = transfer->source->checksums.crc64nvme,
            .size_bytes = source.size_bytes,
            .target = target,
            .write = &write,
            .on_expired = transfer_credentials_expired,
        };
        transfer->relay_copy = relay_start(shared->relay, &request, transfer_copied, transfer);
    } else if (transfer_is_multipart(transfer)) {
        struct multipart_request request = {
            .target = target,
            .source = source,
            .write = &write,
            .part_size_bytes = shared->part_size_bytes,
            .parts_at_once = shared->parts_at_once,
            .on_expired = transfer_credentials_expired,
        };
        transfer->multipart = multipart_start(shared->uploads, &request, transfer_copied, transfer);
    } else {
        transfer->call = s3_copy_object(shared->client, &target, &source, &write, transfer_copied, transfer);
    }
}

/* --- looking before copying --- */

static bool target_names_source(const struct transfer *transfer, const struct s3_answer *answer)
{
    const char *named = headers_get(&answer->attributes, source_header);
    return named != NULL && strcmp(named, transfer->object->source->etag) == 0 &&
           answer->size_bytes == transfer->object->source->size_bytes;
}

static void transfer_target_seen(void *context, struct s3_answer *answer)
{
    struct transfer *transfer = context;
    const struct aws_result *result = answer->result;
    transfer->call = NULL;
    transfer->result.attempts += result->attempts;
    if (result->err.action == ERROR_NONE) {
        struct judgement judgement = transfer_judge(transfer, answer, answer->size_bytes);
        bool is_named = judgement.verdict == JUDGE_OPEN && target_names_source(transfer, answer);
        if (judgement.verdict == JUDGE_SAME || is_named) {
            transfer->result.check = is_named ? CHECK_ETAG : judgement.check;
            transfer->result.is_unchanged = true;
            transfer_keep(transfer, answer);
            transfer_end(transfer);
            return;
        }
    }
    transfer->may_read_target = transfer->may_read_target && result->failure.kind != FAILURE_ACCESS_DENIED;
    transfer->result.target_is_opaque = !transfer->may_read_target;
    transfer_copy(transfer);
}

static bool transfer_looks_at_target(const struct transfer *transfer)
{
    return transfer->object->may_be_same && transfer->may_read_target && transfer->object->phase != PHASE_TRIGGER;
}

static void transfer_look_at_target(struct transfer *transfer)
{
    struct s3_subject target = transfer_target(transfer);
    if (!transfer_looks_at_target(transfer)) {
        transfer_copy(transfer);
        return;
    }
    transfer->call = s3_head_object(transfer->shared->client, &target, NULL, transfer_target_seen, transfer);
}

static void transfer_source_seen(void *context, struct source *source, const struct aws_result *result)
{
    struct transfer *transfer = context;
    transfer->source_wait = NULL;
    if (source == NULL) {
        transfer_fail(transfer, result);
        return;
    }
    transfer->source = source_keep(source);
    transfer_look_at_target(transfer);
}

struct transfer *transfer_start(const struct transfer_shared *shared, const struct transfer_request *request,
                                transfer_done *done, transfer_expired *expired, void *context)
{
    struct transfer *transfer = memory_zeroed(1, sizeof(*transfer));
    transfer->shared = shared;
    transfer->job = request->job;
    transfer->object = request->object;
    transfer->writer = credentials_copy(request->writer);
    transfer->reader = credentials_copy(request->reader);
    transfer->deadline_ms = request->deadline_ms;
    transfer->may_read_target = request->may_read_target;
    transfer->key = copy_object_key(request->object);
    transfer->done = done;
    transfer->expired = expired;
    transfer->context = context;
    if (!transfer_says_attributes(transfer) && !transfer_looks_at_target(transfer)) {
        transfer_copy(transfer);
        return transfer;
    }
    struct s3_subject subject = transfer_source(transfer);
    struct source_request source = {
        .kind = SOURCE_OBJECT,
        .bucket = subject.bucket,
        .key = subject.key,
        .etag = request->object->source->etag,
        .credentials = transfer->reader,
        .deadline_ms = transfer->deadline_ms,
    };
    transfer->source_wait = sources_get(shared->sources, &source, transfer_source_seen, transfer);
    return transfer;
}

void transfer_renew(struct transfer *transfer, const struct credentials *writer)
{
    credentials_free(transfer->writer);
    transfer->writer = credentials_copy(writer);
    if (transfer->multipart != NULL) {
        multipart_renew(transfer->multipart, writer);
    }
    if (transfer->relay_copy != NULL) {
        relay_renew(transfer->relay_copy, writer);
    }
}
