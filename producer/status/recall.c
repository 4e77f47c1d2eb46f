#include "producer/status/recall.h"

#include "producer/status/outlook.h"
#include "workers/common/base/index.h"
#include "workers/common/base/log.h"

#include <stdlib.h>

struct decided {
    int32_t partition;
    struct commit_status *status; /* NULL: gone */
};

struct recall {
    struct index table;
    struct index decided;
    /* Two generations: when the new one is full it becomes the old one, and what was not asked for again goes. */
    struct index times;
    struct index old_times;
};

static void status_slot_free(void *value)
{
    commit_status_free(value);
}

static void decided_free(void *value)
{
    struct decided *decided = value;
    commit_status_free(decided->status);
    free(decided);
}

struct recall *recall_new(void)
{
    return memory_zeroed(1, sizeof(struct recall));
}

void recall_free(struct recall *recall)
{
    if (recall == NULL) {
        return;
    }
    index_clear(&recall->table, status_slot_free);
    index_clear(&recall->decided, decided_free);
    index_clear(&recall->times, free);
    index_clear(&recall->old_times, free);
    free(recall);
}

/* What was decided here and has come back committed need not lie over the table any more. */
static bool is_same(const struct commit_status *decided, const struct commit_status *read)
{
    return decided == NULL || read == NULL ? decided == read : strcmp(decided->envelope.id, read->envelope.id) == 0;
}

static void table_apply(void *context, struct slice key, struct slice value)
{
    struct recall *recall = context;
    struct commit_status *status = NULL;
    struct error err;
    if (value.ptr != NULL && !commit_status_parse(value, &status, &err)) {
        log_event(LOG_WARNING, "unreadable commit status, the one before it stays", "reason", err.text, NULL);
        return;
    }
    struct decided *decided = index_get(&recall->decided, key);
    if (decided != NULL && is_same(decided->status, status)) {
        (void)index_remove(&recall->decided, key);
        decided_free(decided);
    }
    if (status != NULL && status->decided_ms > 0) {
        recall_note(recall, status->repository, status->ref, status->commit, status->tag, status->decided_ms);
    }
    commit_status_free(status != NULL ? index_put(&recall->table, key, status) : index_remove(&recall->table, key));
}

struct table_reader recall_reader(struct recall *recall)
{
    return (struct table_reader){"statuses", table_apply, recall};
}

const struct commit_status *recall_get(const struct recall *recall, const char *deployment)
{
    const struct decided *decided = index_get(&recall->decided, slice_of(deployment));
    return decided != NULL ? decided->status : index_get(&recall->table, slice_of(deployment));
}

void recall_put(struct recall *recall, int32_t partition, const char *deployment, struct commit_status *status)
{
    struct decided *decided = memory_zeroed(1, sizeof(*decided));
    *decided = (struct decided){partition, status};
    struct decided *replaced = index_put(&recall->decided, slice_of(deployment), decided);
    if (replaced != NULL) {
        decided_free(replaced);
    }
}

struct forget {
    int32_t partition;
    struct texts keys;
};

static void forget_visit(const char *key, void *value, void *context)
{
    struct forget *forget = context;
    if (((const struct decided *)value)->partition == forget->partition) {
        texts_add(&forget->keys, key);
    }
}

void recall_forget_partition(struct recall *recall, int32_t partition)
{
    struct forget forget = {.partition = partition};
    index_each(&recall->decided, forget_visit, &forget);
    for (size_t i = 0; i < forget.keys.count; i++) {
        decided_free(index_remove(&recall->decided, slice_of(forget.keys.items[i])));
    }
    texts_clear(&forget.keys);
}

struct waiting_visit {
    const struct recall *recall;
    const char *repository;
    const char *ref;
    void (*visit)(const struct commit_status *status, void *context);
    void *context;
};

static void visit_if_waiting(const struct commit_status *status, const struct waiting_visit *each)
{
    if (status != NULL && status->waiting && strcmp(status->repository, each->repository) == 0 &&
        strcmp(status->ref, each->ref) == 0) {
        each->visit(status, each->context);
    }
}

static void visit_decided(const char *key, void *value, void *context)
{
    (void)key;
    visit_if_waiting(((const struct decided *)value)->status, context);
}

static void visit_table(const char *key, void *value, void *context)
{
    const struct waiting_visit *each = context;
    if (index_get(&each->recall->decided, slice_of(key)) == NULL) {
        visit_if_waiting(value, each);
    }
}

void recall_each_waiting(const struct recall *recall, const char *repository, const char *ref,
                         void (*visit)(const struct commit_status *status, void *context), void *context)
{
    struct waiting_visit each = {recall, repository, ref, visit, context};
    index_each(&recall->decided, visit_decided, &each);
    index_each(&recall->table, visit_table, &each);
}

/* --- which came last --- */

static char *ref_key(const char *repository, const char *ref)
{
    return text_format("%s %s", repository, ref);
}

/* Not a ref's: those begin with refs/. */
static char *slot_key(const char *repository, const char *commit, const char *slot)
{
    return text_format("%s %s %s", repository, commit, slot);
}

static int64_t time_of(const struct recall *recall, const char *key)
{
    const int64_t *time = index_get(&recall->times, slice_of(key));
    time = time != NULL ? time : index_get(&recall->old_times, slice_of(key));
    return time != NULL ? *time : 0;
}

static void note_time(struct recall *recall, const char *key, int64_t decided_ms)
{
    if (time_of(recall, key) >= decided_ms) {
        return;
    }
    if (recall->times.count >= RECALL_TIMES_MAXIMUM) {
        index_clear(&recall->old_times, free);
        recall->old_times = recall->times;
        recall->times = (struct index){0};
    }
    int64_t *time = memory_zeroed(1, sizeof(*time));
    *time = decided_ms;
    free(index_put(&recall->times, slice_of(key), time));
}

void recall_note(struct recall *recall, const char *repository, const char *ref, const char *commit, const char *tag,
                 int64_t decided_ms)
{
    AUTO(text) char *of_ref = ref_key(repository, ref);
    note_time(recall, of_ref, decided_ms);
    if (commit != NULL) {
        AUTO(text) char *of_slot = slot_key(repository, commit, outlook_slot(tag, ref));
        note_time(recall, of_slot, decided_ms);
    }
}

int64_t recall_ref_ms(const struct recall *recall, const char *repository, const char *ref)
{
    AUTO(text) char *key = ref_key(repository, ref);
    return time_of(recall, key);
}

int64_t recall_slot_ms(const struct recall *recall, const char *repository, const char *commit, const char *slot)
{
    AUTO(text) char *key = slot_key(repository, commit, slot);
    return time_of(recall, key);
}
