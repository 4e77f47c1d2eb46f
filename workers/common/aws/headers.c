#include "workers/common/aws/headers.h"

#include <stdlib.h>
#include <strings.h>

enum { CAPACITY_FIRST = 8 };

static bool count_is_full(size_t count)
{
    return count == 0 || (count >= CAPACITY_FIRST && (count & (count - 1)) == 0);
}

void headers_add(struct headers *headers, const char *name, const char *value)
{
    if (value == NULL) {
        return;
    }
    if (count_is_full(headers->count)) {
        size_t capacity = headers->count > 0 ? 2 * headers->count : CAPACITY_FIRST;
        headers->items = memory_resized(headers->items, capacity * sizeof(*headers->items));
    }
    headers->items[headers->count++] = (struct sigv4_header){text_copy(name), text_copy(value)};
}

static struct sigv4_header *headers_find(const struct headers *headers, const char *name)
{
    for (size_t i = 0; i < headers->count; i++) {
        if (strcasecmp(headers->items[i].name, name) == 0) {
            return &headers->items[i];
        }
    }
    return NULL;
}

void headers_set(struct headers *headers, const char *name, const char *value)
{
    struct sigv4_header *known = value != NULL ? headers_find(headers, name) : NULL;
    if (known == NULL) {
        headers_add(headers, name, value);
        return;
    }
    char *copy = text_copy(value);
    free((void *)(uintptr_t)known->value);
    known->value = copy;
}

const char *headers_get(const struct headers *headers, const char *name)
{
    const struct sigv4_header *header = headers_find(headers, name);
    return header != NULL ? header->value : NULL;
}

void headers_add_all(struct headers *headers, const struct headers *more)
{
    for (size_t i = 0; i < more->count; i++) {
        headers_add(headers, more->items[i].name, more->items[i].value);
    }
}

void headers_clear(struct headers *headers)
{
    for (size_t i = 0; i < headers->count; i++) {
        free((void *)(uintptr_t)headers->items[i].name);
        free((void *)(uintptr_t)headers->items[i].value);
    }
    free(headers->items);
    *headers = (struct headers){0};
}
