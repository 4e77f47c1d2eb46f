/*
 * The body of every message fuzzer: what a codec accepts it writes, reads again and writes the same.
 */
#pragma once

#include "schemas/codec.h"

#include <stdint.h>
#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline int message_fuzz(const struct codec *codec, const uint8_t *data, size_t size)
{
    struct error err;
    void *first;
    if (!message_parse(codec, slice_from(data, size), &first, &err)) {
        return 0;
    }
    void *second;
    AUTO(buffer) struct buffer once;
    AUTO(buffer) struct buffer twice;
    /* Escapes can make a text six times as long. */
    buffer_init(&once, 6UL * MESSAGE_MAXIMUM_BYTES);
    buffer_init(&twice, 6UL * MESSAGE_MAXIMUM_BYTES);
    message_format(codec, first, &once);
    if (!message_parse(codec, buffer_slice(&once), &second, &err)) {
        (void)fprintf(stderr, "%s\n%s\n", err.text, once.ptr);
        abort();
    }
    message_format(codec, second, &twice);
    if (!slice_equal(buffer_slice(&once), buffer_slice(&twice))) {
        (void)fprintf(stderr, "%s\n%s\n", once.ptr, twice.ptr);
        abort();
    }
    message_free(codec, first);
    message_free(codec, second);
    return 0;
}
