#include "workers/common/engine/turn.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/log.h"
#include "workers/common/engine/engine.h"
#include "workers/common/engine/group.h"
#include "workers/common/engine/intake.h"
#include "workers/common/engine/partition.h"
#include "workers/common/engine/settle.h"
#include "workers/common/engine/start.h"
#include "workers/common/engine/status.h"
#include "workers/common/kafka/consumer.h"
#include "workers/common/kafka/kafka.h"
#include "workers/common/kafka/transaction.h"

#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    WAIT_IDLE_MS = 500,
    TRIM_AFTER_TASKS = 1000,
    /* The broker counts the session from the last heartbeat, which may be as old as their interval. */
    STALL_MAXIMUM_MS = KAFKA_SESSION_TIMEOUT_MS - KAFKA_HEARTBEAT_INTERVAL_MS - 500,
    /* Counted from when the last heartbeat that was answered was sent; the rest is for a request to get out. */
    MEMBER_MAXIMUM_MS = KAFKA_SESSION_TIMEOUT_MS - 500,
    WATCH_MS = 1000,
    WATCHDOG_S = 30,
};

bool turn_may_act(void *context)
{
    const struct engine *engine = context;
    int64_t now_ms = clock_monotonic_ms();
    return engine->consumer == NULL ||
           (now_ms - engine->turned_at_ms <= STALL_MAXIMUM_MS && now_ms - engine->member_at_ms <= MEMBER_MAXIMUM_MS);
}

/* A process that was stopped or starved beyond its session has been replaced. */
static bool turn_has_stalled(struct engine *engine, struct error *err)
{
    int64_t stalled_ms = clock_monotonic_ms() - engine->turned_at_ms;
    if (stalled_ms <= STALL_MAXIMUM_MS) {
        return false;
    }
    error_set(err, ERROR_RETRY, "stalled for %lld ms: the group may have replaced this process", (long long)stalled_ms);
    return true;
}

/* Cut off from the broker: the group gives the partitions to others, and librdkafka notices that later. */
static void turn_check_membership(struct engine *engine)
{
    bool was_outside = engine->is_outside;
    engine->is_outside = engine->has_joined && !turn_may_act(engine);
    engine->was_outside = engine->was_outside || engine->is_outside;
    if (engine->is_outside && !was_outside) {
        log_event(LOG_WARNING, "no answer from the group for too long: nothing new begins", NULL);
    }
}

static void turn_watch(struct engine *engine)
{
    if (engine->turned_at_ms - engine->watched_at_ms < WATCH_MS) {
        return;
    }
    engine->watched_at_ms = engine->turned_at_ms;
    (void)alarm(WATCHDOG_S);
    for (size_t i = 0; i < engine->partition_count; i++) {
        takeover_pass(&engine->partitions[i]->takeover, engine->turned_at_ms);
    }
    status_log_held_up(engine);
}

static int turn_wait_ms(const struct engine *engine)
{
    if (transaction_has_news(engine->transaction)) {
        return 0;
    }
    if (engine->is_awaiting_ready) {
        return 10;
    }
    if (!transaction_is_busy(engine->transaction) && settle_is_wanted(engine)) {
        return 0;
    }
    if (start_has_something(engine)) {
        return 0;
    }
    for (size_t i = 0; i < engine->partition_count; i++) {
        if (engine->partitions[i]->has_more && intake_may_read(engine, engine->partitions[i])) {
            return 0;
        }
    }
    if (engine->not_before_ms > clock_monotonic_ms() || engine->is_revoking || engine->is_draining ||
        group_has_unrestored(engine) || start_waits_alone(engine)) {
        return 20;
    }
    return WAIT_IDLE_MS;
}

/* The memory of a burst goes back when it is over: a fleet's workers share their machines. */
static void turn_give_memory_back(struct engine *engine, int wait_ms)
{
    if (wait_ms == WAIT_IDLE_MS && engine->counts.settled - engine->trimmed_at >= TRIM_AFTER_TASKS) {
        engine->trimmed_at = engine->counts.settled;
        (void)malloc_trim(0);
    }
}

/* What has passed since the last call went into this. */
static void turn_passed(struct engine *engine, enum loop_phase phase)
{
    int64_t now_us = clock_monotonic_us();
    engine->counts.phase_us[phase] += now_us - engine->phase_since_us;
    engine->counts.busy_us += (int64_t)engine->running_count * (now_us - engine->phase_since_us);
    engine->phase_since_us = now_us;
}

bool turn_take(struct engine *engine, struct error *err)
{
    int wait_ms = turn_wait_ms(engine);
    turn_give_memory_back(engine, wait_ms);
    turn_passed(engine, LOOP_SETTLE);
    loop_wait(engine->loop, wait_ms);
    turn_passed(engine, LOOP_WAIT);
    /* Nothing that a replaced process had begun may go on, not even by one packet, so this comes before anything else;
     * what it was sending when it was stopped is held back by the gate (turn_may_act). */
    if (turn_has_stalled(engine, err)) {
        return false;
    }
    engine->turned_at_ms = clock_monotonic_ms();
    loop_dispatch(engine->loop);
    turn_passed(engine, LOOP_PROCESS);
    if (turn_has_stalled(engine, err)) {
        return false;
    }
    if (!intake_poll(engine, err)) {
        return false;
    }
    turn_check_membership(engine);
    turn_watch(engine);
    group_restore(engine);
    if (!intake_read(engine, err)) {
        return false;
    }
    turn_passed(engine, LOOP_POLL);
    bool is_started = start_tasks(engine, err);
    turn_passed(engine, LOOP_START);
    if (!is_started || !settle_advance(engine, err)) {
        return false;
    }
    group_advance_revocation(engine);
    return true;
}

bool turn_may_be_last(struct engine *engine)
{
    if (!engine->is_draining) {
        return false;
    }
    int64_t over_ms = clock_monotonic_ms() - engine->drain_deadline_ms;
    /* As long as the brokers have not answered for the first time, there is nothing to see to its end. */
    bool has_let_go =
        transaction_state(engine->transaction) == TRANSACTION_STARTING || !transaction_is_busy(engine->transaction);
    for (size_t i = 0; i < engine->partition_count; i++) {
        struct partition *partition = engine->partitions[i];
        if (over_ms >= 0) {
            engine->given_back_count += group_stop(partition);
        }
        has_let_go = group_let_go(partition) && has_let_go;
    }
    engine->has_let_go = has_let_go;
    return engine->must_end_now || has_let_go || over_ms >= GROUP_LEAVE_MS;
}
