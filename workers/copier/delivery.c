#include "workers/copier/delivery.h"

#include "schemas/result.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/log.h"
#include "workers/copier/copies.h"

#include <stdlib.h>

enum {
    BACKOFF_FIRST_MS = 500,
    BACKOFF_MAXIMUM_MS = 20000,
    ARTIFACT_POLL_FIRST_MS = 500,
    ARTIFACT_POLL_MAXIMUM_MS = 5000,
    TARGET_OBJECTS_MAXIMUM = 500000,
    /* One round of work; beyond it the job backs off, with fresh credentials and listings. */
    ROUND_MS = 120000,
    EXPIRED_TOKENS_MAXIMUM = 3,
    COPY_BYTES_PER_MS = 10000, /* the slowest copy within the store that is waited for: 10 MB/s */
};

static const char source_name[] = "tagfleet/copier";

enum delivery_state {
    DELIVERY_AWAITS_CREDENTIALS,
    DELIVERY_AWAITS_SOURCE,
    DELIVERY_AWAITS_TARGET,
    DELIVERY_COPIES,
    DELIVERY_AWAITS_CONFIRMATION,
    DELIVERY_BACKS_OFF,
};

/* One copy under way. */
struct copying {
    struct delivery *delivery;
    struct copy_object *object;
    struct s3_call *call;
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
    struct credentials *credentials;
    struct role_wait *role_wait;
    struct source_wait *source_wait;
    struct s3_call *target_call;
    size_t rule; /* position of the job's copy rule that is being looked at */
    struct s3_listing *source;
    struct copies copies;
    enum copy_phase phase;
    size_t next; /* object to copy */
    struct copying *slots;
    size_t in_flight;
    bool has_written; /* in any round */
    bool is_ending;   /* a copy has failed: no new one starts */
    struct error failed;
    struct failure failure;
    struct error last; /* why it was tried again, for whoever asks */
};

/* Single objects are looked for first: a build writes its archive when all the rest is there, so what lies below a
 * prefix is read after the archive has been seen. */
static const struct job_copy *delivery_rule(const struct delivery *delivery)
{
    const struct job_copy *rules = delivery->job->copies.items;
    size_t count = delivery->job->copies.count;
    size_t position = 0;
    for (int is_prefix = 0; is_prefix <= 1; is_prefix++) {
        for (size_t i = 0; i < count; i++) {
            if (copy_rule_is_prefix(&rules[i]) == (is_prefix == 1) && position++ == delivery->rule) {
                return &rules[i];
            }
        }
    }
    return rules;
}

/* The listings of the job's sources are out of date. */
static void delivery_forget_sources(const struct delivery *delivery)
{
    for (size_t i = 0; i < delivery->job->copies.count; i++) {
        const struct job_copy *rule = (const struct job_copy *)delivery->job->copies.items + i;
        sources_forget(delivery->shared->sources, rule->source_bucket, rule->source_key);
    }
}

/* --- the result --- */

struct output *delivery_result_without(const struct job *job, enum result_outcome outcome, const char *reason)
{
    AUTO(result) struct result *result = result_of_job(job, source_name, outcome, reason);
    return message_output(&result_codec, result, "results", job->deployment);
}

static void result_add_evidence(struct result *result, const struct copy_object *object)
{
    struct result_object *evidence = groups_add(&result->evidence, sizeof(*evidence));
    evidence->bucket = text_copy(object->rule->target_bucket);
    evidence->key = text_copy(object->target_key);
    evidence->bytes = object->size_bytes;
    evidence->etag = text_copy_or_null(object->etag);
    evidence->version = text_copy_or_null(object->version);
    evidence->unchanged = object->unchanged;
    evidence->attempts = object->attempts;
}

static void delivery_free(struct delivery *delivery);

/* Emits the one result and ends the task. */
static void delivery_end(struct delivery *delivery, enum result_outcome outcome, const char *reason)
{
    struct task *task = delivery->task;
    AUTO(result) struct result *result = result_of_job(delivery->job, source_name, outcome, reason);
    result->started_ms = delivery->started_wall_ms;
    result->attempts = delivery->attempts;
    for (size_t i = 0; i < delivery->copies.count; i++) {
        const struct copy_object *object = &delivery->copies.objects[i];
        if (!object->is_done && !object->unchanged) {
            continue;
        }
        result->objects++;
        result->bytes += object->size_bytes;
        if (result->evidence.count < RESULT_EVIDENCE_MAXIMUM) {
            result_add_evidence(result, object);
        }
    }
    log_event(LOG_INFO, result_outcome_names[outcome], "job", delivery->job->envelope.id, "repository",
              delivery->job->repository, "objects", log_number(result->objects), "bytes", log_number(result->bytes),
              "ms", log_number(result->finished_ms - result->started_ms), "reason", reason, NULL);
    task_emit(task, message_output(&result_codec, result, "results", delivery->job->deployment));
    delivery_free(delivery);
    task_set_work(task, NULL);
    task_done(task);
}

/* --- dropping what is under way --- */

static void delivery_drop_round(struct delivery *delivery)
{
    role_wait_cancel(delivery->role_wait);
    delivery->role_wait = NULL;
    source_wait_cancel(delivery->source_wait);
    delivery->source_wait = NULL;
    s3_cancel(delivery->target_call);
    delivery->target_call = NULL;
    for (size_t i = 0; i < delivery->shared->copies_at_once; i++) {
        s3_cancel(delivery->slots[i].call);
        delivery->slots[i].call = NULL;
    }
    delivery->in_flight = 0;
    credentials_free(delivery->credentials);
    delivery->credentials = NULL;
    s3_listing_free(delivery->source);
    delivery->source = NULL;
}

static void delivery_free(struct delivery *delivery)
{
    delivery_drop_round(delivery);
    copies_clear(&delivery->copies);
    job_free(delivery->job);
    free(delivery->slots);
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
        [DELIVERY_AWAITS_SOURCE] = "awaits the source's listing",
        [DELIVERY_AWAITS_TARGET] = "awaits the target's listing",
        [DELIVERY_COPIES] = "copies",
        [DELIVERY_AWAITS_CONFIRMATION] = "awaits the broker's word before the trigger",
        [DELIVERY_BACKS_OFF] = "is tried again later",
    };
    buffer_append_format(text, "job %s %s", delivery->job->envelope.id, states[delivery->state]);
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

/* The artifact is not there (yet). */
static void delivery_await_artifact(struct delivery *delivery, const struct job_copy *rule)
{
    int64_t delay_ms = backoff_ms(delivery->polls++, ARTIFACT_POLL_FIRST_MS, ARTIFACT_POLL_MAXIMUM_MS);
    delivery_forget_sources(delivery);
    if (clock_monotonic_ms() + delay_ms < delivery->artifact_give_up_at_ms) {
        error_set(&delivery->last, ERROR_RETRY, "s3://%s/%s is not there", rule->source_bucket, rule->source_key);
        delivery->attempts--;
        delivery_back_off(delivery, delay_ms);
        return;
    }
    AUTO(text)
    char *reason = text_format("s3://%s/%s did not appear within %lld s", rule->source_bucket, rule->source_key,
                               (long long)(delivery->shared->artifact_wait_ms / 1000));
    delivery_end(delivery, RESULT_TIMED_OUT, reason);
}

static int64_t delivery_round_deadline(const struct delivery *delivery)
{
    int64_t round_ms = clock_monotonic_ms() + ROUND_MS;
    return round_ms < delivery->give_up_at_ms ? round_ms : delivery->give_up_at_ms;
}

/* S3 answers a copy when it is done: a large object gets the time it needs, even beyond the round. */
static int64_t delivery_copy_deadline(const struct delivery *delivery, int64_t size_bytes)
{
    int64_t round_ms = delivery_round_deadline(delivery);
    int64_t by_size_ms = clock_monotonic_ms() + size_bytes / COPY_BYTES_PER_MS;
    return by_size_ms > round_ms ? by_size_ms : round_ms;
}

static struct role_request delivery_role(const struct job *job)
{
    bool is_profile = job->credentials == JOB_PROFILE;
    return (struct role_request){
        .profile = is_profile ? job->profile : NULL,
        .role_arn = is_profile ? NULL : job->role,
        .external_id = is_profile ? NULL : job->external_id,
        .region = job->region,
    };
}

/* Temporary credentials can run out in the middle of a job: get new ones and go on. */
static bool delivery_renews(struct delivery *delivery, const struct failure *failure)
{
    if (failure->kind != FAILURE_EXPIRED_TOKEN || delivery->expired_tokens++ >= EXPIRED_TOKENS_MAXIMUM) {
        return false;
    }
    struct role_request role = delivery_role(delivery->job);
    roles_forget(delivery->shared->roles, &role, delivery->credentials);
    delivery_back_off(delivery, 1);
    return true;
}

/* --- copying --- */

static void delivery_copy_on(struct delivery *delivery);

/* Nothing more starts; the round ends when the last copy in flight has. */
static void delivery_copies_end(struct delivery *delivery)
{
    if (delivery->in_flight > 0) {
        return;
    }
    if (delivery->failure.kind == FAILURE_PRECONDITION) {
        /* The source has changed since it was listed. */
        delivery_forget_sources(delivery);
        delivery->failed.action = ERROR_RETRY;
    }
    if (!delivery_renews(delivery, &delivery->failure)) {
        delivery_fail(delivery, &delivery->failed);
    }
}

static void delivery_copied(void *context, const struct s3_copy_result *copied)
{
    struct copying *slot = context;
    struct delivery *delivery = slot->delivery;
    const struct aws_result *result = copied->result;
    slot->call = NULL;
    delivery->in_flight--;
    slot->object->attempts += result->attempts;
    if (result->err.action != ERROR_NONE) {
        delivery->has_written = delivery->has_written || result->failure.is_uncertain;
        if (!delivery->is_ending) {
            delivery->failed = result->err;
            delivery->failure = result->failure;
        }
        delivery->is_ending = true;
        delivery_copies_end(delivery);
        return;
    }
    slot->object->is_done = true;
    delivery->has_written = true;
    delivery->give_up_at_ms = clock_monotonic_ms() + delivery->shared->retry_for_ms;
    slot->object->etag = text_copy(copied->etag);
    slot->object->version = text_copy_or_null(copied->version_id);
    if (delivery->is_ending) {
        delivery_copies_end(delivery);
    } else {
        delivery_copy_on(delivery);
    }
}

static void delivery_copy_start(struct delivery *delivery, struct copying *slot, struct copy_object *object)
{
    const struct job *job = delivery->job;
    struct s3_copy_request request = {
        .source = {object->rule->source_bucket, job->source_region, job->source_owner},
        .source_key = object->source_key,
        .source_etag = object->source_etag[0] != '\0' ? object->source_etag : NULL,
        .source_size_bytes = object->size_bytes,
        .target = {object->rule->target_bucket, job->region, job->account},
        .target_key = object->target_key,
        .credentials = delivery->credentials,
        .deadline_ms = delivery_copy_deadline(delivery, object->size_bytes),
    };
    slot->object = object;
    slot->call = s3_copy_object(delivery->shared->client, &request, delivery_copied, slot);
    delivery->in_flight++;
}

static struct copying *delivery_free_slot(struct delivery *delivery)
{
    for (size_t i = 0; i < delivery->shared->copies_at_once; i++) {
        if (delivery->slots[i].call == NULL) {
            return &delivery->slots[i];
        }
    }
    return NULL;
}

static void delivery_confirmed(void *state, struct task *task)
{
    (void)state;
    struct delivery *delivery = task_work(task);
    delivery->state = DELIVERY_COPIES;
    delivery->phase = PHASE_TRIGGER;
    delivery_copy_on(delivery);
}

/* The next phase, once everything of this one is in place. */
// NOLINTNEXTLINE(misc-no-recursion): as deep as there are phases.
static void delivery_next_phase(struct delivery *delivery)
{
    const struct copies *copies = &delivery->copies;
    if (delivery->next == copies->count) {
        delivery_end(delivery, delivery->has_written ? RESULT_SUCCEEDED : RESULT_UNCHANGED, NULL);
        return;
    }
    enum copy_phase next = copies->objects[delivery->next].phase;
    if (next == PHASE_TRIGGER) {
        /* The step that cannot be taken back: not by a copier that has been replaced. */
        delivery->state = DELIVERY_AWAITS_CONFIRMATION;
        task_confirm(delivery->task, delivery_confirmed);
        return;
    }
    delivery->phase = next;
    delivery_copy_on(delivery);
}

/* Starts as many copies of the present phase as may be in flight. */
// NOLINTNEXTLINE(misc-no-recursion): as deep as there are phases.
static void delivery_copy_on(struct delivery *delivery)
{
    struct copies *copies = &delivery->copies;
    for (;;) {
        while (delivery->next < copies->count && copies->objects[delivery->next].unchanged) {
            delivery->next++;
        }
        if (delivery->next == copies->count || copies->objects[delivery->next].phase != delivery->phase) {
            break;
        }
        struct copying *slot = delivery_free_slot(delivery);
        if (slot == NULL) {
            return;
        }
        delivery_copy_start(delivery, slot, &copies->objects[delivery->next++]);
    }
    if (delivery->in_flight == 0) {
        delivery_next_phase(delivery);
    }
}

/* --- looking at both sides --- */

static void delivery_look(struct delivery *delivery);

static void delivery_rule_seen(struct delivery *delivery, const struct s3_listing *target)
{
    copies_add(&delivery->copies, delivery_rule(delivery), delivery->source, target);
    s3_listing_free(delivery->source);
    delivery->source = NULL;
    delivery->rule++;
    delivery_look(delivery);
}

static void delivery_target_listed(void *context, struct s3_list_result *listed)
{
    struct delivery *delivery = context;
    const struct aws_result *result = listed->result;
    delivery->target_call = NULL;
    if (listed->listing != NULL) {
        delivery_rule_seen(delivery, listed->listing);
    } else if (result->failure.kind == FAILURE_ACCESS_DENIED || result->failure.kind == FAILURE_INVALID) {
        /* A role that may write but not list: everything is copied, and a wrong bucket shows there. */
        delivery_rule_seen(delivery, NULL);
    } else if (!delivery_renews(delivery, &result->failure)) {
        delivery_fail(delivery, &result->err);
    }
}

/* The listing is shared by all jobs of the build; this job keeps what it needs of it. */
static struct s3_listing *listing_copy(const struct s3_listing *listing)
{
    struct s3_listing *copy = memory_zeroed(1, sizeof(*copy));
    copy->objects = memory_zeroed(listing->count, sizeof(*copy->objects));
    copy->count = listing->count;
    for (size_t i = 0; i < listing->count; i++) {
        copy->objects[i] = listing->objects[i];
        copy->objects[i].key = text_copy(listing->objects[i].key);
        copy->objects[i].etag = text_copy(listing->objects[i].etag);
    }
    return copy;
}

static void delivery_source_found(void *context, const struct s3_listing *listing, const struct aws_result *result)
{
    struct delivery *delivery = context;
    const struct job_copy *rule = delivery_rule(delivery);
    delivery->source_wait = NULL;
    if (listing == NULL) {
        if (!delivery_renews(delivery, &result->failure)) {
            delivery_fail(delivery, &result->err);
        }
        return;
    }
    if (!copies_source_is_there(rule, listing)) {
        delivery_await_artifact(delivery, rule);
        return;
    }
    delivery->source = listing_copy(listing);
    delivery->state = DELIVERY_AWAITS_TARGET;
    struct s3_list_request request = {
        .bucket = {rule->target_bucket, delivery->job->region, delivery->job->account},
        .prefix = rule->target_key,
        .objects_maximum = TARGET_OBJECTS_MAXIMUM,
        .credentials = delivery->credentials,
        .deadline_ms = delivery_round_deadline(delivery),
    };
    delivery->target_call = s3_list_objects(delivery->shared->client, &request, delivery_target_listed, delivery);
}

static bool delivery_has_no_single_object(const struct job *job)
{
    for (size_t i = 0; i < job->copies.count; i++) {
        if (!copy_rule_is_prefix((const struct job_copy *)job->copies.items + i)) {
            return false;
        }
    }
    return true;
}

/* Looks at the next rule's source, or begins to copy when all have been looked at. */
static void delivery_look(struct delivery *delivery)
{
    const struct job *job = delivery->job;
    if (delivery->rule < job->copies.count) {
        const struct job_copy *rule = delivery_rule(delivery);
        struct source_request request = {
            .bucket = {rule->source_bucket, job->source_region, job->source_owner},
            .prefix = rule->source_key,
            .credentials = delivery->credentials,
            .deadline_ms = delivery_round_deadline(delivery),
        };
        delivery->state = DELIVERY_AWAITS_SOURCE;
        delivery->source_wait = sources_get(delivery->shared->sources, &request, delivery_source_found, delivery);
        return;
    }
    if (delivery->copies.count == 0 && delivery_has_no_single_object(job)) {
        /* Prefixes only, and nothing below them: the build is not there yet. */
        delivery->rule = 0;
        delivery_await_artifact(delivery, delivery_rule(delivery));
        return;
    }
    copies_sort(&delivery->copies, delivery->has_written);
    delivery->state = DELIVERY_COPIES;
    delivery->phase = PHASE_ASSETS;
    delivery_copy_on(delivery);
}

/* --- beginning --- */

static void delivery_role_answered(void *context, const struct role_answer *answer)
{
    struct delivery *delivery = context;
    delivery->role_wait = NULL;
    if (answer->credentials == NULL) {
        delivery_fail(delivery, &answer->err);
        return;
    }
    delivery->credentials = credentials_copy(answer->credentials);
    delivery_look(delivery);
}

void delivery_resume(struct delivery *delivery)
{
    struct role_request role = delivery_role(delivery->job);
    delivery->attempts++;
    delivery->rule = 0;
    delivery->next = 0;
    delivery->is_ending = false;
    delivery->failure = (struct failure){0};
    copies_clear(&delivery->copies);
    delivery->state = DELIVERY_AWAITS_CREDENTIALS;
    delivery->role_wait = roles_get(delivery->shared->roles, &role, delivery_role_answered, delivery);
}

void delivery_begin(const struct delivery_shared *shared, struct task *task, struct job *job)
{
    struct delivery *delivery = memory_zeroed(1, sizeof(*delivery));
    delivery->shared = shared;
    delivery->task = task;
    delivery->job = job;
    delivery->started_wall_ms = clock_wall_ms();
    delivery->give_up_at_ms = clock_monotonic_ms() + shared->retry_for_ms;
    delivery->artifact_give_up_at_ms = clock_monotonic_ms() + shared->artifact_wait_ms;
    delivery->slots = memory_zeroed(shared->copies_at_once, sizeof(*delivery->slots));
    for (size_t i = 0; i < shared->copies_at_once; i++) {
        delivery->slots[i].delivery = delivery;
    }
    task_set_work(task, delivery);
    delivery_resume(delivery);
}
