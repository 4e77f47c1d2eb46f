#include "workers/common/aws/upload.h"

#include "workers/common/aws/kept.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/log.h"

#include <openssl/rand.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ABORT_TIMEOUT_MS = 60000,
    ABORT_ATTEMPTS = 5,
    ABORT_PAUSE_MS = 5000,
    TOKEN_BYTES = 16,
    TOKEN_SIZE = 2 * TOKEN_BYTES + 1,
    PART_SIZE_STEP = 1 << 20,
};

static const char token_header[] = "x-amz-meta-tagfleet-upload";

/* An upload that nobody wants any more. */
struct orphan {
    struct uploads *uploads;
    struct orphan *next;
    struct orphan **link;
    char *bucket;
    char *region;
    char *owner;
    char *key;
    char *upload_id;
    struct credentials *credentials;
    struct s3_call *call;
    struct loop_timer *timer;
    unsigned attempts;
    bool is_region_fixed;
    bool needs_repeat; /* a part that is on its way may arrive after the first abort (S3 API, AbortMultipartUpload) */
};

struct uploads {
    struct aws_client *client;
    struct orphan *orphans;
    struct upload *abandoned; /* whose ids are not known yet */
};

struct part {
    struct upload *upload;
    struct s3_call *call;
    s3_done *done;
    void *context;
    char *etag;
};

struct upload {
    struct uploads *uploads;
    struct s3_subject target; /* its texts and credentials are ours */
    struct s3_write write;    /* its texts too */
    struct headers attributes;
    char token[TOKEN_SIZE];
    int64_t size_bytes;
    struct s3_call *call;
    char *upload_id;
    struct part *parts;
    size_t part_count;
    bool is_creating;
    bool is_abandoned; /* freed while it was being created */
    bool is_completed;
    struct upload *next_abandoned;
    struct aws_result refused; /* of a completion that may have been carried out before */
    s3_done *done;
    void *context;
};

/* --- orphans --- */

static void orphan_free(struct orphan *orphan)
{
    *orphan->link = orphan->next;
    if (orphan->next != NULL) {
        orphan->next->link = orphan->link;
    }
    s3_cancel(orphan->call);
    loop_timer_cancel(aws_client_loop(orphan->uploads->client), orphan->timer);
    credentials_free(orphan->credentials);
    free(orphan->bucket);
    free(orphan->region);
    free(orphan->owner);
    free(orphan->key);
    free(orphan->upload_id);
    free(orphan);
}

static void orphan_abort(void *context);

static void orphan_aborted(void *context, struct s3_answer *answer)
{
    struct orphan *orphan = context;
    const struct aws_result *result = answer->result;
    orphan->call = NULL;
    bool is_gone = result->err.action == ERROR_NONE || result->failure.kind == FAILURE_NO_UPLOAD ||
                   result->failure.kind == FAILURE_NO_BUCKET;
    if (result->err.action == ERROR_NONE && orphan->needs_repeat) {
        orphan->needs_repeat = false;
        orphan->timer = loop_after(aws_client_loop(orphan->uploads->client), ABORT_PAUSE_MS, orphan_abort, orphan);
        return;
    }
    if (!is_gone && result->err.action == ERROR_RETRY && ++orphan->attempts < ABORT_ATTEMPTS) {
        orphan->timer = loop_after(aws_client_loop(orphan->uploads->client), ABORT_PAUSE_MS, orphan_abort, orphan);
        return;
    }
    if (!is_gone) {
        bool is_denied = result->failure.kind == FAILURE_ACCESS_DENIED;
        log_event(LOG_WARNING, "left an upload open", "bucket", orphan->bucket, "key", orphan->key, "upload",
                  orphan->upload_id, "reason", result->err.text, "advice",
                  is_denied ? "the role needs s3:AbortMultipartUpload; until then a lifecycle rule of the bucket can "
                              "remove what is left, which costs money"
                            : NULL,
                  NULL);
    }
    orphan_free(orphan);
}

static struct s3_call *orphan_send(struct orphan *orphan, struct aws_client *client, s3_done *done)
{
    struct s3_subject subject = {
        .bucket = {orphan->bucket, orphan->region, orphan->owner},
        .key = orphan->key,
        .credentials = orphan->credentials,
        .deadline_ms = clock_monotonic_ms() + ABORT_TIMEOUT_MS,
        .is_region_fixed = orphan->is_region_fixed,
    };
    return s3_abort_upload(client, &subject, orphan->upload_id, done, orphan);
}

static void orphan_abort(void *context)
{
    struct orphan *orphan = context;
    orphan->timer = NULL;
    orphan->call = orphan_send(orphan, orphan->uploads->client, orphan_aborted);
}

static void uploads_abort(struct uploads *uploads, const struct s3_subject *target, const char *upload_id,
                          bool has_parts_in_flight)
{
    struct orphan *orphan = memory_zeroed(1, sizeof(*orphan));
    orphan->uploads = uploads;
    orphan->next = uploads->orphans;
    orphan->link = &uploads->orphans;
    if (orphan->next != NULL) {
        orphan->next->link = &orphan->next;
    }
    uploads->orphans = orphan;
    orphan->bucket = text_copy(target->bucket.name);
    orphan->region = text_copy(target->bucket.region);
    orphan->owner = text_copy_or_null(target->bucket.owner);
    orphan->key = text_copy(target->key);
    orphan->upload_id = text_copy(upload_id);
    orphan->is_region_fixed = target->is_region_fixed;
    orphan->needs_repeat = has_parts_in_flight;
    orphan->credentials = credentials_copy(target->credentials);
    orphan_abort(orphan);
}

struct uploads *uploads_new(struct aws_client *client)
{
    struct uploads *uploads = memory_zeroed(1, sizeof(*uploads));
    uploads->client = client;
    return uploads;
}

void uploads_free(struct uploads *uploads, int64_t at_most_ms)
{
    if (uploads == NULL) {
        return;
    }
    while (uploads->abandoned != NULL) {
        struct upload *upload = uploads->abandoned;
        uploads->abandoned = upload->next_abandoned;
        upload->is_creating = false;
        upload_free(upload);
    }
    /* A turn of the client's loop would call back others, who are going just now: the last aborts get a loop alone. */
    struct loop *loop = loop_new(NULL);
    struct aws_client *client = aws_client_copy(uploads->client, loop);
    struct uploads last = {.client = client, .orphans = uploads->orphans};
    if (last.orphans != NULL) {
        last.orphans->link = &last.orphans;
    }
    for (struct orphan *orphan = last.orphans; orphan != NULL; orphan = orphan->next) {
        s3_cancel(orphan->call);
        loop_timer_cancel(aws_client_loop(uploads->client), orphan->timer);
        orphan->uploads = &last;
        orphan->needs_repeat = false;
        orphan_abort(orphan);
    }
    int64_t end_ms = clock_monotonic_ms() + at_most_ms;
    while (last.orphans != NULL && clock_monotonic_ms() < end_ms) {
        loop_turn(loop, end_ms - clock_monotonic_ms());
    }
    while (last.orphans != NULL) {
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): those before were unlinked before they were freed.
        log_event(LOG_WARNING, "left an upload open", "bucket", last.orphans->bucket, "key", last.orphans->key,
                  "upload", last.orphans->upload_id, "reason", "the process ended first", NULL);
        orphan_free(last.orphans);
    }
    aws_client_free(client);
    loop_free(loop);
    free(uploads);
}

/* --- opening --- */

static void upload_answer(struct upload *upload, struct s3_answer *answer)
{
    s3_done *done = TAKE(upload->done);
    done(upload->context, answer);
}

/* The store may open it yet, and it can only be aborted by its id: the answer is waited for. */
static void upload_abandon(struct upload *upload)
{
    upload->is_abandoned = true;
    upload->next_abandoned = upload->uploads->abandoned;
    upload->uploads->abandoned = upload;
}

static void upload_created(void *context, struct s3_answer *answer)
{
    struct upload *upload = context;
    upload->call = NULL;
    upload->is_creating = false;
    if (answer->result->err.action == ERROR_NONE) {
        upload->upload_id = text_copy(answer->upload_id);
    }
    if (upload->is_abandoned) {
        struct upload **link = &upload->uploads->abandoned;
        while (*link != upload) {
            link = &(*link)->next_abandoned;
        }
        *link = upload->next_abandoned;
        upload_free(upload);
        return;
    }
    upload_answer(upload, answer);
}

static void upload_listed(void *context, struct s3_answer *answer)
{
    struct upload *upload = context;
    /* A role that may not list, or a store that cannot: then a dead process's upload stays, which nobody can see. */
    for (size_t i = 0; i < answer->upload_count; i++) {
        uploads_abort(upload->uploads, &upload->target, answer->upload_ids[i], false);
    }
    upload->is_creating = true;
    upload->call = s3_create_upload(upload->uploads->client, &upload->target, &upload->write, upload_created, upload);
}

static void token_make(char ret_token[TOKEN_SIZE])
{
    unsigned char bytes[TOKEN_BYTES];
    if (RAND_bytes(bytes, sizeof(bytes)) != 1) {
        error_out_of_memory();
    }
    for (size_t i = 0; i < sizeof(bytes); i++) {
        (void)snprintf(ret_token + 2 * i, 3, "%02x", bytes[i]);
    }
}

struct upload *upload_open(struct uploads *uploads, const struct upload_request *request, s3_done *opened,
                           void *context)
{
    struct upload *upload = memory_zeroed(1, sizeof(*upload));
    upload->uploads = uploads;
    token_make(upload->token);
    upload->target = s3_subject_keep(&request->target);
    upload->write = s3_write_keep(request->write, &upload->attributes);
    headers_set(&upload->attributes, token_header, upload->token);
    upload->size_bytes = request->size_bytes;
    upload->part_count = request->part_count;
    upload->parts = memory_zeroed(request->part_count, sizeof(*upload->parts));
    for (size_t i = 0; i < request->part_count; i++) {
        upload->parts[i].upload = upload;
    }
    upload->done = opened;
    upload->context = context;
    upload->call = s3_list_uploads(uploads->client, &upload->target, upload_listed, upload);
    return upload;
}

void upload_renew(struct upload *upload, const struct credentials *credentials)
{
    s3_subject_renew(&upload->target, credentials);
}

void upload_free(struct upload *upload)
{
    if (upload == NULL) {
        return;
    }
    if (upload->is_creating) {
        upload_abandon(upload);
        return;
    }
    bool has_parts_in_flight = false;
    s3_cancel(upload->call);
    for (size_t i = 0; i < upload->part_count; i++) {
        has_parts_in_flight = has_parts_in_flight || upload->parts[i].call != NULL;
        s3_cancel(upload->parts[i].call);
        free(upload->parts[i].etag);
    }
    if (upload->upload_id != NULL && !upload->is_completed) {
        uploads_abort(upload->uploads, &upload->target, upload->upload_id, has_parts_in_flight);
    }
    s3_subject_drop(&upload->target);
    s3_write_drop(&upload->write, &upload->attributes);
    free(upload->upload_id);
    free(upload->parts);
    free(upload);
}

/* --- parts --- */

static void part_done(void *context, struct s3_answer *answer)
{
    struct part *part = context;
    part->call = NULL;
    if (answer->result->err.action == ERROR_NONE) {
        free(part->etag);
        part->etag = text_copy(answer->etag);
    }
    part->done(part->context, answer);
}

static struct part *upload_part(struct upload *upload, unsigned number, s3_done *done, void *context)
{
    struct part *part = &upload->parts[number - 1];
    part->done = done;
    part->context = context;
    return part;
}

void upload_send_part(struct upload *upload, unsigned number, const struct s3_body *body, s3_done *done, void *context)
{
    struct part *part = upload_part(upload, number, done, context);
    part->call =
        s3_upload_part(upload->uploads->client, &upload->target, upload->upload_id, number, body, part_done, part);
}

void upload_copy_part(struct upload *upload, unsigned number, const struct s3_copy_source *source, int64_t first_byte,
                      int64_t length_bytes, s3_done *done, void *context)
{
    struct part *part = upload_part(upload, number, done, context);
    part->call = s3_upload_part_copy(upload->uploads->client, &upload->target, upload->upload_id, number, source,
                                     first_byte, length_bytes, part_done, part);
}

/* --- completing --- */

/* The repeated completion met no upload, or the object itself: was the first one carried out? */
static void upload_headed(void *context, struct s3_answer *answer)
{
    struct upload *upload = context;
    struct aws_result result = *answer->result;
    struct s3_answer ended = *answer;
    upload->call = NULL;
    const char *token = headers_get(&answer->attributes, token_header);
    bool is_ours = result.err.action == ERROR_NONE && token != NULL && strcmp(token, upload->token) == 0 &&
                   answer->size_bytes == upload->size_bytes;
    if (is_ours) {
        upload->is_completed = true;
    } else if (upload->refused.failure.kind == FAILURE_PRECONDITION) {
        result = upload->refused;
        ended.etag = NULL;
    } else {
        /* Aborted by somebody, or the answer is not to be had: the copy is made again. */
        result.failure = (struct failure){.kind = FAILURE_NO_UPLOAD, .is_uncertain = true};
        (void)error_set(&result.err, ERROR_RETRY,
                        "CompleteMultipartUpload s3://%s/%s: the upload is gone, and the object is not the one it made",
                        upload->target.bucket.name, upload->target.key);
        ended.etag = NULL;
    }
    ended.result = &result;
    ended.attributes = (struct headers){0}; /* they stay with the head */
    upload_answer(upload, &ended);
}

static void upload_completed(void *context, struct s3_answer *answer)
{
    struct upload *upload = context;
    const struct aws_result *result = answer->result;
    upload->call = NULL;
    if (result->failure.kind == FAILURE_NO_UPLOAD || result->failure.kind == FAILURE_PRECONDITION) {
        upload->refused = *result;
        upload->call = s3_head_object(upload->uploads->client, &upload->target, NULL, upload_headed, upload);
        return;
    }
    upload->is_completed = answer->result->err.action == ERROR_NONE;
    upload_answer(upload, answer);
}

void upload_complete(struct upload *upload, s3_done *done, void *context)
{
    const char **etags = memory_zeroed(upload->part_count, sizeof(*etags));
    for (size_t i = 0; i < upload->part_count; i++) {
        etags[i] = upload->parts[i].etag;
    }
    upload->done = done;
    upload->context = context;
    upload->call = s3_complete_upload(upload->uploads->client, &upload->target, upload->upload_id, etags,
                                      upload->part_count, &upload->write, upload_completed, upload);
    free(etags);
}

int64_t upload_part_size(int64_t size_bytes, int64_t wanted_bytes)
{
    int64_t needed = (size_bytes + S3_PARTS_MAXIMUM - 1) / S3_PARTS_MAXIMUM;
    int64_t size = needed > wanted_bytes ? needed : wanted_bytes;
    size = (size + PART_SIZE_STEP - 1) / PART_SIZE_STEP * PART_SIZE_STEP;
    size = size > S3_PART_MINIMUM_BYTES ? size : S3_PART_MINIMUM_BYTES;
    return size < S3_COPY_MAXIMUM_BYTES ? size : S3_COPY_MAXIMUM_BYTES;
}
