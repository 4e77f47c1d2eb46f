#include "workers/copier/copier.h"

#include "schemas/result.h"
#include "schemas/unreadable.h"
#include "workers/common/aws/settings.h"
#include "workers/copier/delivery.h"

#include <stdlib.h>

enum { BEHIND_MAXIMUM = 1000 }; /* waiting jobs that are looked at for one that replaces another */

const struct option copier_options[] = {
    WORKER_OPTIONS("copier"),
    {.name = "copier.copies_at_once",
     .type = OPTION_INTEGER,
     .initial = "8",
     .minimum = 1,
     .maximum = 64,
     .help = "objects of one account that are copied at the same time"},
    {.name = "copier.retry_for",
     .type = OPTION_DURATION,
     .initial = "10m",
     .minimum = 1,
     .maximum = 86400000,
     .help = "how long a job is tried without getting on before it counts as failed"},
    {.name = "copier.artifact_wait",
     .type = OPTION_DURATION,
     .initial = "5m",
     .minimum = 0,
     .maximum = 86400000,
     .help = "how long a job waits for an artifact that is not there yet"},
    {.name = "copier.session_name",
     .type = OPTION_TEXT,
     .initial = "cross_acct_lambda",
     .help = "session name of the assumed roles, as it appears in the accounts' audit trails"},
    {0},
};

struct copier {
    struct delivery_shared shared;
};

static void copier_stop(void *state)
{
    struct copier *copier = state;
    sources_free(copier->shared.sources);
    roles_free(copier->shared.roles);
    aws_client_free(copier->shared.client);
    free(copier);
}

static bool copier_start(struct engine *engine, const struct options *options, void **ret_state, struct error *err)
{
    struct aws_client_settings client = aws_settings_read(options);
    if (!endpoint_settings_check(&client.endpoints, err)) {
        return false;
    }
    struct copier *copier = memory_zeroed(1, sizeof(*copier));
    struct roles_settings roles = {
        .main_profile = options_text(options, "aws.profile"),
        .session_name = options_text(options, "copier.session_name"),
    };
    copier->shared.client = aws_client_new(engine_loop(engine), &client);
    copier->shared.roles = roles_new(copier->shared.client, &roles);
    copier->shared.sources = sources_new(copier->shared.client);
    copier->shared.retry_for_ms = options_duration_ms(options, "copier.retry_for");
    copier->shared.artifact_wait_ms = options_duration_ms(options, "copier.artifact_wait");
    copier->shared.copies_at_once = (size_t)options_integer(options, "copier.copies_at_once");
    *ret_state = copier;
    return true;
}

/* Account, role and id of a job must agree: credentials of one account are never used for another. */
static bool job_is_consistent(const struct job *job, const struct record *record, struct error *err)
{
    AUTO(text) char *id = text_format("%s/%s", job->deployment, job->account);
    if (!slice_equal_text(record->key, job->account)) {
        return error_set(err, ERROR_REJECT, "the job is for account %s but lies under another key", job->account);
    }
    if (strcmp(id, job->envelope.id) != 0) {
        return error_set(err, ERROR_REJECT, "the job's id is not %s", id);
    }
    return job->credentials == JOB_PROFILE || role_arn_check(job->role, job->account, job->region, err);
}

/* A newer job of the same account and application waits behind this one. Thousands may, and each of them asks in its
 * turn: so only so many are looked at, and only those are read that name the application at all. */
static bool job_is_replaced(const struct task *task, const struct job *job, char **ret_by)
{
    int looked_at = 0;
    for (const struct task *behind = task_behind(task); behind != NULL && looked_at < BEHIND_MAXIMUM;
         behind = task_behind(behind), looked_at++) {
        struct error err;
        AUTO(job) struct job *newer = NULL;
        struct slice body = task_record(behind)->value;
        if (body.ptr == NULL || memmem(body.ptr, body.len, job->application, strlen(job->application)) == NULL) {
            continue;
        }
        if (job_parse(body, &newer, &err) && strcmp(newer->application, job->application) == 0 &&
            job_is_consistent(newer, task_record(behind), &err)) {
            *ret_by = text_copy(newer->deployment);
            return true;
        }
    }
    return false;
}

static void copier_take(void *state, struct task *task)
{
    struct copier *copier = state;
    struct error err;
    if (task_work(task) != NULL) {
        delivery_resume(task_work(task));
        return;
    }
    AUTO(job) struct job *job = NULL;
    AUTO(text) char *newer = NULL;
    if (!job_parse(task_record(task)->value, &job, &err)) {
        task_reject(task, err.text);
    } else if (!job_is_consistent(job, task_record(task), &err)) {
        task_emit(task, delivery_result_without(job, RESULT_FAILED, err.text));
        task_done(task);
    } else if (job_is_replaced(task, job, &newer)) {
        AUTO(text) char *reason = text_format("a newer deployment took its place: %s", newer);
        task_emit(task, delivery_result_without(job, RESULT_SUPERSEDED, reason));
        task_done(task);
    } else {
        delivery_begin(&copier->shared, task, TAKE(job));
    }
}

static void copier_explain(void *state, const struct task *task, struct buffer *text)
{
    (void)state;
    delivery_explain(task_work(task), text);
}

static void copier_cancel(void *state, struct task *task)
{
    (void)state;
    if (task_work(task) != NULL) {
        delivery_cancel(task_work(task));
    }
}

/* The result that the deployment is waiting for, if the job still says whose it was. */
static struct output *unreadable_result(struct slice body, const char *reason)
{
    AUTO(text) char *deployment = NULL;
    AUTO(text) char *account = NULL;
    if (!job_read_id(body, &deployment, &account)) {
        return NULL;
    }
    AUTO(result) struct result *result = memory_zeroed(1, sizeof(*result));
    AUTO(text) char *id = text_format("%s/%s", deployment, account);
    envelope_fill(&result->envelope, id, "tagfleet/copier", account);
    result->deployment = TAKE(deployment);
    result->account = TAKE(account);
    result->outcome = RESULT_FAILED;
    result->reason = text_copy(reason);
    result->started_ms = result->envelope.time_ms;
    result->finished_ms = result->envelope.time_ms;
    return message_output(&result_codec, result, "results", result->deployment);
}

static void copier_quarantine(void *state, struct task *task, const char *reason)
{
    (void)state;
    const struct record *record = task_record(task);
    struct output *result = unreadable_result(record->value, reason);
    task_emit(task, unreadable_letter("copier", task_topic(task), record, reason));
    task_emit(task, result != NULL ? result : unreadable_rejection("copier", task_topic(task), record, reason));
}

const struct worker copier_worker = {
    .name = "copier",
    .input = "jobs",
    .start = copier_start,
    .take = copier_take,
    .cancel = copier_cancel,
    .explain = copier_explain,
    .quarantine = copier_quarantine,
    .stop = copier_stop,
};
