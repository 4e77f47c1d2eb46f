/*
 * A list of HTTP headers that grows: what a request is made of, and what an object carries beside its bytes (content
 * headers and user metadata), kept as S3 tells it so that it can be said again word for word.
 */
#pragma once

#include "workers/common/aws/sigv4.h"
#include "workers/common/base/auto.h"

struct headers {
    struct sigv4_header *items; /* names and values are owned */
    size_t count;
};

/* Both texts are copied; a NULL value adds nothing. */
void headers_add(struct headers *headers, const char *name, const char *value);
/* As headers_add, in place of any value that the name has. Names are compared in any case. */
void headers_set(struct headers *headers, const char *name, const char *value);
const char *headers_get(const struct headers *headers, const char *name); /* NULL when absent */
void headers_add_all(struct headers *headers, const struct headers *more);
void headers_clear(struct headers *headers);

static inline void headers_auto(struct headers *headers)
{
    headers_clear(headers);
}
