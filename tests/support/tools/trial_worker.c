/*
 * A worker for the tests, from worker.h alone. Its messages are orders: "DURATION_MS RETRIES OUTPUTS VERB ID". For each
 * output it writes "ORDER NUMBER"; when the verb is reject, "ORDER rejected: REASON".
 */
#include "workers/common/engine/worker.h"

static void trial_end(void *context)
{
    struct task *task = context;
    AUTO(text) char *key = slice_copy(task_record(task)->key);
    AUTO(text) char *order = slice_copy(task_record(task)->value);
    char *verb = strchr(order, ' ');
    unsigned long retries = strtoul(verb, &verb, 10);
    unsigned long outputs = strtoul(verb, &verb, 10);
    task_set_work(task, NULL);
    if (task_attempt(task) <= retries) {
        task_retry(task, 20);
    } else if (text_starts_with(verb, " reject")) {
        task_reject(task, "it asks for it");
    } else {
        for (unsigned long number = 1; number <= outputs; number++) {
            AUTO(text) char *text = text_format("%s %lu", order, number);
            task_emit(task, output_new("trial-out", key, slice_of(text)));
        }
        task_done(task);
    }
}

static void trial_take(void *loop, struct task *task)
{
    int64_t duration_ms = strtol(task_record(task)->value.ptr, NULL, 10);
    task_set_work(task, loop_after(loop, duration_ms, trial_end, task));
}

static void trial_cancel(void *loop, struct task *task)
{
    loop_timer_cancel(loop, task_work(task));
}

static void trial_quarantine(void *loop, struct task *task, const char *reason)
{
    const struct record *record = task_record(task);
    AUTO(text) char *key = slice_copy(record->key);
    AUTO(text) char *text = text_format("%.*s rejected: %s", (int)record->value.len, record->value.ptr, reason);
    task_emit(task, output_new("trial-out", key, slice_of(text)));
}

static bool trial_start(struct engine *engine, const struct options *options, void **ret_loop, struct error *err)
{
    *ret_loop = engine_loop(engine);
    return true;
}

const struct worker trial_worker = {.name = "trial",
                                    .input = "trial-in",
                                    .start = trial_start,
                                    .take = trial_take,
                                    .cancel = trial_cancel,
                                    .quarantine = trial_quarantine};
