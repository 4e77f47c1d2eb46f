/*
 * How an engine stands, in words: for its log, and for whoever asks its health. Reads the engine, changes nothing but
 * what has been logged already; on the engine's thread.
 */
#pragma once

#include "workers/common/base/buffer.h"

#include <stdbool.h>

struct engine;
struct partition;

/* Logs each partition that is not read on because of its oldest message, once per message: which, why, and what that
 * message's task is doing. */
void status_log_held_up(struct engine *engine);

/* Logs every task that runs or waits for its retry, the oldest of each partition first, up to a bound; then the sums.
 */
void status_log_in_flight(const struct engine *engine);

/* True: all is well. Otherwise text has a line for everything that needs somebody's attention. */
bool status_is_healthy(const struct engine *engine, struct buffer *text);

/* Why no work is taken; NULL: a member of its group, and taking work. */
const char *status_why_not_ready(const struct engine *engine);

/* Why the partition is not read on; NULL: it is. */
const char *status_held_up_by(const struct engine *engine, const struct partition *partition);
