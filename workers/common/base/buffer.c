#include "workers/common/base/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static char nothing[1] = "";

void buffer_init(struct buffer *buffer, size_t maximum_bytes)
{
    *buffer = (struct buffer){.ptr = nothing, .maximum = maximum_bytes};
}

void buffer_done(struct buffer *buffer)
{
    if (buffer->capacity > 0) {
        free(buffer->ptr);
    }
    buffer_init(buffer, buffer->maximum);
}

void buffer_clear(struct buffer *buffer)
{
    buffer->len = 0;
    buffer->is_overflowed = false;
    if (buffer->capacity > 0) {
        buffer->ptr[0] = '\0';
    }
}

/* Makes room for extra bytes and the NUL. */
static bool buffer_reserve(struct buffer *buffer, size_t extra)
{
    if (buffer->is_overflowed || extra > buffer->maximum - buffer->len) {
        buffer->is_overflowed = true;
        return false;
    }
    size_t needed = buffer->len + extra + 1;
    if (needed <= buffer->capacity) {
        return true;
    }
    size_t capacity = buffer->capacity > 0 ? buffer->capacity : 256;
    while (capacity < needed) {
        capacity *= 2;
    }
    buffer->ptr = memory_resized(buffer->capacity > 0 ? buffer->ptr : NULL, capacity);
    buffer->capacity = capacity;
    return true;
}

void buffer_expect(struct buffer *buffer, size_t bytes)
{
    if (bytes > 0 && bytes <= buffer->maximum && bytes >= buffer->capacity) {
        bool is_first = buffer->capacity == 0;
        buffer->ptr = memory_resized(is_first ? NULL : buffer->ptr, bytes + 1);
        buffer->capacity = bytes + 1;
        buffer->ptr[buffer->len] = '\0';
    }
}

void buffer_append(struct buffer *buffer, struct slice bytes)
{
    if (bytes.len == 0 || !buffer_reserve(buffer, bytes.len)) {
        return;
    }
    memcpy(buffer->ptr + buffer->len, bytes.ptr, bytes.len);
    buffer->len += bytes.len;
    buffer->ptr[buffer->len] = '\0';
}

void buffer_append_text(struct buffer *buffer, const char *text)
{
    buffer_append(buffer, slice_of(text));
}

void buffer_append_char(struct buffer *buffer, char character)
{
    if (buffer->len + 1 < buffer->capacity && buffer->len < buffer->maximum && !buffer->is_overflowed) {
        buffer->ptr[buffer->len++] = character;
        buffer->ptr[buffer->len] = '\0';
        return;
    }
    buffer_append(buffer, slice_from(&character, 1));
}

void buffer_append_format(struct buffer *buffer, const char *format, ...)
{
    va_list arguments;
    va_list again;
    va_start(arguments, format);
    va_copy(again, arguments); /* Most of what is formatted fits into what is there already. */
    size_t room = buffer->capacity > 0 && !buffer->is_overflowed ? buffer->capacity - buffer->len : 0;
    int length = vsnprintf(room > 0 ? buffer->ptr + buffer->len : NULL, room, format, arguments);
    va_end(arguments);
    if (length > 0 && buffer_reserve(buffer, (size_t)length)) {
        if ((size_t)length >= room) {
            (void)vsnprintf(buffer->ptr + buffer->len, (size_t)length + 1, format, again);
        }
        buffer->len += (size_t)length;
    } else if (room > 0) {
        buffer->ptr[buffer->len] = '\0';
    }
    va_end(again);
}
