#include "workers/common/engine/start.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/log.h"
#include "workers/common/engine/engine.h"
#include "workers/common/engine/partition.h"

enum {
    TAKE_BATCH = 500,         /* tasks started per turn */
    TAKE_MAXIMUM_MS = 200,    /* and the time for it: one task may emit 100,000 outputs */
    FINISHED_MAXIMUM = 10000, /* tasks that wait for their commit: two transactions full */
};

static void start_begin(struct engine *engine, struct task *task)
{
    task->state = TASK_RUNNING;
    task->attempt++;
    if (task->attempt == 1) {
        task->taken_at_ms = clock_monotonic_ms();
        if (task->record.timestamp_ms > 0) { /* whoever writes to a topic may leave it out */
            histogram_add(&engine->counts.queued, clock_wall_ms() - task->record.timestamp_ms);
        }
    }
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

static bool start_is_allowed(const struct engine *engine)
{
    return !engine->is_draining && !engine->is_outside && !engine->valve.is_closed &&
           engine->running_count < engine->max_running;
}

/* What is not committed yet is bounded, too: it must get out first, and what has no room in a map only does when the
 * oldest task of its partition ends. */
static bool start_is_tight(const struct engine *engine)
{
    size_t left_out = 0;
    for (size_t i = 0; i < engine->partition_count; i++) {
        left_out += engine->partitions[i]->left_out;
    }
    return engine->finished_count >= FINISHED_MAXIMUM + left_out || engine->output_bytes >= ENGINE_OUTPUT_BYTES_MAXIMUM;
}

/* The partition whose oldest message is to run with nothing beside it, if there is one. */
static struct partition *start_lone(const struct engine *engine)
{
    for (size_t i = 0; i < engine->partition_count; i++) {
        struct partition *partition = engine->partitions[i];
        if (takeover_is_alone(&partition->takeover) && !partition->is_leaving && !partition->is_gone &&
            (partition->trying != NULL || partition_may_start(partition, false))) {
            return partition;
        }
    }
    return NULL;
}

/* Nothing is under way that would be blamed or lost with a message that kills the process. */
static bool start_is_quiet(const struct engine *engine)
{
    for (size_t i = 0; i < engine->partition_count; i++) {
        if (!partition_is_quiet(engine->partitions[i])) {
            return false;
        }
    }
    return true;
}

/* One step towards running the oldest message alone: nothing else is under way, that it begins is committed, it begins.
 */
static void start_alone(struct engine *engine, struct partition *partition)
{
    if (!start_is_quiet(engine)) {
        return;
    }
    if (partition->trying == NULL) {
        struct task *task = partition_next_ready(partition, false);
        if (partition->takeover.alone >= TAKEOVER_ALONE_MAXIMUM) {
            AUTO(text)
            char *reason =
                text_format("%u workers have vanished while they worked on this message and nothing else: it "
                            "crashes them, or needs more memory than they have",
                            partition->takeover.alone);
            start_begin(engine, task);
            engine->counts.deadly++;
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

/* Why the worker cannot begin anything: logged when it begins, told by /healthz while it lasts. */
static void start_note_obstacle(struct engine *engine, const struct error *err)
{
    if (err->action != ERROR_NONE && engine->obstacle.action == ERROR_NONE) {
        log_event(LOG_WARNING, "nothing can begin for now", "reason", err->text, NULL);
    }
    engine->obstacle = *err;
}

static bool start_is_ready(struct engine *engine, bool *has_asked, struct error *err)
{
    *err = (struct error){0};
    engine->is_awaiting_ready =
        !*has_asked && engine->worker->ready != NULL && !engine->worker->ready(engine->state, err);
    start_note_obstacle(engine, err);
    *has_asked = true;
    return !engine->is_awaiting_ready;
}

static bool start_may_start(const struct partition *partition, bool is_tight)
{
    return partition_may_start(partition, is_tight) && partition_is_claimed(partition);
}

bool start_tasks(struct engine *engine, struct error *err)
{
    bool has_asked = false;
    size_t started = 0;
    int64_t until_ms = clock_monotonic_ms() + TAKE_MAXIMUM_MS;
    struct partition *lone = start_lone(engine);
    if (engine->has_joined && !engine->is_awaiting_ready) {
        engine->obstacle = (struct error){0}; /* nothing waits to begin, so nothing is in its way */
    }
    engine->is_awaiting_ready = false;
    if (lone != NULL) {
        if (start_is_allowed(engine) && start_is_ready(engine, &has_asked, err)) {
            start_alone(engine, lone);
        }
        return !engine->is_awaiting_ready || err->action != ERROR_FATAL;
    }
    /* One of each partition in turn, so that a long queue in one does not keep the others waiting. */
    for (bool is_progress = true; is_progress && started < TAKE_BATCH;) {
        bool is_tight = start_is_tight(engine);
        is_progress = false;
        for (size_t i = 0; i < engine->partition_count && start_is_allowed(engine); i++) {
            struct partition *partition = engine->partitions[i];
            if (clock_monotonic_ms() >= until_ms) {
                return true;
            }
            if (!start_may_start(partition, is_tight)) {
                continue;
            }
            if (!start_is_ready(engine, &has_asked, err)) {
                return err->action != ERROR_FATAL;
            }
            start_take(engine, partition_next_ready(partition, is_tight));
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
    bool is_tight = start_is_tight(engine);
    for (size_t i = 0; i < engine->partition_count; i++) {
        if (start_may_start(engine->partitions[i], is_tight)) {
            return true;
        }
    }
    return false;
}

bool start_waits_alone(const struct engine *engine)
{
    return start_lone(engine) != NULL;
}
