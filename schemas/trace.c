#include "schemas/trace.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" */
enum {
    TRACE_ID_AT = 3,
    SPAN_ID_AT = 36,
    SPAN_ID_LENGTH = 16,
    FLAGS_AT = 53,
};

static bool is_hex(const char *text, size_t length)
{
    return strspn(text, "0123456789abcdef") >= length;
}

static bool is_zero(const char *text, size_t length)
{
    return strspn(text, "0") >= length;
}

/* A later version may say more behind what version 00 says; ff is none. */
static bool trace_is_valid(const char *text)
{
    size_t length = text != NULL ? strlen(text) : 0;
    bool has_shape = length >= TRACEPARENT_SIZE - 1 && text[2] == '-' && text[SPAN_ID_AT - 1] == '-' &&
                     text[FLAGS_AT - 1] == '-' && is_hex(text, 2) && is_hex(text + TRACE_ID_AT, TRACE_ID_SIZE - 1) &&
                     is_hex(text + SPAN_ID_AT, SPAN_ID_LENGTH) && is_hex(text + FLAGS_AT, 2);
    if (!has_shape || strncmp(text, "ff", 2) == 0 || is_zero(text + TRACE_ID_AT, TRACE_ID_SIZE - 1) ||
        is_zero(text + SPAN_ID_AT, SPAN_ID_LENGTH)) {
        return false;
    }
    return length == TRACEPARENT_SIZE - 1 || (strncmp(text, "00", 2) != 0 && text[TRACEPARENT_SIZE - 1] == '-');
}

void trace_continue(const char *parent, char ret_traceparent[TRACEPARENT_SIZE])
{
    bool is_continued = trace_is_valid(parent);
    uint64_t random[3] = {0};
    while (random[0] == 0 || random[1] == 0 || random[2] == 0) {
        if (getentropy(random, sizeof(random)) != 0) {
            abort();
        }
    }
    (void)snprintf(ret_traceparent, TRACEPARENT_SIZE, "00-%016llx%016llx-%016llx-%.2s", (unsigned long long)random[0],
                   (unsigned long long)random[1], (unsigned long long)random[2],
                   is_continued ? parent + FLAGS_AT : "01");
    if (is_continued) {
        memcpy(ret_traceparent + TRACE_ID_AT, parent + TRACE_ID_AT, TRACE_ID_SIZE - 1);
    }
}

void envelope_trace(struct envelope *envelope, const char *parent)
{
    char traceparent[TRACEPARENT_SIZE];
    trace_continue(parent, traceparent);
    free(envelope->traceparent);
    envelope->traceparent = text_copy(traceparent);
}

const char *trace_id(const char *traceparent, char ret_trace_id[TRACE_ID_SIZE])
{
    if (!trace_is_valid(traceparent)) {
        return NULL;
    }
    (void)snprintf(ret_trace_id, TRACE_ID_SIZE, "%.32s", traceparent + TRACE_ID_AT);
    return ret_trace_id;
}
