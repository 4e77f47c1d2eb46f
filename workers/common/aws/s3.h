/*
 * The S3 calls that workers need, each asynchronous and with retries (aws/client.h). Region, credentials and the
 * expected owner of every bucket are said in every call: nothing is assumed, and S3 itself refuses a bucket that
 * belongs to somebody else than we think.
 *
 * Keys may hold any character; they are encoded once. ETags are kept as S3 sends them, with their quotes.
 */
#pragma once

#include "workers/common/aws/client.h"
#include "workers/common/base/auto.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct s3_call;

/* CopyObject takes no more; larger objects need a multipart copy. */
#define S3_COPY_MAXIMUM_BYTES INT64_C(5368709120)

struct s3_bucket {
    const char *name;
    const char *region;
    const char *owner; /* account id; NULL: not checked */
};

/* Ends a call without calling back. NULL is fine. */
void s3_cancel(struct s3_call *call);

/* ---- ListObjectsV2 ---- */

struct s3_object {
    char *key;
    char *etag; /* "" when the store gives none */
    int64_t size_bytes;
    int64_t modified_wall_ms; /* 0 when the store gives none */
};

/* In the order of the store: by key, as bytes. */
struct s3_listing {
    struct s3_object *objects;
    size_t count;
};

void s3_listing_free(struct s3_listing *listing); /* NULL is fine */
DEFINE_AUTO(s3_listing, struct s3_listing *);

/* By bisection when the listing is sorted by bytes, as S3's is; NULL when absent. */
const struct s3_object *s3_listing_find(const struct s3_listing *listing, const char *key);

struct s3_list_request {
    struct s3_bucket bucket;
    const char *prefix;     /* "" for all */
    size_t objects_maximum; /* more than that is ERROR_REJECT */
    const struct credentials *credentials;
    int64_t deadline_ms; /* clock_monotonic_ms, for all pages together */
};

/* listing is set on success; whoever wants to keep it takes it (TAKE), else it is freed. */
struct s3_list_result {
    const struct aws_result *result;
    struct s3_listing *listing;
    unsigned pages;
};

/* All pages. Everything in the request is copied, here and below. on_done is called exactly once, from a later
 * loop_dispatch, unless the call is cancelled; results are borrowed for the duration. */
struct s3_call *s3_list_objects(struct aws_client *client, const struct s3_list_request *request,
                                void (*on_done)(void *context, struct s3_list_result *result), void *context);

/* ---- CopyObject ---- */

struct s3_copy_request {
    struct s3_bucket source;
    const char *source_key;
    const char *source_version; /* NULL: the current one */
    const char *source_etag;    /* copy only if the source still is this one; NULL: whatever is there */
    int64_t source_size_bytes;  /* above S3_COPY_MAXIMUM_BYTES is ERROR_REJECT; -1: unknown, S3 decides */
    struct s3_bucket target;    /* the call goes to the target's region */
    const char *target_key;
    const struct credentials *credentials; /* must be allowed to read the source and to write the target */
    int64_t deadline_ms;
};

/* Metadata, content headers and type are those of the source (directive COPY). Texts are "" when S3 gave none. */
struct s3_copy_result {
    const struct aws_result *result;
    const char *etag; /* of the target; NULL on failure */
    const char *version_id;
    const char *source_version_id;
};

/* A failure with failure.is_uncertain may have written the target nevertheless. */
struct s3_call *s3_copy_object(struct aws_client *client, const struct s3_copy_request *request,
                               void (*on_done)(void *context, const struct s3_copy_result *result), void *context);

/* ---- HeadObject ---- */

struct s3_head_request {
    struct s3_bucket bucket;
    const char *key;
    const char *version; /* NULL: the current one */
    const struct credentials *credentials;
    int64_t deadline_ms;
};

struct s3_head_result {
    const struct aws_result *result;
    const char *etag; /* NULL on failure; else "" when the store gives none */
    const char *version_id;
    int64_t size_bytes;
    int64_t modified_wall_ms; /* 0 when the store gives none */
};

struct s3_call *s3_head_object(struct aws_client *client, const struct s3_head_request *request,
                               void (*on_done)(void *context, const struct s3_head_result *result), void *context);
