/*
 * How a process is, over HTTP, on a listener of its own: GET /healthz (200, or 503 and a line for everything that
 * needs somebody's attention), /readyz (200 when it takes work, else 503 and why not), /metrics (Prometheus). None of
 * them is a reason to restart the process: one that cannot go on ends by itself.
 */
#pragma once

#include "workers/common/http/listener.h"

struct admin_view {
    /* True: all is well. Otherwise text has a line for everything that needs somebody's attention. */
    bool (*is_healthy)(const void *subject, struct buffer *text);
    const char *(*why_not_ready)(const void *subject);               /* NULL: it takes work */
    void (*write_metrics)(const void *subject, struct buffer *text); /* Prometheus' text format, 0.0.4 */
    const void *subject;
};

/* address: "127.0.0.1:0" for any free port; "": none, *ret_listener is NULL. The view must outlive the listener. */
bool admin_open(struct loop *loop, const char *address, const struct admin_view *view, struct listener **ret_listener,
                struct error *err) MUST_CHECK;
