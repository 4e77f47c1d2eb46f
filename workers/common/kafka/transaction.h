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
 * How one loop stays responsive while a commit is under way: begin and produce only queue; what waits for the broker
 * (sending the offsets, commit, abort: 5 to 60 ms) is called by a thread that does nothing else and shares nothing but
 * this object's state. The loop is woken when a step has ended. Calling the commit in short slices from the loop itself
 * looks simpler and was tried: librdkafka 2.0.2 aborts the process when the first step of a resumed commit times out
 * just as the broker's answer arrives ("Invalid transaction state transition attempted").
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

/* wake_fd: an eventfd that is written when a step has ended. */
bool transaction_open(const struct options *options, const char *transactional_id, int wake_fd,
                      struct transaction **ret_transaction, struct error *err) MUST_CHECK;

/* Does not wait for a step that is under way: the process that opens the same id next is told how it ended. NULL is
 * fine. wake_fd is not written any more. */
void transaction_close(struct transaction *transaction);

enum transaction_state transaction_state(const struct transaction *transaction);

/* From IDLE, COMMITTED or ABORTED to OPEN. */
void transaction_begin(struct transaction *transaction);

/* Queues a copy of the output. False with ERROR_RETRY when the local queue is full: advance and try again. */
bool transaction_produce(struct transaction *transaction, const struct output *output, struct error *err) MUST_CHECK;

/* The next offset to read from a partition of the consumer's topic, with its metadata. */
void transaction_offset(struct transaction *transaction, const struct consumer *consumer, int32_t partition,
                        int64_t offset, const char *metadata);

/* Nothing more will be added. consumer: whose membership goes with the offsets. */
void transaction_finish(struct transaction *transaction, const struct consumer *consumer);

/* Gives up an OPEN transaction; reason is what transaction_error will say of it. */
void transaction_abort(struct transaction *transaction, const struct error *reason);

/* Takes up what the thread has finished, one state at a time; never waits. Returns the new state. */
enum transaction_state transaction_advance(struct transaction *transaction);

/* A step is under way. */
bool transaction_is_busy(const struct transaction *transaction);

/* A step has ended that transaction_advance has not told yet. */
bool transaction_has_news(struct transaction *transaction);

/* Why it was aborted or fenced; ERROR_FATAL: the broker knows a newer producer of this id, or has given this one up. */
const struct error *transaction_error(const struct transaction *transaction);
