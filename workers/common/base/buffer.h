/*
 * Growable bytes with a declared maximum. Appending past the maximum marks the buffer as overflowed and drops the
 * rest; the writer checks once, at the end. The content is always ended by a NUL that does not count.
 */
#pragma once

#include "workers/common/base/error.h"
#include "workers/common/base/slice.h"

#include <stdbool.h>
#include <stddef.h>

struct buffer {
    char *ptr; /* "" until the first append */
    size_t len;
    size_t capacity;
    size_t maximum;
    bool is_overflowed;
};

void buffer_init(struct buffer *buffer, size_t maximum_bytes);
void buffer_done(struct buffer *buffer);  /* frees the bytes; the buffer may be used again after buffer_init */
void buffer_clear(struct buffer *buffer); /* keeps the memory and forgets the overflow */

/* Room for so many bytes in all, no more and no less: for those who know, since growing by doubling may take twice as
 * much. */
void buffer_expect(struct buffer *buffer, size_t bytes);

void buffer_append(struct buffer *buffer, struct slice bytes);
void buffer_append_text(struct buffer *buffer, const char *text);
void buffer_append_char(struct buffer *buffer, char character);
void buffer_append_format(struct buffer *buffer, const char *format, ...) FORMAT(2);

static inline struct slice buffer_slice(const struct buffer *buffer)
{
    return slice_from(buffer->ptr, buffer->len);
}

static inline void buffer_auto(struct buffer *buffer)
{
    buffer_done(buffer);
}
