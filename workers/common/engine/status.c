#include "workers/common/engine/status.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/log.h"
#include "workers/common/engine/engine.h"
#include "workers/common/engine/partition.h"

#include <inttypes.h>

enum {
    REASON_MAXIMUM_BYTES = 1024,
    KEY_MAXIMUM_BYTES = 200,
    IN_FLIGHT_LINES_MAXIMUM = 1000,
};

/* Why the partition is not read on; NULL: it is. */
static const char *partition_held_up_by(const struct engine *engine, const struct partition *partition)
{
    if (partition->is_gone || partition->is_leaving || partition->ledger.count == 0) {
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

static const struct task *partition_oldest(const struct partition *partition)
{
    return partition->ledger.count > 0 ? ledger_at(&partition->ledger, 0)->task : NULL;
}

void status_log_held_up(struct engine *engine)
{
    for (size_t i = 0; i < engine->partition_count; i++) {
        struct partition *partition = engine->partitions[i];
        const char *reason = partition_held_up_by(engine, partition);
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
              log_number((long long)engine->partition_count), "ready", status_is_ready(engine) ? "yes" : "no", NULL);
}

bool status_is_healthy(const struct engine *engine, struct buffer *text)
{
    size_t before = text->len;
    if (engine->valve.is_closed) {
        buffer_append_text(text,
                           "stopped: nearly all messages were put aside; look at the dead letters, mend the cause, "
                           "start this worker anew\n");
    }
    if (engine->is_outside) {
        buffer_append_text(text, "no answer from the group's broker for too long\n");
    }
    for (size_t i = 0; i < engine->partition_count; i++) {
        const struct partition *partition = engine->partitions[i];
        const char *reason = partition_held_up_by(engine, partition);
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

bool status_is_ready(const struct engine *engine)
{
    return engine->consumer != NULL && engine->has_joined && !engine->is_outside && !engine->is_draining &&
           !engine->valve.is_closed;
}

static void metric_begin(struct buffer *text, const char *name, const char *type, const char *help)
{
    buffer_append_format(text, "# HELP tagfleet_%s %s\n# TYPE tagfleet_%s %s\n", name, help, name, type);
}

static void metric_number(const struct engine *engine, struct buffer *text, const char *name, const char *type,
                          const char *help, uint64_t number)
{
    metric_begin(text, name, type, help);
    buffer_append_format(text, "tagfleet_%s{role=\"%s\"} %" PRIu64 "\n", name, engine->worker->name, number);
}

static void write_counts(const struct engine *engine, struct buffer *text)
{
    const struct engine_counts *counts = &engine->counts;
    const struct {
        const char *event;
        uint64_t number;
    } events[] = {
        {"taken", counts->taken},        {"done", counts->done},           {"retried", counts->retried},
        {"put_aside", counts->rejected}, {"cancelled", counts->cancelled}, {"settled", counts->settled},
        {"known", counts->known},
    };
    metric_begin(text, "tasks_total", "counter", "What has happened to tasks.");
    for (size_t i = 0; i < sizeof(events) / sizeof(events[0]); i++) {
        buffer_append_format(text, "tagfleet_tasks_total{role=\"%s\",event=\"%s\"} %" PRIu64 "\n", engine->worker->name,
                             events[i].event, events[i].number);
    }
    metric_number(engine, text, "commits_total", "counter", "Transactions committed.", counts->commits);
    metric_number(engine, text, "aborts_total", "counter", "Transactions aborted and sent again.", counts->aborts);
    metric_number(engine, text, "assignments_total", "counter", "Times partitions were assigned.", counts->rebalances);
    metric_number(engine, text, "memberships_total", "counter", "Times the group was joined.", counts->memberships);
    metric_number(engine, text, "running", "gauge", "Tasks that run.", engine->running_count);
    metric_number(engine, text, "held", "gauge", "Tasks in memory.", engine->held_count);
    metric_number(engine, text, "held_bytes", "gauge", "Bytes of their messages.", engine->held_bytes);
    metric_number(engine, text, "output_bytes", "gauge", "Bytes that wait for their commit.", engine->output_bytes);
    metric_number(engine, text, "stopped", "gauge", "1 when the safety valve has closed.", engine->valve.is_closed);
    metric_number(engine, text, "ready", "gauge", "1 when a member of the group that takes work.",
                  status_is_ready(engine));
}

static uint64_t partition_ahead(const struct engine *engine, const struct partition *partition)
{
    (void)engine;
    return partition->ledger.count;
}

static uint64_t partition_map_bytes(const struct engine *engine, const struct partition *partition)
{
    (void)engine;
    return partition->map_bytes;
}

static uint64_t partition_oldest_offset(const struct engine *engine, const struct partition *partition)
{
    (void)engine;
    int64_t point = ledger_commit_point(&partition->ledger);
    return point > 0 ? (uint64_t)point : 0;
}

static uint64_t partition_oldest_seconds(const struct engine *engine, const struct partition *partition)
{
    (void)engine;
    const struct task *oldest = partition_oldest(partition);
    return oldest != NULL && oldest->attempt > 0 ? (uint64_t)(clock_monotonic_ms() - oldest->taken_at_ms) / 1000 : 0;
}

static uint64_t partition_is_held_up(const struct engine *engine, const struct partition *partition)
{
    return partition_held_up_by(engine, partition) != NULL;
}

void status_write_metrics(const struct engine *engine, struct buffer *text)
{
    static const struct {
        const char *name;
        const char *help;
        uint64_t (*read)(const struct engine *engine, const struct partition *partition);
    } gauges[] = {
        {"partition_ahead", "Messages read from the oldest unfinished one on.", partition_ahead},
        {"partition_map_bytes", "Length of the last commit's map of finished work.", partition_map_bytes},
        {"partition_oldest_offset", "Offset of the oldest unfinished message.", partition_oldest_offset},
        {"partition_oldest_seconds", "Time since that message was first taken.", partition_oldest_seconds},
        {"partition_held_up", "1 when that message keeps the partition from being read on.", partition_is_held_up},
    };
    write_counts(engine, text);
    for (size_t i = 0; i < sizeof(gauges) / sizeof(gauges[0]); i++) {
        metric_begin(text, gauges[i].name, "gauge", gauges[i].help);
        for (size_t k = 0; k < engine->partition_count; k++) {
            const struct partition *partition = engine->partitions[k];
            if (!partition->is_gone) {
                buffer_append_format(text, "tagfleet_%s{role=\"%s\",partition=\"%d\"} %" PRIu64 "\n", gauges[i].name,
                                     engine->worker->name, partition->number, gauges[i].read(engine, partition));
            }
        }
    }
}
