#include "workers/common/engine/group.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/log.h"
#include "workers/common/engine/engine.h"
#include "workers/common/engine/partition.h"
#include "workers/common/engine/settle.h"
#include "workers/common/engine/task.h"
#include "workers/common/kafka/consumer.h"

enum {
    COMMITTED_TIMEOUT_MS = 300,
    RESTORE_PAUSE_MS = 100, /* before the committed offsets are asked for again */
};

static struct partition *group_find(const struct engine *engine, int32_t number)
{
    for (size_t i = 0; i < engine->partition_count; i++) {
        if (engine->partitions[i]->number == number && !engine->partitions[i]->is_gone) {
            return engine->partitions[i];
        }
    }
    return NULL;
}

size_t group_stop(struct partition *partition)
{
    size_t stopped = 0;
    for (size_t i = 0; i < partition->ledger.count; i++) {
        struct task *task = ledger_at(&partition->ledger, i)->task;
        stopped += task != NULL && task_stop(task) ? 1 : 0;
    }
    partition->first_ready = NULL;
    partition->last_ready = NULL;
    partition->ready_count = 0;
    return stopped;
}

/* The group may give the partition back before anybody else has had it; that this process dropped it is no death. */
static void group_remember(struct engine *engine, const struct partition *partition)
{
    size_t number = (size_t)partition->number;
    if (number >= engine->parting_count) {
        engine->partings = memory_resized(engine->partings, (number + 1) * sizeof(*engine->partings));
        for (size_t i = engine->parting_count; i <= number; i++) {
            engine->partings[i].committed = -1;
        }
        engine->parting_count = number + 1;
    }
    engine->partings[number] = (struct parting){
        .committed = partition->written.is_held ? partition->committed : -1,
        .written = partition->written,
        .alone = partition->takeover.alone,
    };
}

static bool group_was_here_last(const struct engine *engine, const struct partition *partition, int64_t offset)
{
    size_t number = (size_t)partition->number;
    if (number >= engine->parting_count) {
        return false;
    }
    const struct parting *parting = &engine->partings[number];
    return parting->committed >= 0 && parting->committed == offset &&
           parting->written.level == partition->takeover.level && parting->written.alone == partition->takeover.alone;
}

/* The partition belongs to somebody else. What the transaction under way holds of it stays until that has ended. */
static void group_drop(struct engine *engine, struct partition *partition)
{
    (void)group_stop(partition);
    group_remember(engine, partition);
    if (engine->worker->revoked != NULL) {
        engine->worker->revoked(engine->state, partition->number);
    }
    partition->is_gone = true;
    if (partition->sent_count == 0) {
        settle_remove_partition(engine, partition);
    }
}

void group_assigned(struct engine *engine, const struct consumer_event *event)
{
    for (size_t i = 0; i < event->partition_count; i++) {
        engine->partitions =
            memory_resized((void *)engine->partitions, (engine->partition_count + 1) * sizeof(struct partition *));
        engine->partitions[engine->partition_count++] = partition_new(event->partitions[i]);
    }
    engine->counts.assignments++;
    if (!engine->has_joined) {
        engine->has_joined = true;
        log_event(LOG_INFO, "ready", "topic", consumer_topic(engine->consumer), "partitions",
                  log_number((long long)engine->partition_count), NULL);
    }
}

void group_revoked(struct engine *engine, const struct consumer_event *event)
{
    for (size_t i = 0; i < event->partition_count; i++) {
        struct partition *partition = group_find(engine, event->partitions[i]);
        if (partition != NULL) {
            partition->is_leaving = true;
        }
    }
    engine->is_revoking = true;
    engine->was_busy = false;
    for (size_t i = 0; i < engine->partition_count; i++) {
        const struct partition *partition = engine->partitions[i];
        engine->was_busy = engine->was_busy || (partition->is_leaving && partition->running_count > 0);
    }
    engine->revoke_deadline_ms = clock_monotonic_ms() + engine->drain_ms;
}

void group_lost(struct engine *engine, const struct consumer_event *event)
{
    log_event(LOG_WARNING, "partitions lost: what is not committed is another worker's now", "partitions",
              log_number((long long)event->partition_count), NULL);
    engine->counts.partings[PARTING_LOST]++;
    for (size_t i = 0; i < event->partition_count; i++) {
        struct partition *partition = group_find(engine, event->partitions[i]);
        if (partition != NULL) {
            group_drop(engine, partition);
        }
    }
}

void group_keep(struct engine *engine)
{
    for (size_t i = 0; i < engine->partition_count; i++) {
        struct partition *partition = engine->partitions[i];
        if (partition->is_restored && !partition->is_leaving) {
            partition->takeover.is_held = true;
        }
    }
}

bool group_let_go(struct partition *partition)
{
    if (!partition_is_quiet(partition)) {
        return false;
    }
    if (partition->trying != NULL) {
        partition_end_trial(partition);
    }
    partition->takeover.is_held = false;
    return !partition->written.is_held;
}

/* What has been sent is seen to its end: the commit is under way and has a deadline of its own. */
static bool group_may_leave(struct partition *partition, bool is_overdue)
{
    bool has_let_go = group_let_go(partition);
    return partition->sent_count == 0 && (has_let_go || is_overdue);
}

void group_advance_revocation(struct engine *engine)
{
    if (!engine->is_revoking) {
        return;
    }
    int64_t over_ms = clock_monotonic_ms() - engine->revoke_deadline_ms;
    bool may_all_leave = true;
    for (size_t i = 0; i < engine->partition_count; i++) {
        struct partition *partition = engine->partitions[i];
        if (!partition->is_leaving || partition->is_gone) {
            continue;
        }
        if (over_ms >= 0) {
            (void)group_stop(partition);
        }
        may_all_leave = group_may_leave(partition, over_ms >= GROUP_LEAVE_MS) && may_all_leave;
    }
    if (!may_all_leave) {
        return;
    }
    for (size_t i = engine->partition_count; i-- > 0;) {
        if (engine->partitions[i]->is_leaving && !engine->partitions[i]->is_gone) {
            group_drop(engine, engine->partitions[i]);
        }
    }
    engine->is_revoking = false;
    engine->counts.partings[over_ms >= 0 ? PARTING_TIMED_OUT : engine->was_busy ? PARTING_DRAINED : PARTING_IDLE]++;
    consumer_release(engine->consumer);
}

static void group_read_metadata(const struct engine *engine, struct partition *partition, int64_t offset,
                                char *metadata)
{
    char *behind_map = strchr(metadata, ';');
    struct takeover *takeover = &partition->takeover;
    *takeover = takeover_read(behind_map);
    if (takeover->is_held && group_was_here_last(engine, partition, offset)) {
        takeover->is_held = false;
        takeover->alone = engine->partings[partition->number].alone;
    } else if (takeover->is_held) {
        log_event(LOG_INFO, "the last owner of the partition has vanished", "partition", log_number(partition->number),
                  "offset", log_number(offset), "level", log_number(takeover->level), "alone",
                  log_number(takeover->alone), NULL);
    }
    takeover_claim(takeover);
    if (behind_map != NULL) {
        *behind_map = '\0';
    }
    if (!ledger_restore(&partition->ledger, offset, metadata)) {
        log_event(LOG_WARNING, "the metadata of the committed offset cannot be read: finished work is done again",
                  "partition", log_number(partition->number), "metadata", metadata, NULL);
    }
    partition->committed = offset;
    partition->is_restored = true;
}

/* Reads what the partition's last commit says. */
static bool group_restore_partition(struct engine *engine, struct partition *partition)
{
    struct error err;
    int64_t offset;
    AUTO(text) char *metadata = NULL;
    if (!consumer_committed(engine->consumer, partition->number, COMMITTED_TIMEOUT_MS, &offset, &metadata, &err) ||
        !consumer_begin(engine->consumer, partition->number, offset, COMMITTED_TIMEOUT_MS, &err)) {
        log_event(LOG_DEBUG, "partition not read yet", "partition", log_number(partition->number), "reason", err.text,
                  NULL);
        return false;
    }
    group_read_metadata(engine, partition, offset, metadata);
    /* Only now is it sure that what the predecessor was committing has been committed. */
    if (engine->worker->assigned != NULL) {
        engine->worker->assigned(engine->state, partition->number);
    }
    return true;
}

/* Asking blocks for up to COMMITTED_TIMEOUT_MS when the group's coordinator is away, so one failure ends the round. */
void group_restore(struct engine *engine)
{
    for (size_t i = 0; i < engine->partition_count && clock_monotonic_ms() >= engine->restore_not_before_ms; i++) {
        struct partition *partition = engine->partitions[i];
        if (!partition->is_restored && !partition->is_gone && !group_restore_partition(engine, partition)) {
            engine->restore_not_before_ms = clock_monotonic_ms() + RESTORE_PAUSE_MS;
        }
    }
}

bool group_has_unrestored(const struct engine *engine)
{
    for (size_t i = 0; i < engine->partition_count; i++) {
        if (!engine->partitions[i]->is_restored && !engine->partitions[i]->is_gone) {
            return true;
        }
    }
    return false;
}

void group_drop_all(struct engine *engine)
{
    for (size_t i = engine->partition_count; i-- > 0;) {
        struct partition *partition = engine->partitions[i];
        partition->sent_count = 0;
        if (partition->is_gone) {
            settle_remove_partition(engine, partition);
        } else {
            group_drop(engine, partition);
        }
    }
    engine->running_count = 0;
    engine->finished_count = 0;
    engine->confirm_count = 0;
    engine->output_bytes = 0;
    engine->confirmed_at_ms = INT64_MIN / 2;
    engine->aborts_in_a_row = 0;
    engine->is_revoking = false;
    engine->is_outside = false;
}
