#include "workers/resolver/memory.h"

#include "workers/common/base/log.h"

#include <stdlib.h>

/* An entry of the map as it was read: usable, or with the reason why it is not. */
struct map_slot {
    struct map_entry *entry;
    char *wrong;
};

struct decided_ref {
    int32_t partition;
    struct ref_state *state;
};

struct decided_build {
    int32_t partition;
    struct build *build;
};

struct memory {
    struct index map;
    struct index accounts;
    struct index refs;
    struct index builds;
    struct index decided_refs;
    struct index decided_builds;
};

char *memory_key(const char *repository, const char *name)
{
    return text_format("%s %s", repository, name);
}

static void map_slot_free(void *value)
{
    struct map_slot *slot = value;
    map_entry_free(slot->entry);
    free(slot->wrong);
    free(slot);
}

static void account_slot_free(void *value)
{
    account_free(value);
}

static void ref_slot_free(void *value)
{
    ref_state_free(value);
}

static void build_slot_free(void *value)
{
    build_free(value);
}

static void decided_ref_free(void *value)
{
    struct decided_ref *decided = value;
    ref_state_free(decided->state);
    free(decided);
}

static void decided_build_free(void *value)
{
    struct decided_build *decided = value;
    build_free(decided->build);
    free(decided);
}

struct memory *memory_new(void)
{
    return memory_zeroed(1, sizeof(struct memory));
}

void memory_free(struct memory *memory)
{
    if (memory == NULL) {
        return;
    }
    index_clear(&memory->map, map_slot_free);
    index_clear(&memory->accounts, account_slot_free);
    index_clear(&memory->refs, ref_slot_free);
    index_clear(&memory->builds, build_slot_free);
    index_clear(&memory->decided_refs, decided_ref_free);
    index_clear(&memory->decided_builds, decided_build_free);
    free(memory);
}

/* Puts, replaces or (value NULL) removes, and frees what was there. */
static void slot_set(struct index *index, struct slice key, void *value, void (*free_value)(void *value))
{
    void *replaced = value != NULL ? index_put(index, key, value) : index_remove(index, key);
    if (replaced != NULL) {
        free_value(replaced);
    }
}

static void map_apply(void *context, struct slice key, struct slice value)
{
    struct memory *memory = context;
    struct map_slot *slot = NULL;
    if (value.ptr != NULL) {
        struct error err;
        slot = memory_zeroed(1, sizeof(*slot));
        if (!map_entry_parse(value, &slot->entry, &err)) {
            slot->wrong = text_copy(err.text);
            log_event(LOG_WARNING, "unreadable entry of the map", "reason", err.text, NULL);
        }
    }
    slot_set(&memory->map, key, slot, map_slot_free);
}

static void account_apply(void *context, struct slice key, struct slice value)
{
    struct memory *memory = context;
    struct account *account = NULL;
    struct error err;
    if (value.ptr != NULL && !account_parse(value, &account, &err)) {
        log_event(LOG_WARNING, "unreadable entry of the accounts, the one before it stays", "reason", err.text, NULL);
        return;
    }
    slot_set(&memory->accounts, key, account, account_slot_free);
}

static void ref_apply(void *context, struct slice key, struct slice value)
{
    struct memory *memory = context;
    struct ref_state *state = NULL;
    struct error err;
    if (value.ptr != NULL && !ref_state_parse(value, &state, &err)) {
        log_event(LOG_WARNING, "unreadable ref state, the one before it stays", "reason", err.text, NULL);
        return;
    }
    /* What was decided here and has come back committed need not lie over the table any more. */
    struct decided_ref *decided = index_get(&memory->decided_refs, key);
    if (decided != NULL && state != NULL && strcmp(decided->state->envelope.id, state->envelope.id) == 0) {
        (void)index_remove(&memory->decided_refs, key);
        decided_ref_free(decided);
    }
    slot_set(&memory->refs, key, state, ref_slot_free);
}

static void build_apply(void *context, struct slice key, struct slice value)
{
    struct memory *memory = context;
    struct build *build = NULL;
    struct error err;
    if (value.ptr != NULL && !build_parse(value, &build, &err)) {
        log_event(LOG_WARNING, "unreadable build, the one before it stays", "reason", err.text, NULL);
        return;
    }
    struct decided_build *decided = index_get(&memory->decided_builds, key);
    if (decided != NULL && build != NULL && strcmp(decided->build->build, build->build) == 0) {
        (void)index_remove(&memory->decided_builds, key);
        decided_build_free(decided);
    }
    slot_set(&memory->builds, key, build, build_slot_free);
}

void memory_readers(struct memory *memory, struct table_reader ret_readers[MEMORY_COUNT])
{
    ret_readers[MEMORY_DIRECTORY] = (struct table_reader){"map", map_apply, memory};
    ret_readers[MEMORY_DIRECTORY + 1] = (struct table_reader){"accounts", account_apply, memory};
    ret_readers[MEMORY_OWN] = (struct table_reader){"refs", ref_apply, memory};
    ret_readers[MEMORY_OWN + 1] = (struct table_reader){"builds", build_apply, memory};
}

const struct ref_state *memory_ref(const struct memory *memory, const char *repository, const char *ref)
{
    AUTO(text) char *key = memory_key(repository, ref);
    const struct decided_ref *decided = index_get(&memory->decided_refs, slice_of(key));
    return decided != NULL ? decided->state : index_get(&memory->refs, slice_of(key));
}

const struct build *memory_build(const struct memory *memory, const char *repository, const char *commit)
{
    AUTO(text) char *key = memory_key(repository, commit);
    const struct decided_build *decided = index_get(&memory->decided_builds, slice_of(key));
    return decided != NULL ? decided->build : index_get(&memory->builds, slice_of(key));
}

const struct account *memory_account(const struct memory *memory, const char *account)
{
    return index_get(&memory->accounts, slice_of(account));
}

const struct map_entry *memory_map(const struct memory *memory, const char *tag, const char **ret_wrong)
{
    const struct map_slot *slot = index_get(&memory->map, slice_of(tag));
    *ret_wrong = slot != NULL ? slot->wrong : NULL;
    return slot != NULL ? slot->entry : NULL;
}

bool memory_map_has(void *memory, const char *tag)
{
    return index_get(&((const struct memory *)memory)->map, slice_of(tag)) != NULL;
}

struct map_visit {
    void (*visit)(const char *tag, void *context);
    void *context;
};

static void map_visit_slot(const char *key, void *value, void *context)
{
    (void)value;
    const struct map_visit *each = context;
    each->visit(key, each->context);
}

void memory_map_each(void *memory, void (*visit)(const char *tag, void *context), void *context)
{
    struct map_visit each = {visit, context};
    index_each(&((const struct memory *)memory)->map, map_visit_slot, &each);
}

struct ref_visit {
    const struct memory *memory;
    const char *repository;
    void (*visit)(const struct ref_state *state, void *context);
    void *context;
};

static void ref_visit_decided(const char *key, void *value, void *context)
{
    (void)key;
    const struct decided_ref *decided = value;
    const struct ref_visit *each = context;
    if (strcmp(decided->state->repository, each->repository) == 0) {
        each->visit(decided->state, each->context);
    }
}

static void ref_visit_table(const char *key, void *value, void *context)
{
    const struct ref_state *state = value;
    const struct ref_visit *each = context;
    if (strcmp(state->repository, each->repository) == 0 &&
        index_get(&each->memory->decided_refs, slice_of(key)) == NULL) {
        each->visit(state, each->context);
    }
}

void memory_each_ref(const struct memory *memory, const char *repository,
                     void (*visit)(const struct ref_state *state, void *context), void *context)
{
    struct ref_visit each = {memory, repository, visit, context};
    index_each(&memory->decided_refs, ref_visit_decided, &each);
    index_each(&memory->refs, ref_visit_table, &each);
}

void memory_put_ref(struct memory *memory, int32_t partition, struct ref_state *state)
{
    AUTO(text) char *key = memory_key(state->repository, state->ref);
    struct decided_ref *decided = memory_zeroed(1, sizeof(*decided));
    *decided = (struct decided_ref){partition, state};
    slot_set(&memory->decided_refs, slice_of(key), decided, decided_ref_free);
}

void memory_put_build(struct memory *memory, int32_t partition, struct build *build)
{
    AUTO(text) char *key = memory_key(build->repository, build->commit);
    struct decided_build *decided = memory_zeroed(1, sizeof(*decided));
    *decided = (struct decided_build){partition, build};
    slot_set(&memory->decided_builds, slice_of(key), decided, decided_build_free);
}

struct forget {
    int32_t partition;
    struct texts keys;
};

static void forget_visit(const char *key, void *value, void *context)
{
    struct forget *forget = context;
    /* Both kinds of decisions begin with their partition. */
    if (*(const int32_t *)value == forget->partition) {
        texts_add(&forget->keys, key);
    }
}

static void forget_all(struct index *index, int32_t partition, void (*free_value)(void *value))
{
    struct forget forget = {.partition = partition};
    index_each(index, forget_visit, &forget);
    for (size_t i = 0; i < forget.keys.count; i++) {
        free_value(index_remove(index, slice_of(forget.keys.items[i])));
    }
    texts_clear(&forget.keys);
}

void memory_forget_partition(struct memory *memory, int32_t partition)
{
    forget_all(&memory->decided_refs, partition, decided_ref_free);
    forget_all(&memory->decided_builds, partition, decided_build_free);
}
