/*
 * What lies in the artifact bucket, asked for once however many jobs of a build need it: what is below a prefix, what
 * an object carries beside its bytes, and a build's manifest. It is read with the credentials of the job that asks
 * first; when that fails it is only this job's failure, and the next one that waits asks with its own.
 */
#pragma once

#include "schemas/manifest.h"
#include "workers/common/aws/listing.h"

enum source_kind {
    SOURCE_LISTING,  /* of a prefix */
    SOURCE_OBJECT,   /* metadata, tags and checksums of a key */
    SOURCE_MANIFEST, /* the document of a key */
    SOURCE_DIGEST,   /* the SHA-256 of a key: the store's word, or else read and computed */
};

/* Kept by whoever needs it: it does not change, and goes with its last keeper. */
struct source {
    enum source_kind kind;
    unsigned keepers;
    struct s3_listing *listing; /* SOURCE_LISTING */
    struct headers attributes;  /* SOURCE_OBJECT, and the following */
    char *tags;                 /* a value of x-amz-tagging; NULL: none */
    char *etag;
    struct s3_checksums checksums; /* "" where the store has none of the whole object */
    struct manifest *manifest;     /* SOURCE_MANIFEST */
    char **verified_etags;         /* of each object of the manifest: which ETag was found to have the right SHA-256 */
    char *sha256;                  /* SOURCE_DIGEST: hex */
};

struct source *source_keep(struct source *source);
void source_release(struct source *source); /* NULL is fine */

struct sources;
struct source_wait;

struct sources *sources_new(struct aws_client *client);
void sources_free(struct sources *sources); /* NULL is fine */

struct source_request {
    enum source_kind kind;
    struct s3_bucket bucket;
    const char *key;    /* or prefix */
    const char *etag;   /* of objects and digests: which one, so that a newer one is not taken for it; else NULL */
    int64_t size_bytes; /* SOURCE_DIGEST */
    const struct credentials *credentials;
    int64_t deadline_ms;
};

/* source NULL: result says why not. Borrowed for the duration of the call, unless it is kept. */
typedef void source_found(void *context, struct source *source, const struct aws_result *result);

/* Answers from a later turn of the loop, exactly once unless cancelled. Everything is copied. */
struct source_wait *sources_get(struct sources *sources, const struct source_request *request, source_found *found,
                                void *context);
void source_wait_cancel(struct source_wait *wait); /* NULL is fine */

/* What is known of the prefix or key has turned out to be out of date, or lacks what should come: the next question
 * reads it anew. */
void sources_forget(struct sources *sources, const char *bucket, const char *key);
