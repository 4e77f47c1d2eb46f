#include "producer/poll/told.h"

#include <stdlib.h>

static void change_free(void *value)
{
    compare_change_clear(value);
    free(value);
}

void told_add(struct told *told, struct compare_change *change)
{
    struct compare_change *copy = memory_zeroed(1, sizeof(*copy));
    *copy = *change;
    *change = (struct compare_change){0};
    struct compare_change *before = index_put(&told->changes, slice_of(copy->ref), copy);
    if (before != NULL) {
        change_free(before);
    }
}

void told_clear(struct told *told)
{
    index_clear(&told->changes, change_free);
}

static bool is_told(const struct told *told, const struct compare_change *change)
{
    const struct compare_change *before = index_get(&told->changes, slice_of(change->ref));
    if (before == NULL) {
        return false;
    }
    /* Told as baseline, and not in `refs` yet: it is no news that this process has looked by now. */
    struct compare_change as_told = *change;
    as_told.is_baseline = change->is_baseline || (before->is_baseline && before->before == NULL);
    return compare_is_same(before, &as_told);
}

void told_drop(const struct told *told, struct compare_changes *changes)
{
    struct compare_change *items = changes->items.items;
    size_t kept = 0;
    for (size_t i = 0; i < changes->items.count; i++) {
        if (is_told(told, &items[i])) {
            compare_change_clear(&items[i]);
        } else {
            items[kept++] = items[i];
        }
    }
    changes->items.count = kept;
}
