/*
 * The way in: what the group says, and messages, which become tasks. No more is read than there is room for, and no
 * further ahead than there is not enough to do.
 */
#pragma once

#include "workers/common/base/error.h"

struct engine;
struct partition;

/* What the group says. False: this membership is over, as turn_take. */
bool intake_poll(struct engine *engine, struct error *err) MUST_CHECK;

/* Messages of every partition that may be read. False as above. */
bool intake_read(struct engine *engine, struct error *err) MUST_CHECK;

/* Is there room for a partition's next message, and need of it? */
bool intake_may_read(const struct engine *engine, const struct partition *partition);
