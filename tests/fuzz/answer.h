/*
 * For fuzzers that are the server: http_start is theirs (see the Makefile), it keeps the request and sends nothing.
 */
#pragma once

#include "tests/fuzz/fuzz.h"
#include "workers/common/aws/client.h"
#include "workers/common/base/clock.h"

static struct {
    void (*on_done)(void *context, const struct http_answer *answer);
    void *context;
} asked;

struct http_transfer *__wrap_http_start(struct http *http, const struct http_request *request,
                                        void (*on_done)(void *context, const struct http_answer *answer),
                                        void *context);

struct http_transfer *__wrap_http_start(struct http *http, const struct http_request *request,
                                        void (*on_done)(void *context, const struct http_answer *answer), void *context)
{
    (void)http;
    PROMISE(request->timeout_ms > 0 && request->url[0] != '\0');
    asked.on_done = on_done;
    asked.context = context;
    return NULL;
}

/* Answers what was asked last. False when nothing is. */
static bool answer_give(int status, struct slice header_lines, struct slice body)
{
    if (asked.on_done == NULL) {
        return false;
    }
    /* As http.h says, the body is ended by a NUL that does not count. */
    AUTO(text) char *ended_body = slice_copy(body);
    struct http_answer answer = {
        .status = status,
        .header_lines = header_lines,
        .body = slice_from(ended_body, body.len),
        .sent_wall_ms = clock_wall_ms(),
        .received_wall_ms = clock_wall_ms(),
    };
    void (*on_done)(void *context, const struct http_answer *answer) = asked.on_done;
    if (status == 0) {
        (void)error_set(&answer.err, ERROR_RETRY, "no answer");
    }
    asked.on_done = NULL;
    on_done(asked.context, &answer);
    return true;
}

/* One for all runs, since nothing of a run stays in it; the client is the run's own. */
static struct loop *fuzz_loop(void)
{
    static struct loop *loop;
    if (loop == NULL) {
        loop = loop_new(NULL);
    }
    return loop;
}
