/*
 * Which tasks begin, and when: one of each partition in turn, as many as may run, each partition within what is prudent
 * after its last owner has vanished (takeover.h), and the oldest of a partition all alone when it must be.
 */
#pragma once

#include "workers/common/base/error.h"

struct engine;

/* False: the worker's ready has failed for good. */
bool start_tasks(struct engine *engine, struct error *err) MUST_CHECK;

/* Would start_tasks begin something now? */
bool start_has_something(const struct engine *engine);

/* A message runs, or is about to run, with nothing beside it. */
bool start_waits_alone(const struct engine *engine);
