/*
 * One small question over HTTP to a service of this machine or network that hands out credentials, with a short time
 * for each attempt and a few repeats: for what the service says of itself (429, 5xx) always, for no answer at all only
 * when asked to, because a service that is not there must not cost more than a moment. Plain HTTP never goes through a
 * proxy, as these addresses mean this machine.
 */
#pragma once

#include "workers/common/http/loop.h"

struct fetch;

/* Texts are copied. */
struct fetch_request {
    const char *method;
    const char *url;
    const char *header;       /* one whole line, or NULL; wiped after use */
    bool is_silence_repeated; /* no answer is tried again, too */
};

/* Answers from a later loop_dispatch, exactly once unless cancelled, with the last attempt's answer; borrowed for the
 * duration of the call. The handle is valid until then. Never NULL. */
struct fetch *fetch_start(struct loop *loop, const struct fetch_request *request,
                          void (*on_done)(void *context, const struct http_answer *answer), void *context);
void fetch_cancel(struct fetch *fetch); /* NULL is fine */
