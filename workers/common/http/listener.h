/*
 * An HTTP server on the loop, over libmicrohttpd without a thread of its own. A request is handed over whole, bounded
 * in size, and may be answered later; the connection is held meanwhile.
 */
#pragma once

#include "workers/common/base/slice.h"
#include "workers/common/http/loop.h"

#include <stddef.h>

struct listener;
struct listener_request;

struct listener_settings {
    const char *address; /* "127.0.0.1:8080", "[::1]:8080"; port 0: any free one */
    size_t body_maximum_bytes;
    unsigned connections_maximum;
    unsigned idle_timeout_s;
    /* Called once for each complete request. It must be answered, now or later. */
    void (*on_request)(void *context, struct listener_request *request);
    void *context;
};

bool listener_open(struct loop *loop, const struct listener_settings *settings, struct listener **ret_listener,
                   struct error *err) MUST_CHECK;
/* Requests that were not answered are dropped; none may be answered any more. NULL is fine. */
void listener_close(struct listener *listener);
unsigned listener_port(const struct listener *listener);

/* Borrowed until the request is answered. */
const char *listener_method(const struct listener_request *request);
const char *listener_path(const struct listener_request *request);
const char *listener_header(const struct listener_request *request, const char *name);  /* NULL when absent */
size_t listener_header_count(const struct listener_request *request, const char *name); /* how often it occurs */
struct slice listener_body(const struct listener_request *request);

struct listener_answer {
    unsigned status;
    const char *content_type;
    struct slice body;
    unsigned retry_after_s; /* 0: no such header */
    const char *allow;      /* NULL: no such header */
};

/* The body is copied. The request is gone afterwards. */
void listener_answer(struct listener_request *request, const struct listener_answer *answer);
