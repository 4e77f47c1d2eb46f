/*
 * A small HTTP server on the loopback that answers from a script, one answer per request in the order in which they
 * arrive, or as a function chooses, and remembers the requests. It runs on a thread of its own. What arrives after the
 * last answer gets a 599. Answers can be broken in every way in which a server or a network breaks them.
 */
#pragma once

#include "workers/common/base/buffer.h"
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
    size_t body_length;  /* of a body with NULs; 0: up to its NUL */
    bool is_chunked;     /* the body comes in chunks of some bytes, and its length is not told */
    bool is_continued;   /* "100 Continue" comes first */
    bool is_closed;      /* the connection is closed after the answer */
    const char *raw;     /* sent as it is, in place of all of the above but is_closed */
    size_t raw_length;   /* of one with NULs; 0: up to its NUL */
    size_t cut_after;    /* so many bytes of all are sent, then the connection is closed; 0: all are */
    bool is_stalled;     /* with cut_after: the connection is held instead */
    unsigned drip_ms;    /* between every two bytes; nobody else is served meanwhile */
};

/* What has arrived; borrowed for the duration of the call. */
struct http_script_request {
    size_t position;
    const char *method;
    const char *target;
    const char *headers;
    struct slice body;
};

/* Called on the server's thread. Texts that the answer is made of live in scratch, which is empty, or longer. */
typedef void http_script_choose(void *context, const struct http_script_request *request, struct buffer *scratch,
                                struct http_script_answer *ret_answer);

/* The answers are borrowed until http_script_stop. */
struct http_script *http_script_start(const struct http_script_answer *answers, size_t count);
struct http_script *http_script_start_choosing(http_script_choose *choose, void *context);
void http_script_stop(struct http_script *script);

const char *http_script_url(const struct http_script *script); /* "http://127.0.0.1:port" */

/* What has arrived so far. The texts live until http_script_stop. */
size_t http_script_count(struct http_script *script);
const char *http_script_method(struct http_script *script, size_t position);
const char *http_script_target(struct http_script *script, size_t position); /* as in the request line */
const char *http_script_body(struct http_script *script, size_t position);   /* "" when it was longer than 64 KiB */
/* The value of the first header of that name, in any case; NULL when there is none. The caller frees it. */
char *http_script_header(struct http_script *script, size_t position, const char *name);
char *http_script_request_header(const struct http_script_request *request, const char *name);

/* Turns the loop until the flag is set or the request count is reached; the test fails when that takes too long. */
void loop_until(struct loop *loop, const bool *flag);
void loop_until_requests(struct loop *loop, struct http_script *script, size_t count);
/* Turns the loop for a while, for what must not happen. */
void loop_for(struct loop *loop, int64_t duration_ms);
