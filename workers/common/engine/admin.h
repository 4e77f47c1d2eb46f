/*
 * The engine's answers over HTTP, on a listener of its own: GET /healthz (200, or 503 and a line for everything that
 * needs somebody's attention), /readyz (200 when a member of the group that takes work, else 503), /metrics
 * (Prometheus). None of them is a reason to restart the process: a worker that cannot go on ends by itself.
 */
#pragma once

#include "workers/common/http/listener.h"

struct engine;

/* address: "127.0.0.1:0" for any free port; "": none, *ret_listener is NULL. */
bool admin_open(struct engine *engine, const char *address, struct listener **ret_listener,
                struct error *err) MUST_CHECK;
