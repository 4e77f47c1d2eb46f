/*
 * Reads the small XML documents that S3 and STS answer with, over expat. Bounded in size, depth and text length;
 * anything with a DOCTYPE or an entity declaration is refused, because no AWS answer has one and attacks do.
 * Namespace prefixes are dropped.
 */
#pragma once

#include "workers/common/base/buffer.h"
#include "workers/common/base/error.h"
#include "workers/common/base/slice.h"

#include <stdbool.h>
#include <stddef.h>

enum { XML_DOCUMENT_MAXIMUM_BYTES = 16 << 20, XML_TEXT_MAXIMUM_BYTES = 64 << 10, XML_DEPTH_MAXIMUM = 16 };

/* One element, told when it ends; borrowed for the duration of the call. */
struct xml_element {
    const char *path;  /* from the root: "ListBucketResult/Contents/Key" */
    struct slice text; /* its own characters, ended by a NUL that does not count; empty around children */
};

/* Calls on_element at the end of each element, children before parents. Returns false (ERROR_REJECT) when the document
 * is not well-formed or breaks a bound; calls made before stand. */
bool xml_read(struct slice document, void (*on_element)(void *context, const struct xml_element *element),
              void *context, struct error *err) MUST_CHECK;

/* The name of the root. False when there is no complete element at all. */
bool xml_root(struct slice document, struct buffer *ret_name) MUST_CHECK;

/* Is this the name of the root, as far as its first tag tells? Reads no further. */
bool xml_begins_with(struct slice document, const char *name);

/* Appends the text of the first element at the path. False when it is not there or the document is broken. */
bool xml_text_at(struct slice document, const char *path, struct buffer *buffer) MUST_CHECK;
