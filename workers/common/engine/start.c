#include "workers/common/engine/start.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/engine/engine.h"
#include "workers/common/engine/partition.h"

enum {
    TAKE_BATCH = 500,         /* tasks started per turn */
    TAKE_MAXIMUM_MS = 200,    /* and the time for it: one task may emit 100,000 outputs */
    FINISHED_MAXIMUM = 10000, /* tasks that wait for their commit: two transactions full */
    OUTPUT_BYTES_MAXIMUM = 64 * 1024 * 1024,
};

static void start_begin(struct engine *engine, struct task *task)
{
    task->state = TASK_RUNNING;
    task->attempt++;
    task->taken_at_ms = task->attempt == 1 ? clock_monotonic_ms() : task->taken_at_ms;
    task->partition->waiting_count--;
    task->partition->running_count++;
    engine->running_count++;
    engine->counts.taken++;
}

static void start_take(struct engine *engine, struct task *task)
{
    start_begin(engine, task);
    engine->worker->take(engine->state, task);
}

/* Outputs that are not committed yet are bounded, too: what is finished must get out first. */
static bool start_is_allowed(const struct engine *engine)
{
    return !engine->is_draining && !engine->is_outside && !engine->valve.is_closed &&
           engine->running_count < engine->max_running && engine->finished_count < FINISHED_MAXIMUM &&
           engine->output_bytes < OUTPUT_BYTES_MAXIMUM;
}

/* The partition whose oldest message is to run with nothing beside it, if there is one. */
static struct partition *start_lone(const struct engine *engine)
{
    for (size_t i = 0; i < engine->partition_count; i++) {
        struct partition *partition = engine->partitions[i];
        if (takeover_is_alone(&partition->takeover) && !partition->is_leaving && !partition->is_gone &&
            (partition->trying != NULL || partition_may_start(partition))) {
            return partition;
        }
    }
    return NULL;
}

/* One step towards running the oldest message alone: nothing else runs, that it begins is committed, it begins. */
static void start_alone(struct engine *engine, struct partition *partition)
{
    if (engine->running_count > 0) {
        return;
    }
    if (partition->trying == NULL) {
        struct task *task = partition_next_ready(partition);
        if (partition->takeover.alone >= TAKEOVER_ALONE_MAXIMUM) {
            AUTO(text)
            char *reason =
                text_format("%u workers have vanished while they worked on this message and nothing else: it "
                            "crashes them, or needs more memory than they have",
                            partition->takeover.alone);
            start_begin(engine, task);
            task_reject(task, reason);
            return;
        }
        partition->takeover.alone++;
        partition->trying = task;
    }
    if (partition->trying->state == TASK_WAITING && partition_is_claimed(partition)) {
        start_take(engine, partition->trying);
    }
}

static bool start_is_ready(struct engine *engine, bool *has_asked, struct error *err)
{
    *err = (struct error){0};
    engine->is_awaiting_ready =
        !*has_asked && engine->worker->ready != NULL && !engine->worker->ready(engine->state, err);
    *has_asked = true;
    return !engine->is_awaiting_ready;
}

static bool start_may_start(const struct partition *partition)
{
    return partition_may_start(partition) && partition_is_claimed(partition);
}

bool start_tasks(struct engine *engine, struct error *err)
{
    bool has_asked = false;
    size_t started = 0;
    int64_t until_ms = clock_monotonic_ms() + TAKE_MAXIMUM_MS;
    struct partition *lone = start_lone(engine);
    engine->is_awaiting_ready = false;
    if (lone != NULL) {
        if (start_is_allowed(engine) && start_is_ready(engine, &has_asked, err)) {
            start_alone(engine, lone);
        }
        return !engine->is_awaiting_ready || err->action != ERROR_FATAL;
    }
    /* One of each partition in turn, so that a long queue in one does not keep the others waiting. */
    for (bool is_progress = true; is_progress && started < TAKE_BATCH;) {
        is_progress = false;
        for (size_t i = 0; i < engine->partition_count && start_is_allowed(engine); i++) {
            struct partition *partition = engine->partitions[i];
            if (clock_monotonic_ms() >= until_ms) {
                return true;
            }
            if (!start_may_start(partition)) {
                continue;
            }
            if (!start_is_ready(engine, &has_asked, err)) {
                return err->action != ERROR_FATAL;
            }
            start_take(engine, partition_next_ready(partition));
            started++;
            is_progress = true;
        }
    }
    return true;
}

bool start_has_something(const struct engine *engine)
{
    if (!start_is_allowed(engine) || start_lone(engine) != NULL) {
        return false;
    }
    for (size_t i = 0; i < engine->partition_count; i++) {
        if (start_may_start(engine->partitions[i])) {
            return true;
        }
    }
    return false;
}

bool start_waits_alone(const struct engine *engine)
{
    return start_lone(engine) != NULL;
}
