/*
 * The calls of S3 about one object, each asynchronous and with retries (aws/client.h). Region, credentials and the
 * expected owner of every bucket are said in every call: nothing is assumed, and S3 itself refuses a bucket that
 * belongs to somebody else than we think. A success is one only when the answer says what S3 documents for it: an error
 * in the body of a 200, or a copy without an ETag, is a failure.
 *
 * Keys may hold any character; they are encoded once. ETags are kept as S3 sends them, with their quotes. Headers
 * beyond the documented minimum are sent only when a caller asks for what they do, since other stores refuse them.
 *
 * Whole objects larger than one copy or one upload takes are put together by aws/upload.h.
 */
#pragma once

#include "workers/common/aws/client.h"
#include "workers/common/aws/headers.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What S3 takes: CopyObject and one part; parts of an upload, all but the last at least so long. */
#define S3_COPY_MAXIMUM_BYTES INT64_C(5368709120)
enum { S3_PARTS_MAXIMUM = 10000, S3_PART_MINIMUM_BYTES = 5 << 20 };

struct s3_bucket {
    const char *name;
    const char *region;
    const char *owner; /* account id; NULL: not checked */
};

/* The object that a call is about, and who asks. Everything is copied. */
struct s3_subject {
    struct s3_bucket bucket;
    const char *key;
    const struct credentials *credentials;
    int64_t deadline_ms;  /* clock_monotonic_ms */
    bool is_region_fixed; /* a bucket that turns out to be in another region is refused, not followed */
};

/* Of the whole object, base64; "" when the store has not told. */
struct s3_checksums {
    char crc64nvme[16];
    char sha256[48];
};

/* How a call ended; borrowed for the duration of the callback. Texts are "" when the store gave none. */
struct s3_answer {
    const struct aws_result *result;
    const char *etag;              /* NULL on failure */
    const char *version_id;        /* of the object */
    const char *source_version_id; /* copies */
    const char *upload_id;         /* s3_create_upload */
    const char *tags;              /* s3_get_tags, as a value of x-amz-tagging */
    struct s3_checksums checksums; /* copies, completed uploads and heads */
    bool is_kms;                   /* encrypted so that its ETag is no MD5 */
    int64_t size_bytes;            /* head: of the object */
    int64_t modified_wall_ms;      /* head; 0: not told */
    size_t tag_count;              /* head */
    struct headers attributes;     /* head: content headers and metadata; whoever wants to keep them takes them */
    struct slice body;             /* s3_get_object */
    const char *const *upload_ids; /* s3_list_uploads: those of exactly this key */
    size_t upload_count;
};

/* Called exactly once, from a later loop_dispatch, unless the call is cancelled. */
typedef void s3_done(void *context, struct s3_answer *answer);

struct s3_call;

/* Ends a call without calling back. NULL is fine. */
void s3_cancel(struct s3_call *call);

/* Where a copy comes from. The credentials of the call must be allowed to read it. */
struct s3_copy_source {
    struct s3_bucket bucket;
    const char *key;
    const char *version; /* NULL: the current one */
    const char *etag;    /* copy only if the source still is this one; NULL: whatever is there */
    int64_t size_bytes;  /* above S3_COPY_MAXIMUM_BYTES CopyObject is ERROR_REJECT; -1: unknown, S3 decides */
};

/* How an object is written; all zero: as S3 does by itself. */
struct s3_write {
    const char *encryption; /* "AES256", "aws:kms", "aws:kms:dsse"; NULL: the bucket's own */
    const char *kms_key;    /* an ARN: ids and aliases mean another key in another account */
    bool is_bucket_key;
    const char *storage_class;
    const char *acl;
    bool is_new_only; /* If-None-Match: an object that is there already is FAILURE_PRECONDITION */
    /* Content headers and metadata; NULL: for CopyObject those of the source, else none. */
    const struct headers *attributes;
    const char *tags;     /* a value of x-amz-tagging; NULL: for CopyObject those of the source, else none */
    const char *checksum; /* that S3 shall compute of a copy: "SHA256", "CRC64NVME"; NULL: its own choice */
};

/* Content headers, type and metadata are those of the source unless write says otherwise. A failure with
 * failure.is_uncertain may have written the target nevertheless; this holds for everything that writes. */
struct s3_call *s3_copy_object(struct aws_client *client, const struct s3_subject *target,
                               const struct s3_copy_source *source, const struct s3_write *write, s3_done *done,
                               void *context);

/* version NULL: the current one. */
struct s3_call *s3_head_object(struct aws_client *client, const struct s3_subject *subject, const char *version,
                               s3_done *done, void *context);

/* length_bytes from first_byte on; first_byte -1: the whole object, of that length (-1: of any up to 64 MiB). etag as
 * in s3_copy_source. An answer of another length is damaged. */
struct s3_call *s3_get_object(struct aws_client *client, const struct s3_subject *subject, const char *etag,
                              int64_t first_byte, int64_t length_bytes, s3_done *done, void *context);

/* Bytes to write: borrowed until the call has ended. The hashes, when they are known, save computing them for each
 * target. */
struct s3_body {
    struct slice bytes;
    const char *sha256; /* hex; NULL: computed when needed */
    const char *md5;    /* base64, checked by S3; NULL: not sent */
};

struct s3_call *s3_put_object(struct aws_client *client, const struct s3_subject *subject, const struct s3_body *body,
                              const struct s3_write *write, s3_done *done, void *context);

struct s3_call *s3_get_tags(struct aws_client *client, const struct s3_subject *subject, s3_done *done, void *context);

/* ---- multipart uploads, call by call (aws/upload.h is what callers want) ---- */

struct s3_call *s3_create_upload(struct aws_client *client, const struct s3_subject *subject,
                                 const struct s3_write *write, s3_done *done, void *context);

/* Parts count from 1. */
struct s3_call *s3_upload_part(struct aws_client *client, const struct s3_subject *subject, const char *upload_id,
                               unsigned number, const struct s3_body *body, s3_done *done, void *context);
struct s3_call *s3_upload_part_copy(struct aws_client *client, const struct s3_subject *subject, const char *upload_id,
                                    unsigned number, const struct s3_copy_source *source, int64_t first_byte,
                                    int64_t length_bytes, s3_done *done, void *context);

/* etags of the parts 1 to count. Of write only is_new_only matters. */
struct s3_call *s3_complete_upload(struct aws_client *client, const struct s3_subject *subject, const char *upload_id,
                                   const char *const *etags, size_t count, const struct s3_write *write, s3_done *done,
                                   void *context);
struct s3_call *s3_abort_upload(struct aws_client *client, const struct s3_subject *subject, const char *upload_id,
                                s3_done *done, void *context);

/* Uploads of this very key that have neither been completed nor aborted: at most the first 1,000. */
struct s3_call *s3_list_uploads(struct aws_client *client, const struct s3_subject *subject, s3_done *done,
                                void *context);
