/*
 * An ordered map from text to a pointer, over libc's balanced tree (tsearch(3)). The index owns copies of its
 * keys, never the values. Lookups and changes take logarithmic time.
 */
#pragma once

#include "workers/common/base/slice.h"

#include <stdbool.h>
#include <stddef.h>

struct index {
    void *root;
    size_t count;
};

void *index_get(const struct index *index, struct slice key);        /* NULL when absent */
void *index_put(struct index *index, struct slice key, void *value); /* returns the value it replaced, or NULL */
void *index_remove(struct index *index, struct slice key);           /* returns the value it held, or NULL */

/* Calls visit in the order of the keys (as bytes). visit must not change the index. */
void index_each(const struct index *index, void (*visit)(const char *key, void *value, void *context), void *context);

/* Empties the index; free_value (may be NULL) is called once for each value. */
void index_clear(struct index *index, void (*free_value)(void *value));
