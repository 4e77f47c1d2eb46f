/*
 * An idempotent producer without transactions, for those who put single messages on the bus: a message counts only
 * when all in-sync replicas have it (acks=all), and its owner is told exactly once.
 */
#pragma once

#include "workers/common/base/options.h"
#include "workers/common/kafka/record.h"

struct publisher;

/* Called from publisher_poll, once for each message; err is NULL when it is stored. With ERROR_RETRY it may or may not
 * be stored: the same message may be sent again, since everything downstream is idempotent. */
typedef void publisher_stored(void *context, const struct error *err);

/* wake_fd as for a consumer, or -1. No message waits longer than timeout_ms for its acknowledgement. */
bool publisher_open(const struct options *options, int wake_fd, int timeout_ms, struct publisher **ret_publisher,
                    struct error *err) MUST_CHECK;
void publisher_close(struct publisher *publisher);

/* Queues a copy of the output; stored is called within the time-out of publisher_open. False (ERROR_RETRY) when
 * the local queue is full, or as long as there is no right to write at all. */
bool publisher_send(struct publisher *publisher, const struct output *output, publisher_stored *stored, void *context,
                    struct error *err) MUST_CHECK;

/* Calls the outstanding callbacks, of which none may call it in turn; waits at most timeout_ms for the first. A right
 * to write that is missing is asked for again here. */
void publisher_poll(struct publisher *publisher, int timeout_ms);

/* Where a message was stored. */
struct publisher_place {
    int32_t partition;
    int64_t offset;
};

/* Sends one message and waits until it is stored. ret_place may be NULL. */
bool publisher_send_wait(struct publisher *publisher, const struct output *output, struct publisher_place *ret_place,
                         struct error *err) MUST_CHECK;
