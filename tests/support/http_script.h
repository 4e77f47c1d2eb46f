/*
 * A small HTTP server on the loopback that answers from a script, one answer per request in the order in which they
 * arrive, and remembers the requests. It runs on a thread of its own. What arrives after the last answer gets a 599.
 */
#pragma once

#include "workers/common/http/loop.h"

#include <stdbool.h>
#include <stddef.h>

struct http_script;

struct http_script_answer {
    int status;          /* 0: the connection is closed without an answer */
    const char *headers; /* lines, each ended by CRLF; NULL: none */
    const char *body;    /* NULL: none */
    bool is_silent;      /* no answer ever; the connection is held */
    bool is_cut;         /* the last byte of the body is never sent, the connection is closed */
};

/* The answers are borrowed until http_script_stop. */
struct http_script *http_script_start(const struct http_script_answer *answers, size_t count);
void http_script_stop(struct http_script *script);

const char *http_script_url(const struct http_script *script); /* "http://127.0.0.1:port" */

/* What has arrived so far. The texts live until http_script_stop. */
size_t http_script_count(struct http_script *script);
const char *http_script_method(struct http_script *script, size_t position);
const char *http_script_target(struct http_script *script, size_t position); /* as in the request line */
const char *http_script_body(struct http_script *script, size_t position);
/* The value of the first header of that name, in any case; NULL when there is none. The caller frees it. */
char *http_script_header(struct http_script *script, size_t position, const char *name);

/* Turns the loop until the flag is set or the request count is reached; the test fails when that takes too long. */
void loop_until(struct loop *loop, const bool *flag);
void loop_until_requests(struct loop *loop, struct http_script *script, size_t count);
/* Turns the loop for a while, for what must not happen. */
void loop_for(struct loop *loop, int64_t duration_ms);
