/*
 * Where webhooks come in: from a request to its answer. Success is said only after every event of the delivery is where
 * it lasts (store.h); whatever is not deployed says why.
 *
 *   202 stored   200 nothing to do   400 not the host's payload   401 signature   403 address   404 no such hook
 *   405 not a POST   413 too large   415 not JSON   503 not stored, or too often: send it again
 */
#pragma once

#include "producer/hook.h"
#include "producer/poll/poll.h"
#include "producer/store.h"
#include "workers/common/base/metric.h"
#include "workers/common/http/listener.h"

enum { RECEPTION_REFUSED_COUNT = 7 };

struct reception {
    struct hooks hooks;
    struct networks proxies; /* whose X-Forwarded-For says who is calling */
    struct store *store;
    struct poll *poll; /* NULL: nothing is polled */
    bool is_closing;   /* nothing more is taken: 503 */
    uint64_t refused[RECEPTION_REFUSED_COUNT];
    struct histogram stored; /* from when a delivery was read */
};

/* For the listener (on_request, on_refused); context: the reception. */
void reception_request(void *context, struct listener_request *request);
void reception_refused(void *context, unsigned status, const char *reason, const struct address *client);

void reception_write_metrics(const struct reception *reception, struct buffer *text);
