#include "workers/common/engine/status.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/log.h"
#include "workers/common/engine/engine.h"
#include "workers/common/engine/partition.h"
#include "workers/common/kafka/consumer.h"
#include "workers/common/kafka/reach.h"
#include "workers/common/kafka/transaction.h"

#include <inttypes.h>

enum {
    REASON_MAXIMUM_BYTES = 1024,
    KEY_MAXIMUM_BYTES = 200,
    IN_FLIGHT_LINES_MAXIMUM = 1000,
    HELD_UP_AFTER_MS = 1000,
    ABORTS_WORTH_A_LINE = 4, /* one or two are a rebalance */
};

static const struct task *partition_oldest(const struct partition *partition)
{
    return partition->ledger.count > 0 ? ledger_at(&partition->ledger, 0)->task : NULL;
}

/* A moment is nothing: at its bound a partition always waits for its oldest message, which has just been begun or is
 * being committed. */
static bool task_holds_up(const struct task *task)
{
    bool is_under_way = task->state == TASK_RUNNING || task->state == TASK_BACKOFF || task->state == TASK_WAITING;
    return is_under_way && task->attempt > 0 && clock_monotonic_ms() - task->taken_at_ms >= HELD_UP_AFTER_MS;
}

const char *status_held_up_by(const struct engine *engine, const struct partition *partition)
{
    const struct task *oldest = partition_oldest(partition);
    if (partition->is_gone || partition->is_leaving || oldest == NULL || !task_holds_up(oldest)) {
        return NULL;
    }
    if (partition->left_out > 0) {
        return "the map of finished work is full";
    }
    if (partition->ledger.count >= engine->max_ahead) {
        return "as many messages as max_ahead allows have been read behind it";
    }
    return NULL;
}

static const char *task_state_text(const struct task *task)
{
    switch (task->state) {
    case TASK_WAITING:
        return task->attempt > 0 ? "waits for its turn again" : "waits for its turn";
    case TASK_RUNNING:
        return "runs";
    case TASK_BACKOFF:
        return "waits to be tried again";
    case TASK_FINISHED:
        return "is done and waits for its commit";
    case TASK_SENT:
        return "is done and being committed";
    }
    return "";
}

/* "offset 12, key "k", runs, attempt 3, for 40 s: what the worker says" */
static void task_describe(const struct task *task, struct buffer *text)
{
    size_t key_len = task->record.key.len < KEY_MAXIMUM_BYTES ? task->record.key.len : KEY_MAXIMUM_BYTES;
    buffer_append_format(text, "offset %" PRId64 ", key \"", task->record.offset);
    for (size_t i = 0; i < key_len; i++) {
        char character = task->record.key.ptr[i];
        buffer_append_char(text, character >= ' ' && character != '"' && character != 127 ? character : '?');
    }
    buffer_append_format(text, "\": %s", task_state_text(task));
    if (task->attempt > 0) {
        buffer_append_format(text, ", attempt %u, for %" PRId64 " s", task->attempt,
                             (clock_monotonic_ms() - task->taken_at_ms) / 1000);
    }
    const struct worker *worker = task->engine->worker;
    if (worker->explain != NULL && (task->state == TASK_RUNNING || task->state == TASK_BACKOFF)) {
        buffer_append_text(text, "; ");
        worker->explain(task->engine->state, task, text);
    }
}

void status_log_held_up(struct engine *engine)
{
    for (size_t i = 0; i < engine->partition_count; i++) {
        struct partition *partition = engine->partitions[i];
        const char *reason = status_held_up_by(engine, partition);
        const struct task *oldest = partition_oldest(partition);
        if (reason == NULL || oldest == NULL || oldest->record.offset == partition->told_offset) {
            continue;
        }
        partition->told_offset = oldest->record.offset;
        AUTO(buffer) struct buffer text;
        buffer_init(&text, REASON_MAXIMUM_BYTES);
        task_describe(oldest, &text);
        log_event(LOG_WARNING, "a partition is held up by its oldest message", "partition",
                  log_number(partition->number), "offset", log_number(oldest->record.offset), "reason", reason, "task",
                  text.ptr, NULL);
    }
}

/* How many lines the partition's tasks took. */
static size_t partition_log_in_flight(const struct partition *partition, size_t lines_maximum)
{
    size_t lines = 0;
    for (size_t i = 0; i < partition->ledger.count && lines < lines_maximum; i++) {
        const struct task *task = ledger_at(&partition->ledger, i)->task;
        if (task == NULL || (task->state != TASK_RUNNING && task->state != TASK_BACKOFF)) {
            continue;
        }
        AUTO(buffer) struct buffer text;
        buffer_init(&text, REASON_MAXIMUM_BYTES);
        task_describe(task, &text);
        log_event(LOG_INFO, "in flight", "partition", log_number(partition->number), "task", text.ptr, NULL);
        lines++;
    }
    return lines;
}

void status_log_in_flight(const struct engine *engine)
{
    size_t lines = 0;
    for (size_t i = 0; i < engine->partition_count; i++) {
        lines += partition_log_in_flight(engine->partitions[i], IN_FLIGHT_LINES_MAXIMUM - lines);
    }
    log_event(LOG_INFO, "in flight, all told", "told", log_number((long long)lines), "running",
              log_number((long long)engine->running_count), "held", log_number((long long)engine->held_count),
              "finished", log_number((long long)engine->finished_count), "partitions",
              log_number((long long)engine->partition_count), "ready",
              status_why_not_ready(engine) == NULL ? "yes" : "no", NULL);
}

bool status_is_healthy(const struct engine *engine, struct buffer *text)
{
    size_t before = text->len;
    if (engine->valve.is_closed) {
        buffer_append_text(text,
                           "stopped: nearly all messages were put aside; look at the dead letters, mend the cause, "
                           "start this worker anew\n");
    }
    if (!reach_is_well(text)) {
        buffer_append_char(text, '\n');
    }
    if (engine->consumer != NULL && consumer_failure(engine->consumer)->action != ERROR_NONE) {
        buffer_append_format(text, "reading fails: %s\n", consumer_failure(engine->consumer)->text);
    }
    if (engine->aborts_in_a_row >= ABORTS_WORTH_A_LINE && engine->transaction != NULL) {
        buffer_append_format(text, "nothing can be committed: %s\n", transaction_error(engine->transaction)->text);
    }
    if (engine->obstacle.action != ERROR_NONE) {
        buffer_append_format(text, "nothing can begin: %s\n", engine->obstacle.text);
    }
    if (engine->is_outside) {
        buffer_append_text(text, "no answer from the group's broker for too long\n");
    }
    for (size_t i = 0; i < engine->partition_count; i++) {
        const struct partition *partition = engine->partitions[i];
        const char *reason = status_held_up_by(engine, partition);
        const struct task *oldest = partition_oldest(partition);
        if (reason != NULL && oldest != NULL) {
            buffer_append_format(text, "partition %d is held up by its oldest message, %s: ", partition->number,
                                 reason);
            task_describe(oldest, text);
            buffer_append_char(text, '\n');
        }
    }
    return text->len == before;
}

const char *status_why_not_ready(const struct engine *engine)
{
    if (engine->is_ending) {
        return "it is ending";
    }
    if (engine->is_quiet) {
        return "quiet until SIGCONT";
    }
    if (engine->valve.is_closed) {
        return "stopped, nearly all messages were put aside";
    }
    if (engine->consumer == NULL || !engine->has_joined) {
        return "not a member of its group yet";
    }
    return engine->is_outside ? "the group's broker does not answer" : NULL;
}
