/*
 * The coming and going of partitions. A new one is read from when its last commit is known and it is claimed; a revoked
 * one goes when its tasks have ended and are settled, or when its time is over; a lost one is gone already.
 */
#pragma once

#include "workers/common/base/error.h"

#include <stddef.h>

struct consumer_event;
struct engine;
struct partition;

/* What happens after the drain of a partition or of the process is over: the time for the last commit. */
enum { GROUP_LEAVE_MS = 2000 };

void group_assigned(struct engine *engine, const struct consumer_event *event);
void group_revoked(struct engine *engine, const struct consumer_event *event);
void group_lost(struct engine *engine, const struct consumer_event *event);

/* Revoked partitions go when they are settled, or when their time is over. */
void group_advance_revocation(struct engine *engine);

/* Reads the last commits of new partitions; until then nothing of them is read. */
void group_restore(struct engine *engine);
bool group_has_unrestored(const struct engine *engine);

/* Ends whatever is done for a partition's tasks; returns for how many. */
size_t group_stop(struct partition *partition);

/* Says in the next commit that a partition of which nothing is under way is held no more. True: that is so, or there is
 * nothing to say. */
bool group_let_go(struct partition *partition);

/* The drain is called off: what was let go and is still here is claimed again before its next task begins. */
void group_keep(struct engine *engine);

/* Cancels and forgets every task and every partition. */
void group_drop_all(struct engine *engine);
