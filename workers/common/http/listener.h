/*
 * An HTTP/1 server on the loop, over libmicrohttpd without a thread of its own, for strangers as well as for friends. A
 * request is handed over whole, bounded in size, and may be answered later; the connection is held meanwhile.
 *
 * Time and room are bounded for every client: the head of a request must have come within the time-out after the
 * connection was opened or the last answer sent, the body within the time-out after the head. Beyond the maximum of
 * connections the one that has kept us waiting longest is closed, so that those who dawdle cannot keep out those who
 * do not.
 */
#pragma once

#include "workers/common/base/buffer.h"
#include "workers/common/base/network.h"
#include "workers/common/base/slice.h"
#include "workers/common/http/loop.h"

#include <stddef.h>

struct listener;
struct listener_request;

struct listener_settings {
    const char *address;       /* "127.0.0.1:8080", "[::1]:8080"; port 0: any free one */
    size_t head_maximum_bytes; /* request line and headers */
    size_t body_maximum_bytes;
    unsigned connections_maximum;
    unsigned timeout_s;
    /* PEM files; both or neither (NULL). */
    const char *tls_certificate_file;
    const char *tls_key_file;
    /* Called once for each complete request. It must be answered, now or later. */
    void (*on_request)(void *context, struct listener_request *request);
    /* May be NULL. Called for what was refused without being handed over, with the status of the answer (0: closed
     * without one). client: NULL when not known. */
    void (*on_refused)(void *context, unsigned status, const char *reason, const struct address *client);
    void *context;
};

bool listener_open(struct loop *loop, const struct listener_settings *settings, struct listener **ret_listener,
                   struct error *err) MUST_CHECK;
/* Requests that were not answered are dropped; none may be answered any more. NULL is fine. */
void listener_close(struct listener *listener);
unsigned listener_port(const struct listener *listener);

/* Reads certificate and key again; connections that are open keep the old ones until their next answer, after which
 * they are closed. On failure everything stays as it was. */
bool listener_reload(struct listener *listener, struct error *err) MUST_CHECK;

/* Borrowed until the request is answered. */
const char *listener_method(const struct listener_request *request);
const char *listener_path(const struct listener_request *request); /* as it was sent, without the query */
/* The first value of a header; NULL when absent. */
const char *listener_header(const struct listener_request *request, const char *name);
/* How often a header occurs. */
size_t listener_header_count(const struct listener_request *request, const char *name);
/* All values of a header joined by commas, as RFC 9110 5.3 has it. */
void listener_header_join(const struct listener_request *request, const char *name, struct buffer *values);
struct slice listener_body(const struct listener_request *request);
/* The other end of the connection. */
const struct address *listener_peer(const struct listener_request *request);

struct listener_answer {
    unsigned status;
    const char *content_type;
    struct slice body;
    unsigned retry_after_s; /* 0: no such header */
    const char *allow;      /* NULL: no such header */
};

/* The body is copied. The request is gone afterwards. */
void listener_answer(struct listener_request *request, const struct listener_answer *answer);
