/*
 * How to write a worker: a descriptor and a handful of functions. The engine (engine.h) reads the input topic, gives
 * the worker one task per message, and makes a task's outputs and its input's offset visible together.
 *
 *     waiting --take--> running --task_done----> finished --commit--> settled
 *                        |   ^
 *             task_retry |   | delay over, taken again
 *                        v   |
 *                       backoff
 *
 * The tasks of one key run one at a time, in order; other keys overtake. A task that waits for its retry holds its
 * key, not its partition. Everything happens on one thread: a function that blocks stops all tasks.
 *
 * What is promised: the outputs of a task become visible exactly once, or not at all when its partition has gone to
 * another member, which then does the task again. What a worker does to the outside world (S3) may happen twice.
 */
#pragma once

#include "workers/common/base/buffer.h"
#include "workers/common/base/options.h"
#include "workers/common/http/loop.h"
#include "workers/common/kafka/record.h"

struct engine;
struct task;

struct worker {
    const char *name;  /* of the role, its consumer group and its metrics */
    const char *input; /* short name of the topic */
    /* ret_state is handed to all the others. The options include this role's table. */
    bool (*start)(struct engine *engine, const struct options *options, void **ret_state, struct error *err);
    /* May be NULL. Asked before each batch of tasks is taken; false means: not now, ask again in the next turn. With an
     * error that is ERROR_FATAL the process ends. */
    bool (*ready)(void *state, struct error *err);
    /* Begins a task. It must, now or later, end in exactly one of task_done, task_retry, task_reject. */
    void (*take)(void *state, struct task *task);
    /* May be NULL when take always ends its task. Drops a task that runs or waits for its retry: nothing of it may go
     * on, not even a request in flight, and what the worker keeps with it is freed. */
    void (*cancel)(void *state, struct task *task);
    /* May be NULL. Appends in a few words what a task that runs or waits for its retry is waiting for: for whoever asks
     * why it takes so long. */
    void (*explain)(void *state, const struct task *task, struct buffer *text);
    /* The message cannot be worked on, now or ever: emit what makes that visible. The task ends when this returns. */
    void (*quarantine)(void *state, struct task *task, const char *reason);
    /* May be NULL. Appends the worker's own numbers (base/metric.h) to the engine's. */
    void (*write_metrics)(const void *state, struct buffer *text);
    /* May be NULL. A partition has come: from now on this worker is the only one for its keys. */
    void (*assigned)(void *state, int32_t partition);
    /* May be NULL. A partition has gone: forget what was concluded from being its only worker. */
    void (*revoked)(void *state, int32_t partition);
    /* May be NULL. */
    void (*stop)(void *state);
};

/* Runs the worker until SIGTERM or SIGINT, then drains. Returns the exit code of the process: 0 drained, 100 permanent
 * (a mistake that a restart cannot mend), 111 temporary. instance: NULL for one made from host name and pid. */
int worker_run(const struct worker *worker, const struct options *options, const char *instance);

/* The loop for HTTP requests, timers and descriptors of the worker's own. */
struct loop *engine_loop(struct engine *engine);
/* An eventfd that wakes the loop when written; for tables and the like. */
int engine_wake_fd(struct engine *engine);

/* How much there is to do, and how fast it goes: for a worker that tells how many of its kind are needed. */
struct engine_load {
    int64_t open_count;  /* messages of the partitions held here that are not settled, as of the last fetch */
    uint64_t done_count; /* tasks that have ended since the start */
    int64_t busy_ms;     /* the time that slots have been used, summed over all of them */
    size_t slots;        /* tasks that may run at once */
};
void engine_load(const struct engine *engine, struct engine_load *ret_load);

/* The input; lives until the task has ended. */
const struct record *task_record(const struct task *task);
const char *task_topic(const struct task *task); /* full name of the input topic */
/* How often the task has been taken in this process, from 1. */
unsigned task_attempt(const struct task *task);
/* The next waiting task of the same key, behind this one (or behind the given waiting one), or NULL: what has been
 * read so far, for those who can tell that newer work replaces older. */
const struct task *task_behind(const struct task *task);
/* What the worker keeps with the task; NULL at first. Freed by the worker before the task ends or in cancel. */
void *task_work(const struct task *task);
void task_set_work(struct task *task, void *work);

/* Adds an output; becomes visible when the task is done and committed. Takes ownership. */
void task_emit(struct task *task, struct output *output);
void task_done(struct task *task);
/* The same, and how it is counted (tagfleet_jobs_total): task_done says JOB_OK. */
enum job_result { JOB_OK, JOB_SKIPPED, JOB_FAILED };
void task_done_as(struct task *task, enum job_result result);
/* Takes the task again after delay_ms; what it has emitted is forgotten. */
void task_retry(struct task *task, int64_t delay_ms);
/* Ends the task through the worker's quarantine. */
void task_reject(struct task *task, const char *reason);

/* Asks the broker whether this process is still a member of its group, and calls confirmed once it said so: shortly
 * before a step that must not be taken by a worker that has been replaced. If it is not, the task is cancelled. */
typedef void task_confirmed(void *state, struct task *task);
void task_confirm(struct task *task, task_confirmed *confirmed);

/* The rows that every worker's option table begins with. */
#define WORKER_OPTIONS(role)                                                                                           \
    {.name = role ".max_tasks",                                                                                        \
     .type = OPTION_INTEGER,                                                                                           \
     .initial = "200000",                                                                                              \
     .minimum = 1,                                                                                                     \
     .maximum = 1000000,                                                                                               \
     .help = "messages held in memory; beyond it only partitions with less than their share are read"},                \
        {.name = role ".max_running",                                                                                  \
         .type = OPTION_INTEGER,                                                                                       \
         .initial = "256",                                                                                             \
         .minimum = 1,                                                                                                 \
         .maximum = 100000,                                                                                            \
         .help = "tasks that run at once"},                                                                            \
        {.name = role ".max_ahead",                                                                                    \
         .type = OPTION_INTEGER,                                                                                       \
         .initial = "200000",                                                                                          \
         .minimum = 1,                                                                                                 \
         .maximum = 1000000,                                                                                           \
         .help = "messages of one partition behind its oldest unfinished one"},                                        \
        {.name = role ".max_rejected",                                                                                 \
         .type = OPTION_INTEGER,                                                                                       \
         .initial = "100",                                                                                             \
         .minimum = 0,                                                                                                 \
         .maximum = 1000000,                                                                                           \
         .help = "messages that may be put aside in excess of good ones before the worker stops; 0: any number"},      \
        {.name = role ".admin",                                                                                        \
         .type = OPTION_TEXT,                                                                                          \
         .initial = "127.0.0.1:0",                                                                                     \
         .help = "address of /healthz, /readyz and /metrics; port 0: any free one, which is logged; empty: none"},     \
    {                                                                                                                  \
        .name = role ".drain", .type = OPTION_DURATION, .initial = "5s", .minimum = 0, .maximum = 300000,              \
        .help = "how long running tasks may go on when the process ends or a partition is wanted elsewhere; beyond "   \
                "7 s the other workers may have to wait"                                                               \
    }
