/*
 * The way out: finished tasks, the claims of partitions and the questions of workers whether this process is still a
 * member go through one transaction at a time. An aborted one is sent again for what is still ours; its tasks are not
 * done again.
 */
#pragma once

#include "workers/common/base/error.h"

struct engine;
struct partition;

/* Is there anything to commit, or to confirm? */
bool settle_is_wanted(const struct engine *engine);

/* Begins a transaction when one is wanted, and takes up what has become of the one under way. False: this membership is
 * over, as turn_take. */
bool settle_advance(struct engine *engine, struct error *err) MUST_CHECK;

/* Forgets a partition of which nothing runs and nothing is sent. */
void settle_remove_partition(struct engine *engine, struct partition *partition);
