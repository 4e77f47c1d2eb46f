#include "producer/status/notifier.h"

#include "producer/status/link.h"
#include "producer/status/teller.h"
#include "schemas/unreadable.h"
#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/log.h"

#include <stdlib.h>

enum {
    REFRESH_TIMEOUT_MS = 500,
    BEHIND_WORTH_A_WARNING_MS = 10000,
};

const struct option notifier_options[] = {
    WORKER_OPTIONS("notifier"),
    {.name = "notifier.link", .type = OPTION_TEXT, .help = "where a commit's status leads to; " LINK_PLACEHOLDERS},
    {.name = "notifier.context",
     .type = OPTION_TEXT,
     .initial = "tagfleet",
     .help = "what the names of the statuses begin with: tagfleet/qa; two fleets need two"},
    {.name = "notifier.retry_for",
     .type = OPTION_DURATION,
     .initial = "1h",
     .minimum = 0,
     .maximum = 7LL * 24 * 3600 * 1000,
     .help = "how long a host is tried that does not answer or wants no more requests, then the status is given up"},
    {.name = "notifier.oldest",
     .type = OPTION_DURATION,
     .initial = "24h",
     .minimum = 60000,
     .maximum = 365LL * 24 * 3600 * 1000,
     .help = "deployments older than this when they are first read get no status"},
    {0},
};

struct notifier {
    struct channels *channels;
    struct recall *recall;
    struct tables *tables;
    struct teller teller;
    int64_t oldest_ms;
    bool has_new_partitions; /* what a predecessor has counted must be read first */
    int64_t behind_since_ms;
};

/* --- start and tables --- */

bool notifier_check(const struct options *options, struct buffer *mistakes)
{
    bool is_valid = channels_check(options, mistakes);
    const char *link = options_text(options, "notifier.link");
    const char *wrong = link != NULL ? link_mistake(link) : NULL;
    if (wrong != NULL) {
        buffer_append_format(mistakes, "notifier.link %s\n", wrong);
    }
    return is_valid && wrong == NULL;
}

static void notifier_stop(void *state)
{
    struct notifier *notifier = state;
    tables_close(notifier->tables);
    channels_close(notifier->channels);
    recall_free(notifier->recall);
    teller_clear(&notifier->teller);
    free(notifier);
}

static bool notifier_start(struct engine *engine, const struct options *options, void **ret_state, struct error *err)
{
    struct notifier *notifier = memory_zeroed(1, sizeof(*notifier));
    *notifier = (struct notifier){
        .recall = recall_new(),
        .oldest_ms = options_duration_ms(options, "notifier.oldest"),
        .teller =
            {
                .link = options_text(options, "notifier.link"),
                .context = options_text(options, "notifier.context"),
                .retry_for_ms = options_duration_ms(options, "notifier.retry_for"),
            },
    };
    notifier->teller.recall = notifier->recall;
    struct table_reader reader = recall_reader(notifier->recall);
    if (!channels_open(engine_loop(engine), options, &notifier->channels, err) ||
        !tables_open(options, &reader, 1, engine_wake_fd(engine), &notifier->tables, err)) {
        notifier_stop(notifier);
        return false;
    }
    *ret_state = notifier;
    return true;
}

/* A moment behind is nothing; beyond it somebody should know why nothing is told. */
static void notifier_complain(struct notifier *notifier)
{
    int64_t now_ms = clock_monotonic_ms();
    if (notifier->behind_since_ms == 0) {
        notifier->behind_since_ms = now_ms;
    }
    if (now_ms - notifier->behind_since_ms >= BEHIND_WORTH_A_WARNING_MS) {
        const struct error *err = tables_error(notifier->tables);
        log_event(LOG_WARNING, "the table statuses is not read to its end yet: no host is told anything", "reason",
                  err->action != ERROR_NONE ? err->text : NULL, NULL);
        notifier->behind_since_ms = now_ms;
    }
}

/* What a predecessor has counted must be read before anything is counted on. */
static bool notifier_ready(void *state, struct error *err)
{
    struct notifier *notifier = state;
    if (notifier->has_new_partitions && !tables_refresh(notifier->tables, 0, 1, REFRESH_TIMEOUT_MS, err)) {
        return false;
    }
    if (!tables_caught_up(notifier->tables)) {
        *err = *tables_error(notifier->tables);
        notifier_complain(notifier);
        return false;
    }
    notifier->behind_since_ms = 0;
    notifier->has_new_partitions = false;
    return true;
}

static void notifier_assigned(void *state, int32_t partition)
{
    (void)partition;
    struct notifier *notifier = state;
    notifier->has_new_partitions = true;
}

static void notifier_revoked(void *state, int32_t partition)
{
    struct notifier *notifier = state;
    recall_forget_partition(notifier->recall, partition);
}

/* --- what a message means --- */

static bool is_old(const struct notifier *notifier, int64_t time_ms)
{
    return time_ms < clock_wall_ms() - notifier->oldest_ms;
}

/* False: the message cannot be read. *ret_notice NULL: nothing is to be done. */
static bool notice_read_deployment(struct notifier *notifier, struct slice value, struct notice **ret_notice,
                                   const struct channel **ret_channel, struct error *err)
{
    AUTO(deployment) struct deployment *deployment = NULL;
    if (!deployment_parse(value, &deployment, err)) {
        return false;
    }
    if (deployment->repository == NULL) {
        return true;
    }
    *ret_channel = channels_find(notifier->channels, deployment->repository);
    if (*ret_channel == NULL) {
        return true;
    }
    int64_t decided_ms = deployment->envelope.time_ms;
    if (is_old(notifier, decided_ms)) {
        *ret_notice = notice_of_nothing(deployment->deployment);
        return true;
    }
    struct notice *notice = notice_of_deployment(notifier->recall, deployment);
    if (notice != NULL) {
        const char *commit = notice_has_own(notice) ? deployment->commit : NULL;
        recall_note(notifier->recall, deployment->repository, deployment->ref, commit, deployment->tag, decided_ms);
    }
    *ret_notice = notice;
    return true;
}

static bool notice_read_result(struct notifier *notifier, struct slice value, struct notice **ret_notice,
                               const struct channel **ret_channel, struct error *err)
{
    AUTO(result) struct result *result = NULL;
    if (!result_parse(value, &result, err)) {
        return false;
    }
    const struct commit_status *known = recall_get(notifier->recall, result->deployment);
    const char *repository = known != NULL ? known->repository : result->repository;
    if (repository == NULL || (known == NULL && is_old(notifier, result->finished_ms))) {
        return true;
    }
    *ret_channel = channels_find(notifier->channels, repository);
    if (*ret_channel != NULL) {
        *ret_notice = notice_of_result(notifier->recall, result);
    }
    return true;
}

static bool notice_read(struct notifier *notifier, struct slice value, struct notice **ret_notice,
                        const struct channel **ret_channel, struct error *err)
{
    AUTO(text) char *type = message_type(value);
    if (type == NULL) {
        return error_set(err, ERROR_REJECT, "it is no CloudEvent");
    }
    if (strcmp(type, deployment_codec.type) == 0) {
        return notice_read_deployment(notifier, value, ret_notice, ret_channel, err);
    }
    if (strcmp(type, result_codec.type) == 0) {
        return notice_read_result(notifier, value, ret_notice, ret_channel, err);
    }
    return true; /* of a newer version; not for us */
}

/* --- the worker --- */

static void notifier_take(void *state, struct task *task)
{
    struct notifier *notifier = state;
    if (teller_resume(task)) {
        return;
    }
    struct error err;
    struct notice *notice = NULL;
    const struct channel *channel = NULL;
    if (!notice_read(notifier, task_record(task)->value, &notice, &channel, &err)) {
        task_reject(task, err.text);
    } else if (notice == NULL) {
        task_done(task);
    } else {
        teller_take(&notifier->teller, task, notice, channel);
    }
}

static void notifier_cancel(void *state, struct task *task)
{
    (void)state;
    teller_cancel(task);
}

static void notifier_explain(void *state, const struct task *task, struct buffer *text)
{
    (void)state;
    teller_explain(task, text);
}

/* The results themselves are the recorder's; here it is only said that this one could not be told to anybody. */
static void notifier_quarantine(void *state, struct task *task, const char *reason)
{
    (void)state;
    task_emit(task, unreadable_letter("notifier", task_topic(task), task_record(task), reason));
}

static void notifier_write_metrics(const void *state, struct buffer *text)
{
    const struct notifier *notifier = state;
    teller_write_metrics(&notifier->teller, text);
}

const struct worker notifier_worker = {
    .name = "notifier",
    .input = "results",
    .start = notifier_start,
    .ready = notifier_ready,
    .take = notifier_take,
    .cancel = notifier_cancel,
    .explain = notifier_explain,
    .quarantine = notifier_quarantine,
    .write_metrics = notifier_write_metrics,
    .assigned = notifier_assigned,
    .revoked = notifier_revoked,
    .stop = notifier_stop,
};
