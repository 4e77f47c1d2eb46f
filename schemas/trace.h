/*
 * Which messages belong together, from the webhook to the last result: W3C Trace Context
 * (https://www.w3.org/TR/trace-context/), carried as the attribute `traceparent` of each CloudEvent (its extension for
 * distributed tracing) and as a header of the record. The trace id stays; each message has a span id of its own, which
 * is the parent of what is made of it. One that cannot be read is no reason to refuse anything: a new trace begins.
 */
#pragma once

#include "schemas/codec.h"

enum { TRACEPARENT_SIZE = 56, TRACE_ID_SIZE = 33 }; /* with NUL */

/* parent: of whatever caused this; NULL, or not a traceparent: a new trace. */
void trace_continue(const char *parent, char ret_traceparent[TRACEPARENT_SIZE]);

/* The same for a message, after envelope_fill. */
void envelope_trace(struct envelope *envelope, const char *parent);

/* The trace id for a log; NULL when there is none. */
const char *trace_id(const char *traceparent, char ret_trace_id[TRACE_ID_SIZE]);
