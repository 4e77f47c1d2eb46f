#include "workers/copier/copier.h"

#include "schemas/result.h"
#include "schemas/unreadable.h"
#include "workers/common/aws/settings.h"
#include "workers/common/base/clock.h"
#include "workers/copier/delivery.h"
#include "workers/copier/wanted.h"

#include <stdlib.h>

enum {
    BEHIND_MAXIMUM = 1000,   /* waiting jobs that are looked at for one that replaces another */
    ABORT_AT_MOST_MS = 3000, /* of uploads that are given up when the process ends */
};

const struct option copier_options[] = {
    WORKER_OPTIONS("copier"),
    {.name = "copier.copies_at_once",
     .type = OPTION_INTEGER,
     .initial = "8",
     .minimum = 1,
     .maximum = 64,
     .help = "objects of one account that are copied at the same time"},
    {.name = "copier.requests_at_once",
     .type = OPTION_INTEGER,
     .initial = "256",
     .minimum = 1,
     .maximum = 4096,
     .help = "requests to S3 and STS under way at once, for all accounts together"},
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
    {.name = "copier.multipart_threshold",
     .type = OPTION_INTEGER,
     .initial = "5368709120",
     .minimum = 5242880,
     .maximum = S3_COPY_MAXIMUM_BYTES,
     .help = "bytes; larger objects are copied in parts"},
    {.name = "copier.part_size",
     .type = OPTION_INTEGER,
     .initial = "134217728",
     .minimum = S3_PART_MINIMUM_BYTES,
     .maximum = S3_COPY_MAXIMUM_BYTES,
     .help = "bytes of a part of such a copy; more when an object needs more than 10,000"},
    {.name = "copier.parts_at_once",
     .type = OPTION_INTEGER,
     .initial = "8",
     .minimum = 1,
     .maximum = 64,
     .help = "parts of one object that are copied at the same time"},
    {.name = "copier.relay_part_size",
     .type = OPTION_INTEGER,
     .initial = "8388608",
     .minimum = S3_PART_MINIMUM_BYTES,
     .maximum = 1073741824,
     .help = "bytes of a part that is read here and sent to all accounts that wait for it (mode = relay)"},
    {.name = "copier.relay_parts",
     .type = OPTION_INTEGER,
     .initial = "16",
     .minimum = 1,
     .maximum = 1024,
     .help = "such parts in memory at once"},
    {.name = "copier.copies_per_second",
     .type = OPTION_INTEGER,
     .initial = "5000",
     .minimum = 0,
     .maximum = 1000000,
     .help = "copies of one build that are begun in a second; 0: any number. S3 takes 5,500 reads a second below a "
             "prefix, from all copiers together"},
    {.name = "copier.follow_region",
     .type = OPTION_BOOLEAN,
     .initial = "false",
     .help = "write into a bucket that turns out to be in another region than the job says"},
    {.name = "copier.session_policy",
     .type = OPTION_BOOLEAN,
     .initial = "true",
     .help = "limit each session to the job's own buckets, whatever the role may do"},
    {.name = "copier.breaker_failures",
     .type = OPTION_INTEGER,
     .initial = "5",
     .minimum = 0,
     .maximum = 1000,
     .help = "failed jobs of an account in a row after which further ones fail at once for a while; 0: never"},
    {.name = "copier.breaker_pause",
     .type = OPTION_DURATION,
     .initial = "30s",
     .minimum = 1,
     .maximum = 86400000,
     .help = "for how long; then one job is tried"},
    {.name = "copier.session_name",
     .type = OPTION_TEXT,
     .initial = "cross_acct_lambda",
     .help = "session name of the assumed roles, as it appears in the accounts' audit trails"},
    {.name = "copier.clear_queue_in",
     .type = OPTION_DURATION,
     .initial = "5m",
     .minimum = 1000,
     .maximum = 86400000,
     .help = "tagfleet_wanted_copiers is how many copiers would clear the queue in this time"},
    {0},
};

struct copier {
    struct delivery_shared shared;
    struct engine *engine;
    struct tally tally;
    struct wanted wanted;
    int64_t clear_queue_ms;
    struct loop_timer *timer;
};

static void copier_stop(void *state)
{
    struct copier *copier = state;
    struct delivery_shared *shared = &copier->shared;
    loop_timer_cancel(engine_loop(copier->engine), copier->timer);
    relay_free(shared->shipment.transfer.relay);
    uploads_free(shared->shipment.transfer.uploads, ABORT_AT_MOST_MS);
    sources_free(shared->shipment.transfer.sources);
    roles_free(shared->roles);
    breaker_free(shared->breaker);
    pace_free(shared->shipment.pace);
    aws_client_free(shared->shipment.transfer.client);
    free(copier);
}

static void transfer_shared_fill(struct transfer_shared *transfer, struct loop *loop, const struct options *options)
{
    struct aws_client_settings client = aws_settings_read(options);
    struct relay_settings relay = {
        .part_size_bytes = options_integer(options, "copier.relay_part_size"),
        .parts_maximum = (size_t)options_integer(options, "copier.relay_parts"),
    };
    transfer->client = aws_client_new(loop, &client);
    transfer->uploads = uploads_new(transfer->client);
    transfer->sources = sources_new(transfer->client);
    transfer->relay = relay_new(transfer->client, transfer->uploads, &relay);
    transfer->multipart_threshold_bytes = options_integer(options, "copier.multipart_threshold");
    transfer->part_size_bytes = options_integer(options, "copier.part_size");
    transfer->parts_at_once = (size_t)options_integer(options, "copier.parts_at_once");
    transfer->follows_region = options_boolean(options, "copier.follow_region");
}

static void copier_look(void *context)
{
    struct copier *copier = context;
    struct engine_load load;
    engine_load(copier->engine, &load);
    wanted_look(&copier->wanted, &load);
    copier->timer = loop_after(engine_loop(copier->engine), WANTED_LOOK_MS, copier_look, copier);
}

bool copier_check(const struct options *options, struct buffer *mistakes)
{
    struct error err;
    struct aws_client_settings client = aws_settings_read(options);
    if (!endpoint_settings_check(&client.endpoints, &err)) {
        buffer_append_format(mistakes, "aws: %s\n", err.text);
        return false;
    }
    return true;
}

static bool copier_start(struct engine *engine, const struct options *options, void **ret_state, struct error *err)
{
    (void)err;
    struct copier *copier = memory_zeroed(1, sizeof(*copier));
    struct delivery_shared *shared = &copier->shared;
    struct roles_settings roles = {
        .main_profile = options_text(options, "aws.profile"),
        .session_name = options_text(options, "copier.session_name"),
        .region = options_text(options, "aws.region"),
        .calls_per_second = options_integer(options, "aws.sts_calls_per_second"),
    };
    http_set_transfers_maximum(loop_http(engine_loop(engine)),
                               (size_t)options_integer(options, "copier.requests_at_once"));
    transfer_shared_fill(&shared->shipment.transfer, engine_loop(engine), options);
    shared->roles = roles_new(shared->shipment.transfer.client, &roles);
    shared->breaker = breaker_new((unsigned)options_integer(options, "copier.breaker_failures"),
                                  options_duration_ms(options, "copier.breaker_pause"));
    shared->shipment.pace = pace_new((double)options_integer(options, "copier.copies_per_second"));
    shared->shipment.retry_for_ms = options_duration_ms(options, "copier.retry_for");
    shared->artifact_wait_ms = options_duration_ms(options, "copier.artifact_wait");
    shared->shipment.copies_at_once = (size_t)options_integer(options, "copier.copies_at_once");
    shared->limits_sessions = options_boolean(options, "copier.session_policy");
    shared->shipment.tally = &copier->tally;
    copier->engine = engine;
    copier->clear_queue_ms = options_duration_ms(options, "copier.clear_queue_in");
    copier_look(copier);
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
        // NOLINTNEXTLINE(bugprone-branch-clone): the order is what matters; the breaker has the last word.
    } else if (!job_is_consistent(job, task_record(task), &err)) {
        delivery_end_without(&copier->shared, task, job, RESULT_FAILED, err.text);
    } else if (job_is_replaced(task, job, &newer)) {
        AUTO(text) char *reason = text_format("a newer deployment took its place: %s", newer);
        delivery_end_without(&copier->shared, task, job, RESULT_SUPERSEDED, reason);
    } else if (!breaker_lets_through(copier->shared.breaker, job, clock_monotonic_ms(), &err)) {
        delivery_end_without(&copier->shared, task, job, RESULT_FAILED, err.text);
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
static struct output *unreadable_result(struct tally *tally, struct slice body, const char *reason)
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
    tally_add(tally, result, 0);
    return message_output(&result_codec, result, "results", result->deployment);
}

static void copier_quarantine(void *state, struct task *task, const char *reason)
{
    struct copier *copier = state;
    const struct record *record = task_record(task);
    struct output *result = unreadable_result(&copier->tally, record->value, reason);
    task_emit(task, unreadable_letter("copier", task_topic(task), record, reason));
    task_emit(task, result != NULL ? result : unreadable_rejection("copier", task_topic(task), record, reason));
}

static void copier_write_metrics(const void *state, struct buffer *text)
{
    const struct copier *copier = state;
    struct engine_load load;
    engine_load(copier->engine, &load);
    double wanted = wanted_copiers(&copier->wanted, &load, copier->clear_queue_ms);
    metric_begin(text, "wanted_copiers", METRIC_GAUGE,
                 "Copiers that would clear the partitions held here in copier.clear_queue_in: their sum, rounded up.");
    if (wanted >= 0) {
        metric_sample(text, "wanted_copiers", wanted, NULL);
    }
    tally_write(&copier->tally, text);
    metric_write(text, "circuit_breaker", METRIC_GAUGE, "Accounts whose jobs fail at once, after failures in a row.",
                 (double)breaker_open_count(copier->shared.breaker), "state", "open", NULL);
    aws_client_write_metrics(copier->shared.shipment.transfer.client, text);
}

const struct worker copier_worker = {
    .name = "copier",
    .input = "jobs",
    .start = copier_start,
    .take = copier_take,
    .cancel = copier_cancel,
    .explain = copier_explain,
    .quarantine = copier_quarantine,
    .write_metrics = copier_write_metrics,
    .stop = copier_stop,
};
