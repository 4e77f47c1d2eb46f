#include "workers/copier/delivery.h"

#include "schemas/trace.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/log.h"
#include "workers/copier/policy.h"

#include <stdlib.h>
#include <string.h>

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
    RELAY_BYTES_PER_MS = 1000, /* the slowest copy through us */
};

static const char source_name[] = "tagfleet/copier";

enum delivery_state {
    DELIVERY_AWAITS_CREDENTIALS,
    DELIVERY_AWAITS_MANIFEST,
    DELIVERY_AWAITS_SOURCE,
    DELIVERY_AWAITS_TARGET,
    DELIVERY_AWAITS_DIGESTS,
    DELIVERY_COPIES,
    DELIVERY_AWAITS_CONFIRMATION,
    DELIVERY_BACKS_OFF,
};

/* One object under way, or waiting for its turn. */
struct slot {
    struct delivery *delivery;
    struct copy_object *object; /* NULL: free */
    struct source_wait *digest;
    struct transfer *transfer;
    struct loop_timer *turn;
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
    struct credentials *reader; /* of the source: the writer's, or the main account's when the job is relayed */
    struct role_wait *role_wait;
    struct source_wait *source_wait;
    struct s3_list *target_list;
    struct source *manifest;
    char *manifest_folder;
    size_t rule;              /* position of the job's copy rule that is being looked at */
    struct source **listings; /* of the sources, one a rule */
    struct copies copies;
    enum copy_phase phase;
    size_t next; /* object to copy */
    struct slot *slots;
    size_t in_flight;
    bool is_renewing;      /* the writer's credentials, in the middle of transfers */
    bool target_is_opaque; /* the role may write but not read */
    bool has_written;      /* in any round */
    bool is_ending;        /* a copy has failed: no new one starts */
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
        sources_forget(delivery->shared->transfer.sources, rule->source_bucket, rule->source_key);
        if (i == 0 && delivery->job->manifest != NULL) {
            sources_forget(delivery->shared->transfer.sources, rule->source_bucket, delivery->job->manifest);
        }
    }
}

/* --- the result --- */

/* Counted, logged, emitted; what is left is to end the task. */
static void result_tell(const struct delivery_shared *shared, struct task *task, const struct job *job,
                        const struct result *result)
{
    char trace[TRACE_ID_SIZE];
    bool is_failed = tally_job_result((enum result_outcome)result->outcome) == JOB_FAILED;
    tally_add(shared->tally, result, job->requested_ms);
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

static void delivery_free(struct delivery *delivery);

/* Emits the one result and ends the task. */
static void delivery_end(struct delivery *delivery, enum result_outcome outcome, const char *reason)
{
    struct task *task = delivery->task;
    AUTO(result) struct result *result = result_of_job(delivery->job, source_name, outcome, reason);
    result->started_ms = delivery->started_wall_ms;
    result->attempts = delivery->attempts;
    result->left_out = (int64_t)delivery->copies.left_out;
    for (size_t i = 0; i < delivery->copies.count; i++) {
        const struct copy_object *object = &delivery->copies.objects[i];
        if (!object->is_done && !object->unchanged) {
            continue;
        }
        result->objects++;
        if (object->unchanged) {
            tally_add_unchanged(delivery->shared->tally);
        }
        result->bytes += object->source->size_bytes;
        if (result->evidence.count < RESULT_EVIDENCE_MAXIMUM) {
            result_add_evidence(result, object);
        }
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

static void slot_clear(struct slot *slot)
{
    struct loop *loop = aws_client_loop(slot->delivery->shared->transfer.client);
    source_wait_cancel(slot->digest);
    transfer_cancel(slot->transfer);
    loop_timer_cancel(loop, slot->turn);
    slot->digest = NULL;
    slot->transfer = NULL;
    slot->turn = NULL;
    slot->object = NULL;
}

static void delivery_drop_round(struct delivery *delivery)
{
    role_wait_cancel(delivery->role_wait);
    source_wait_cancel(delivery->source_wait);
    s3_list_cancel(delivery->target_list);
    delivery->role_wait = NULL;
    delivery->source_wait = NULL;
    delivery->target_list = NULL;
    for (size_t i = 0; i < delivery->shared->copies_at_once; i++) {
        slot_clear(&delivery->slots[i]);
    }
    delivery->in_flight = 0;
    delivery->is_renewing = false;
    credentials_free(delivery->writer);
    credentials_free(delivery->reader);
    delivery->writer = NULL;
    delivery->reader = NULL;
}

/* What the copies of a round have borrowed goes with them. */
static void delivery_clear_copies(struct delivery *delivery)
{
    copies_clear(&delivery->copies);
    for (size_t i = 0; i < delivery->job->copies.count; i++) {
        source_release(delivery->listings[i]);
        delivery->listings[i] = NULL;
    }
    source_release(delivery->manifest);
    delivery->manifest = NULL;
}

static void delivery_free(struct delivery *delivery)
{
    delivery_drop_round(delivery);
    delivery_clear_copies(delivery);
    job_free(delivery->job);
    buffer_done(&delivery->policy);
    free(delivery->manifest_folder);
    free(delivery->listings);
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
        [DELIVERY_AWAITS_MANIFEST] = "awaits the build's manifest",
        [DELIVERY_AWAITS_SOURCE] = "awaits the source's listing",
        [DELIVERY_AWAITS_TARGET] = "awaits the target's listing",
        [DELIVERY_AWAITS_DIGESTS] = "compares the source with its manifest",
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

/* The artifact is not there (yet); missing says what. */
static void delivery_await_artifact(struct delivery *delivery, const char *missing)
{
    int64_t delay_ms = backoff_ms(delivery->polls++, ARTIFACT_POLL_FIRST_MS, ARTIFACT_POLL_MAXIMUM_MS);
    delivery_forget_sources(delivery);
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

static int64_t delivery_round_deadline(const struct delivery *delivery)
{
    int64_t round_ms = clock_monotonic_ms() + ROUND_MS;
    return round_ms < delivery->give_up_at_ms ? round_ms : delivery->give_up_at_ms;
}

/* S3 answers a copy when it is done: a large object gets the time it needs, even beyond the round. */
static int64_t delivery_copy_deadline(const struct delivery *delivery, int64_t size_bytes)
{
    int64_t round_ms = delivery_round_deadline(delivery);
    int64_t bytes_per_ms = delivery->job->mode == JOB_RELAY ? RELAY_BYTES_PER_MS : COPY_BYTES_PER_MS;
    int64_t by_size_ms = clock_monotonic_ms() + size_bytes / bytes_per_ms;
    return by_size_ms > round_ms ? by_size_ms : round_ms;
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

static void delivery_transfer_failed(struct delivery *delivery, const struct transfer_result *result)
{
    delivery->has_written = delivery->has_written || result->may_have_written;
    if (!delivery->is_ending) {
        delivery->failed = result->err;
        delivery->failure = result->failure;
    }
    delivery->is_ending = true;
    delivery_copies_end(delivery);
}

static void delivery_transferred(void *context, const struct transfer_result *result)
{
    struct slot *slot = context;
    struct delivery *delivery = slot->delivery;
    struct copy_object *object = slot->object;
    slot->transfer = NULL;
    slot->object = NULL;
    delivery->in_flight--;
    delivery->target_is_opaque = delivery->target_is_opaque || result->target_is_opaque;
    object->attempts += result->attempts;
    if (result->err.action != ERROR_NONE) {
        delivery_transfer_failed(delivery, result);
        return;
    }
    object->is_done = !result->is_unchanged;
    object->unchanged = result->is_unchanged;
    object->etag = text_copy(result->etag);
    object->version = text_copy_or_null(result->version);
    object->checksum = text_copy_or_null(result->checksum);
    object->check = result->check;
    delivery->has_written = delivery->has_written || !result->is_unchanged;
    if (object->is_done) {
        tally_add_copy(delivery->shared->tally, object->source->size_bytes);
    }
    delivery->give_up_at_ms = clock_monotonic_ms() + delivery->shared->retry_for_ms;
    if (delivery->is_ending) {
        delivery_copies_end(delivery);
    } else {
        delivery_copy_on(delivery);
    }
}

static void delivery_renewed(void *context, const struct role_answer *answer)
{
    struct delivery *delivery = context;
    delivery->role_wait = NULL;
    delivery->is_renewing = false;
    if (answer->credentials == NULL) {
        delivery_fail(delivery, &answer->err);
        return;
    }
    credentials_free(delivery->writer);
    delivery->writer = credentials_copy(answer->credentials);
    for (size_t i = 0; i < delivery->shared->copies_at_once; i++) {
        if (delivery->slots[i].transfer != NULL) {
            transfer_renew(delivery->slots[i].transfer, delivery->writer);
        }
    }
}

/* In the middle of a transfer, whose parts are not to be lost. */
static void delivery_expired(void *context, const struct credentials *expired)
{
    struct slot *slot = context;
    struct delivery *delivery = slot->delivery;
    struct role_request role = delivery_role(delivery);
    if (delivery->is_renewing) {
        return;
    }
    delivery->is_renewing = true;
    roles_forget(delivery->shared->roles, &role, expired);
    delivery->role_wait = roles_get(delivery->shared->roles, &role, delivery_renewed, delivery);
}

static void slot_begin(void *context)
{
    struct slot *slot = context;
    struct delivery *delivery = slot->delivery;
    struct transfer_request request = {
        .job = delivery->job,
        .object = slot->object,
        .writer = delivery->writer,
        .reader = delivery->reader != NULL ? delivery->reader : delivery->writer,
        .deadline_ms = delivery_copy_deadline(delivery, slot->object->source->size_bytes),
        .may_read_target = !delivery->target_is_opaque,
    };
    slot->turn = NULL;
    slot->transfer =
        transfer_start(&delivery->shared->transfer, &request, delivery_transferred, delivery_expired, slot);
}

static void delivery_copy_start(struct delivery *delivery, struct slot *slot, struct copy_object *object)
{
    int64_t turn_ms = pace_take(delivery->shared->pace, object->rule, clock_monotonic_ms());
    slot->object = object;
    delivery->in_flight++;
    if (turn_ms > 0) {
        slot->turn = loop_after(aws_client_loop(delivery->shared->transfer.client), turn_ms, slot_begin, slot);
    } else {
        slot_begin(slot);
    }
}

static struct slot *delivery_free_slot(struct delivery *delivery)
{
    for (size_t i = 0; i < delivery->shared->copies_at_once; i++) {
        if (delivery->slots[i].object == NULL) {
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
        struct slot *slot = delivery_free_slot(delivery);
        if (slot == NULL) {
            return;
        }
        delivery_copy_start(delivery, slot, &copies->objects[delivery->next++]);
    }
    if (delivery->in_flight == 0) {
        delivery_next_phase(delivery);
    }
}

/* --- is the source what its manifest says? --- */

static void delivery_verify_on(struct delivery *delivery);

/* Where the manifest's source remembers which ETag of the object was found to be right. */
static char **object_verified(const struct delivery *delivery, const struct copy_object *object)
{
    return &delivery->manifest->verified_etags[object->named - delivery->manifest->manifest->objects];
}

static bool object_needs_digest(const struct delivery *delivery, const struct copy_object *object)
{
    if (object->named == NULL || object->named->sha256 == NULL) {
        return false;
    }
    const char *verified = *object_verified(delivery, object);
    return verified == NULL || strcmp(verified, object->source->etag) != 0;
}

static void delivery_digest_found(void *context, struct source *source, const struct aws_result *result)
{
    struct slot *slot = context;
    struct delivery *delivery = slot->delivery;
    const struct copy_object *object = slot->object;
    struct error err;
    slot->digest = NULL;
    slot->object = NULL;
    delivery->in_flight--;
    if (source == NULL) {
        if (!delivery_renews(delivery, &result->failure)) {
            delivery_fail(delivery, &result->err);
        }
        return;
    }
    if (strcmp(source->sha256, object->named->sha256) != 0) {
        (void)error_set(&err, ERROR_REJECT, "s3://%.80s/%.150s has the SHA-256 %s where the manifest says %s",
                        object->rule->source_bucket, object->source->key, source->sha256, object->named->sha256);
        delivery_fail(delivery, &err);
        return;
    }
    char **verified = object_verified(delivery, object);
    free(*verified);
    *verified = text_copy(object->source->etag);
    delivery_verify_on(delivery);
}

static struct source_request delivery_source(const struct delivery *delivery, enum source_kind kind, const char *bucket,
                                             const char *key)
{
    return (struct source_request){
        .kind = kind,
        .bucket = {bucket, delivery->job->source_region, delivery->job->source_owner},
        .key = key,
        .credentials = delivery->reader != NULL ? delivery->reader : delivery->writer,
        .deadline_ms = delivery_round_deadline(delivery),
    };
}

/* Before anything is written, and once a build however many accounts get it. */
static void delivery_verify_on(struct delivery *delivery)
{
    for (; delivery->next < delivery->copies.count; delivery->next++) {
        struct copy_object *object = &delivery->copies.objects[delivery->next];
        if (!object_needs_digest(delivery, object)) {
            continue;
        }
        struct slot *slot = delivery_free_slot(delivery);
        if (slot == NULL) {
            return;
        }
        struct source_request request =
            delivery_source(delivery, SOURCE_DIGEST, object->rule->source_bucket, object->source->key);
        request.etag = object->source->etag;
        request.size_bytes = object->source->size_bytes;
        request.deadline_ms = delivery_copy_deadline(delivery, object->source->size_bytes);
        slot->object = object;
        slot->digest = sources_get(delivery->shared->transfer.sources, &request, delivery_digest_found, slot);
        delivery->in_flight++;
    }
    if (delivery->in_flight == 0) {
        delivery->state = DELIVERY_COPIES;
        delivery->phase = PHASE_ASSETS;
        delivery->next = 0;
        delivery_copy_on(delivery);
    }
}

/* --- looking at both sides --- */

static void delivery_look(struct delivery *delivery);

static const struct copies_manifest *delivery_manifest(const struct delivery *delivery,
                                                       struct copies_manifest *manifest)
{
    if (delivery->manifest == NULL) {
        return NULL;
    }
    *manifest = (struct copies_manifest){delivery->manifest->manifest, delivery->manifest_folder};
    return manifest;
}

static void delivery_rule_seen(struct delivery *delivery, const struct s3_listing *target)
{
    struct copies_manifest manifest;
    copies_add(&delivery->copies, delivery_rule(delivery), delivery->listings[delivery->rule]->listing, target,
               delivery_manifest(delivery, &manifest));
    delivery->rule++;
    delivery_look(delivery);
}

static void delivery_target_listed(void *context, struct s3_list_result *listed)
{
    struct delivery *delivery = context;
    const struct aws_result *result = listed->result;
    delivery->target_list = NULL;
    if (listed->listing != NULL) {
        delivery_rule_seen(delivery, listed->listing);
    } else if (result->failure.kind == FAILURE_ACCESS_DENIED || result->failure.kind == FAILURE_INVALID) {
        /* A role that may write but not list: everything is copied, and a wrong bucket shows there. */
        delivery_rule_seen(delivery, NULL);
    } else if (!delivery_renews(delivery, &result->failure)) {
        delivery_fail(delivery, &result->err);
    }
}

/* What the rule or the manifest names and the source does not hold; the caller frees it. NULL: it is complete. */
static char *delivery_missing(const struct delivery *delivery, const struct job_copy *rule,
                              const struct s3_listing *listing)
{
    struct copies_manifest manifest;
    if (!copies_source_is_there(rule, listing)) {
        return text_format("s3://%s/%s did not appear", rule->source_bucket, rule->source_key);
    }
    return delivery_manifest(delivery, &manifest) != NULL ? copies_missing(rule, listing, &manifest) : NULL;
}

/* The source cannot be read: what would help? */
static void delivery_source_failed(struct delivery *delivery, const struct job_copy *rule,
                                   const struct aws_result *result)
{
    struct error err = result->err;
    const struct credentials *reader = delivery->reader != NULL ? delivery->reader : delivery->writer;
    if (result->failure.kind == FAILURE_ACCESS_DENIED) {
        (void)error_set(&err, ERROR_REJECT,
                        "%.150s may not list bucket %.80s: add it to the bucket's policy (s3:ListBucket): %.220s",
                        reader->origin, rule->source_bucket, result->err.text);
    }
    if (!delivery_renews(delivery, &result->failure)) {
        delivery_fail(delivery, &err);
    }
}

static void delivery_source_found(void *context, struct source *source, const struct aws_result *result)
{
    struct delivery *delivery = context;
    const struct job_copy *rule = delivery_rule(delivery);
    delivery->source_wait = NULL;
    if (source == NULL) {
        delivery_source_failed(delivery, rule, result);
        return;
    }
    AUTO(text) char *missing = delivery_missing(delivery, rule, source->listing);
    if (missing != NULL) {
        delivery_await_artifact(delivery, missing);
        return;
    }
    delivery->listings[delivery->rule] = source_keep(source);
    delivery->state = DELIVERY_AWAITS_TARGET;
    struct s3_list_request request = {
        .bucket = {rule->target_bucket, delivery->job->region, delivery->job->account},
        .prefix = rule->target_key,
        .objects_maximum = TARGET_OBJECTS_MAXIMUM,
        .credentials = delivery->writer,
        .deadline_ms = delivery_round_deadline(delivery),
        .is_region_fixed = !delivery->shared->transfer.follows_region,
    };
    delivery->target_list =
        s3_list_objects(delivery->shared->transfer.client, &request, delivery_target_listed, delivery);
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
        struct source_request request =
            delivery_source(delivery, SOURCE_LISTING, rule->source_bucket, rule->source_key);
        delivery->state = DELIVERY_AWAITS_SOURCE;
        delivery->source_wait =
            sources_get(delivery->shared->transfer.sources, &request, delivery_source_found, delivery);
        return;
    }
    if (delivery->copies.count == 0 && delivery_has_no_single_object(job)) {
        /* Prefixes only, and nothing below them: the build is not there yet. */
        delivery->rule = 0;
        const struct job_copy *rule = delivery_rule(delivery);
        AUTO(text) char *missing = text_format("s3://%s/%s did not appear", rule->source_bucket, rule->source_key);
        delivery_await_artifact(delivery, missing);
        return;
    }
    copies_sort(&delivery->copies, delivery->has_written);
    delivery->state = DELIVERY_AWAITS_DIGESTS;
    delivery->next = 0;
    delivery_verify_on(delivery);
}

static void delivery_manifest_found(void *context, struct source *source, const struct aws_result *result)
{
    struct delivery *delivery = context;
    const struct job_copy *rule = (const struct job_copy *)delivery->job->copies.items;
    delivery->source_wait = NULL;
    if (source != NULL) {
        delivery->manifest = source_keep(source);
        delivery_look(delivery);
    } else if (result->failure.kind == FAILURE_NO_KEY) {
        AUTO(text)
        char *missing = text_format("s3://%s/%s did not appear", rule->source_bucket, delivery->job->manifest);
        delivery_await_artifact(delivery, missing);
    } else {
        delivery_source_failed(delivery, rule, result);
    }
}

static void delivery_begin_round(struct delivery *delivery)
{
    const struct job *job = delivery->job;
    if (job->manifest == NULL) {
        delivery_look(delivery);
        return;
    }
    const struct job_copy *rule = (const struct job_copy *)job->copies.items;
    struct source_request request = delivery_source(delivery, SOURCE_MANIFEST, rule->source_bucket, job->manifest);
    delivery->state = DELIVERY_AWAITS_MANIFEST;
    delivery->source_wait =
        sources_get(delivery->shared->transfer.sources, &request, delivery_manifest_found, delivery);
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
    delivery_begin_round(delivery);
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
    delivery_begin_round(delivery);
}

void delivery_resume(struct delivery *delivery)
{
    struct role_request role = delivery_role(delivery);
    delivery->attempts++;
    delivery->rule = 0;
    delivery->next = 0;
    delivery->is_ending = false;
    delivery->failure = (struct failure){0};
    delivery_clear_copies(delivery);
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
    delivery->give_up_at_ms = clock_monotonic_ms() + shared->retry_for_ms;
    delivery->artifact_give_up_at_ms = clock_monotonic_ms() + shared->artifact_wait_ms;
    delivery->listings = memory_zeroed(job->copies.count, sizeof(struct source *));
    delivery->slots = memory_zeroed(shared->copies_at_once, sizeof(*delivery->slots));
    for (size_t i = 0; i < shared->copies_at_once; i++) {
        delivery->slots[i].delivery = delivery;
    }
    if (job->manifest != NULL) {
        const char *slash = strrchr(job->manifest, '/');
        delivery->manifest_folder =
            slice_copy(slice_from(job->manifest, slash != NULL ? (size_t)(slash - job->manifest) + 1 : 0));
    }
    buffer_init(&delivery->policy, 16 * 1024);
    return delivery;
}

void delivery_begin(const struct delivery_shared *shared, struct task *task, struct job *job)
{
    struct error err;
    struct delivery *delivery = delivery_new(shared, task, job);
    bool is_limited = shared->limits_sessions && job->credentials == JOB_ASSUME_ROLE;
    task_set_work(task, delivery);
    bool has_kms = !aws_client_is_custom(shared->transfer.client, AWS_STS);
    if (is_limited && !policy_of_job(job, has_kms, &delivery->policy, &err)) {
        delivery_end(delivery, RESULT_FAILED, err.text);
        return;
    }
    delivery_resume(delivery);
}
