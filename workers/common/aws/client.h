/*
 * One signed AWS call with its retries, on the loop. Every attempt is signed anew; the clock of each host is learned
 * from its answers; a bucket that turns out to be in another region is followed by signing again (never by libcurl),
 * and remembered; errors in the body of a 200 are errors. The retry budget is one per quota key (a bucket, an account),
 * not per host, so that one broken tenant does not use up everybody's.
 *
 * The calls of services (aws/s3.h, aws/sts.h) are thin layers on this one.
 */
#pragma once

#include "workers/common/aws/credentials.h"
#include "workers/common/aws/endpoint.h"
#include "workers/common/aws/failure.h"
#include "workers/common/aws/limiter.h"
#include "workers/common/aws/retry.h"
#include "workers/common/aws/sigv4.h"
#include "workers/common/http/loop.h"

#include <stdbool.h>
#include <stdint.h>

struct aws_client;
struct aws_call;

struct aws_client_settings {
    struct endpoint_settings endpoints; /* texts are copied */
    struct retry_rules retry;           /* attempts_maximum 0: the standard rules */
    bool is_payload_signed_always;      /* false: over TLS, S3 bodies go as UNSIGNED-PAYLOAD */
};

/* settings may be NULL. The loop must outlive the client. */
struct aws_client *aws_client_new(struct loop *loop, const struct aws_client_settings *settings);

/* Another one with the same settings on another loop. */
struct aws_client *aws_client_copy(const struct aws_client *client, struct loop *loop);

/* Cancels every call without calling back. NULL is fine. */
void aws_client_free(struct aws_client *client);

struct loop *aws_client_loop(struct aws_client *client);
bool aws_client_is_custom(const struct aws_client *client, enum aws_service service); /* has a custom endpoint */

/* A store that does not know the headers about checksums has been met (501): they are not sent any more. */
void aws_client_forgo_checksums(struct aws_client *client);
bool aws_client_forgoes_checksums(const struct aws_client *client);

/* Everything is copied by aws_call_start, but the body, which is borrowed until the callback or the cancel. */
struct aws_request {
    enum aws_service service;
    const char *region;
    bool is_region_fixed; /* a bucket in another region is FAILURE_WRONG_REGION instead of being followed */
    const char *bucket;   /* NULL for services without */
    const char *method;
    const char *path;  /* encoded, starting with '/', behind the bucket, if there is one; "" for the bucket itself */
    const char *query; /* encoded; NULL: none */
    const struct sigv4_header *headers; /* sent and signed; names in lower case */
    size_t header_count;
    struct slice body;
    const char *body_sha256;               /* hex, when it is known; NULL: computed when needed */
    const struct credentials *credentials; /* NULL: unsigned */
    struct limiter *limiter;    /* every attempt takes its turn, the wait puts off the deadline; NULL: none */
    int64_t attempt_timeout_ms; /* of one attempt */
    unsigned attempts_maximum;  /* 0: the client's rules */
    int64_t deadline_ms;        /* clock_monotonic_ms; no attempt starts or lasts beyond it */
    size_t answer_maximum_bytes;
    size_t answer_expected_bytes; /* 0: not known */
    bool is_content;              /* the body of a success is no document: what looks like an error in it is none */
    const char *operation;        /* for people, in errors: "CopyObject s3://a/b to s3://c/d" */
    const char *quota_key;        /* whose retry budget: the bucket, or the account */

    /* Reads a 2xx answer. Returning false (with err) makes it a damaged answer, which is tried again; so it may be
     * called more than once per call, but not again once it has returned true. NULL: every 2xx without <Error> is
     * fine. */
    bool (*accept)(void *context, const struct http_answer *answer, struct error *err);
    void *accept_context;
};

/* How a call ended; borrowed for the duration of the callback. */
struct aws_result {
    struct error err;                 /* action ERROR_NONE: success */
    struct failure failure;           /* kind FAILURE_NONE: success */
    const struct http_answer *answer; /* of a success; else NULL */
    char request_id[128];
    char region[32];   /* the region that answered in the end */
    unsigned attempts; /* requests sent, repeats on dead connections and in another region not counted */
};

/* on_done is called exactly once, from a later loop_dispatch, unless the call is cancelled before; also for a request
 * that cannot be sent at all (bad region). The handle is valid until then. Never NULL. */
struct aws_call *aws_call_start(struct aws_client *client, const struct aws_request *request,
                                void (*on_done)(void *context, const struct aws_result *result), void *context);
void aws_call_cancel(struct aws_call *call); /* NULL is fine */

/* What its requests were and how they were answered (aws/traffic.h). */
void aws_client_write_metrics(const struct aws_client *client, struct buffer *text);

/* For tests and metrics. */
int64_t aws_client_clock_skew_ms(const struct aws_client *client, const char *host); /* server minus ours; 0: unknown */
