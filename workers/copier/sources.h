/*
 * What lies in the artifact bucket: one listing per bucket and prefix, shared by all jobs of a build. It is read with
 * the credentials of the job that asks first; when that fails it is only this job's failure, and the next one that
 * waits asks with its own.
 */
#pragma once

#include "workers/common/aws/s3.h"

struct sources;
struct source_wait;

struct sources *sources_new(struct aws_client *client);
void sources_free(struct sources *sources); /* NULL is fine */

struct source_request {
    struct s3_bucket bucket;
    const char *prefix;
    const struct credentials *credentials;
    int64_t deadline_ms;
};

/* listing NULL: result says why not. Borrowed for the duration of the call. */
typedef void source_found(void *context, const struct s3_listing *listing, const struct aws_result *result);

/* Answers from a later turn of the loop, exactly once unless cancelled. Everything is copied. */
struct source_wait *sources_get(struct sources *sources, const struct source_request *request, source_found *found,
                                void *context);
void source_wait_cancel(struct source_wait *wait); /* NULL is fine */

/* The listing has turned out to be out of date, or lacks what should come: the next question reads it anew. */
void sources_forget(struct sources *sources, const char *bucket, const char *prefix);
