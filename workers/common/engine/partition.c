#include "workers/common/engine/partition.h"

#include <stdlib.h>

struct partition *partition_new(int32_t number)
{
    struct partition *partition = memory_zeroed(1, sizeof(*partition));
    partition->number = number;
    partition->committed = -1;
    partition->sending = -1;
    partition->told_offset = -1;
    partition->map_end = -1;
    ledger_init(&partition->ledger);
    return partition;
}

void task_forget_outputs(struct task *task)
{
    while (task->first_output != NULL) {
        struct output *output = task->first_output;
        task->first_output = output->next;
        output_free(output);
    }
    task->last_output = NULL;
    task->output_bytes = 0;
}

void task_free(struct task *task)
{
    task_forget_outputs(task);
    task->partition->record_bytes -= record_size_bytes(&task->record);
    record_free(&task->record);
    free(task);
}

void partition_free(struct partition *partition)
{
    for (size_t i = 0; i < partition->ledger.count; i++) {
        struct task *task = ledger_at(&partition->ledger, i)->task;
        if (task != NULL) {
            task_free(task);
        }
    }
    index_clear(&partition->keys, free);
    ledger_done(&partition->ledger);
    free(partition);
}

void partition_make_ready(struct task *task)
{
    struct partition *partition = task->partition;
    task->next_ready = NULL;
    if (partition->last_ready != NULL) {
        partition->last_ready->next_ready = task;
    } else {
        partition->first_ready = task;
    }
    partition->last_ready = task;
    partition->ready_count++;
}

static void partition_enqueue(struct partition *partition, struct task *task)
{
    if (task->record.key.ptr == NULL) {
        partition_make_ready(task);
        return;
    }
    struct key_queue *queue = index_get(&partition->keys, task->record.key);
    if (queue == NULL) {
        queue = memory_zeroed(1, sizeof(*queue));
        index_put(&partition->keys, task->record.key, queue);
    }
    task->queue = queue;
    if (queue->tail != NULL) {
        queue->tail->behind = task;
    } else {
        queue->head = task;
        partition_make_ready(task);
    }
    queue->tail = task;
}

bool partition_add(struct partition *partition, struct engine *engine, struct record *record)
{
    struct task *task = memory_zeroed(1, sizeof(*task));
    task->engine = engine;
    task->partition = partition;
    task->record = *record;
    *record = (struct record){0};
    partition->record_bytes += record_size_bytes(&task->record);
    if (!ledger_push(&partition->ledger, task->record.offset, task)) {
        task_free(task);
        return false;
    }
    partition->waiting_count++;
    partition_enqueue(partition, task);
    return true;
}

bool partition_is_claimed(const struct partition *partition)
{
    return partition->written.is_held &&
           (partition->trying == NULL || partition->written.alone == partition->takeover.alone);
}

void partition_end_trial(struct partition *partition)
{
    partition->trying = NULL;
    partition->takeover.alone -= partition->takeover.alone > 0 ? 1 : 0;
}

static bool partition_allows(const struct partition *partition, const struct task *task, bool is_tight)
{
    size_t waits_for_room =
        partition->left_out < partition->finished_count ? partition->left_out : partition->finished_count;
    size_t begun = partition->running_count + partition->sent_count + partition->finished_count - waits_for_room;
    if (task->record.offset == ledger_at(&partition->ledger, 0)->offset) {
        return true;
    }
    if (takeover_is_alone(&partition->takeover) || begun >= takeover_window(&partition->takeover)) {
        return false;
    }
    if (is_tight) {
        return task->attempt > 0;
    }
    return partition->left_out == 0 || task->attempt > 0 || task->record.offset < partition->map_end;
}

/* The task before the next one that may start (NULL: it is the first), in *ret_before. */
static struct task *partition_startable(const struct partition *partition, bool is_tight, struct task **ret_before)
{
    *ret_before = NULL;
    for (struct task *task = partition->first_ready; task != NULL; task = task->next_ready) {
        if (partition_allows(partition, task, is_tight)) {
            return task;
        }
        *ret_before = task;
    }
    return NULL;
}

bool partition_may_start(const struct partition *partition, bool is_tight)
{
    struct task *before;
    return partition->is_restored && !partition->is_leaving && !partition->is_gone &&
           partition_startable(partition, is_tight, &before) != NULL;
}

struct task *partition_next_ready(struct partition *partition, bool is_tight)
{
    struct task *before;
    struct task *task = partition_startable(partition, is_tight, &before);
    if (task == NULL) {
        return NULL;
    }
    if (before != NULL) {
        before->next_ready = task->next_ready;
    } else {
        partition->first_ready = task->next_ready;
    }
    if (partition->last_ready == task) {
        partition->last_ready = before;
    }
    task->next_ready = NULL;
    partition->ready_count--;
    return task;
}

void partition_finish(struct task *task)
{
    struct partition *partition = task->partition;
    struct key_queue *queue = task->queue;
    if (queue == NULL) {
        return;
    }
    task->queue = NULL;
    queue->head = task->behind;
    task->behind = NULL;
    if (queue->head != NULL) {
        partition_make_ready(queue->head);
        return;
    }
    index_remove(&partition->keys, task->record.key);
    free(queue);
}

size_t partition_task_count(const struct partition *partition)
{
    return partition->waiting_count + partition->running_count + partition->finished_count + partition->sent_count;
}
