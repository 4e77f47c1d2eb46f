#include "workers/resolver/resolver.h"

#include "schemas/deployment.h"
#include "schemas/event.h"
#include "schemas/identity.h"
#include "schemas/result.h"
#include "schemas/trace.h"
#include "schemas/unreadable.h"
#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/log.h"
#include "workers/common/base/metric.h"
#include "workers/resolver/memory.h"
#include "workers/resolver/order.h"
#include "workers/resolver/plan.h"

#include <stdlib.h>

enum { REFRESH_TIMEOUT_MS = 500, BEHIND_WORTH_A_WARNING_MS = 10000 };

static const char source[] = "tagfleet/resolver";

struct resolver {
    struct plan *plan;
    struct memory *memory;
    struct tables *tables;
    bool has_new_partitions; /* what a predecessor has decided must be read first */
    int64_t behind_since_ms; /* the tables' ends are not reached; 0: they are */
    uint64_t outcomes[DEPLOYMENT_IGNORED + 1];
    uint64_t duplicates;
    uint64_t jobs;
};

static void resolver_stop(void *state)
{
    struct resolver *resolver = state;
    tables_close(resolver->tables);
    memory_free(resolver->memory);
    plan_free(resolver->plan);
    free(resolver);
}

bool resolver_check(const struct options *options, struct buffer *mistakes)
{
    struct error err;
    AUTO(plan) struct plan *plan = NULL;
    if (!plan_read(options, &plan, mistakes)) {
        return false;
    }
    if (!plan_is_complete(plan, &err)) {
        buffer_append_format(mistakes, "%s\n", err.text);
        return false;
    }
    return true;
}

static bool resolver_start(struct engine *engine, const struct options *options, void **ret_state, struct error *err)
{
    struct resolver *resolver = memory_zeroed(1, sizeof(*resolver));
    AUTO(buffer) struct buffer mistakes;
    buffer_init(&mistakes, 16 * 1024);
    struct table_reader readers[MEMORY_COUNT];
    resolver->memory = memory_new();
    memory_readers(resolver->memory, readers);
    bool is_started = plan_read(options, &resolver->plan, &mistakes) || error_set(err, ERROR_FATAL, "%s", mistakes.ptr);
    is_started =
        is_started && tables_open(options, readers, MEMORY_COUNT, engine_wake_fd(engine), &resolver->tables, err);
    if (!is_started) {
        resolver_stop(resolver);
        return false;
    }
    *ret_state = resolver;
    return true;
}

/* A moment behind is nothing; beyond it somebody should know why no event is decided. */
static void resolver_complain(struct resolver *resolver)
{
    int64_t now_ms = clock_monotonic_ms();
    if (resolver->behind_since_ms == 0) {
        resolver->behind_since_ms = now_ms;
    }
    if (now_ms - resolver->behind_since_ms >= BEHIND_WORTH_A_WARNING_MS) {
        const struct error *err = tables_error(resolver->tables);
        log_event(LOG_WARNING, "the tables are not read to their end yet: no event is decided", "reason",
                  err->action != ERROR_NONE ? err->text : NULL, NULL);
        resolver->behind_since_ms = now_ms;
    }
}

/* The tables must hold everything that was there when the batch had been read: asked anew each time, so that what an
 * operator was told is stored counts for every event that came after. */
static bool resolver_ready(void *state, struct error *err)
{
    struct resolver *resolver = state;
    size_t count = resolver->has_new_partitions ? MEMORY_COUNT : MEMORY_DIRECTORY_COUNT;
    if (!tables_refresh(resolver->tables, MEMORY_DIRECTORY, count, REFRESH_TIMEOUT_MS, err)) {
        return false;
    }
    if (!tables_caught_up(resolver->tables)) {
        *err = *tables_error(resolver->tables);
        resolver_complain(resolver);
        return false;
    }
    resolver->behind_since_ms = 0;
    resolver->has_new_partitions = false;
    return true;
}

static void resolver_assigned(void *state, int32_t partition)
{
    (void)partition;
    struct resolver *resolver = state;
    resolver->has_new_partitions = true;
}

static void resolver_revoked(void *state, int32_t partition)
{
    struct resolver *resolver = state;
    memory_forget_partition(resolver->memory, partition);
}

/* One event being decided. */
struct decision {
    struct resolver *resolver;
    struct task *task;
    const struct event *event;
    const char *event_id;
};

static struct deployment *deployment_new(const struct decision *decision, const struct ref_state *state,
                                         const char *commit, const char *build, enum deployment_outcome outcome)
{
    const struct event *event = decision->event;
    AUTO(text)
    char *location =
        build != NULL || !plan_needs_build(decision->resolver->plan, event->repository)
            ? plan_location(decision->resolver->plan, event->repository, commit != NULL ? commit : "", build)
            : NULL;
    char id[DEPLOYMENT_ID_SIZE];
    identity_deployment(event->repository, state->ref, commit, location, state->generation, id);
    struct deployment *deployment = memory_zeroed(1, sizeof(*deployment));
    AUTO(text) char *message_id = text_format("%s/%s", id, deployment_outcome_names[outcome]);
    envelope_fill(&deployment->envelope, message_id, source, id);
    envelope_trace(&deployment->envelope, event->envelope.traceparent);
    deployment->deployment = text_copy(id);
    deployment->outcome = (int)outcome;
    deployment->event = text_copy(decision->event_id);
    deployment->repository = text_copy(event->repository);
    deployment->ref = text_copy(state->ref);
    deployment->commit = text_copy_or_null(commit);
    deployment->build = text_copy_or_null(build);
    deployment->actor = text_copy_or_null(event->actor);
    return deployment;
}

/* Puts the record on `results`; takes it. */
static void deployment_emit(const struct decision *decision, struct deployment *deployment)
{
    char trace[TRACE_ID_SIZE];
    task_emit(decision->task, message_output(&deployment_codec, deployment, "results", deployment->deployment));
    decision->resolver->outcomes[deployment->outcome]++;
    log_event(LOG_INFO, deployment_outcome_names[deployment->outcome], "deployment", deployment->deployment,
              "repository", deployment->repository, "ref", deployment->ref, "commit", deployment->commit, "accounts",
              deployment->accounts.count > 0 ? log_number((long long)deployment->accounts.count) : NULL, "reason",
              deployment->reason, "trace", trace_id(deployment->envelope.traceparent, trace), NULL);
    deployment_free(deployment);
}

static void result_emit_skipped(const struct decision *decision, const struct job *job)
{
    AUTO(result) struct result *result = result_of_job(job, source, RESULT_SKIPPED, "the account is suspended");
    task_emit(decision->task, message_output(&result_codec, result, "results", job->deployment));
}

/* One job per account of the map's entry, and the record that lists them. */
static void resolver_accept(const struct decision *decision, struct deployment *deployment,
                            const struct map_entry *entry)
{
    struct resolver *resolver = decision->resolver;
    struct plan_deployment shared = {
        .deployment = deployment->deployment,
        .repository = deployment->repository,
        .ref = deployment->ref,
        .tag = deployment->tag,
        .version = deployment->version,
        .commit = deployment->commit,
        .build = deployment->build,
        .accepted_ms = deployment->envelope.time_ms,
        .requested_ms = decision->event->envelope.time_ms,
        .traceparent = deployment->envelope.traceparent,
    };
    deployment->map_version = entry->version;
    for (size_t i = 0; i < entry->accounts.count; i++) {
        const char *account = entry->accounts.items[i];
        const struct account *directory = memory_account(resolver->memory, account);
        struct job *job = plan_job(resolver->plan, &shared, account, directory);
        texts_add(&deployment->accounts, account);
        if (directory != NULL && directory->state == ACCOUNT_SUSPENDED) {
            result_emit_skipped(decision, job);
        } else {
            task_emit(decision->task, message_output(&job_codec, job, "jobs", account));
            resolver->jobs++;
        }
        job_free(job);
    }
    deployment_emit(decision, deployment);
}

static void deployment_end(const struct decision *decision, struct deployment *deployment,
                           enum deployment_outcome outcome, const char *reason)
{
    free(deployment->envelope.id);
    deployment->envelope.id = text_format("%s/%s", deployment->deployment, deployment_outcome_names[outcome]);
    deployment->outcome = (int)outcome;
    deployment->reason = text_copy(reason);
    deployment_emit(decision, deployment);
}

/* The build that a commit on this ref stands for: the event's own, or one that is known already. */
static const char *build_for(const struct decision *decision, const struct ref_state *state)
{
    const struct event *event = decision->event;
    bool is_own = event->build != NULL && strcmp(event->after, state->commit) == 0;
    if (is_own) {
        return event->build;
    }
    const struct build *known = memory_build(decision->resolver->memory, event->repository, state->commit);
    return known != NULL && plan_promotes(decision->resolver->plan) ? known->build : NULL;
}

/* Decides what becomes of the commit the ref points to now, and remembers it in the state. */
static void resolver_deploy(const struct decision *decision, struct ref_state *state)
{
    struct resolver *resolver = decision->resolver;
    const char *repository = decision->event->repository;
    struct tag_map map = {memory_map_has, memory_map_each, resolver->memory};
    struct tag_answer tag;
    tag_resolve(state->ref, plan_tag_rule(resolver->plan, repository), &map, &tag);
    bool is_branch = text_starts_with(state->ref, "refs/heads/");
    bool needs_build = plan_needs_build(resolver->plan, repository);
    const char *build = needs_build ? build_for(decision, state) : NULL;
    struct deployment *deployment = deployment_new(decision, state, state->commit, build, DEPLOYMENT_ACCEPTED);
    deployment->tag = text_copy_or_null(tag.key);
    deployment->version = text_copy_or_null(tag.version);
    free(state->deployment);
    state->deployment = text_copy(deployment->deployment);
    free(state->build);
    state->build = text_copy_or_null(build);
    state->waiting = false;
    state->baseline = false;
    if (tag.outcome == TAG_MALFORMED) {
        deployment_end(decision, deployment, DEPLOYMENT_REJECTED, tag.reason);
        return;
    }
    if (is_branch && !plan_branch_may_deploy(resolver->plan, repository, state->ref + strlen("refs/heads/"))) {
        deployment_end(decision, deployment, DEPLOYMENT_DROPPED, "the branch is not among resolver.branches");
        return;
    }
    if (tag.outcome == TAG_UNMAPPED) {
        deployment_end(decision, deployment, DEPLOYMENT_DROPPED, tag.reason);
        return;
    }
    const char *wrong = NULL;
    const struct map_entry *entry = memory_map(resolver->memory, tag.key, &wrong);
    if (entry == NULL || entry->accounts.count == 0) {
        AUTO(text)
        char *reason = wrong != NULL ? text_format("the map's entry cannot be read: %s", wrong)
                                     : text_format("\"%s\" has no accounts in the map", tag.key);
        deployment_end(decision, deployment, wrong != NULL ? DEPLOYMENT_REJECTED : DEPLOYMENT_DROPPED, reason);
        return;
    }
    if (needs_build && build == NULL) {
        state->waiting = true;
        deployment_end(decision, deployment, DEPLOYMENT_NOTED, "waiting for a build of this commit");
        return;
    }
    resolver_accept(decision, deployment, entry);
}

/* Writes the state to `refs` and remembers it; takes it. */
static void resolver_remember(const struct decision *decision, struct ref_state *state)
{
    AUTO(text) char *key = memory_key(state->repository, state->ref);
    AUTO(text) char *id = text_format("%s/%s", decision->event_id, state->ref);
    envelope_fill(&state->envelope, id, source, state->ref);
    task_emit(decision->task, message_output(&ref_state_codec, state, "refs", key));
    memory_put_ref(decision->resolver->memory, task_record(decision->task)->partition, state);
}

static void resolver_remember_build(const struct decision *decision)
{
    const struct event *event = decision->event;
    struct build *build = memory_zeroed(1, sizeof(*build));
    AUTO(text) char *key = memory_key(event->repository, event->after);
    envelope_fill(&build->envelope, decision->event_id, source, event->after);
    build->repository = text_copy(event->repository);
    build->commit = text_copy(event->after);
    build->build = text_copy(event->build);
    build->ref = text_copy(event->ref);
    task_emit(decision->task, message_output(&build_codec, build, "builds", key));
    memory_put_build(decision->resolver->memory, task_record(decision->task)->partition, build);
}

struct waiting_refs {
    const struct event *event;
    struct texts refs;
};

static void waiting_visit(const struct ref_state *state, void *context)
{
    struct waiting_refs *waiting = context;
    if (state->waiting && state->commit != NULL && strcmp(state->commit, waiting->event->after) == 0 &&
        strcmp(state->ref, waiting->event->ref) != 0) {
        texts_add(&waiting->refs, state->ref);
    }
}

/* Other refs of the repository that point to the built commit and have waited for it. */
static void resolver_release_waiting(const struct decision *decision)
{
    struct memory *memory = decision->resolver->memory;
    struct waiting_refs waiting = {.event = decision->event};
    memory_each_ref(memory, decision->event->repository, waiting_visit, &waiting);
    for (size_t i = 0; i < waiting.refs.count; i++) {
        const struct ref_state *known = memory_ref(memory, decision->event->repository, waiting.refs.items[i]);
        /* The same history, without a step of its own: the event is another ref's. */
        struct event none = {.repository = known->repository, .ref = known->ref};
        struct ref_state *state = order_apply(known, &none, decision->event_id, ORDER_DUPLICATE);
        resolver_deploy(decision, state);
        resolver_remember(decision, state);
    }
    texts_clear(&waiting.refs);
}

static void resolver_seen(const struct decision *decision)
{
    const struct event *event = decision->event;
    char trace[TRACE_ID_SIZE];
    decision->resolver->duplicates++;
    log_event(LOG_INFO, "seen before", "event", decision->event_id, "repository", event->repository, "ref", event->ref,
              "trace", trace_id(event->envelope.traceparent, trace), NULL);
}

/* The poll's first look: what was there before anybody looked is remembered, not deployed. Of a ref that is known only
 * the mark is news: the poll has told all of its kind. */
static void resolver_baseline(const struct decision *decision, const struct ref_state *known)
{
    const struct event *event = decision->event;
    bool is_mark = event->before != NULL && event->after != NULL && strcmp(event->before, event->after) == 0;
    if (known != NULL && (!is_mark || known->polled)) {
        resolver_seen(decision);
        return;
    }
    struct ref_state *state =
        order_apply(known, event, decision->event_id, known == NULL ? ORDER_NEXT : ORDER_DUPLICATE);
    state->polled = known != NULL;
    if (known == NULL) {
        struct deployment *deployment = deployment_new(decision, state, event->after, NULL, DEPLOYMENT_IGNORED);
        deployment_end(decision, deployment, DEPLOYMENT_IGNORED,
                       "it was there when the poll first looked: to deploy it, run tagfleet emit with this ref and "
                       "commit, or deliver its webhook again");
    }
    resolver_remember(decision, state);
}

static void resolver_decide(const struct decision *decision)
{
    const struct event *event = decision->event;
    struct memory *memory = decision->resolver->memory;
    const struct ref_state *known = memory_ref(memory, event->repository, event->ref);
    if (event->baseline && event->kind != EVENT_REF_DELETED) {
        resolver_baseline(decision, known);
        return;
    }
    enum order order = order_judge(known, event, decision->event_id);
    if (order == ORDER_DUPLICATE) {
        resolver_seen(decision);
        return;
    }
    if (event->build != NULL) {
        resolver_remember_build(decision);
    }
    struct ref_state *state = order_apply(known, event, decision->event_id, order);
    bool is_news =
        event->build != NULL && (known == NULL || known->build == NULL || strcmp(known->build, event->build) != 0);
    /* Somebody else than the first look tells of it, so it is to be deployed. */
    bool is_wanted = order == ORDER_SAME && known != NULL && known->baseline;
    if (order == ORDER_OLDER) {
        struct deployment *deployment =
            deployment_new(decision, state, event->after, event->build, DEPLOYMENT_SUPERSEDED);
        deployment_end(decision, deployment, DEPLOYMENT_SUPERSEDED, "the ref has moved on to a newer commit");
    } else if (event->kind == EVENT_REF_DELETED) {
        struct deployment *deployment = deployment_new(decision, state, NULL, NULL, DEPLOYMENT_IGNORED);
        deployment_end(decision, deployment, DEPLOYMENT_IGNORED, "the ref was deleted: nothing to deploy");
    } else if (order == ORDER_NEXT || is_news || is_wanted) {
        state->generation += is_wanted ? 1 : 0; /* another deployment than the one that was ignored */
        resolver_deploy(decision, state);
    }
    resolver_remember(decision, state);
    if (event->build != NULL) {
        resolver_release_waiting(decision);
    }
}

static void resolver_take(void *state, struct task *task)
{
    struct error err;
    AUTO(event) struct event *event = NULL;
    const struct record *record = task_record(task);
    if (!event_parse(record->value, &event, &err)) {
        task_reject(task, err.text);
        return;
    }
    char event_id[EVENT_ID_SIZE];
    identity_event(event, event_id);
    struct decision decision = {state, task, event, event_id};
    resolver_decide(&decision);
    task_done(task);
}

/* An event that nobody can read is rejected by where it lies. */
static void resolver_quarantine(void *state, struct task *task, const char *reason)
{
    (void)state;
    task_emit(task, unreadable_letter("resolver", task_topic(task), task_record(task), reason));
    task_emit(task, unreadable_rejection("resolver", task_topic(task), task_record(task), reason));
}

static void resolver_write_metrics(const void *state, struct buffer *text)
{
    const struct resolver *resolver = state;
    metric_begin(text, "deployments_total", METRIC_COUNTER, "Events by what was decided; some release others, too.");
    for (int outcome = 0; outcome <= DEPLOYMENT_IGNORED; outcome++) {
        metric_sample(text, "deployments_total", (double)resolver->outcomes[outcome], "outcome",
                      deployment_outcome_names[outcome], NULL);
    }
    metric_write(text, "duplicate_events_total", METRIC_COUNTER, "Events that had been seen before.",
                 (double)resolver->duplicates, NULL);
    metric_write(text, "jobs_created_total", METRIC_COUNTER, "Jobs written, one for each account.",
                 (double)resolver->jobs, NULL);
    metric_write(text, "tables_behind_seconds", METRIC_GAUGE,
                 "For how long no event has been decided because the tables are not read to their end.",
                 resolver->behind_since_ms > 0 ? (double)(clock_monotonic_ms() - resolver->behind_since_ms) / 1000 : 0,
                 NULL);
}

const struct worker resolver_worker = {
    .name = "resolver",
    .input = "events",
    .start = resolver_start,
    .ready = resolver_ready,
    .take = resolver_take,
    .quarantine = resolver_quarantine,
    .assigned = resolver_assigned,
    .revoked = resolver_revoked,
    .write_metrics = resolver_write_metrics,
    .stop = resolver_stop,
};
