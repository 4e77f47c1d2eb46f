#include "workers/recorder/record.h"

#include "workers/common/base/command.h"

#include <stdlib.h>

static void result_slot_free(void *value)
{
    result_free(value);
}

static void recorded_free(void *value)
{
    struct recorded *recorded = value;
    deployment_free(recorded->deployment);
    index_clear(&recorded->results, result_slot_free);
    free(recorded);
}

void history_clear(struct history *history)
{
    index_clear(&history->deployments, recorded_free);
}

static struct recorded *history_slot(struct history *history, const char *id)
{
    struct recorded *recorded = index_get(&history->deployments, slice_of(id));
    if (recorded == NULL) {
        recorded = memory_zeroed(1, sizeof(*recorded));
        index_put(&history->deployments, slice_of(id), recorded);
    }
    return recorded;
}

/* What was accepted was deployed, whatever is said later of another event that comes to the same deployment (an older
 * build of it that finishes late is `superseded`). */
static bool is_settled(const struct recorded *recorded)
{
    return recorded->deployment != NULL && recorded->deployment->outcome == DEPLOYMENT_ACCEPTED;
}

void history_add(struct history *history, const struct record *record, struct history_news *ret_news)
{
    struct error err;
    struct deployment *deployment = NULL;
    struct result *result = NULL;
    *ret_news = (struct history_news){0};
    AUTO(text) char *type = message_type(record->value);
    if (type == NULL) {
        return;
    }
    if (strcmp(type, result_codec.type) == 0 && result_parse(record->value, &result, &err)) {
        struct recorded *recorded = history_slot(history, result->deployment);
        struct result *replaced = index_put(&recorded->results, slice_of(result->account), result);
        result_free(replaced);
        *ret_news = (struct history_news){recorded, NULL, result};
    } else if (strcmp(type, deployment_codec.type) == 0 && deployment_parse(record->value, &deployment, &err)) {
        struct recorded *recorded = history_slot(history, deployment->deployment);
        if (is_settled(recorded) && deployment->outcome != DEPLOYMENT_ACCEPTED) {
            deployment_free(deployment);
            return;
        }
        deployment_free(recorded->deployment);
        recorded->deployment = deployment;
        recorded->order = ++history->order;
        *ret_news = (struct history_news){recorded, deployment, NULL};
    }
}

const struct recorded *history_find(const struct history *history, const char *deployment)
{
    return index_get(&history->deployments, slice_of(deployment));
}

struct ref_search {
    const char *repository;
    const char *ref;
    const char *commit;
    const struct recorded *found;
};

static bool text_is(const char *text, const char *wanted)
{
    return text != NULL && strcmp(text, wanted) == 0;
}

static void ref_visit(const char *id, void *value, void *context)
{
    (void)id;
    const struct recorded *recorded = value;
    struct ref_search *search = context;
    const struct deployment *deployment = recorded->deployment;
    if (deployment == NULL || !text_is(deployment->repository, search->repository) ||
        !text_is(deployment->ref, search->ref) || deployment->commit == NULL ||
        !text_starts_with(deployment->commit, search->commit)) {
        return;
    }
    bool is_better = search->found == NULL || recorded->order > search->found->order;
    if (search->found != NULL &&
        (deployment->outcome == DEPLOYMENT_NOTED) != (search->found->deployment->outcome == DEPLOYMENT_NOTED)) {
        is_better = deployment->outcome != DEPLOYMENT_NOTED;
    }
    if (is_better) {
        search->found = recorded;
    }
}

const struct recorded *history_find_ref(const struct history *history, const char *repository, const char *ref,
                                        const char *commit)
{
    struct ref_search search = {repository, ref, commit, NULL};
    index_each(&history->deployments, ref_visit, &search);
    return search.found;
}

static void count_visit(const char *account, void *value, void *context)
{
    (void)account;
    struct result_counts *counts = context;
    counts->by_outcome[((const struct result *)value)->outcome]++;
}

void recorded_count(const struct recorded *recorded, struct result_counts *ret_counts)
{
    *ret_counts = (struct result_counts){0};
    ret_counts->accounts = recorded->deployment != NULL ? recorded->deployment->accounts.count : 0;
    index_each(&recorded->results, count_visit, ret_counts);
}

bool recorded_is_finished(const struct recorded *recorded)
{
    const struct deployment *deployment = recorded->deployment;
    if (deployment == NULL || deployment->outcome == DEPLOYMENT_NOTED) {
        return false;
    }
    return deployment->outcome != DEPLOYMENT_ACCEPTED || recorded->results.count >= deployment->accounts.count;
}

int recorded_exit_code(const struct recorded *recorded)
{
    struct result_counts counts;
    recorded_count(recorded, &counts);
    switch (recorded->deployment->outcome) {
    case DEPLOYMENT_DROPPED:
        return EXIT_DROPPED;
    case DEPLOYMENT_REJECTED:
        return EXIT_REJECTED;
    case DEPLOYMENT_SUPERSEDED:
        return EXIT_SUPERSEDED;
    case DEPLOYMENT_ACCEPTED:
        break;
    default:
        return EXIT_OK;
    }
    if (counts.by_outcome[RESULT_FAILED] + counts.by_outcome[RESULT_TIMED_OUT] > 0) {
        return EXIT_NEGATIVE;
    }
    return counts.by_outcome[RESULT_SUPERSEDED] > 0 ? EXIT_SUPERSEDED : EXIT_OK;
}
