#include "workers/common/engine/engine.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/log.h"

#include <stdlib.h>

enum {
    POLL_BATCH = 2000,      /* messages admitted per turn */
    TAKE_BATCH = 500,       /* tasks started per turn */
    TAKE_MAXIMUM_MS = 200,  /* and the time for it: one task may emit 100,000 outputs */
    LEDGER_MAXIMUM = 10000, /* messages of one partition behind its oldest unsettled one */
    OUTPUT_BYTES_MAXIMUM = 64 * 1024 * 1024,
    COMMITTED_TIMEOUT_MS = 300,
    RESTORE_PAUSE_MS = 100, /* before the committed offsets are asked for again */
    WAIT_IDLE_MS = 500,
    /* The broker counts the session from the last heartbeat, which may be as old as their interval. */
    STALL_MAXIMUM_MS = KAFKA_SESSION_TIMEOUT_MS - KAFKA_HEARTBEAT_INTERVAL_MS - 500,
};

static struct partition *engine_partition(const struct engine *engine, int32_t number)
{
    for (size_t i = 0; i < engine->partition_count; i++) {
        if (engine->partitions[i]->number == number && !engine->partitions[i]->is_gone) {
            return engine->partitions[i];
        }
    }
    return NULL;
}

struct loop *engine_loop(struct engine *engine)
{
    return engine->loop;
}

int engine_wake_fd(struct engine *engine)
{
    return engine->wake_fd;
}

/* --- dropping --- */

static void partition_stop(struct partition *partition)
{
    for (size_t i = 0; i < partition->ledger.count; i++) {
        struct task *task = ledger_at(&partition->ledger, i)->task;
        if (task != NULL) {
            task_stop(task);
        }
    }
    partition->first_ready = NULL;
    partition->last_ready = NULL;
}

void engine_remove_partition(struct engine *engine, struct partition *partition)
{
    for (size_t i = 0; i < partition->ledger.count; i++) {
        struct task *task = ledger_at(&partition->ledger, i)->task;
        engine->output_bytes -= task != NULL ? task->output_bytes : 0;
    }
    for (size_t i = 0; i < engine->partition_count; i++) {
        if (engine->partitions[i] == partition) {
            engine->partitions[i] = engine->partitions[--engine->partition_count];
            break;
        }
    }
    partition_free(partition);
}

/* The partition belongs to somebody else. What the transaction under way holds of it stays until that has ended. */
static void engine_drop_partition(struct engine *engine, struct partition *partition)
{
    partition_stop(partition);
    if (engine->worker->revoked != NULL) {
        engine->worker->revoked(engine->state, partition->number);
    }
    partition->is_gone = true;
    if (partition->sent_count == 0) {
        engine_remove_partition(engine, partition);
    }
}

/* --- the group --- */

static void engine_assigned(struct engine *engine, const struct consumer_event *event)
{
    for (size_t i = 0; i < event->partition_count; i++) {
        engine->partitions =
            memory_resized((void *)engine->partitions, (engine->partition_count + 1) * sizeof(struct partition *));
        engine->partitions[engine->partition_count++] = partition_new(event->partitions[i]);
    }
    engine->counts.rebalances++;
    if (!engine->has_joined) {
        engine->has_joined = true;
        log_event(LOG_INFO, "ready", "topic", consumer_topic(engine->consumer), "partitions",
                  log_number((long long)engine->partition_count), NULL);
    }
}

static void engine_revoked(struct engine *engine, const struct consumer_event *event)
{
    for (size_t i = 0; i < event->partition_count; i++) {
        struct partition *partition = engine_partition(engine, event->partitions[i]);
        if (partition != NULL) {
            partition->is_leaving = true;
        }
    }
    engine->is_revoking = true;
    engine->revoke_deadline_ms = clock_monotonic_ms() + engine->drain_ms;
}

static void engine_lost(struct engine *engine, const struct consumer_event *event)
{
    log_event(LOG_WARNING, "partitions lost: what is not committed is another worker's now", "partitions",
              log_number((long long)event->partition_count), NULL);
    for (size_t i = 0; i < event->partition_count; i++) {
        struct partition *partition = engine_partition(engine, event->partitions[i]);
        if (partition != NULL) {
            engine_drop_partition(engine, partition);
        }
    }
}

/* Revoked partitions go when they are settled, or when their time is over. */
static void engine_advance_revocation(struct engine *engine)
{
    if (!engine->is_revoking) {
        return;
    }
    bool is_late = clock_monotonic_ms() >= engine->revoke_deadline_ms;
    for (size_t i = 0; i < engine->partition_count; i++) {
        struct partition *partition = engine->partitions[i];
        if (!partition->is_leaving || partition->is_gone) {
            continue;
        }
        /* What has been sent is seen to its end: the commit is under way and has a deadline of its own. */
        if (partition->sent_count > 0 || (!is_late && !partition_is_quiet(partition))) {
            return;
        }
    }
    for (size_t i = engine->partition_count; i-- > 0;) {
        if (engine->partitions[i]->is_leaving && !engine->partitions[i]->is_gone) {
            engine_drop_partition(engine, engine->partitions[i]);
        }
    }
    engine->is_revoking = false;
    consumer_release(engine->consumer);
}

/* --- messages in --- */

static size_t engine_task_count(const struct engine *engine)
{
    size_t count = 0;
    for (size_t i = 0; i < engine->partition_count; i++) {
        count += partition_task_count(engine->partitions[i]);
    }
    return count;
}

static void engine_pause_or_resume(struct engine *engine)
{
    size_t count = engine_task_count(engine);
    if (count >= engine->max_tasks || engine->output_bytes >= OUTPUT_BYTES_MAXIMUM) {
        engine->is_full = true;
    } else if (count <= engine->max_tasks / 2 && engine->output_bytes <= OUTPUT_BYTES_MAXIMUM / 2) {
        engine->is_full = false;
    }
    for (size_t i = 0; i < engine->partition_count; i++) {
        struct partition *partition = engine->partitions[i];
        if (partition->is_gone || partition->is_leaving) {
            continue;
        }
        size_t bound = partition->is_paused ? LEDGER_MAXIMUM / 2 : LEDGER_MAXIMUM;
        bool should_pause = engine->is_full || partition->ledger.count >= bound;
        if (should_pause && !partition->is_paused) {
            consumer_pause(engine->consumer, partition->number);
        } else if (!should_pause && partition->is_paused) {
            consumer_resume(engine->consumer, partition->number);
        }
        partition->is_paused = should_pause;
    }
}

/* Offsets only grow, unless the log itself has changed under us: an unclean election, a topic made anew. */
static bool engine_admit(struct engine *engine, struct record *record, struct error *err)
{
    struct partition *partition = engine_partition(engine, record->partition);
    if (partition == NULL) {
        record_free(record);
        return true;
    }
    if (record->offset < partition->next_offset) {
        error_set(err, ERROR_RETRY, "partition %d went back from offset %lld to %lld", partition->number,
                  (long long)partition->next_offset, (long long)record->offset);
        record_free(record);
        return false;
    }
    partition->next_offset = record->offset + 1;
    if (!partition->is_restored) {
        partition_keep_early(partition, record);
    } else if (!partition_add(partition, engine, record)) {
        engine->counts.known++;
    }
    return true;
}

/* Reads what the partition's last commit says, and admits what has come before that was known. */
static bool engine_restore(struct engine *engine, struct partition *partition)
{
    struct error err;
    int64_t offset;
    AUTO(text) char *metadata = NULL;
    if (!consumer_committed(engine->consumer, partition->number, COMMITTED_TIMEOUT_MS, &offset, &metadata, &err)) {
        log_event(LOG_DEBUG, "committed offset not known yet", "reason", err.text, NULL);
        return false;
    }
    if (!ledger_restore(&partition->ledger, offset, metadata)) {
        log_event(LOG_WARNING, "the metadata of the committed offset cannot be read: finished work is done again",
                  "partition", log_number(partition->number), "metadata", metadata, NULL);
    }
    partition->committed = offset;
    partition->is_restored = true;
    /* Only now is it sure that what the predecessor was committing has been committed. */
    if (engine->worker->assigned != NULL) {
        engine->worker->assigned(engine->state, partition->number);
    }
    engine->counts.known += partition_admit_early(partition, engine);
    return true;
}

/* Asking blocks for up to COMMITTED_TIMEOUT_MS when the group's coordinator is away, so one failure ends the round. */
static void engine_restore_partitions(struct engine *engine)
{
    for (size_t i = 0; i < engine->partition_count && clock_monotonic_ms() >= engine->restore_not_before_ms; i++) {
        struct partition *partition = engine->partitions[i];
        if (!partition->is_restored && !partition->is_gone && !engine_restore(engine, partition)) {
            engine->restore_not_before_ms = clock_monotonic_ms() + RESTORE_PAUSE_MS;
        }
    }
}

static bool engine_has_unrestored(const struct engine *engine)
{
    for (size_t i = 0; i < engine->partition_count; i++) {
        if (!engine->partitions[i]->is_restored && !engine->partitions[i]->is_gone) {
            return true;
        }
    }
    return false;
}

static bool engine_poll(struct engine *engine, struct error *err)
{
    for (int i = 0; i < POLL_BATCH; i++) {
        struct consumer_event event;
        consumer_poll(engine->consumer, &event);
        switch (event.kind) {
        case CONSUMER_NOTHING:
            return true;
        case CONSUMER_MESSAGE:
            if (!engine_admit(engine, &event.record, err)) {
                return false;
            }
            break;
        case CONSUMER_END: {
            struct partition *partition = engine_partition(engine, event.partition);
            if (partition != NULL) {
                ledger_reach(&partition->ledger, event.offset);
            }
            break;
        }
        case CONSUMER_ASSIGNED:
            engine_assigned(engine, &event);
            break;
        case CONSUMER_REVOKED:
            engine_revoked(engine, &event);
            return true;
        case CONSUMER_LOST:
            engine_lost(engine, &event);
            break;
        case CONSUMER_FAILED:
            if (event.err.action == ERROR_FATAL) {
                *err = event.err;
                return false;
            }
            log_event(LOG_WARNING, "reading failed for now", "reason", event.err.text, NULL);
            break;
        }
        engine_pause_or_resume(engine);
    }
    return true;
}

/* --- tasks out --- */

static void engine_take(struct engine *engine, struct task *task)
{
    task->state = TASK_RUNNING;
    task->attempt++;
    task->partition->waiting_count--;
    task->partition->running_count++;
    engine->running_count++;
    engine->counts.taken++;
    engine->worker->take(engine->state, task);
}

/* Outputs that are not committed yet are bounded, too: what is finished must get out first. */
static bool engine_may_take(const struct engine *engine)
{
    return !engine->is_draining && engine->running_count < engine->max_running &&
           engine->output_bytes < OUTPUT_BYTES_MAXIMUM;
}

static bool engine_start_tasks(struct engine *engine, struct error *err)
{
    bool has_asked = false;
    size_t started = 0;
    int64_t until_ms = clock_monotonic_ms() + TAKE_MAXIMUM_MS;
    /* One of each partition in turn, so that a long queue in one does not keep the others waiting. */
    for (bool is_progress = true; is_progress && started < TAKE_BATCH;) {
        is_progress = false;
        for (size_t i = 0; i < engine->partition_count && engine_may_take(engine); i++) {
            struct partition *partition = engine->partitions[i];
            if (clock_monotonic_ms() >= until_ms) {
                return true;
            }
            if (!partition_may_start(partition)) {
                continue;
            }
            if (!has_asked && engine->worker->ready != NULL) {
                *err = (struct error){0};
                if (!engine->worker->ready(engine->state, err)) {
                    engine->is_awaiting_ready = true;
                    return err->action != ERROR_FATAL;
                }
            }
            has_asked = true;
            engine_take(engine, partition_next_ready(partition));
            started++;
            is_progress = true;
        }
    }
    engine->is_awaiting_ready = false;
    return true;
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
    for (size_t i = 0; i < engine->partition_count && engine_may_take(engine); i++) {
        if (partition_may_start(engine->partitions[i])) {
            return 0;
        }
    }
    if (engine->not_before_ms > clock_monotonic_ms() || engine->is_revoking || engine->is_draining ||
        engine_has_unrestored(engine)) {
        return 20;
    }
    return WAIT_IDLE_MS;
}

static bool engine_is_drained(const struct engine *engine)
{
    if (transaction_is_busy(engine->transaction)) {
        return false;
    }
    for (size_t i = 0; i < engine->partition_count; i++) {
        if (!partition_is_quiet(engine->partitions[i])) {
            return false;
        }
    }
    return true;
}

bool engine_turn(struct engine *engine, struct error *err)
{
    loop_wait(engine->loop, engine_wait_ms(engine));
    /* A process that was stopped or starved beyond its session has been replaced. Nothing that it had begun may go on,
     * not even by one packet, so this comes before anything else. */
    int64_t now_ms = clock_monotonic_ms();
    int64_t stalled_ms = now_ms - engine->turned_at_ms;
    engine->turned_at_ms = now_ms;
    if (stalled_ms > STALL_MAXIMUM_MS) {
        return error_set(err, ERROR_RETRY, "stalled for %lld ms: the group may have replaced this process",
                         (long long)stalled_ms);
    }
    loop_dispatch(engine->loop);
    if (!engine_poll(engine, err)) {
        return false;
    }
    engine_restore_partitions(engine);
    if (!engine_start_tasks(engine, err) || !engine_advance_transaction(engine, err)) {
        return false;
    }
    engine_advance_revocation(engine);
    engine_pause_or_resume(engine);
    return true;
}

bool engine_may_end(const struct engine *engine)
{
    return engine->is_draining &&
           (engine_is_drained(engine) || clock_monotonic_ms() >= engine->drain_deadline_ms || engine->must_end_now);
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
    engine->confirms_asked = 0;
    engine->output_bytes = 0;
    engine->confirmed_at_ms = INT64_MIN / 2;
    engine->is_revoking = false;
    engine->is_full = false;
}
