#include "workers/common/engine/engine.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/log.h"
#include "workers/common/engine/status.h"

#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    TAKE_BATCH = 500,         /* tasks started per turn */
    TAKE_MAXIMUM_MS = 200,    /* and the time for it: one task may emit 100,000 outputs */
    FINISHED_MAXIMUM = 10000, /* tasks that wait for their commit: two transactions full */
    OUTPUT_BYTES_MAXIMUM = 64 * 1024 * 1024,
    WAIT_IDLE_MS = 500,
    TRIM_AFTER_TASKS = 1000,
    /* The broker counts the session from the last heartbeat, which may be as old as their interval. */
    STALL_MAXIMUM_MS = KAFKA_SESSION_TIMEOUT_MS - KAFKA_HEARTBEAT_INTERVAL_MS - 500,
    /* Counted from when the last heartbeat that was answered was sent; the rest is for a request to get out. */
    MEMBER_MAXIMUM_MS = KAFKA_SESSION_TIMEOUT_MS - 500,
    WATCH_MS = 1000,
    WATCHDOG_S = 60,
};

struct loop *engine_loop(struct engine *engine)
{
    return engine->loop;
}

int engine_wake_fd(struct engine *engine)
{
    return engine->wake_fd;
}

/* --- tasks out --- */

static void engine_begin(struct engine *engine, struct task *task)
{
    task->state = TASK_RUNNING;
    task->attempt++;
    task->taken_at_ms = task->attempt == 1 ? clock_monotonic_ms() : task->taken_at_ms;
    task->partition->waiting_count--;
    task->partition->running_count++;
    engine->running_count++;
    engine->counts.taken++;
}

static void engine_take(struct engine *engine, struct task *task)
{
    engine_begin(engine, task);
    engine->worker->take(engine->state, task);
}

/* Outputs that are not committed yet are bounded, too: what is finished must get out first. */
static bool engine_may_take(const struct engine *engine)
{
    return !engine->is_draining && !engine->is_outside && !engine->valve.is_closed &&
           engine->running_count < engine->max_running && engine->finished_count < FINISHED_MAXIMUM &&
           engine->output_bytes < OUTPUT_BYTES_MAXIMUM;
}

/* The partition whose oldest message is to run with nothing beside it, if there is one. */
static struct partition *engine_lone(const struct engine *engine)
{
    for (size_t i = 0; i < engine->partition_count; i++) {
        struct partition *partition = engine->partitions[i];
        if (takeover_is_alone(&partition->takeover) && (partition->trying != NULL || partition_may_start(partition))) {
            return partition;
        }
    }
    return NULL;
}

/* One step towards running the oldest message alone: nothing else runs, that it begins is committed, it begins. */
static void engine_start_alone(struct engine *engine, struct partition *partition)
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
            engine_begin(engine, task);
            task_reject(task, reason);
            return;
        }
        partition->takeover.alone++;
        partition->trying = task;
    }
    if (partition->trying->state == TASK_WAITING && partition_is_claimed(partition)) {
        engine_take(engine, partition->trying);
    }
}

static bool engine_is_ready(struct engine *engine, bool *has_asked, struct error *err)
{
    *err = (struct error){0};
    engine->is_awaiting_ready =
        !*has_asked && engine->worker->ready != NULL && !engine->worker->ready(engine->state, err);
    *has_asked = true;
    return !engine->is_awaiting_ready;
}

static bool engine_start_tasks(struct engine *engine, struct error *err)
{
    bool has_asked = false;
    size_t started = 0;
    int64_t until_ms = clock_monotonic_ms() + TAKE_MAXIMUM_MS;
    struct partition *lone = engine_lone(engine);
    engine->is_awaiting_ready = false;
    if (lone != NULL) {
        if (engine_may_take(engine) && engine_is_ready(engine, &has_asked, err)) {
            engine_start_alone(engine, lone);
        }
        return !engine->is_awaiting_ready || err->action != ERROR_FATAL;
    }
    /* One of each partition in turn, so that a long queue in one does not keep the others waiting. */
    for (bool is_progress = true; is_progress && started < TAKE_BATCH;) {
        is_progress = false;
        for (size_t i = 0; i < engine->partition_count && engine_may_take(engine); i++) {
            struct partition *partition = engine->partitions[i];
            if (clock_monotonic_ms() >= until_ms) {
                return true;
            }
            if (!partition_may_start(partition) || !partition_is_claimed(partition)) {
                continue;
            }
            if (!engine_is_ready(engine, &has_asked, err)) {
                return err->action != ERROR_FATAL;
            }
            engine_take(engine, partition_next_ready(partition));
            started++;
            is_progress = true;
        }
    }
    return true;
}

/* --- the clock --- */

bool engine_may_act(void *context)
{
    const struct engine *engine = context;
    int64_t now_ms = clock_monotonic_ms();
    return engine->consumer == NULL || (now_ms - engine->turned_at_ms <= STALL_MAXIMUM_MS &&
                                        now_ms - consumer_member_at_ms(engine->consumer) <= MEMBER_MAXIMUM_MS);
}

/* A process that was stopped or starved beyond its session has been replaced. */
static bool engine_has_stalled(struct engine *engine, struct error *err)
{
    int64_t stalled_ms = clock_monotonic_ms() - engine->turned_at_ms;
    if (stalled_ms <= STALL_MAXIMUM_MS) {
        return false;
    }
    error_set(err, ERROR_RETRY, "stalled for %lld ms: the group may have replaced this process", (long long)stalled_ms);
    return true;
}

/* Cut off from the broker: the group gives the partitions to others, and librdkafka notices that later. */
static void engine_check_membership(struct engine *engine)
{
    bool was_outside = engine->is_outside;
    engine->is_outside = engine->has_joined && !engine_may_act(engine);
    engine->was_outside = engine->was_outside || engine->is_outside;
    if (engine->is_outside && !was_outside) {
        log_event(LOG_WARNING, "no answer from the group for too long: nothing new begins", NULL);
    }
}

static void engine_watch(struct engine *engine)
{
    if (engine->turned_at_ms - engine->watched_at_ms < WATCH_MS) {
        return;
    }
    engine->watched_at_ms = engine->turned_at_ms;
    (void)alarm(WATCHDOG_S);
    status_log_held_up(engine);
}

/* --- one membership of the group --- */

static int engine_wait_ms(const struct engine *engine)
{
    if (transaction_has_news(engine->transaction)) {
        return 0;
    }
    if (engine->is_awaiting_ready) {
        return 10;
    }
    if (!transaction_is_busy(engine->transaction) && engine_wants_transaction(engine)) {
        return 0;
    }
    bool may_take = engine_may_take(engine) && engine_lone(engine) == NULL;
    for (size_t i = 0; i < engine->partition_count; i++) {
        const struct partition *partition = engine->partitions[i];
        if ((may_take && partition_may_start(partition) && partition_is_claimed(partition)) ||
            (partition->has_more && engine_may_read(engine, partition))) {
            return 0;
        }
    }
    if (engine->not_before_ms > clock_monotonic_ms() || engine->is_revoking || engine->is_draining ||
        engine_has_unrestored(engine) || engine_lone(engine) != NULL) {
        return 20;
    }
    return WAIT_IDLE_MS;
}

/* The memory of a burst goes back when it is over: a fleet's workers share their machines. */
static void engine_give_memory_back(struct engine *engine, int wait_ms)
{
    if (wait_ms == WAIT_IDLE_MS && engine->counts.settled - engine->trimmed_at >= TRIM_AFTER_TASKS) {
        engine->trimmed_at = engine->counts.settled;
        (void)malloc_trim(0);
    }
}

bool engine_turn(struct engine *engine, struct error *err)
{
    int wait_ms = engine_wait_ms(engine);
    engine_give_memory_back(engine, wait_ms);
    loop_wait(engine->loop, wait_ms);
    /* Nothing that a replaced process had begun may go on, not even by one packet, so this comes before anything else;
     * what it was sending when it was stopped is held back by the gate (engine_may_act). */
    if (engine_has_stalled(engine, err)) {
        return false;
    }
    engine->turned_at_ms = clock_monotonic_ms();
    loop_dispatch(engine->loop);
    if (engine_has_stalled(engine, err)) {
        return false;
    }
    engine_check_membership(engine);
    engine_watch(engine);
    if (!engine_poll(engine, err)) {
        return false;
    }
    engine_restore_partitions(engine);
    if (!engine_read(engine, err) || !engine_start_tasks(engine, err) || !engine_advance_transaction(engine, err)) {
        return false;
    }
    engine_advance_revocation(engine);
    return true;
}

bool engine_may_end(struct engine *engine)
{
    if (!engine->is_draining) {
        return false;
    }
    int64_t over_ms = clock_monotonic_ms() - engine->drain_deadline_ms;
    bool has_let_go = !transaction_is_busy(engine->transaction);
    for (size_t i = 0; i < engine->partition_count; i++) {
        struct partition *partition = engine->partitions[i];
        if (over_ms >= 0) {
            engine->given_back_count += partition_stop(partition);
        }
        has_let_go = engine_let_go(partition) && has_let_go;
    }
    return engine->must_end_now || has_let_go || over_ms >= ENGINE_LEAVE_MS;
}

void engine_drop_all(struct engine *engine)
{
    for (size_t i = engine->partition_count; i-- > 0;) {
        struct partition *partition = engine->partitions[i];
        partition->sent_count = 0;
        if (partition->is_gone) {
            engine_remove_partition(engine, partition);
        } else {
            engine_drop_partition(engine, partition);
        }
    }
    engine->running_count = 0;
    engine->finished_count = 0;
    engine->confirm_count = 0;
    engine->output_bytes = 0;
    engine->confirmed_at_ms = INT64_MIN / 2;
    engine->is_revoking = false;
    engine->is_outside = false;
}
