#include "workers/common/engine/settle.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/log.h"
#include "workers/common/engine/engine.h"
#include "workers/common/engine/partition.h"
#include "workers/common/engine/task.h"
#include "workers/common/kafka/consumer.h"
#include "workers/common/kafka/kafka.h"
#include "workers/common/kafka/transaction.h"

enum {
    SEND_TASKS_MAXIMUM = 5000, /* tasks per transaction */
    IDLE_COMMIT_MS = 1000,     /* offsets that moved without outputs are committed this often */
    ABORT_PAUSE_MS = 50,       /* before a transaction that was aborted is tried again; doubled each time, up to */
    ABORT_PAUSE_MAXIMUM_MS = 1000,
    CONFIRM_FRESH_MS = 500,
    ABORTS_WORTH_A_WARNING = 20,
};

static bool settle_offsets_are_due(const struct engine *engine, const struct partition *partition)
{
    int64_t point = ledger_commit_point(&partition->ledger);
    return point > partition->committed && point > 0 &&
           clock_monotonic_ms() - engine->committed_at_ms >= IDLE_COMMIT_MS;
}

static bool settle_has_confirms(const struct engine *engine, const struct partition *partition)
{
    for (size_t i = 0; i < engine->confirm_count; i++) {
        if (engine->confirms[i]->partition == partition && engine->confirms[i]->confirm == CONFIRM_ASKED) {
            return true;
        }
    }
    return false;
}

/* That the partition is held is written down before its first task begins, that a message runs alone before it does,
 * and that the partition is let go when it goes. */
static bool settle_wants_claim(const struct partition *partition)
{
    if (!partition->takeover.is_held) {
        return partition->written.is_held;
    }
    return (partition_may_start(partition, false) || partition->trying != NULL) && !partition_is_claimed(partition);
}

/* Finished tasks for which the metadata has no room do not ask for a transaction: it would leave them out again. */
static bool settle_wants_partition(const struct engine *engine, const struct partition *partition)
{
    return !partition->is_gone && partition->is_restored &&
           (settle_has_confirms(engine, partition) || partition->finished_count > partition->left_out ||
            settle_wants_claim(partition) || settle_offsets_are_due(engine, partition));
}

bool settle_is_wanted(const struct engine *engine)
{
    if (clock_monotonic_ms() < engine->not_before_ms) {
        return false;
    }
    for (size_t i = 0; i < engine->partition_count; i++) {
        if (settle_wants_partition(engine, engine->partitions[i])) {
            return true;
        }
    }
    return false;
}

static void settle_move_confirms(struct engine *engine, const struct partition *partition, enum confirm_state from,
                                 enum confirm_state to)
{
    for (size_t i = 0; i < engine->confirm_count; i++) {
        struct task *task = engine->confirms[i];
        if (task->partition == partition && task->confirm == from) {
            task->confirm = to;
        }
    }
}

/* The planned commit settles the oldest message. */
static bool settle_moves(const struct partition *partition)
{
    return partition->ledger.count > 0 && ledger_at(&partition->ledger, 0)->mark == LEDGER_CHOSEN;
}

/* Queues the outputs of one chosen task. The local queue is larger than any batch: when it is full the broker is away;
 * and what this process may not write is refused at once, when librdkafka has learned it before. */
static bool settle_send_task(struct engine *engine, struct task *task, struct error *err)
{
    for (const struct output *output = task->first_output; output != NULL; output = output->next) {
        if (!transaction_produce(engine->transaction, output, err)) {
            return false;
        }
    }
    task->state = TASK_SENT;
    task->partition->finished_count--;
    engine->finished_count--;
    task->partition->sent_count++;
    return true;
}

static void settle_note_full_map(struct partition *partition, int64_t offset, size_t left_out)
{
    if (left_out > 0 && partition->left_out == 0) {
        log_event(LOG_WARNING, "the map of finished work is full: nothing new starts behind the oldest task",
                  "partition", log_number(partition->number), "offset", log_number(offset), NULL);
    }
    partition->left_out = left_out;
    partition->map_end = left_out > 0 ? ledger_map_end(&partition->ledger) : -1;
}

static bool settle_send_partition(struct engine *engine, struct partition *partition, size_t *most_tasks,
                                  struct error *err)
{
    AUTO(buffer) struct buffer metadata;
    buffer_init(&metadata, 4 * KAFKA_METADATA_MAXIMUM_BYTES);
    size_t left_out;
    int64_t offset = ledger_plan(&partition->ledger, *most_tasks, KAFKA_METADATA_MAXIMUM_BYTES - TAKEOVER_TEXT_MAXIMUM,
                                 &metadata, &left_out);
    partition->map_bytes = metadata.len;
    partition->sending_takeover = partition->takeover;
    if (settle_moves(partition)) {
        partition->sending_takeover.alone = 0; /* it was counted for the message that this commit passes */
    }
    takeover_write(&partition->sending_takeover, &metadata);
    if (*most_tasks > 0) {
        settle_note_full_map(partition, offset, left_out);
    }
    for (size_t i = 0; i < partition->ledger.count; i++) {
        struct ledger_entry *entry = ledger_at(&partition->ledger, i);
        if (entry->mark == LEDGER_CHOSEN) {
            if (!settle_send_task(engine, entry->task, err)) {
                return false;
            }
            (*most_tasks)--;
        }
    }
    settle_move_confirms(engine, partition, CONFIRM_ASKED, CONFIRM_SENT);
    if (offset >= 0) {
        transaction_offset(engine->transaction, engine->consumer, partition->number, offset, metadata.ptr);
        partition->sending = offset;
    }
    return true;
}

/* Queues what may be committed now. False: not all could be. Each time another partition is the first, and
 * claims and confirmations go along even when there is no place for more tasks. */
static bool settle_send(struct engine *engine, struct error *err)
{
    size_t most_tasks = SEND_TASKS_MAXIMUM;
    size_t first = engine->partition_count > 0 ? engine->counts.commits % engine->partition_count : 0;
    for (size_t i = 0; i < engine->partition_count; i++) {
        struct partition *partition = engine->partitions[(first + i) % engine->partition_count];
        if (settle_wants_partition(engine, partition) && !settle_send_partition(engine, partition, &most_tasks, err)) {
            return false;
        }
    }
    return true;
}

static void settle_begin(struct engine *engine)
{
    transaction_begin(engine->transaction);
    for (size_t i = 0; i < engine->partition_count; i++) {
        engine->partitions[i]->sending = -1;
    }
    struct error err;
    if (!settle_send(engine, &err)) {
        transaction_abort(engine->transaction, &err);
        return;
    }
    engine->sent_at_ms = clock_monotonic_ms();
    transaction_finish(engine->transaction, engine->consumer);
}

/* From the last one on, since the answered one leaves the list, and a worker may ask again at once. */
static void settle_answer_confirms(struct engine *engine, enum confirm_state which)
{
    for (size_t i = engine->confirm_count; i-- > 0;) {
        if (i < engine->confirm_count && engine->confirms[i]->confirm == which) {
            task_confirm_answered(engine->confirms[i]);
        }
    }
}

static void settle_committed(struct engine *engine, struct partition *partition)
{
    size_t settled = partition->sent_count;
    bool has_moved = settle_moves(partition);
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
        partition->written = partition->sending_takeover;
    }
    takeover_survive(&partition->takeover, settled, has_moved);
}

static void settle_aborted(struct engine *engine, struct partition *partition)
{
    for (size_t i = 0; i < partition->ledger.count; i++) {
        struct ledger_entry *entry = ledger_at(&partition->ledger, i);
        struct task *task = entry->task;
        if (entry->mark == LEDGER_CHOSEN && task->state == TASK_SENT) {
            task->state = TASK_FINISHED;
            partition->sent_count--;
            partition->finished_count++;
            engine->finished_count++;
        }
    }
    settle_move_confirms(engine, partition, CONFIRM_SENT, CONFIRM_ASKED);
    ledger_unplan(&partition->ledger);
}

void settle_remove_partition(struct engine *engine, struct partition *partition)
{
    for (size_t i = 0; i < partition->ledger.count; i++) {
        struct task *task = ledger_at(&partition->ledger, i)->task;
        engine->output_bytes -= task != NULL ? task->output_bytes : 0;
    }
    engine->finished_count -= partition->finished_count;
    for (size_t i = 0; i < engine->partition_count; i++) {
        if (engine->partitions[i] == partition) {
            engine->partitions[i] = engine->partitions[--engine->partition_count];
            break;
        }
    }
    partition_free(partition);
}

static void settle_end(struct engine *engine, bool is_committed)
{
    for (size_t i = engine->partition_count; i-- > 0;) {
        struct partition *partition = engine->partitions[i];
        if (is_committed) {
            settle_committed(engine, partition);
        } else {
            settle_aborted(engine, partition);
        }
        if (partition->is_gone) {
            settle_remove_partition(engine, partition);
        }
    }
    if (is_committed) {
        engine->committed_at_ms = clock_monotonic_ms();
        histogram_add(&engine->counts.commit, engine->committed_at_ms - engine->sent_at_ms);
        engine->counts.commits++;
        engine->aborts_in_a_row = 0;
        return;
    }
    int64_t pause_ms = engine->aborts_in_a_row < 5 ? ABORT_PAUSE_MS << engine->aborts_in_a_row : ABORT_PAUSE_MAXIMUM_MS;
    engine->not_before_ms = clock_monotonic_ms() + pause_ms;
    engine->counts.aborts++;
    engine->aborts_in_a_row++;
    /* Once is a rebalance. Again and again is a broker that will never take it, such as one with smaller messages. */
    bool is_stuck = engine->aborts_in_a_row % ABORTS_WORTH_A_WARNING == 0;
    log_event(is_stuck ? LOG_WARNING : LOG_INFO, "transaction aborted, its outputs are sent again", "in_a_row",
              log_number((long long)engine->aborts_in_a_row), "reason", transaction_error(engine->transaction)->text,
              NULL);
}

bool settle_advance(struct engine *engine, struct error *err)
{
    if (engine->confirm_count > 0 && clock_monotonic_ms() - engine->confirmed_at_ms < CONFIRM_FRESH_MS) {
        settle_answer_confirms(engine, CONFIRM_ASKED);
    }
    enum transaction_state before = transaction_state(engine->transaction);
    bool is_free = before == TRANSACTION_IDLE || before == TRANSACTION_COMMITTED || before == TRANSACTION_ABORTED;
    if (is_free && settle_is_wanted(engine)) {
        settle_begin(engine);
        before = transaction_state(engine->transaction);
    } else if (is_free && clock_monotonic_ms() >= engine->not_before_ms) {
        engine->aborts_in_a_row = 0; /* what could not be committed is another worker's now */
    }
    enum transaction_state after = transaction_advance(engine->transaction);
    if (before == TRANSACTION_SENDING && after == TRANSACTION_COMMITTING) {
        /* The broker has accepted the offsets: when they were sent, this process was a member of the group. */
        engine->confirmed_at_ms = engine->sent_at_ms;
        settle_answer_confirms(engine, CONFIRM_SENT);
    }
    if (after == TRANSACTION_COMMITTED && before != TRANSACTION_COMMITTED) {
        settle_end(engine, true);
    } else if (after == TRANSACTION_ABORTED && before != TRANSACTION_ABORTED) {
        settle_end(engine, false);
    } else if (after == TRANSACTION_FENCED) {
        /* Another process with our name, unless we were cut off long enough for the broker to give us up: then it is
         * the other's turn, and coming back would only throw it out again. */
        const struct error *over = transaction_error(engine->transaction);
        bool is_replaced = over->action == ERROR_FATAL && engine->is_static && !engine->was_outside;
        return error_set(err, is_replaced ? ERROR_FATAL : ERROR_RETRY, "the transactional producer is over: %s",
                         over->text);
    }
    return true;
}
