#include "workers/common/aws/multipart.h"

#include <stdlib.h>

enum part_state { PART_PENDING, PART_IN_FLIGHT, PART_DONE };

struct copied_part {
    struct multipart *multipart;
    enum part_state state;
    unsigned renewals; /* of the credentials that it was sent with */
};

struct multipart {
    struct upload *upload;
    char *source_bucket;
    char *source_region;
    char *source_owner;
    char *source_key;
    char *source_version;
    char *source_etag;
    int64_t size_bytes;
    int64_t part_size_bytes;
    struct credentials *credentials; /* in use, to tell which have expired */
    unsigned renewals;
    size_t parts_at_once;
    struct copied_part *parts;
    size_t part_count;
    size_t next; /* no part before it is pending */
    size_t in_flight;
    size_t done_count;
    unsigned attempts;
    bool is_open;
    bool is_completing;
    bool awaits_credentials;
    s3_done *done;
    void (*on_expired)(void *context, const struct credentials *expired);
    void *context;
};

static void multipart_free(struct multipart *multipart)
{
    upload_free(multipart->upload);
    credentials_free(multipart->credentials);
    free(multipart->source_bucket);
    free(multipart->source_region);
    free(multipart->source_owner);
    free(multipart->source_key);
    free(multipart->source_version);
    free(multipart->source_etag);
    free(multipart->parts);
    free(multipart);
}

void multipart_cancel(struct multipart *multipart)
{
    if (multipart != NULL) {
        multipart_free(multipart);
    }
}

static void multipart_end(struct multipart *multipart, struct s3_answer *answer)
{
    struct aws_result result = *answer->result;
    struct s3_answer whole = *answer;
    s3_done *done = multipart->done;
    void *context = multipart->context;
    result.attempts = multipart->attempts;
    whole.result = &result;
    whole.attributes = (struct headers){0}; /* those of a head stay with it */
    multipart_free(multipart);
    done(context, &whole);
}

/* Expired credentials are waited for; everything else ends the copy. */
static void multipart_failed(struct multipart *multipart, struct s3_answer *answer)
{
    if (answer->result->failure.kind != FAILURE_EXPIRED_TOKEN || !multipart->is_open) {
        multipart_end(multipart, answer);
    } else if (!multipart->awaits_credentials) {
        multipart->awaits_credentials = true;
        multipart->on_expired(multipart->context, multipart->credentials);
    }
}

static void multipart_advance(struct multipart *multipart);

static void multipart_completed(void *context, struct s3_answer *answer)
{
    struct multipart *multipart = context;
    multipart->attempts += answer->result->attempts;
    multipart->is_completing = false;
    if (answer->result->err.action == ERROR_NONE) {
        multipart_end(multipart, answer);
    } else {
        multipart_failed(multipart, answer);
    }
}

static void multipart_part_copied(void *context, struct s3_answer *answer)
{
    struct copied_part *part = context;
    struct multipart *multipart = part->multipart;
    multipart->attempts += answer->result->attempts;
    multipart->in_flight--;
    if (answer->result->err.action == ERROR_NONE) {
        part->state = PART_DONE;
        multipart->done_count++;
        multipart_advance(multipart);
        return;
    }
    size_t position = (size_t)(part - multipart->parts);
    part->state = PART_PENDING;
    multipart->next = position < multipart->next ? position : multipart->next;
    if (answer->result->failure.kind == FAILURE_EXPIRED_TOKEN && part->renewals != multipart->renewals) {
        multipart_advance(multipart); /* sent with credentials that have been replaced meanwhile */
        return;
    }
    multipart_failed(multipart, answer);
}

static void multipart_copy_part(struct multipart *multipart, size_t position)
{
    struct s3_copy_source source = {
        .bucket = {multipart->source_bucket, multipart->source_region, multipart->source_owner},
        .key = multipart->source_key,
        .version = multipart->source_version,
        .etag = multipart->source_etag,
        .size_bytes = multipart->size_bytes,
    };
    int64_t first = (int64_t)position * multipart->part_size_bytes;
    int64_t left = multipart->size_bytes - first;
    multipart->parts[position].state = PART_IN_FLIGHT;
    multipart->parts[position].renewals = multipart->renewals;
    multipart->in_flight++;
    upload_copy_part(multipart->upload, (unsigned)position + 1, &source, first,
                     left < multipart->part_size_bytes ? left : multipart->part_size_bytes, multipart_part_copied,
                     &multipart->parts[position]);
}

static void multipart_advance(struct multipart *multipart)
{
    if (multipart->awaits_credentials || multipart->is_completing) {
        return;
    }
    if (multipart->done_count == multipart->part_count) {
        multipart->is_completing = true;
        upload_complete(multipart->upload, multipart_completed, multipart);
        return;
    }
    for (; multipart->next < multipart->part_count && multipart->in_flight < multipart->parts_at_once;
         multipart->next++) {
        if (multipart->parts[multipart->next].state == PART_PENDING) {
            multipart_copy_part(multipart, multipart->next);
        }
    }
}

static void multipart_opened(void *context, struct s3_answer *answer)
{
    struct multipart *multipart = context;
    multipart->attempts += answer->result->attempts;
    if (answer->result->err.action != ERROR_NONE) {
        multipart_failed(multipart, answer);
        return;
    }
    multipart->is_open = true;
    multipart_advance(multipart);
}

void multipart_renew(struct multipart *multipart, const struct credentials *credentials)
{
    credentials_free(multipart->credentials);
    multipart->credentials = credentials_copy(credentials);
    multipart->renewals++;
    upload_renew(multipart->upload, credentials);
    multipart->awaits_credentials = false;
    if (multipart->is_open) {
        multipart_advance(multipart);
    }
}

struct multipart *multipart_start(struct uploads *uploads, const struct multipart_request *request, s3_done *done,
                                  void *context)
{
    const struct s3_copy_source *source = &request->source;
    struct multipart *multipart = memory_zeroed(1, sizeof(*multipart));
    multipart->source_bucket = text_copy(source->bucket.name);
    multipart->source_region = text_copy(source->bucket.region);
    multipart->source_owner = text_copy_or_null(source->bucket.owner);
    multipart->source_key = text_copy(source->key);
    multipart->source_version = text_copy_or_null(source->version);
    multipart->source_etag = text_copy_or_null(source->etag);
    multipart->size_bytes = source->size_bytes;
    multipart->part_size_bytes = upload_part_size(source->size_bytes, request->part_size_bytes);
    multipart->credentials = credentials_copy(request->target.credentials);
    multipart->parts_at_once = request->parts_at_once;
    multipart->part_count =
        (size_t)((source->size_bytes + multipart->part_size_bytes - 1) / multipart->part_size_bytes);
    multipart->parts = memory_zeroed(multipart->part_count, sizeof(*multipart->parts));
    for (size_t i = 0; i < multipart->part_count; i++) {
        multipart->parts[i].multipart = multipart;
    }
    multipart->done = done;
    multipart->on_expired = request->on_expired;
    multipart->context = context;
    struct upload_request upload = {
        .target = request->target,
        .write = request->write,
        .part_count = multipart->part_count,
        .size_bytes = source->size_bytes,
    };
    multipart->upload = upload_open(uploads, &upload, multipart_opened, multipart);
    return multipart;
}
