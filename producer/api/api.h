/*
 * A git host's REST API, as the poll and the commit statuses use it: one connection per host and token. A request is
 * authenticated as the host wants it, and its answer is told as what it means to the caller. Listings of refs are in
 * producer/api/listing.h, over this.
 *
 * The token is read from its file for every request, so a changed file counts at once and no copy stays in memory. It
 * goes to the origin of the connection's address and nowhere else, and never into an error or a log line.
 *
 * When the host says that it has had enough (429, X-RateLimit-Remaining: 0, Retry-After, ...), nothing more is sent
 * over this connection before the time it names: requests end with API_LIMITED at once instead.
 */
#pragma once

#include "workers/common/http/loop.h"

struct api;
struct api_call;

struct api_settings {
    const char *provider;   /* github, gitlab, gitea, bitbucket or bitbucket-server */
    const char *api_url;    /* NULL: the provider's public one, where there is one */
    const char *token_file; /* NULL: none; "token", or "user:password" for Basic */
};

enum api_outcome {
    API_OK,        /* 2xx */
    API_UNCHANGED, /* 304: what came with the ETag is still so */
    API_MISSING,   /* 404, 410, or moved elsewhere: no such repository, or the token may not see it */
    API_REFUSED,   /* 401, 403: the token is not good enough, or cannot be read */
    API_LIMITED,   /* too many requests: not before again_ms have passed */
    API_LATER,     /* no answer, a 5xx: try again, with patience */
    API_WRONG,     /* another 4xx: the same request will not do better */
};

struct api_request {
    const char *method;  /* "GET" or "POST" */
    const char *target;  /* "/path?query" beneath the address, ready encoded; or a whole URL of the same origin */
    const char *etag;    /* If-None-Match; NULL: none */
    struct slice body;   /* JSON, of a POST; copied */
    size_t answer_bytes; /* at most; 0: API_ANSWER_MAXIMUM_BYTES */
};

enum { API_ANSWER_MAXIMUM_BYTES = 4 * 1024 * 1024, API_TIMEOUT_MS = 30000 };

/* Borrowed for the duration of the callback. */
struct api_answer {
    enum api_outcome outcome;
    int status;                     /* of HTTP; 0: none came */
    const struct http_answer *http; /* for headers and body; NULL when nothing was sent */
    int64_t again_ms;               /* API_LIMITED: from now; else 0 */
    struct error err;               /* unless API_OK or API_UNCHANGED: for people, with the action that fits */
};

/* What would be wrong with the settings, in words that say what is right; NULL: nothing. The caller frees it. */
char *api_mistake(const struct api_settings *settings);

/* Texts are copied. ERROR_FATAL for settings with a mistake. */
bool api_open(struct loop *loop, const struct api_settings *settings, struct api **ret_api,
              struct error *err) MUST_CHECK;
void api_close(struct api *api); /* cancels what is under way without calling back; NULL is fine */

const char *api_provider(const struct api *api);

/* Are these the same connection, with one limit for both? */
bool api_has_settings(const struct api *api, const struct api_settings *settings);

/* How long nothing is sent yet; 0: the host takes requests. */
int64_t api_limited_ms(const struct api *api);

/* Answers from a later loop_dispatch, exactly once unless cancelled. Texts and body are copied. The handle is valid
 * until then. Never NULL. */
struct api_call *api_start(struct api *api, const struct api_request *request,
                           void (*on_done)(void *context, const struct api_answer *answer), void *context);
void api_cancel(struct api_call *call); /* NULL is fine */
