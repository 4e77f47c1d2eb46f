/*
 * The one percent-encoder (RFC 3986, upper-case hex) for everything that is sent and signed: encoding wire and
 * signature with two encoders that differ in a single character is the classic cause of SignatureDoesNotMatch.
 */
#pragma once

#include "workers/common/base/buffer.h"
#include "workers/common/base/slice.h"

#include <stdbool.h>

/* Appends text with everything encoded but A-Z a-z 0-9 - . _ ~ and, for paths, '/'. A space is %20, never '+'. */
void uri_encode(struct buffer *buffer, struct slice text);
void uri_encode_path(struct buffer *buffer, struct slice text);

/* Appends text with %XX decoded; a '%' without two hex digits stays as it is, and so does '+'. */
void uri_decode(struct buffer *buffer, struct slice text);

/* Appends "name=value" to a query or form, both encoded, with '&' before it unless the buffer is empty. */
void uri_add_parameter(struct buffer *buffer, const char *name, const char *value);
