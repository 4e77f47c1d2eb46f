/*
 * What an engine knows: one worker's process, and its membership in a consumer group. Data only; who does what with it:
 *
 *     runner.c      memberships one after the other, until SIGTERM (worker_run)
 *     turn.c        one turn of a membership: the order in which everything happens
 *     group.c       partitions come and go
 *     intake.c      messages come in, as far as there is not enough to do
 *     task.c        what a worker calls: a task runs, waits for its retry, ends
 *     settle.c      finished tasks become visible, through a transaction
 *     status.c      how things stand in words, for log and health; http/admin.h answers with it
 *     numbers.c     and in numbers, for Prometheus
 *
 * partition.c (a partition and its tasks), ledger.c (which messages are settled), takeover.c (owners that vanished) and
 * valve.h (too much put aside) know nothing of the engine. Workers include worker.h only.
 *
 * Where the offset of a message is, when:
 *     read        nowhere: a restart reads it again
 *     finished    nowhere: its outputs are in memory
 *     sent        in an open transaction together with its outputs: neither is visible
 *     settled     committed, as part of the offset or in the map beside it (ledger.h); its outputs are visible
 */
#pragma once

#include "workers/common/base/metric.h"
#include "workers/common/engine/takeover.h"
#include "workers/common/engine/valve.h"
#include "workers/common/engine/worker.h"

struct consumer;
struct partition;
struct transaction;

enum {
    ENGINE_OUTPUT_BYTES_MAXIMUM = 64 * 1024 * 1024
}; /* of outputs that are not committed; then nothing new begins */

/* What the loop's time goes into. */
enum loop_phase { LOOP_WAIT, LOOP_PROCESS, LOOP_POLL, LOOP_START, LOOP_SETTLE, LOOP_COUNT };

/* How partitions that the group wanted back were let go: nothing ran, what ran had ended in time, it had not; or they
 * were gone without asking. */
enum engine_parting { PARTING_IDLE, PARTING_DRAINED, PARTING_TIMED_OUT, PARTING_LOST, PARTING_COUNT };

enum { JOB_RESULT_COUNT = JOB_FAILED + 1 };

struct engine_counts {
    uint64_t taken;
    uint64_t ended[JOB_RESULT_COUNT];
    uint64_t retried;
    uint64_t rejected; /* of those: */
    uint64_t deadly;   /* whoever worked on it vanished */
    uint64_t cancelled;
    uint64_t slow;
    struct histogram queued; /* from when the message was written until it was taken for the first time */
    struct histogram lasted; /* from then until it ended */
    struct histogram commit;
    uint64_t partings[PARTING_COUNT];
    int64_t phase_us[LOOP_COUNT];
    int64_t busy_us; /* the running tasks' times, summed */
    uint64_t settled;
    uint64_t known; /* read again, but settled by an earlier commit's map */
    uint64_t commits;
    uint64_t aborts;
    uint64_t assignments;
    uint64_t memberships;
};

/* A partition that went while this process lived: what it had committed of its hold, should it come back. */
struct parting {
    int64_t committed; /* -1: nothing to remember */
    struct takeover written;
    unsigned alone; /* as it would have been written in the end */
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
    struct parting *partings; /* by number */
    size_t parting_count;
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
    bool is_open;      /* the configuration was good enough to open both ends */
    bool has_leftover; /* a consumer that would not close */
    bool has_joined;
    bool is_awaiting_ready;
    struct error obstacle; /* why the worker is not ready, ERROR_NONE: it is, or will be in a moment */
    bool is_outside;       /* the broker has not said for a session's length that this process is a member */
    bool was_outside;      /* once in this membership */
    bool is_static;        /* its name stays over restarts */
    bool is_revoking;
    bool was_busy; /* something ran when the group wanted partitions back */
    int64_t revoke_deadline_ms;
    bool is_quiet;    /* nothing is taken until it is told to go on */
    bool is_ending;   /* nor ever again in this process */
    bool is_draining; /* this membership lets go, for either reason */
    int64_t drain_deadline_ms;
    bool must_end_now;
    bool has_let_go;         /* nothing was under way any more, and no partition is held */
    size_t given_back_count; /* tasks that the end of a drain has cut off */
    int64_t turned_at_ms;
    int64_t phase_since_us;
    int64_t member_at_ms;  /* consumer_member_at_ms, when all that the group has said had been heard */
    int64_t watched_at_ms; /* the watchdog was told that the loop turns, the partitions were looked through */
    int64_t sent_at_ms;
    int64_t confirmed_at_ms;
    int64_t committed_at_ms;
    int64_t not_before_ms;         /* of the next transaction */
    int64_t restore_not_before_ms; /* of the next question for committed offsets */
    uint64_t trimmed_at;           /* settled tasks when memory was last given back */
    struct engine_counts counts;
};
