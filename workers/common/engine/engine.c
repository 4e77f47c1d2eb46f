#include "workers/common/engine/engine.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/log.h"

#include <stdlib.h>

enum {
    POLL_BATCH = 2000,         /* messages admitted per turn */
    TAKE_BATCH = 500,          /* tasks started per turn */
    LEDGER_MAXIMUM = 10000,    /* messages of one partition behind its oldest unsettled one */
    SEND_TASKS_MAXIMUM = 5000, /* tasks per transaction */
    OUTPUT_BYTES_MAXIMUM = 64 * 1024 * 1024,
    COMMITTED_TIMEOUT_MS = 300,
    RESTORE_PAUSE_MS = 100, /* before the committed offsets are asked for again */
    IDLE_COMMIT_MS = 1000,  /* offsets that moved without outputs are committed this often */
    ABORT_PAUSE_MS = 50,    /* before a transaction that was aborted is tried again */
    CONFIRM_FRESH_MS = 500,
    WAIT_IDLE_MS = 500,
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

/* --- tasks, as the worker sees them --- */

struct loop *engine_loop(struct engine *engine)
{
    return engine->loop;
}

int engine_wake_fd(struct engine *engine)
{
    return engine->wake_fd;
}

const struct record *task_record(const struct task *task)
{
    return &task->record;
}

const char *task_topic(const struct task *task)
{
    return consumer_topic(task->engine->consumer);
}

unsigned task_attempt(const struct task *task)
{
    return task->attempt;
}

const struct task *task_behind(const struct task *task)
{
    return task->behind;
}

void *task_work(const struct task *task)
{
    return task->work;
}

void task_set_work(struct task *task, void *work)
{
    task->work = work;
}

void task_emit(struct task *task, struct output *output)
{
    output->next = NULL;
    if (task->last_output != NULL) {
        task->last_output->next = output;
    } else {
        task->first_output = output;
    }
    task->last_output = output;
    task->output_bytes += output_size_bytes(output);
    task->engine->output_bytes += output_size_bytes(output);
}

void task_done(struct task *task)
{
    struct partition *partition = task->partition;
    task->state = TASK_FINISHED;
    task->confirm = CONFIRM_NONE;
    partition->running_count--;
    partition->finished_count++;
    task->engine->running_count--;
    ledger_find(&partition->ledger, task->record.offset)->mark = LEDGER_CANDIDATE;
    partition_finish(task);
    task->engine->counts.done++;
}

static void task_discard_outputs(struct task *task)
{
    task->engine->output_bytes -= task->output_bytes;
    task_forget_outputs(task);
}

/* From running or backoff back to waiting at the head of its key. */
static void task_rewind(struct task *task)
{
    struct partition *partition = task->partition;
    if (task->state == TASK_RUNNING) {
        partition->running_count--;
        partition->waiting_count++;
        task->engine->running_count--;
    }
    task->state = TASK_WAITING;
    task->confirm = CONFIRM_NONE;
    task_discard_outputs(task);
}

static void task_backoff_over(void *context)
{
    struct task *task = context;
    task->timer = NULL;
    task->state = TASK_WAITING;
    partition_make_ready(task);
}

void task_retry(struct task *task, int64_t delay_ms)
{
    task_rewind(task);
    task->state = TASK_BACKOFF;
    task->timer = loop_after(task->engine->loop, delay_ms, task_backoff_over, task);
    task->engine->counts.retried++;
}

void task_reject(struct task *task, const char *reason)
{
    struct engine *engine = task->engine;
    AUTO(text) char *copy = text_copy(reason);
    task_discard_outputs(task);
    engine->worker->quarantine(engine->state, task, copy);
    log_event(LOG_WARNING, "message put aside", "topic", task_topic(task), "partition",
              log_number(task->record.partition), "offset", log_number(task->record.offset), "reason", copy, NULL);
    engine->counts.rejected++;
    task_done(task);
}

void task_confirm(struct task *task, task_confirmed *confirmed)
{
    struct engine *engine = task->engine;
    task->confirmed = confirmed;
    task->confirm = CONFIRM_ASKED;
    engine->confirms_asked++;
}

/* --- dropping --- */

/* Ends whatever the worker does for the task; afterwards it only waits. */
static void task_stop(struct task *task)
{
    struct engine *engine = task->engine;
    if (task->timer != NULL) {
        loop_timer_cancel(engine->loop, task->timer);
        task->timer = NULL;
    }
    if (task->state == TASK_RUNNING || task->state == TASK_BACKOFF) {
        if (engine->worker->cancel != NULL) {
            engine->worker->cancel(engine->state, task);
        }
        task->work = NULL;
        engine->counts.cancelled++;
        task_rewind(task);
    }
}

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

static void engine_remove_partition(struct engine *engine, struct partition *partition)
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
        if (engine->worker->assigned != NULL) {
            engine->worker->assigned(engine->state, event->partitions[i]);
        }
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

static void engine_admit(struct engine *engine, struct record *record)
{
    struct partition *partition = engine_partition(engine, record->partition);
    if (partition == NULL) {
        record_free(record);
    } else if (!partition->is_restored) {
        partition_keep_early(partition, record);
    } else if (!partition_add(partition, engine, record)) {
        engine->counts.known++;
    }
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
            engine_admit(engine, &event.record);
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

static bool partition_may_start(const struct partition *partition)
{
    return partition->first_ready != NULL && partition->is_restored && !partition->is_leaving && !partition->is_gone &&
           !partition->is_map_full;
}

static bool engine_start_tasks(struct engine *engine, struct error *err)
{
    if (engine->is_draining) {
        return true;
    }
    bool has_asked = false;
    size_t started = 0;
    /* One of each partition in turn, so that a long queue in one does not keep the others waiting. */
    for (bool is_progress = true; is_progress && started < TAKE_BATCH;) {
        is_progress = false;
        for (size_t i = 0; i < engine->partition_count && engine->running_count < engine->max_running; i++) {
            struct partition *partition = engine->partitions[i];
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

/* --- the transaction --- */

static bool engine_offsets_are_due(const struct engine *engine, const struct partition *partition)
{
    int64_t point = ledger_commit_point(&partition->ledger);
    return partition->is_restored && point > partition->committed && point > 0 &&
           clock_monotonic_ms() - engine->committed_at_ms >= IDLE_COMMIT_MS;
}

static bool partition_has_confirms(const struct partition *partition)
{
    for (size_t i = 0; i < partition->ledger.count; i++) {
        const struct task *task = ledger_at(&partition->ledger, i)->task;
        if (task != NULL && task->confirm == CONFIRM_ASKED) {
            return true;
        }
    }
    return false;
}

static bool engine_wants_transaction(const struct engine *engine)
{
    if (clock_monotonic_ms() < engine->not_before_ms) {
        return false;
    }
    if (engine->confirms_asked > 0) {
        return true;
    }
    for (size_t i = 0; i < engine->partition_count; i++) {
        const struct partition *partition = engine->partitions[i];
        if (!partition->is_gone && (partition->finished_count > 0 || engine_offsets_are_due(engine, partition))) {
            return true;
        }
    }
    return false;
}

/* Queues the outputs of one chosen task. The local queue is larger than any batch; full means the broker is away. */
static bool engine_send_task(struct engine *engine, struct task *task)
{
    struct error err;
    for (const struct output *output = task->first_output; output != NULL; output = output->next) {
        if (!transaction_produce(engine->transaction, output, &err)) {
            log_event(LOG_WARNING, "output not queued", "reason", err.text, NULL);
            return false;
        }
    }
    task->state = TASK_SENT;
    task->partition->finished_count--;
    task->partition->sent_count++;
    return true;
}

static bool engine_send_partition(struct engine *engine, struct partition *partition, size_t *most_tasks)
{
    AUTO(buffer) struct buffer metadata;
    buffer_init(&metadata, 4 * KAFKA_METADATA_MAXIMUM_BYTES);
    size_t left_out;
    int64_t offset = ledger_plan(&partition->ledger, *most_tasks, KAFKA_METADATA_MAXIMUM_BYTES, &metadata, &left_out);
    if (left_out > 0 && !partition->is_map_full) {
        log_event(LOG_WARNING, "the map of finished work is full: nothing new starts behind the oldest task",
                  "partition", log_number(partition->number), "offset", log_number(offset), NULL);
    }
    partition->is_map_full = left_out > 0;
    for (size_t i = 0; i < partition->ledger.count; i++) {
        struct ledger_entry *entry = ledger_at(&partition->ledger, i);
        struct task *task = entry->task;
        if (entry->mark == LEDGER_CHOSEN) {
            if (!engine_send_task(engine, task)) {
                return false;
            }
            (*most_tasks)--;
        } else if (task != NULL && task->confirm == CONFIRM_ASKED) {
            task->confirm = CONFIRM_SENT;
        }
    }
    if (offset >= 0) {
        transaction_offset(engine->transaction, engine->consumer, partition->number, offset, metadata.ptr);
        partition->sending = offset;
    }
    return true;
}

static void engine_begin_transaction(struct engine *engine)
{
    transaction_begin(engine->transaction);
    engine->confirms_asked = 0;
    size_t most_tasks = SEND_TASKS_MAXIMUM;
    for (size_t i = 0; i < engine->partition_count && most_tasks > 0; i++) {
        struct partition *partition = engine->partitions[i];
        partition->sending = -1;
        bool has_confirms = partition_has_confirms(partition);
        if (partition->is_gone || !partition->is_restored ||
            (partition->finished_count == 0 && !has_confirms && !engine_offsets_are_due(engine, partition))) {
            continue;
        }
        if (!engine_send_partition(engine, partition, &most_tasks)) {
            transaction_abort(engine->transaction);
            return;
        }
    }
    engine->sent_at_ms = clock_monotonic_ms();
    transaction_finish(engine->transaction, engine->consumer);
}

static void engine_answer_confirms(struct engine *engine, enum confirm_state which)
{
    for (size_t i = 0; i < engine->partition_count; i++) {
        struct partition *partition = engine->partitions[i];
        for (size_t k = 0; k < partition->ledger.count && !partition->is_gone; k++) {
            struct task *task = ledger_at(&partition->ledger, k)->task;
            if (task != NULL && task->confirm == which) {
                task->confirm = CONFIRM_NONE;
                task->confirmed(engine->state, task);
            }
        }
    }
}

static void partition_settle(struct engine *engine, struct partition *partition)
{
    for (size_t i = 0; i < partition->ledger.count; i++) {
        struct ledger_entry *entry = ledger_at(&partition->ledger, i);
        if (entry->mark == LEDGER_CHOSEN) {
            struct task *task = entry->task;
            engine->output_bytes -= task->output_bytes;
            task_free(task);
            partition->sent_count--;
            engine->counts.settled++;
        }
    }
    ledger_settle(&partition->ledger);
    if (partition->sending >= 0) {
        partition->committed = partition->sending;
    }
}

static void partition_unsend(struct partition *partition)
{
    for (size_t i = 0; i < partition->ledger.count; i++) {
        struct ledger_entry *entry = ledger_at(&partition->ledger, i);
        struct task *task = entry->task;
        if (entry->mark == LEDGER_CHOSEN && task->state == TASK_SENT) {
            task->state = TASK_FINISHED;
            partition->sent_count--;
            partition->finished_count++;
        } else if (task != NULL && task->confirm == CONFIRM_SENT) {
            task->confirm = CONFIRM_ASKED;
            task->engine->confirms_asked++;
        }
    }
    ledger_unplan(&partition->ledger);
}

static void engine_end_transaction(struct engine *engine, bool is_committed)
{
    for (size_t i = engine->partition_count; i-- > 0;) {
        struct partition *partition = engine->partitions[i];
        if (is_committed) {
            partition_settle(engine, partition);
        } else {
            partition_unsend(partition);
        }
        if (partition->is_gone) {
            engine_remove_partition(engine, partition);
        }
    }
    if (is_committed) {
        engine->committed_at_ms = clock_monotonic_ms();
        engine->counts.commits++;
        return;
    }
    engine->not_before_ms = clock_monotonic_ms() + ABORT_PAUSE_MS;
    engine->counts.aborts++;
    log_event(LOG_INFO, "transaction aborted, its outputs are sent again", "reason",
              transaction_error(engine->transaction)->text, NULL);
}

static bool engine_advance_transaction(struct engine *engine, struct error *err)
{
    if (engine->confirms_asked > 0 && clock_monotonic_ms() - engine->confirmed_at_ms < CONFIRM_FRESH_MS) {
        engine->confirms_asked = 0;
        engine_answer_confirms(engine, CONFIRM_ASKED);
    }
    enum transaction_state before = transaction_state(engine->transaction);
    if ((before == TRANSACTION_IDLE || before == TRANSACTION_COMMITTED || before == TRANSACTION_ABORTED) &&
        engine_wants_transaction(engine)) {
        engine_begin_transaction(engine);
        before = transaction_state(engine->transaction);
    }
    enum transaction_state after = transaction_advance(engine->transaction);
    if (before == TRANSACTION_SENDING && after == TRANSACTION_COMMITTING) {
        /* The broker has accepted the offsets: when they were sent, this process was a member of the group. */
        engine->confirmed_at_ms = engine->sent_at_ms;
        engine_answer_confirms(engine, CONFIRM_SENT);
    }
    if (after == TRANSACTION_COMMITTED && before != TRANSACTION_COMMITTED) {
        engine_end_transaction(engine, true);
    } else if (after == TRANSACTION_ABORTED && before != TRANSACTION_ABORTED) {
        engine_end_transaction(engine, false);
    } else if (after == TRANSACTION_FENCED) {
        return error_set(err, ERROR_RETRY, "the transactional producer is over: %s",
                         transaction_error(engine->transaction)->text);
    }
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
    for (size_t i = 0; i < engine->partition_count && engine->running_count < engine->max_running; i++) {
        if (partition_may_start(engine->partitions[i]) && !engine->is_draining) {
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
    if (stalled_ms > KAFKA_SESSION_TIMEOUT_MS) {
        return error_set(err, ERROR_RETRY, "stalled for %lld ms, longer than the session", (long long)stalled_ms);
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
