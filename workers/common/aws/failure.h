/*
 * What an AWS answer that is not a success means: one table from status and error code to a kind, and from the kind to
 * what to do and to a text that helps a person. Everything above looks at the kind, nobody else at status or code.
 */
#pragma once

#include "workers/common/base/error.h"
#include "workers/common/base/slice.h"
#include "workers/common/http/http.h"

#include <stdbool.h>

enum failure_kind {
    FAILURE_NONE,
    FAILURE_UNREACHABLE,     /* no answer: connection, name, time-out */
    FAILURE_TRANSIENT,       /* the server's own trouble: 500, 503, a conflict that passes, a damaged answer */
    FAILURE_THROTTLED,       /* slow down */
    FAILURE_CLOCK_SKEW,      /* our clock is wrong, as the server sees it */
    FAILURE_EXPIRED_TOKEN,   /* new credentials are needed */
    FAILURE_WRONG_REGION,    /* the bucket is elsewhere: see region */
    FAILURE_ACCESS_DENIED,   /* 403 */
    FAILURE_BAD_CREDENTIALS, /* unknown key, wrong secret */
    FAILURE_NO_BUCKET,
    FAILURE_NO_KEY,       /* also a 404 without a body (HEAD) */
    FAILURE_NO_UPLOAD,    /* neither open nor known: aborted, or completed by an earlier attempt */
    FAILURE_PRECONDITION, /* 412: the object is not the expected one */
    FAILURE_INVALID,      /* anything else that will stay wrong */
};

struct failure {
    enum failure_kind kind;
    int status;           /* 0: no answer; 200: an error in the body of a success */
    char code[64];        /* "" when there was none */
    char message[256];    /* the server's own words, cut */
    char request_id[128]; /* "" when there was none */
    char region[32];      /* where the bucket is, if the server told */
    bool is_uncertain;    /* the server may have done what was asked nevertheless */
};

/* ERROR_RETRY or ERROR_REJECT (ERROR_NONE for FAILURE_NONE). An expired token is ERROR_RETRY: with new ones it works.
 * Access denied and missing things are ERROR_REJECT: callers that expect them to pass look at the kind. */
enum error_action failure_action(enum failure_kind kind);
const char *failure_kind_name(enum failure_kind kind); /* "access_denied": for logs, metrics and results */

/* Reads an answer with a status other than 2xx, an error in the body of a 200 (is_success_broken, also when the body
 * is not what was expected), or no answer. */
void failure_read(const struct http_answer *answer, bool is_success_broken, struct failure *ret_failure);

/* Does the body of a 200 say <Error> or <ErrorResponse>? */
bool failure_is_in_body(struct slice body);

/* Sets action and text: "CopyObject s3://a/b to s3://c/d: access denied for arn:...: hint (403 AccessDenied: words;
 * request id)". operation is the call for people; origin is that of the credentials. Always returns false. */
bool failure_describe(const struct failure *failure, const char *operation, const char *origin, struct error *err);
