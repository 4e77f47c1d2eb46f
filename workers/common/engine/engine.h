/*
 * Inside of the engine: one membership in a consumer group, turn by turn. Workers include worker.h only.
 *
 * engine.c is the turn and the group, task.c what a worker calls, partition.c and ledger.c what is known of the
 * messages, settle.c the way of finished tasks through a transaction.
 *
 * A turn, in this order: wait for anything; look at the clock (a stall drops everything); timers and HTTP; signals;
 * messages in; tasks out; one step of the transaction; revoked partitions. All on one thread.
 *
 * Where the offset of a message is, when:
 *     read        nowhere: a restart reads it again
 *     finished    nowhere: its outputs are in memory
 *     sent        in an open transaction together with its outputs: neither is visible
 *     settled     committed, as part of the offset or in the map beside it (ledger.h); its outputs are visible
 */
#pragma once

#include "workers/common/engine/task.h"
#include "workers/common/kafka/kafka.h"
#include "workers/common/kafka/transaction.h"

struct engine_counts {
    uint64_t taken;
    uint64_t done;
    uint64_t retried;
    uint64_t rejected;
    uint64_t cancelled;
    uint64_t settled;
    uint64_t known; /* read again, but settled by an earlier commit's map */
    uint64_t commits;
    uint64_t aborts;
    uint64_t rebalances;
};

struct engine {
    const struct worker *worker;
    void *state; /* the worker's */
    struct loop *loop;
    int wake_fd;
    struct consumer *consumer;
    struct transaction *transaction;
    struct partition **partitions;
    size_t partition_count;
    size_t running_count;
    size_t output_bytes;
    size_t confirms_asked;
    size_t aborts_in_a_row;
    size_t max_tasks;
    size_t max_running;
    int64_t drain_ms;
    bool is_full;
    bool has_joined;
    bool is_awaiting_ready;
    bool is_revoking;
    int64_t revoke_deadline_ms;
    bool is_draining;
    int64_t drain_deadline_ms;
    bool must_end_now;
    int64_t turned_at_ms;
    int64_t sent_at_ms;
    int64_t confirmed_at_ms;
    int64_t committed_at_ms;
    int64_t not_before_ms;         /* of the next transaction */
    int64_t restore_not_before_ms; /* of the next question for committed offsets */
    struct engine_counts counts;
};

/* From finished to settled (settle.c). Is there anything to commit, or to confirm? */
bool engine_wants_transaction(const struct engine *engine);
/* Begins a transaction when one is wanted, and takes up what has become of the one under way. False as engine_turn. */
bool engine_advance_transaction(struct engine *engine, struct error *err) MUST_CHECK;

/* Forgets a partition of which nothing runs and nothing is sent. */
void engine_remove_partition(struct engine *engine, struct partition *partition);

/* One turn. False: this membership is over; ERROR_RETRY asks for a new one, ERROR_FATAL ends the process. */
bool engine_turn(struct engine *engine, struct error *err) MUST_CHECK;

/* Draining, and nothing is left to wait for. */
bool engine_may_end(const struct engine *engine);

/* Cancels and forgets every task. */
void engine_drop_all(struct engine *engine);
