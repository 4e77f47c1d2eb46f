/*
 * A store that keeps what the tests of uploads and relays need to look at: which uploads are open, which objects there
 * are and whether they are whole, who asked. It answers an http_script; faults are said by operation and occurrence.
 * The source is an object of any size whose bytes are made up; everything else may be written.
 */
#pragma once

#include "tests/support/scripted_aws.h"

#include <pthread.h>

enum small_s3_operation {
    SMALL_S3_UPLOADS,
    SMALL_S3_CREATE,
    SMALL_S3_PART,
    SMALL_S3_PART_COPY,
    SMALL_S3_COMPLETE,
    SMALL_S3_ABORT,
    SMALL_S3_HEAD,
    SMALL_S3_GET,
    SMALL_S3_PUT,
    SMALL_S3_TAGS,
    SMALL_S3_LIST,
    SMALL_S3_OPERATIONS
};

struct small_s3_fault {
    enum small_s3_operation operation;
    unsigned from;  /* the first occurrence that it concerns, counted from 1 */
    unsigned count; /* how many */
    struct http_script_answer answer;
    bool is_carried_out; /* what was asked is done nevertheless */
    const char *target;  /* only of requests whose target has this within; NULL: of all */
};

struct small_s3_part {
    int64_t first_byte; /* of a copied one */
    int64_t size_bytes;
    uint64_t crc;
    unsigned attempts;
};

struct small_s3_upload {
    char target[128]; /* "/bucket/key" */
    char token[64];
    bool is_open;
    struct small_s3_part *parts; /* by number */
};

struct small_s3_object {
    char target[128];
    char token[64];
    int64_t size_bytes;
    uint64_t crc;
    bool is_whole; /* its parts were copied without gap and overlap */
};

enum { SMALL_S3_UPLOADS_MAXIMUM = 64, SMALL_S3_OBJECTS_MAXIMUM = 64 };

struct small_s3 {
    /* Said before it starts. */
    int64_t source_size_bytes; /* of /main/source */
    const char *source_etag;
    const char *source_headers; /* of heads and reads of it; NULL: none */
    const struct small_s3_fault *faults;
    size_t fault_count;
    const char *expired_key; /* the access key that is refused as expired, but for beginning an upload */
    unsigned expired_after;  /* so many parts have come */

    pthread_mutex_t lock; /* of what follows */
    unsigned counts[SMALL_S3_OPERATIONS];
    char askers[SMALL_S3_OPERATIONS][64]; /* the access key that came last */
    struct small_s3_upload uploads[SMALL_S3_UPLOADS_MAXIMUM];
    size_t upload_count;
    struct small_s3_object objects[SMALL_S3_OBJECTS_MAXIMUM];
    size_t object_count;
};

void small_s3_start(struct small_s3 *store, struct scripted_aws *aws);
void small_s3_stop(struct small_s3 *store, struct scripted_aws *aws);

/* An upload that somebody else has left open. */
void small_s3_leave_open(struct small_s3 *store, const char *target);

unsigned small_s3_count(struct small_s3 *store, enum small_s3_operation operation);
size_t small_s3_open_uploads(struct small_s3 *store);
/* False when there is no object there. */
bool small_s3_find(struct small_s3 *store, const char *target, struct small_s3_object *ret_object);

/* The bytes of the source. */
void small_s3_source(struct buffer *buffer, int64_t first_byte, int64_t size_bytes);
