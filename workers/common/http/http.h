/*
 * HTTP/1.1 requests that never block: they are started here, run inside the loop, and end in one callback. Over
 * libcurl's multi handle, which is seen in http.c only, with the settings that signed requests need: no redirects
 * followed, the path sent as it is, no Expect, no content encodings, TLS verified, connections kept for seconds only
 * (object stores close idle ones early).
 *
 * More than a set number of transfers at once lowers the throughput of one thread, so the rest wait in a queue of our
 * own, first come, first served; the time in it does not count against the request's time-out.
 *
 * Whatever goes wrong below HTTP is mapped here, once, to an error with an action. An HTTP status is not an error here.
 */
#pragma once

#include "workers/common/base/error.h"
#include "workers/common/base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http;
struct http_transfer;

enum { HTTP_TRANSFERS_MAXIMUM_DEFAULT = 64, HTTP_CONNECT_TIMEOUT_DEFAULT_MS = 3000 };

struct http_settings {
    size_t transfers_maximum;   /* at once; 0: HTTP_TRANSFERS_MAXIMUM_DEFAULT */
    int64_t connect_timeout_ms; /* name lookup, TCP and TLS; 0: HTTP_CONNECT_TIMEOUT_DEFAULT_MS */
    const char *ca_file; /* trust these certificates instead of the system's (AWS_CA_BUNDLE); NULL: the system's */
};

/* Texts and headers are copied by http_start; the body is borrowed until the callback or the cancel. */
struct http_request {
    const char *method;
    const char *url;            /* http or https, sent exactly as given */
    const char *const *headers; /* "Name: value", each; "Name;" for an empty value */
    size_t header_count;
    struct slice body;
    int64_t timeout_ms;           /* whole transfer, once it has left the queue; must be positive */
    size_t answer_maximum_bytes;  /* a longer body ends the transfer with an error */
    size_t answer_expected_bytes; /* memory for so much is taken when the body begins; 0: not known */
    bool is_direct;               /* never through the proxy of the environment (http_proxy) */
};

/* How a request ended; borrowed for the duration of the callback. */
struct http_answer {
    int status;        /* 0: there was no complete answer, see err */
    struct slice body; /* whole; ended by a NUL that does not count */
    struct error err;  /* when status is 0: ERROR_RETRY or ERROR_REJECT, and what happened */

    /* With status 0: a kept connection turned out to be dead before it answered a byte. The request may be sent again
     * at once, it need not count as an attempt. */
    bool is_connection_stale;
    bool is_timed_out; /* with status 0: the server may have done what was asked */

    int64_t sent_wall_ms;     /* when the transfer began */
    int64_t received_wall_ms; /* when the first byte of the answer came; 0 when none came */

    struct slice header_lines; /* for http_answer_header */
};

/* The value of a header by its name in any case, without the blanks around it; ptr is NULL when it is absent. The
 * first one wins. */
struct slice http_answer_header(const struct http_answer *answer, const char *name);

/* Counts for metrics; all grow but the two gauges. */
struct http_statistics {
    size_t active; /* gauge */
    size_t queued; /* gauge */
    uint64_t requests;
    uint64_t connections;
    uint64_t failures; /* ended without an answer */
};

/* Made and driven by the loop; others get it from loop_http. */
struct http *http_new(const struct http_settings *settings);
void http_free(struct http *http); /* cancels everything; NULL is fine */

/* Queues or starts a request. on_done is called exactly once, from a later loop_dispatch, unless the transfer is
 * cancelled before. The handle is valid until then. Never NULL. */
struct http_transfer *http_start(struct http *http, const struct http_request *request,
                                 void (*on_done)(void *context, const struct http_answer *answer), void *context);

/* Ends a transfer, in the queue or in flight, without calling back. Its connection is closed when it was in use. NULL
 * is fine. */
void http_cancel(struct http *http, struct http_transfer *transfer);

/* For whoever knows better than the maker of the loop; before the first request. */
void http_set_transfers_maximum(struct http *http, size_t maximum);

/* may_send is asked before the first byte of each request, whether its connection is new or kept. While it says no,
 * requests end with ERROR_RETRY instead of being sent: for a process that may have been replaced while it was stopped,
 * perhaps in the middle of sending others. Without a gate everything is sent. */
void http_set_gate(struct http *http, bool (*may_send)(void *context), void *context);

void http_statistics_read(const struct http *http, struct http_statistics *ret_statistics);

/* For the loop only: waits for the transfers' sockets and for the extra descriptors, whose readiness is stored beside
 * them; then, later, carries the transfers on and calls back for those that have ended. */
struct http_descriptor {
    int descriptor;
    bool is_ready;
};
void http_wait(struct http *http, struct http_descriptor *descriptors, size_t descriptor_count, int64_t at_most_ms);
void http_dispatch(struct http *http);
