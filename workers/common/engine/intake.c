#include "workers/common/engine/intake.h"

#include "workers/common/base/log.h"
#include "workers/common/engine/engine.h"
#include "workers/common/engine/group.h"
#include "workers/common/engine/partition.h"
#include "workers/common/kafka/consumer.h"

enum {
    BEGIN_TIMEOUT_MS = 300,
    READ_BATCH = 5000,   /* messages admitted per turn */
    READY_WANTED = 4000, /* tasks that could start: no more is read ahead */
    RECORD_BYTES_MAXIMUM = 256 * 1024 * 1024,
};

/* When memory is short, those that hold less than their share are read all the same: one partition's backlog is not to
 * keep the others waiting. */
static bool intake_has_room(const struct engine *engine, const struct partition *partition)
{
    bool is_short = engine->held_count >= engine->max_tasks || engine->held_bytes >= RECORD_BYTES_MAXIMUM ||
                    engine->output_bytes >= ENGINE_OUTPUT_BYTES_MAXIMUM;
    return !is_short || (partition_task_count(partition) < engine->max_tasks / engine->partition_count &&
                         partition->record_bytes < RECORD_BYTES_MAXIMUM / engine->partition_count);
}

/* What waits behind other tasks of its key is not something to do. */
bool intake_may_read(const struct engine *engine, const struct partition *partition)
{
    return partition->is_restored && !partition->is_gone && !partition->is_leaving &&
           partition->ready_count <= READY_WANTED / engine->partition_count &&
           partition->ledger.count < engine->max_ahead && intake_has_room(engine, partition);
}

/* What is settled or in memory is not done again, wherever librdkafka has begun to read (consumer_begin): on with what
 * comes next. */
static void intake_pass_over(struct engine *engine, struct partition *partition, const struct record *record)
{
    struct error err;
    int64_t next = partition->next_offset > partition->committed ? partition->next_offset : partition->committed;
    if (!partition->is_read_again) {
        partition->is_read_again = true;
        log_event(LOG_INFO, "a partition was read from before its committed offset", "partition",
                  log_number(partition->number), "offset", log_number(record->offset), "next", log_number(next), NULL);
        if (!consumer_begin(engine->consumer, partition->number, next, BEGIN_TIMEOUT_MS, &err)) {
            log_event(LOG_DEBUG, "it is read through", "reason", err.text, NULL);
        }
    }
    engine->counts.known++;
}

/* Offsets only grow, unless the log itself has changed under us: an unclean election, a topic made anew. */
static bool intake_admit(struct engine *engine, struct partition *partition, struct record *record, struct error *err)
{
    bool is_behind = record->offset < partition->next_offset;
    if (record->offset < partition->committed || (is_behind && partition->is_read_again)) {
        intake_pass_over(engine, partition, record);
        record_free(record);
        return true;
    }
    if (is_behind) {
        error_set(err, ERROR_RETRY, "partition %d went back from offset %lld to %lld", partition->number,
                  (long long)partition->next_offset, (long long)record->offset);
        record_free(record);
        return false;
    }
    partition->is_read_again = false;
    partition->next_offset = record->offset + 1;
    engine->held_count++;
    engine->held_bytes += record_size_bytes(record);
    if (!partition_add(partition, engine, record)) {
        engine->counts.known++;
    }
    return true;
}

static bool intake_failed(const struct consumer_event *event, struct error *err)
{
    if (event->err.action == ERROR_FATAL) {
        *err = event->err;
        return false;
    }
    if (!event->is_said_again) {
        log_event(LOG_WARNING, "reading failed for now", "reason", event->err.text, NULL);
    }
    return true;
}

bool intake_poll(struct engine *engine, struct error *err)
{
    struct consumer_event event;
    for (;;) {
        consumer_poll(engine->consumer, &event);
        switch (event.kind) {
        case CONSUMER_NOTHING:
            /* Only now: nothing that says otherwise waits to be heard. */
            engine->member_at_ms = consumer_member_at_ms(engine->consumer);
            return true;
        case CONSUMER_ASSIGNED:
            group_assigned(engine, &event);
            break;
        case CONSUMER_REVOKED:
            group_revoked(engine, &event);
            return true;
        case CONSUMER_LOST:
            group_lost(engine, &event);
            break;
        case CONSUMER_FAILED:
            if (!intake_failed(&event, err)) {
                return false;
            }
            break;
        case CONSUMER_MESSAGE:
            /* It would be missing in its partition's order; a new membership reads it again. */
            record_free(&event.record);
            return error_set(err, ERROR_RETRY, "a message came past the queue of its partition");
        case CONSUMER_END:
            break;
        }
    }
}

static bool intake_read_partition(struct engine *engine, struct partition *partition, size_t most, struct error *err)
{
    struct consumer_event event;
    partition->has_more = true;
    for (size_t i = 0; i < most && intake_may_read(engine, partition); i++) {
        consumer_read(engine->consumer, partition->number, &event);
        switch (event.kind) {
        case CONSUMER_MESSAGE:
            if (!intake_admit(engine, partition, &event.record, err)) {
                return false;
            }
            break;
        case CONSUMER_END:
            ledger_reach(&partition->ledger, event.offset);
            break;
        case CONSUMER_FAILED:
            if (!intake_failed(&event, err)) {
                return false;
            }
            break;
        default:
            partition->has_more = false;
            return true;
        }
    }
    return true;
}

bool intake_read(struct engine *engine, struct error *err)
{
    engine->held_count = 0;
    engine->held_bytes = 0;
    for (size_t i = 0; i < engine->partition_count; i++) {
        engine->held_count += partition_task_count(engine->partitions[i]);
        engine->held_bytes += engine->partitions[i]->record_bytes;
    }
    for (size_t i = 0; i < engine->partition_count; i++) {
        struct partition *partition = engine->partitions[i];
        if (!intake_read_partition(engine, partition, READ_BATCH / engine->partition_count + 1, err)) {
            return false;
        }
    }
    return true;
}
