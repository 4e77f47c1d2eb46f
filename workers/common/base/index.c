#include "workers/common/base/index.h"

#include <search.h>
#include <stdlib.h>

/* The key's bytes follow the entry; a probe for a lookup points elsewhere. */
struct index_entry {
    struct slice key;
    void *value;
};

static int index_compare(const void *a, const void *b)
{
    const struct index_entry *left = a;
    const struct index_entry *right = b;
    size_t shorter = left->key.len < right->key.len ? left->key.len : right->key.len;
    int order = shorter > 0 ? memcmp(left->key.ptr, right->key.ptr, shorter) : 0;
    if (order != 0) {
        return order;
    }
    return (left->key.len > right->key.len) - (left->key.len < right->key.len);
}

static struct index_entry *index_find(const struct index *index, struct slice key)
{
    struct index_entry probe = {.key = key};
    struct index_entry **node = tfind(&probe, &index->root, index_compare);
    return node != NULL ? *node : NULL;
}

void *index_get(const struct index *index, struct slice key)
{
    struct index_entry *entry = index_find(index, key);
    return entry != NULL ? entry->value : NULL;
}

void *index_put(struct index *index, struct slice key, void *value)
{
    struct index_entry *entry = index_find(index, key);
    if (entry != NULL) {
        void *replaced = entry->value;
        entry->value = value;
        return replaced;
    }
    entry = memory_zeroed(1, sizeof(*entry) + key.len + 1);
    char *copy = (char *)(entry + 1);
    if (key.len > 0) {
        memcpy(copy, key.ptr, key.len);
    }
    entry->key = slice_from(copy, key.len);
    entry->value = value;
    if (tsearch(entry, &index->root, index_compare) == NULL) {
        error_out_of_memory();
    }
    index->count++;
    return NULL;
}

void *index_remove(struct index *index, struct slice key)
{
    struct index_entry *entry = index_find(index, key);
    if (entry == NULL) {
        return NULL;
    }
    void *value = entry->value;
    (void)tdelete(entry, &index->root, index_compare);
    free(entry);
    index->count--;
    return value;
}

struct walk {
    void (*visit)(const char *key, void *value, void *context);
    void *context;
};

static void index_walk(const void *node, VISIT order, void *closure)
{
    if (order == postorder || order == leaf) {
        const struct index_entry *entry = *(struct index_entry *const *)node;
        const struct walk *walk = closure;
        walk->visit(entry->key.ptr, entry->value, walk->context);
    }
}

void index_each(const struct index *index, void (*visit)(const char *key, void *value, void *context), void *context)
{
    struct walk walk = {visit, context};
    twalk_r(index->root, index_walk, &walk);
}

void index_clear(struct index *index, void (*free_value)(void *value))
{
    while (index->root != NULL) {
        struct index_entry *entry = *(struct index_entry **)index->root;
        (void)tdelete(entry, &index->root, index_compare);
        if (free_value != NULL && entry->value != NULL) {
            free_value(entry->value);
        }
        free(entry);
    }
    index->count = 0;
}
