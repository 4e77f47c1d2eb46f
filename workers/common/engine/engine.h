/*
 * Inside of the engine: one membership in a consumer group, turn by turn. Workers include worker.h only.
 *
 * engine.c is the turn, group.c the partitions' coming and going, intake.c the messages' way in, task.c what a worker
 * calls, settle.c the way of finished tasks through a transaction; partition.c, ledger.c and takeover.c are what is
 * known of the messages; status.c says how things stand, admin.c to whom.
 *
 * A turn, in this order: wait for anything; look at the clock (a stall drops everything); timers and HTTP; signals; the
 * group; messages in; tasks out; one step of the transaction; revoked partitions. All on one thread.
 *
 * Where the offset of a message is, when:
 *     read        nowhere: a restart reads it again
 *     finished    nowhere: its outputs are in memory
 *     sent        in an open transaction together with its outputs: neither is visible
 *     settled     committed, as part of the offset or in the map beside it (ledger.h); its outputs are visible
 */
#pragma once

#include "workers/common/engine/task.h"
#include "workers/common/engine/valve.h"
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
    uint64_t memberships;
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
    size_t held_count; /* tasks in memory, and the bytes of their messages: as of the last turn */
    size_t held_bytes;
    size_t running_count;
    size_t finished_count; /* not those that are sent */
    size_t output_bytes;
    struct task **confirms; /* tasks whose worker wants to hear that this process is a member */
    size_t confirm_count;
    size_t confirm_capacity;
    size_t aborts_in_a_row;
    struct valve valve;
    size_t max_tasks;
    size_t max_running;
    size_t max_ahead;
    int64_t drain_ms;
    bool has_joined;
    bool is_awaiting_ready;
    bool is_outside;  /* the broker has not said for a session's length that this process is a member */
    bool was_outside; /* once in this membership */
    bool is_static;   /* its name stays over restarts */
    bool is_revoking;
    int64_t revoke_deadline_ms;
    bool is_draining;
    int64_t drain_deadline_ms;
    bool must_end_now;
    size_t given_back_count; /* tasks that the end of a drain has cut off */
    int64_t turned_at_ms;
    int64_t watched_at_ms; /* the watchdog was told that the loop turns, the partitions were looked through */
    int64_t sent_at_ms;
    int64_t confirmed_at_ms;
    int64_t committed_at_ms;
    int64_t not_before_ms;         /* of the next transaction */
    int64_t restore_not_before_ms; /* of the next question for committed offsets */
    uint64_t trimmed_at;           /* settled tasks when memory was last given back */
    struct engine_counts counts;
};

/* What happens after the drain of a partition or of the process is over: the time for the last commit. */
enum { ENGINE_LEAVE_MS = 2000 };

/* The group (group.c). */
struct consumer_event;
void engine_assigned(struct engine *engine, const struct consumer_event *event);
void engine_revoked(struct engine *engine, const struct consumer_event *event);
void engine_lost(struct engine *engine, const struct consumer_event *event);
/* Revoked partitions go when they are settled, or when their time is over. */
void engine_advance_revocation(struct engine *engine);
/* Reads the last commits of new partitions; until then nothing of them is read. */
void engine_restore_partitions(struct engine *engine);
bool engine_has_unrestored(const struct engine *engine);
/* Says in the next commit that a partition of which nothing is under way is held no more. True: that is so, or there is
 * nothing to say. */
bool engine_let_go(struct partition *partition);
/* The partition belongs to somebody else. What the transaction under way holds of it stays until that has ended. */
void engine_drop_partition(struct engine *engine, struct partition *partition);
/* Forgets a partition of which nothing runs and nothing is sent. */
void engine_remove_partition(struct engine *engine, struct partition *partition);
/* Ends whatever is done for its tasks; returns for how many. */
size_t partition_stop(struct partition *partition);

/* Messages in (intake.c): as far as there is not enough to do, and within the bounds. False as engine_turn. */
bool engine_poll(struct engine *engine, struct error *err) MUST_CHECK;
bool engine_read(struct engine *engine, struct error *err) MUST_CHECK;
bool engine_may_read(const struct engine *engine, const struct partition *partition);

/* From finished to settled (settle.c). Is there anything to commit, or to confirm? */
bool engine_wants_transaction(const struct engine *engine);
/* Begins a transaction when one is wanted, and takes up what has become of the one under way. False as engine_turn. */
bool engine_advance_transaction(struct engine *engine, struct error *err) MUST_CHECK;

/* May requests go out and tasks begin: the loop turns, and the broker has not ended the session? */
bool engine_may_act(void *engine);

/* One turn. False: this membership is over; ERROR_RETRY asks for a new one, ERROR_FATAL ends the process. */
bool engine_turn(struct engine *engine, struct error *err) MUST_CHECK;

/* Draining, and nothing is left to wait for. */
bool engine_may_end(struct engine *engine);

/* Cancels and forgets every task. */
void engine_drop_all(struct engine *engine);
