#include "workers/common/engine/task.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/log.h"
#include "workers/common/engine/engine.h"
#include "workers/common/engine/partition.h"
#include "workers/common/kafka/consumer.h"

enum { SLOW_JOB_MS = 60000 };

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

static void task_end_confirm(struct task *task)
{
    struct engine *engine = task->engine;
    for (size_t i = 0; task->confirm != CONFIRM_NONE && i < engine->confirm_count; i++) {
        if (engine->confirms[i] == task) {
            engine->confirms[i] = engine->confirms[--engine->confirm_count];
            task->confirm = CONFIRM_NONE;
        }
    }
}

/* A task that ran alone has come to an end, and its worker lives. */
static void task_end_trial(struct task *task)
{
    struct partition *partition = task->partition;
    if (partition->trying == task) {
        partition_end_trial(partition);
    }
}

static void task_count(const struct task *task)
{
    struct engine_counts *counts = &task->engine->counts;
    int64_t lasted_ms = clock_monotonic_ms() - task->taken_at_ms;
    histogram_add(&counts->lasted, lasted_ms);
    counts->slow += lasted_ms >= SLOW_JOB_MS ? 1 : 0;
}

static void task_finish(struct task *task, bool is_put_aside)
{
    struct partition *partition = task->partition;
    struct valve *valve = &task->engine->valve;
    bool was_closed = valve->is_closed;
    valve_count(valve, is_put_aside);
    if (valve->is_closed && !was_closed) {
        log_event(LOG_ERROR,
                  "stopped: nearly all messages are put aside, so the mistake is probably not in them. Nothing more is "
                  "taken until this worker is started anew",
                  "topic", task_topic(task), "put_aside", log_number((long long)task->engine->counts.rejected), NULL);
    }
    task_end_trial(task);
    task_end_confirm(task);
    task->state = TASK_FINISHED;
    partition->running_count--;
    partition->finished_count++;
    task->engine->finished_count++;
    task->engine->running_count--;
    ledger_find(&partition->ledger, task->record.offset)->mark = LEDGER_CANDIDATE;
    partition_finish(task);
    task_count(task);
}

void task_done_as(struct task *task, enum job_result result)
{
    task->engine->counts.ended[result]++;
    task_finish(task, false);
}

void task_done(struct task *task)
{
    task_done_as(task, JOB_OK);
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
    task_end_confirm(task);
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
    task_end_trial(task);
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
    task_finish(task, true);
}

void task_confirm(struct task *task, task_confirmed *confirmed)
{
    struct engine *engine = task->engine;
    task->confirmed = confirmed;
    if (task->confirm == CONFIRM_NONE) {
        if (engine->confirm_count == engine->confirm_capacity) {
            engine->confirm_capacity = 2 * engine->confirm_capacity + 16;
            engine->confirms =
                memory_resized((void *)engine->confirms, engine->confirm_capacity * sizeof(struct task *));
        }
        engine->confirms[engine->confirm_count++] = task;
    }
    task->confirm = CONFIRM_ASKED;
}

void task_confirm_answered(struct task *task)
{
    task_end_confirm(task);
    task->confirmed(task->engine->state, task);
}

bool task_stop(struct task *task)
{
    struct engine *engine = task->engine;
    if (task->partition->trying == task) {
        partition_end_trial(task->partition);
    }
    if (task->timer != NULL) {
        loop_timer_cancel(engine->loop, task->timer);
        task->timer = NULL;
    }
    if (task->state != TASK_RUNNING && task->state != TASK_BACKOFF) {
        return false;
    }
    if (engine->worker->cancel != NULL) {
        engine->worker->cancel(engine->state, task);
    }
    task->work = NULL;
    engine->counts.cancelled++;
    task_rewind(task);
    return true;
}
