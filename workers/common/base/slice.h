/*
 * Borrowed bytes, passed by value: a pointer and a length, not terminated by NUL. Whoever made the slice keeps
 * the bytes alive; copy what must outlive them.
 */
#pragma once

#include "workers/common/base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct slice {
    const char *ptr;
    size_t len;
};

static inline struct slice slice_of(const char *text)
{
    return (struct slice){text, text != NULL ? strlen(text) : 0};
}

static inline struct slice slice_from(const void *bytes, size_t len)
{
    return (struct slice){bytes, len};
}

static inline bool slice_equal(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool slice_equal_text(struct slice a, const char *text)
{
    return slice_equal(a, slice_of(text));
}

static inline bool text_starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Without the white space around it. */
static inline struct slice slice_trim(struct slice slice)
{
    static const char blanks[] = {' ', '\t', '\r', '\n', '\v', '\f'};
    while (slice.len > 0 && memchr(blanks, slice.ptr[0], sizeof(blanks)) != NULL) {
        slice = slice_from(slice.ptr + 1, slice.len - 1);
    }
    while (slice.len > 0 && memchr(blanks, slice.ptr[slice.len - 1], sizeof(blanks)) != NULL) {
        slice.len--;
    }
    return slice;
}

/* Nothing but printable ASCII without blanks: what may become part of a header line or a URL. */
static inline bool slice_is_visible(struct slice slice)
{
    for (size_t i = 0; i < slice.len; i++) {
        if (slice.ptr[i] <= ' ' || slice.ptr[i] > '~') {
            return false;
        }
    }
    return true;
}

/* Takes the next piece off a list such as "a, b,,c": without the white space around it, empty pieces left out. False at
 * the end. */
static inline bool slice_next_item(struct slice *rest, struct slice *ret_item)
{
    while (rest->len > 0) {
        const char *comma = (const char *)memchr(rest->ptr, ',', rest->len);
        size_t taken = comma != NULL ? (size_t)(comma - rest->ptr) : rest->len;
        struct slice item = slice_trim(slice_from(rest->ptr, taken));
        *rest = slice_from(rest->ptr + taken + (comma != NULL), rest->len - taken - (comma != NULL));
        if (item.len > 0) {
            *ret_item = item;
            return true;
        }
    }
    return false;
}

/* A copy ended by NUL; the caller frees it. */
static inline char *slice_copy(struct slice slice)
{
    char *copy = (char *)memory_zeroed(slice.len + 1, 1);
    if (slice.len > 0) {
        memcpy(copy, slice.ptr, slice.len);
    }
    return copy;
}
