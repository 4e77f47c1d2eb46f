/*
 * One turn of a membership, in this order: wait for anything; look at the clock (a stall drops everything); timers and
 * HTTP; signals; the group; messages in; tasks out; one step of the transaction; revoked partitions. All on one thread.
 */
#pragma once

#include "workers/common/base/error.h"

struct engine;

/* False: this membership is over; ERROR_RETRY asks for a new one, ERROR_FATAL ends the process. */
bool turn_take(struct engine *engine, struct error *err) MUST_CHECK;

/* Draining, and nothing is left to wait for. */
bool turn_may_be_last(struct engine *engine);

/* May requests go out and tasks begin: the loop turns, and the broker has not ended the session? context: the engine.
 */
bool turn_may_act(void *context);
