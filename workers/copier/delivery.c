#include "workers/copier/delivery.h"

#include "schemas/trace.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/log.h"
#include "workers/copier/policy.h"
#include "workers/copier/survey.h"

#include <stdlib.h>

enum {
    BACKOFF_FIRST_MS = 500,
    BACKOFF_MAXIMUM_MS = 20000,
    ARTIFACT_POLL_FIRST_MS = 500,
    ARTIFACT_POLL_MAXIMUM_MS = 5000,
    EXPIRED_TOKENS_MAXIMUM = 3,
};

static const char source_name[] = "tagfleet/copier";

enum delivery_state {
    DELIVERY_AWAITS_CREDENTIALS,
    DELIVERY_LOOKS,
    DELIVERY_COPIES,
    DELIVERY_AWAITS_CONFIRMATION,
    DELIVERY_BACKS_OFF,
};

struct delivery {
    const struct delivery_shared *shared;
    struct task *task;
    struct job *job;
    enum delivery_state state;
    int64_t started_wall_ms;
    int64_t give_up_at_ms;          /* monotonic: end of retry_for, counted from the last object that got there */
    int64_t artifact_give_up_at_ms; /* monotonic: end of artifact_wait */
    unsigned polls;                 /* for an artifact that was not there */
    unsigned attempts;
    unsigned expired_tokens;
    struct buffer policy;       /* of the session; empty: none */
    struct credentials *writer; /* of the account */
    struct credentials *reader; /* of the source when the job is relayed: the main account's; NULL: the writer's */
    struct role_wait *role_wait;
    struct survey *survey;     /* of the present round */
    struct shipment *shipment; /* of the present round */
    bool target_is_opaque;     /* the role may write but not read */
    bool has_written;          /* in any round */
    struct error last;         /* why it was tried again, for whoever asks */
};

/* --- the result --- */

/* Counted, logged, emitted; what is left is to end the task. */
static void result_tell(const struct delivery_shared *shared, struct task *task, const struct job *job,
                        const struct result *result)
{
    char trace[TRACE_ID_SIZE];
    bool is_failed = tally_job_result((enum result_outcome)result->outcome) == JOB_FAILED;
    tally_add(shared->shipment.tally, result, job->requested_ms);
    log_event(is_failed ? LOG_WARNING : LOG_INFO, result_outcome_names[result->outcome], "deployment", job->deployment,
              "job", job->envelope.id, "repository", job->repository, "objects", log_number(result->objects), "bytes",
              log_number(result->bytes), "ms", log_number(result->finished_ms - result->started_ms), "reason",
              result->reason, "trace", trace_id(job->envelope.traceparent, trace), NULL);
    task_emit(task, message_output(&result_codec, result, "results", job->deployment));
}

void delivery_end_without(const struct delivery_shared *shared, struct task *task, const struct job *job,
                          enum result_outcome outcome, const char *reason)
{
    AUTO(result) struct result *result = result_of_job(job, source_name, outcome, reason);
    result_tell(shared, task, job, result);
    task_done_as(task, tally_job_result(outcome));
}

static void result_add_evidence(struct result *result, const struct copy_object *object)
{
    struct result_object *evidence = groups_add(&result->evidence, sizeof(*evidence));
    evidence->bucket = text_copy(object->rule->target_bucket);
    evidence->key = copy_object_key(object);
    evidence->bytes = object->source->size_bytes;
    evidence->etag = text_copy_or_null(object->etag);
    evidence->version = text_copy_or_null(object->version);
    evidence->unchanged = object->unchanged;
    evidence->check = (int)object->check;
    evidence->checksum = text_copy_or_null(object->checksum);
    evidence->attempts = object->attempts;
}

/* What is in place, of whichever side it came. */
static void result_add_copies(struct result *result, const struct copies *copies, struct tally *tally)
{
    result->left_out = (int64_t)copies->left_out;
    for (size_t i = 0; i < copies->count; i++) {
        const struct copy_object *object = &copies->objects[i];
        if (!object->is_done && !object->unchanged) {
            continue;
        }
        result->objects++;
        if (object->unchanged) {
            tally_add_unchanged(tally);
        }
        result->bytes += object->source->size_bytes;
        if (result->evidence.count < RESULT_EVIDENCE_MAXIMUM) {
            result_add_evidence(result, object);
        }
    }
}

static void delivery_free(struct delivery *delivery);

/* Emits the one result and ends the task. */
static void delivery_end(struct delivery *delivery, enum result_outcome outcome, const char *reason)
{
    struct task *task = delivery->task;
    AUTO(result) struct result *result = result_of_job(delivery->job, source_name, outcome, reason);
    result->started_ms = delivery->started_wall_ms;
    result->attempts = delivery->attempts;
    if (delivery->survey != NULL) {
        result_add_copies(result, survey_copies(delivery->survey), delivery->shared->shipment.tally);
    }
    result_tell(delivery->shared, task, delivery->job, result);
    if (outcome == RESULT_FAILED || outcome == RESULT_SUCCEEDED || outcome == RESULT_UNCHANGED) {
        breaker_learn(delivery->shared->breaker, delivery->job->account, outcome == RESULT_FAILED ? reason : NULL,
                      clock_monotonic_ms());
    }
    delivery_free(delivery);
    task_set_work(task, NULL);
    task_done_as(task, tally_job_result(outcome));
}

/* --- dropping what is under way --- */

static void delivery_drop_round(struct delivery *delivery)
{
    role_wait_cancel(delivery->role_wait);
    shipment_free(delivery->shipment);
    survey_free(delivery->survey);
    credentials_free(delivery->writer);
    credentials_free(delivery->reader);
    delivery->role_wait = NULL;
    delivery->shipment = NULL;
    delivery->survey = NULL;
    delivery->writer = NULL;
    delivery->reader = NULL;
}

static void delivery_free(struct delivery *delivery)
{
    delivery_drop_round(delivery);
    job_free(delivery->job);
    buffer_done(&delivery->policy);
    free(delivery);
}

void delivery_cancel(struct delivery *delivery)
{
    delivery_free(delivery);
}

void delivery_explain(const struct delivery *delivery, struct buffer *text)
{
    static const char *const states[] = {
        [DELIVERY_AWAITS_CREDENTIALS] = "awaits credentials",
        [DELIVERY_COPIES] = "copies",
        [DELIVERY_AWAITS_CONFIRMATION] = "awaits the broker's word before the trigger",
        [DELIVERY_BACKS_OFF] = "is tried again later",
    };
    const char *state =
        delivery->state == DELIVERY_LOOKS ? survey_state_name(delivery->survey) : states[delivery->state];
    buffer_append_format(text, "job %s %s", delivery->job->envelope.id, state);
    if (delivery->last.action != ERROR_NONE) {
        buffer_append_format(text, ", since %s", delivery->last.text);
    }
}

/* --- trying again, or not --- */

static void delivery_back_off(struct delivery *delivery, int64_t delay_ms)
{
    delivery_drop_round(delivery);
    delivery->state = DELIVERY_BACKS_OFF;
    task_retry(delivery->task, delay_ms);
}

/* Ends the round with an error: the whole job backs off, or fails when that cannot help. */
static void delivery_fail(struct delivery *delivery, const struct error *err)
{
    int64_t delay_ms = backoff_ms(delivery->attempts, BACKOFF_FIRST_MS, BACKOFF_MAXIMUM_MS);
    bool has_time = clock_monotonic_ms() + delay_ms < delivery->give_up_at_ms;
    if (err->action == ERROR_RETRY && has_time) {
        delivery->last = *err;
        log_event(LOG_INFO, "tries again", "job", delivery->job->envelope.id, "attempt", log_number(delivery->attempts),
                  "in_ms", log_number(delay_ms), "reason", err->text, NULL);
        delivery_back_off(delivery, delay_ms);
        return;
    }
    AUTO(text)
    char *reason = err->action == ERROR_RETRY
                       ? text_format("gave up after %u attempts: %s", delivery->attempts, err->text)
                       : text_copy(err->text);
    delivery_end(delivery, RESULT_FAILED, reason);
}

/* The artifact is not there (yet); missing says what. */
static void delivery_await_artifact(struct delivery *delivery, const char *missing)
{
    int64_t delay_ms = backoff_ms(delivery->polls++, ARTIFACT_POLL_FIRST_MS, ARTIFACT_POLL_MAXIMUM_MS);
    survey_forget_sources(&delivery->shared->shipment.transfer, delivery->job);
    if (clock_monotonic_ms() + delay_ms < delivery->artifact_give_up_at_ms) {
        error_set(&delivery->last, ERROR_RETRY, "%s", missing);
        delivery->attempts--;
        delivery_back_off(delivery, delay_ms);
        return;
    }
    AUTO(text)
    char *reason = text_format("%s, within %lld s", missing, (long long)(delivery->shared->artifact_wait_ms / 1000));
    delivery_end(delivery, RESULT_TIMED_OUT, reason);
}

static struct role_request delivery_role(const struct delivery *delivery)
{
    const struct job *job = delivery->job;
    if (job->credentials == JOB_PROFILE) {
        return (struct role_request){.profile = job->profile};
    }
    return (struct role_request){
        .role_arn = job->role,
        .external_id = job->external_id,
        .region = job->region,
        .session_policy = delivery->policy.len > 0 ? delivery->policy.ptr : NULL,
    };
}

/* Temporary credentials can run out in the middle of a job: get new ones and go on. */
static bool delivery_renews(struct delivery *delivery, const struct failure *failure)
{
    if (failure->kind != FAILURE_EXPIRED_TOKEN || delivery->expired_tokens++ >= EXPIRED_TOKENS_MAXIMUM) {
        return false;
    }
    struct role_request role = delivery_role(delivery);
    if (delivery->writer != NULL) {
        roles_forget(delivery->shared->roles, &role, delivery->writer);
    }
    delivery_back_off(delivery, 1);
    return true;
}

/* --- copying --- */

/* What counts for the next round, too. */
static void delivery_note_shipment(struct delivery *delivery)
{
    const struct shipment_result *result = shipment_result(delivery->shipment);
    delivery->give_up_at_ms = result->give_up_at_ms;
    delivery->has_written = delivery->has_written || result->has_written;
    delivery->target_is_opaque = delivery->target_is_opaque || result->target_is_opaque;
}

static void delivery_shipped(void *context)
{
    struct delivery *delivery = context;
    struct error err = shipment_result(delivery->shipment)->err;
    struct failure failure = shipment_result(delivery->shipment)->failure;
    delivery_note_shipment(delivery);
    if (err.action == ERROR_NONE) {
        delivery_end(delivery, delivery->has_written ? RESULT_SUCCEEDED : RESULT_UNCHANGED, NULL);
        return;
    }
    if (failure.kind == FAILURE_PRECONDITION) {
        /* The source has changed since it was listed. */
        survey_forget_sources(&delivery->shared->shipment.transfer, delivery->job);
        err.action = ERROR_RETRY;
    }
    if (!delivery_renews(delivery, &failure)) {
        delivery_fail(delivery, &err);
    }
}

static void delivery_confirmed(void *state, struct task *task)
{
    (void)state;
    struct delivery *delivery = task_work(task);
    delivery->state = DELIVERY_COPIES;
    shipment_go_on(delivery->shipment);
}

/* The step that cannot be taken back: not by a copier that has been replaced. */
static void delivery_asks_for_word(void *context)
{
    struct delivery *delivery = context;
    delivery->state = DELIVERY_AWAITS_CONFIRMATION;
    task_confirm(delivery->task, delivery_confirmed);
}

static void delivery_renewed(void *context, const struct role_answer *answer)
{
    struct delivery *delivery = context;
    struct credentials *expired = delivery->writer;
    delivery->role_wait = NULL;
    if (answer->credentials == NULL) {
        delivery_note_shipment(delivery);
        delivery_fail(delivery, &answer->err);
        return;
    }
    delivery->writer = credentials_copy(answer->credentials);
    shipment_renew(delivery->shipment, delivery->writer);
    credentials_free(expired);
}

static void delivery_asks_for_credentials(void *context, const struct credentials *expired)
{
    struct delivery *delivery = context;
    struct role_request role = delivery_role(delivery);
    roles_forget(delivery->shared->roles, &role, expired);
    delivery->role_wait = roles_get(delivery->shared->roles, &role, delivery_renewed, delivery);
}

static void delivery_ship(struct delivery *delivery)
{
    struct shipment_request request = {
        .job = delivery->job,
        .copies = survey_copies(delivery->survey),
        .writer = delivery->writer,
        .reader = delivery->reader,
        .give_up_at_ms = delivery->give_up_at_ms,
        .may_read_target = !delivery->target_is_opaque,
    };
    struct shipment_owner owner = {
        .asks_for_word = delivery_asks_for_word,
        .asks_for_credentials = delivery_asks_for_credentials,
        .ended = delivery_shipped,
        .context = delivery,
    };
    delivery->state = DELIVERY_COPIES;
    delivery->shipment = shipment_new(&delivery->shared->shipment, &request, &owner);
    shipment_go_on(delivery->shipment);
}

/* --- looking --- */

static void delivery_looked(void *context, const struct survey_result *result)
{
    struct delivery *delivery = context;
    if (result->missing != NULL) {
        delivery_await_artifact(delivery, result->missing);
    } else if (result->err.action == ERROR_NONE) {
        delivery_ship(delivery);
    } else if (!delivery_renews(delivery, &result->failure)) {
        delivery_fail(delivery, &result->err);
    }
}

static void delivery_look(struct delivery *delivery)
{
    const struct shipment_shared *shared = &delivery->shared->shipment;
    struct survey_request request = {
        .job = delivery->job,
        .writer = delivery->writer,
        .reader = delivery->reader,
        .give_up_at_ms = delivery->give_up_at_ms,
        .digests_at_once = shared->copies_at_once,
        .has_written = delivery->has_written,
    };
    delivery->state = DELIVERY_LOOKS;
    delivery->survey = survey_start(&shared->transfer, &request, delivery_looked, delivery);
}

/* --- beginning --- */

static void delivery_reader_answered(void *context, const struct role_answer *answer)
{
    struct delivery *delivery = context;
    delivery->role_wait = NULL;
    if (answer->credentials == NULL) {
        delivery_fail(delivery, &answer->err);
        return;
    }
    delivery->reader = credentials_copy(answer->credentials);
    delivery_look(delivery);
}

static void delivery_writer_answered(void *context, const struct role_answer *answer)
{
    static const struct role_request main_account;
    struct delivery *delivery = context;
    struct error err = answer->err;
    delivery->role_wait = NULL;
    if (answer->credentials == NULL) {
        if (answer->failure.kind == FAILURE_ACCESS_DENIED) {
            (void)error_set(&err, ERROR_REJECT,
                            "role %.150s cannot be assumed: its trust policy must name the main account's identity%s: "
                            "%.220s",
                            delivery->job->role, delivery->job->external_id != NULL ? " and this external id" : "",
                            answer->err.text);
        }
        delivery_fail(delivery, &err);
        return;
    }
    delivery->writer = credentials_copy(answer->credentials);
    if (delivery->job->mode == JOB_RELAY) {
        delivery->role_wait = roles_get(delivery->shared->roles, &main_account, delivery_reader_answered, delivery);
        return;
    }
    delivery_look(delivery);
}

void delivery_resume(struct delivery *delivery)
{
    struct role_request role = delivery_role(delivery);
    delivery->attempts++;
    delivery->state = DELIVERY_AWAITS_CREDENTIALS;
    delivery->role_wait = roles_get(delivery->shared->roles, &role, delivery_writer_answered, delivery);
}

static struct delivery *delivery_new(const struct delivery_shared *shared, struct task *task, struct job *job)
{
    struct delivery *delivery = memory_zeroed(1, sizeof(*delivery));
    delivery->shared = shared;
    delivery->task = task;
    delivery->job = job;
    delivery->started_wall_ms = clock_wall_ms();
    delivery->give_up_at_ms = clock_monotonic_ms() + shared->shipment.retry_for_ms;
    delivery->artifact_give_up_at_ms = clock_monotonic_ms() + shared->artifact_wait_ms;
    buffer_init(&delivery->policy, 16 * 1024);
    return delivery;
}

void delivery_begin(const struct delivery_shared *shared, struct task *task, struct job *job)
{
    struct error err;
    struct delivery *delivery = delivery_new(shared, task, job);
    bool is_limited = shared->limits_sessions && job->credentials == JOB_ASSUME_ROLE;
    task_set_work(task, delivery);
    bool has_kms = !aws_client_is_custom(shared->shipment.transfer.client, AWS_STS);
    if (is_limited && !policy_of_job(job, has_kms, &delivery->policy, &err)) {
        delivery_end(delivery, RESULT_FAILED, err.text);
        return;
    }
    delivery_resume(delivery);
}
