#include "workers/copier/survey.h"

#include "workers/common/base/clock.h"
#include "workers/copier/deadline.h"

#include <stdlib.h>
#include <string.h>

enum { TARGET_OBJECTS_MAXIMUM = 500000 };

enum survey_state {
    SURVEY_AWAITS_MANIFEST,
    SURVEY_AWAITS_SOURCE,
    SURVEY_AWAITS_TARGET,
    SURVEY_AWAITS_DIGESTS,
};

/* One object whose digest is asked for. */
struct digest {
    struct survey *survey;
    const struct copy_object *object;
    struct source_wait *wait; /* NULL: free */
};

struct survey {
    const struct transfer_shared *shared;
    struct survey_request request;
    survey_answer *answer;
    void *context;
    enum survey_state state;
    struct source_wait *source_wait;
    struct s3_list *target_list;
    struct source *manifest;
    char *manifest_folder;
    size_t rule;              /* position of the job's copy rule that is being looked at */
    struct source **listings; /* of the sources, one a rule; the copies borrow from them */
    struct copies copies;
    size_t next; /* object whose digest may be needed */
    struct digest *digests;
    size_t digests_in_flight;
};

struct copies *survey_copies(struct survey *survey)
{
    return &survey->copies;
}

const char *survey_state_name(const struct survey *survey)
{
    static const char *const names[] = {
        [SURVEY_AWAITS_MANIFEST] = "awaits the build's manifest",
        [SURVEY_AWAITS_SOURCE] = "awaits the source's listing",
        [SURVEY_AWAITS_TARGET] = "awaits the target's listing",
        [SURVEY_AWAITS_DIGESTS] = "compares the source with its manifest",
    };
    return names[survey->state];
}

static const struct credentials *survey_reader(const struct survey *survey)
{
    return survey->request.reader != NULL ? survey->request.reader : survey->request.writer;
}

static const struct job_copy *job_rules(const struct job *job)
{
    return job->copies.items;
}

void survey_forget_sources(const struct transfer_shared *shared, const struct job *job)
{
    const struct job_copy *rules = job_rules(job);
    for (size_t i = 0; i < job->copies.count; i++) {
        sources_forget(shared->sources, rules[i].source_bucket, rules[i].source_key);
    }
    if (job->manifest != NULL) {
        sources_forget(shared->sources, rules[0].source_bucket, job->manifest);
    }
}

/* Single objects are looked for first: a build writes its archive when all the rest is there, so what lies below a
 * prefix is read after the archive has been seen. */
static const struct job_copy *survey_rule(const struct survey *survey)
{
    const struct job_copy *rules = job_rules(survey->request.job);
    size_t count = survey->request.job->copies.count;
    size_t position = 0;
    for (int is_prefix = 0; is_prefix <= 1; is_prefix++) {
        for (size_t i = 0; i < count; i++) {
            if (copy_rule_is_prefix(&rules[i]) == (is_prefix == 1) && position++ == survey->rule) {
                return &rules[i];
            }
        }
    }
    return rules;
}

/* --- answering --- */

static void survey_drop_requests(struct survey *survey)
{
    source_wait_cancel(survey->source_wait);
    s3_list_cancel(survey->target_list);
    survey->source_wait = NULL;
    survey->target_list = NULL;
    for (size_t i = 0; i < survey->request.digests_at_once; i++) {
        source_wait_cancel(survey->digests[i].wait);
        survey->digests[i].wait = NULL;
    }
}

static void survey_is_complete(struct survey *survey)
{
    static const struct survey_result complete;
    survey->answer(survey->context, &complete);
}

static void survey_misses(struct survey *survey, const char *missing)
{
    struct survey_result result = {.missing = missing};
    survey->answer(survey->context, &result);
}

static void survey_fails(struct survey *survey, const struct error *err, const struct failure *failure)
{
    struct survey_result result = {.err = *err, .failure = *failure};
    survey_drop_requests(survey);
    survey->answer(survey->context, &result);
}

/* The source cannot be read: what would help? */
static void survey_source_fails(struct survey *survey, const struct job_copy *rule, const struct aws_result *result)
{
    struct error err = result->err;
    if (result->failure.kind == FAILURE_ACCESS_DENIED) {
        (void)error_set(&err, ERROR_REJECT,
                        "%.150s may not list bucket %.80s: add it to the bucket's policy (s3:ListBucket): %.220s",
                        survey_reader(survey)->origin, rule->source_bucket, result->err.text);
    }
    survey_fails(survey, &err, &result->failure);
}

/* --- is the source what its manifest says? --- */

static void survey_verify_on(struct survey *survey);

/* Where the manifest's source remembers which ETag of the object was found to be right. */
static char **object_verified(const struct survey *survey, const struct copy_object *object)
{
    return &survey->manifest->verified_etags[object->named - survey->manifest->manifest->objects];
}

static bool object_needs_digest(const struct survey *survey, const struct copy_object *object)
{
    if (object->named == NULL || object->named->sha256 == NULL) {
        return false;
    }
    const char *verified = *object_verified(survey, object);
    return verified == NULL || strcmp(verified, object->source->etag) != 0;
}

static void survey_digest_found(void *context, struct source *source, const struct aws_result *result)
{
    static const struct failure none;
    struct digest *digest = context;
    struct survey *survey = digest->survey;
    const struct copy_object *object = digest->object;
    struct error err;
    digest->wait = NULL;
    survey->digests_in_flight--;
    if (source == NULL) {
        survey_fails(survey, &result->err, &result->failure);
        return;
    }
    if (strcmp(source->sha256, object->named->sha256) != 0) {
        (void)error_set(&err, ERROR_REJECT, "s3://%.80s/%.150s has the SHA-256 %s where the manifest says %s",
                        object->rule->source_bucket, object->source->key, source->sha256, object->named->sha256);
        survey_fails(survey, &err, &none);
        return;
    }
    char **verified = object_verified(survey, object);
    free(*verified);
    *verified = text_copy(object->source->etag);
    survey_verify_on(survey);
}

static struct source_request survey_source(const struct survey *survey, enum source_kind kind, const char *bucket,
                                           const char *key)
{
    const struct job *job = survey->request.job;
    return (struct source_request){
        .kind = kind,
        .bucket = {bucket, job->source_region, job->source_owner},
        .key = key,
        .credentials = survey_reader(survey),
        .deadline_ms = deadline_of_request(survey->request.give_up_at_ms, clock_monotonic_ms()),
    };
}

static struct digest *survey_free_digest(const struct survey *survey)
{
    for (size_t i = 0; i < survey->request.digests_at_once; i++) {
        if (survey->digests[i].wait == NULL) {
            return &survey->digests[i];
        }
    }
    return NULL;
}

/* Before anything is written, and once a build however many accounts get it. */
static void survey_verify_on(struct survey *survey)
{
    for (; survey->next < survey->copies.count; survey->next++) {
        const struct copy_object *object = &survey->copies.objects[survey->next];
        if (!object_needs_digest(survey, object)) {
            continue;
        }
        struct digest *digest = survey_free_digest(survey);
        if (digest == NULL) {
            return;
        }
        struct source_request request =
            survey_source(survey, SOURCE_DIGEST, object->rule->source_bucket, object->source->key);
        request.etag = object->source->etag;
        request.size_bytes = object->source->size_bytes;
        request.deadline_ms = deadline_of_object(survey->request.job, object->source->size_bytes,
                                                 survey->request.give_up_at_ms, clock_monotonic_ms());
        digest->object = object;
        digest->wait = sources_get(survey->shared->sources, &request, survey_digest_found, digest);
        survey->digests_in_flight++;
    }
    if (survey->digests_in_flight == 0) {
        survey_is_complete(survey);
    }
}

/* --- rule by rule --- */

static void survey_next_rule(struct survey *survey);

static const struct copies_manifest *survey_manifest(const struct survey *survey, struct copies_manifest *manifest)
{
    if (survey->manifest == NULL) {
        return NULL;
    }
    *manifest = (struct copies_manifest){survey->manifest->manifest, survey->manifest_folder};
    return manifest;
}

static void survey_rule_seen(struct survey *survey, const struct s3_listing *target)
{
    struct copies_manifest manifest;
    copies_add(&survey->copies, survey_rule(survey), survey->listings[survey->rule]->listing, target,
               survey_manifest(survey, &manifest));
    survey->rule++;
    survey_next_rule(survey);
}

static void survey_target_listed(void *context, struct s3_list_result *listed)
{
    struct survey *survey = context;
    const struct aws_result *result = listed->result;
    survey->target_list = NULL;
    if (listed->listing != NULL) {
        survey_rule_seen(survey, listed->listing);
    } else if (result->failure.kind == FAILURE_ACCESS_DENIED || result->failure.kind == FAILURE_INVALID) {
        /* A role that may write but not list: everything is copied, and a wrong bucket shows there. */
        survey_rule_seen(survey, NULL);
    } else {
        survey_fails(survey, &result->err, &result->failure);
    }
}

/* What the rule or the manifest names and the source does not hold; the caller frees it. NULL: it is complete. */
static char *survey_missing(const struct survey *survey, const struct job_copy *rule, const struct s3_listing *listing)
{
    struct copies_manifest manifest;
    if (!copies_source_is_there(rule, listing)) {
        return text_format("s3://%s/%s did not appear", rule->source_bucket, rule->source_key);
    }
    return survey_manifest(survey, &manifest) != NULL ? copies_missing(rule, listing, &manifest) : NULL;
}

static void survey_source_found(void *context, struct source *source, const struct aws_result *result)
{
    struct survey *survey = context;
    const struct job *job = survey->request.job;
    const struct job_copy *rule = survey_rule(survey);
    survey->source_wait = NULL;
    if (source == NULL) {
        survey_source_fails(survey, rule, result);
        return;
    }
    AUTO(text) char *missing = survey_missing(survey, rule, source->listing);
    if (missing != NULL) {
        survey_misses(survey, missing);
        return;
    }
    survey->listings[survey->rule] = source_keep(source);
    survey->state = SURVEY_AWAITS_TARGET;
    struct s3_list_request request = {
        .bucket = {rule->target_bucket, job->region, job->account},
        .prefix = rule->target_key,
        .objects_maximum = TARGET_OBJECTS_MAXIMUM,
        .credentials = survey->request.writer,
        .deadline_ms = deadline_of_request(survey->request.give_up_at_ms, clock_monotonic_ms()),
        .is_region_fixed = !survey->shared->follows_region,
    };
    survey->target_list = s3_list_objects(survey->shared->client, &request, survey_target_listed, survey);
}

static bool job_has_no_single_object(const struct job *job)
{
    for (size_t i = 0; i < job->copies.count; i++) {
        if (!copy_rule_is_prefix(&job_rules(job)[i])) {
            return false;
        }
    }
    return true;
}

/* All rules have been looked at. */
static void survey_conclude(struct survey *survey)
{
    if (survey->copies.count == 0 && job_has_no_single_object(survey->request.job)) {
        /* Prefixes only, and nothing below them: the build is not there yet. */
        const struct job_copy *rule = job_rules(survey->request.job);
        AUTO(text) char *missing = text_format("s3://%s/%s did not appear", rule->source_bucket, rule->source_key);
        survey_misses(survey, missing);
        return;
    }
    copies_sort(&survey->copies, survey->request.has_written);
    survey->state = SURVEY_AWAITS_DIGESTS;
    survey_verify_on(survey);
}

static void survey_next_rule(struct survey *survey)
{
    if (survey->rule == survey->request.job->copies.count) {
        survey_conclude(survey);
        return;
    }
    const struct job_copy *rule = survey_rule(survey);
    struct source_request request = survey_source(survey, SOURCE_LISTING, rule->source_bucket, rule->source_key);
    survey->state = SURVEY_AWAITS_SOURCE;
    survey->source_wait = sources_get(survey->shared->sources, &request, survey_source_found, survey);
}

static void survey_manifest_found(void *context, struct source *source, const struct aws_result *result)
{
    struct survey *survey = context;
    const struct job *job = survey->request.job;
    const struct job_copy *rule = job_rules(job);
    survey->source_wait = NULL;
    if (source != NULL) {
        survey->manifest = source_keep(source);
        survey_next_rule(survey);
    } else if (result->failure.kind == FAILURE_NO_KEY) {
        AUTO(text) char *missing = text_format("s3://%s/%s did not appear", rule->source_bucket, job->manifest);
        survey_misses(survey, missing);
    } else {
        survey_source_fails(survey, rule, result);
    }
}

static void survey_read_manifest(struct survey *survey)
{
    const struct job *job = survey->request.job;
    struct source_request request =
        survey_source(survey, SOURCE_MANIFEST, job_rules(job)->source_bucket, job->manifest);
    const char *slash = strrchr(job->manifest, '/');
    survey->manifest_folder =
        slice_copy(slice_from(job->manifest, slash != NULL ? (size_t)(slash - job->manifest) + 1 : 0));
    survey->state = SURVEY_AWAITS_MANIFEST;
    survey->source_wait = sources_get(survey->shared->sources, &request, survey_manifest_found, survey);
}

/* --- beginning and ending --- */

struct survey *survey_start(const struct transfer_shared *shared, const struct survey_request *request,
                            survey_answer *answer, void *context)
{
    struct survey *survey = memory_zeroed(1, sizeof(*survey));
    survey->shared = shared;
    survey->request = *request;
    survey->answer = answer;
    survey->context = context;
    survey->listings = memory_zeroed(request->job->copies.count, sizeof(struct source *));
    survey->digests = memory_zeroed(request->digests_at_once, sizeof(*survey->digests));
    for (size_t i = 0; i < request->digests_at_once; i++) {
        survey->digests[i].survey = survey;
    }
    if (request->job->manifest != NULL) {
        survey_read_manifest(survey);
    } else {
        survey_next_rule(survey);
    }
    return survey;
}

void survey_free(struct survey *survey)
{
    if (survey == NULL) {
        return;
    }
    survey_drop_requests(survey);
    copies_clear(&survey->copies);
    for (size_t i = 0; i < survey->request.job->copies.count; i++) {
        source_release(survey->listings[i]);
    }
    source_release(survey->manifest);
    free(survey->manifest_folder);
    free(survey->listings);
    free(survey->digests);
    free(survey);
}
