/*
 * STS AssumeRole and AssumeRoleWithWebIdentity, on the regional endpoint (tokens of the global one are not valid in
 * opt-in regions). Without any cache: aws/role.h is what callers want.
 */
#pragma once

#include "workers/common/aws/client.h"
#include "workers/common/aws/credentials.h"

struct sts_call;

enum { STS_DURATION_MINIMUM_S = 900, STS_DURATION_DEFAULT_S = 3600 };

/* Everything is copied. */
struct sts_assume_role_request {
    const char *region;
    const char *role_arn;
    const char *session_name;   /* 2-64 of [A-Za-z0-9_=,.@-]; see sts_session_name */
    const char *external_id;    /* NULL: none */
    const char *session_policy; /* JSON, NULL: none */
    int64_t duration_seconds;   /* 0: STS_DURATION_DEFAULT_S */
    const struct credentials *caller;
    struct limiter *limiter; /* of attempts; NULL: none */
    int64_t deadline_ms;     /* clock_monotonic_ms; see aws_request.limiter */
};

/* An unsigned call: the token is what proves who asks. Everything is copied. */
struct sts_web_identity_request {
    const char *region;
    const char *role_arn;
    const char *session_name; /* as above */
    const char *token;
    int64_t duration_seconds; /* 0: STS_DURATION_DEFAULT_S */
    struct limiter *limiter;
    int64_t deadline_ms;
};

/* credentials is set on success; whoever wants to keep it takes it (TAKE), else it is freed. */
struct sts_result {
    const struct aws_result *result;
    struct credentials *credentials;
};

struct sts_call *sts_assume_role(struct aws_client *client, const struct sts_assume_role_request *request,
                                 void (*on_done)(void *context, struct sts_result *result), void *context);
struct sts_call *sts_assume_role_with_web_identity(struct aws_client *client,
                                                   const struct sts_web_identity_request *request,
                                                   void (*on_done)(void *context, struct sts_result *result),
                                                   void *context);
void sts_cancel(struct sts_call *call); /* NULL is fine */

/* Appends text with every character that a session name must not have turned into '-', at least 2 and at most 64
 * characters. */
void sts_session_name(const char *text, struct buffer *buffer);
