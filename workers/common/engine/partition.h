/*
 * A partition and its tasks: what waits behind what, what may start, what has begun. It knows everything about its
 * messages and decides nothing. A task is owned by its partition until it is settled or the partition is gone.
 */
#pragma once

#include "workers/common/base/index.h"
#include "workers/common/engine/ledger.h"
#include "workers/common/engine/takeover.h"
#include "workers/common/engine/worker.h"

enum task_state {
    TASK_WAITING, /* behind another task of its key, or for its turn */
    TASK_RUNNING,
    TASK_BACKOFF,
    TASK_FINISHED, /* its outputs wait for a commit */
    TASK_SENT,     /* part of the transaction that is under way */
};

enum confirm_state { CONFIRM_NONE, CONFIRM_ASKED, CONFIRM_SENT };

struct task {
    struct engine *engine;
    struct partition *partition;
    struct record record;
    enum task_state state;
    unsigned attempt;
    int64_t taken_at_ms;     /* for the first time */
    struct key_queue *queue; /* NULL: no key, nobody to wait for */
    struct task *behind;     /* the next of the same key */
    struct task *next_ready; /* in the partition's list of those that may be taken */
    struct output *first_output;
    struct output *last_output;
    size_t output_bytes;
    struct loop_timer *timer; /* of the backoff */
    enum confirm_state confirm;
    task_confirmed *confirmed;
    void *work;
};

/* The tasks of one key that are not finished, the oldest first. */
struct key_queue {
    struct task *head;
    struct task *tail;
};

struct partition {
    int32_t number;
    struct ledger ledger;
    struct index keys; /* key -> struct key_queue */
    struct task *first_ready;
    struct task *last_ready;
    size_t ready_count;
    bool is_restored;   /* the last commit's map has been read: messages may be read */
    bool is_leaving;    /* revoked: nothing starts any more */
    bool is_gone;       /* lost: only the transaction under way still refers to it */
    bool is_read_again; /* from before where reading had come to; until it is there again */
    bool has_more;      /* there was another message when reading stopped */
    size_t record_bytes;
    struct takeover takeover; /* as it is, */
    struct takeover sending_takeover;
    struct takeover written; /* and as this owner has last committed it */
    struct task *trying;     /* the oldest, which runs or is about to run alone */
    int64_t told_offset;     /* of the oldest message when it was last logged that it holds up the rest, -1: not yet */
    size_t map_bytes;        /* of the last commit's map */
    int64_t map_end;         /* the last message it names, while it is full; -1 */
    size_t left_out;         /* finished tasks that wait for room in the metadata; meanwhile nothing new starts */
    int64_t next_offset;     /* of the next message at the earliest */
    int64_t committed;       /* last committed offset, -1: not known */
    int64_t sending;         /* the offset in the transaction under way, -1: none */
    size_t waiting_count;    /* and in backoff */
    size_t running_count;
    size_t finished_count;
    size_t sent_count;
};

struct partition *partition_new(int32_t number);
/* Frees what waits and is finished; nothing may be running or sent. */
void partition_free(struct partition *partition);

/* Adds a message; takes the record. Returns false when an earlier commit has settled it already. */
bool partition_add(struct partition *partition, struct engine *engine, struct record *record);

/* Is it committed that the tasks which may start now have an owner? */
bool partition_is_claimed(const struct partition *partition);

/* The task that runs or was to run alone does so no more, and nobody vanished over it. */
void partition_end_trial(struct partition *partition);

/* Is there a task that may start? The oldest always may, since all others wait for it in the end. Careful after an
 * owner has vanished, only so many others (takeover.h). While the metadata is full, only those that have run before and
 * those in the gaps of the map: they make room, and others would need more of it. is_tight: what is finished takes too
 * much memory, so only those that have run before. */
bool partition_may_start(const struct partition *partition, bool is_tight);
/* Takes that task off the list; NULL when there is none. */
struct task *partition_next_ready(struct partition *partition, bool is_tight);

/* Puts a waiting task that may run onto the list. */
void partition_make_ready(struct task *task);

/* The task has finished: the next of its key may run. */
void partition_finish(struct task *task);

/* The task is settled or dropped: frees it. */
void task_free(struct task *task);
void task_forget_outputs(struct task *task);

/* Tasks that are in memory. */
size_t partition_task_count(const struct partition *partition);

/* Nothing is under way, and what has finished is settled, or must wait for room in the map until the oldest task ends.
 */
static inline bool partition_is_quiet(const struct partition *partition)
{
    return partition->running_count == 0 && partition->finished_count <= partition->left_out &&
           partition->sent_count == 0;
}
