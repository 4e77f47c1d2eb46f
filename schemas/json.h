/*
 * The one way into JSON: parses a body that anyone may have sent. cJSON alone would accept invalid UTF-8, cut a text
 * at an escaped NUL and let the second of two equal keys pass unseen; all three are refused here, because the same
 * body must mean the same to every reader. Included by codecs only (messages, host payloads, map files).
 */
#pragma once

#include "workers/common/base/auto.h"
#include "workers/common/base/buffer.h"
#include "workers/common/base/slice.h"

#include <cjson/cJSON.h>
#include <stdint.h>

static inline void json_free(cJSON *root)
{
    cJSON_Delete(root);
}
DEFINE_AUTO(json, cJSON *);

/* Parses one JSON value of at most maximum_bytes; nothing but white space may follow it. Fails with ERROR_REJECT. The
 * caller frees the value with json_free. */
bool json_parse(struct slice body, size_t maximum_bytes, cJSON **ret_root, struct error *err) MUST_CHECK;

/* A member of an object, or NULL when the object is NULL, the member is absent or null. */
const cJSON *json_member(const cJSON *object, const char *name);

/* The text of a string member, or NULL; borrowed from the object. */
const char *json_text(const cJSON *object, const char *name);

/* Adds a whole number with all its digits; cJSON alone would round to 15. */
void json_put_integer(cJSON *object, const char *name, int64_t integer);

/* Appends the value as one line without white space. A byte that is not UTF-8 becomes "?". */
void json_append(const cJSON *value, struct buffer *buffer);
