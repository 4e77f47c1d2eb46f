/*
 * The transactional producer of a process. One transaction at a time carries outputs and the offsets of the inputs
 * they came from, so that both become visible together or not at all.
 *
 *              begin                    finish                 offsets sent
 *   STARTING -> IDLE ------> OPEN ---------------> SENDING ----------------> COMMITTING ---> COMMITTED -> (begin)
 *                             |                      |                            |
 *                             +---- abort -----------+------- broker says so -----+---> ABORTING --> ABORTED -> (begin)
 *   any state -> FENCED: somebody else has our id, or the producer is broken; close and open anew.
 *
 * How one loop stays responsive (measured on librdkafka 2.0.2): begin and produce only queue; commit and abort are
 * called in slices of about a millisecond and resumed; sending the offsets cannot be resumed, only repeated, so it
 * gets the whole call (5-20 ms) and at most SEND_SLICE_MS when the broker is away.
 */
#pragma once

#include "workers/common/kafka/consumer.h"
#include "workers/common/kafka/record.h"

struct transaction;

enum transaction_state {
    TRANSACTION_STARTING,
    TRANSACTION_IDLE,
    TRANSACTION_OPEN,
    TRANSACTION_SENDING,
    TRANSACTION_COMMITTING,
    TRANSACTION_COMMITTED,
    TRANSACTION_ABORTING,
    TRANSACTION_ABORTED,
    TRANSACTION_FENCED,
};

bool transaction_open(const struct options *options, const char *transactional_id, struct transaction **ret_transaction,
                      struct error *err) MUST_CHECK;
void transaction_close(struct transaction *transaction); /* an open transaction is left to its time-out; NULL is fine */

enum transaction_state transaction_state(const struct transaction *transaction);

/* From IDLE, COMMITTED or ABORTED to OPEN. */
void transaction_begin(struct transaction *transaction);

/* Queues a copy of the output. False with ERROR_RETRY when the local queue is full: advance and try again. */
bool transaction_produce(struct transaction *transaction, const struct output *output, struct error *err) MUST_CHECK;

/* The next offset to read from a partition of the consumer's topic, with its metadata. */
void transaction_offset(struct transaction *transaction, const struct consumer *consumer, int32_t partition,
                        int64_t offset, const char *metadata);

/* Nothing more will be added. */
void transaction_finish(struct transaction *transaction);

/* Gives up an OPEN transaction. */
void transaction_abort(struct transaction *transaction);

/* One bounded step of whatever is awaited; returns the new state. consumer: whose membership and offsets are sent. */
enum transaction_state transaction_advance(struct transaction *transaction, struct consumer *consumer);

/* True while a call of transaction_advance would make progress by itself, so that the loop should not sleep long. */
bool transaction_is_busy(const struct transaction *transaction);

/* Why it was aborted or fenced. */
const struct error *transaction_error(const struct transaction *transaction);
