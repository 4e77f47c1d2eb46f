/*
 * What the fleet knows of the polled repositories' refs: the table `refs`, which only resolvers write, kept in memory
 * as far as these repositories go.
 */
#pragma once

#include "producer/poll/compare.h"
#include "workers/common/base/options.h"
#include "workers/common/http/loop.h"

struct snapshot;
struct snapshot_wait;

/* names are copied. */
bool snapshot_open(const struct options *options, struct loop *loop, const char *const *names, size_t count,
                   struct snapshot **ret_snapshot, struct error *err) MUST_CHECK;
void snapshot_close(struct snapshot *snapshot); /* cancels who waits; NULL is fine */

/* Asks the brokers for the end of the table and reads up to it. Answers from a later loop_dispatch, exactly once unless
 * cancelled; err is NULL when everything is read that was there when this was called. Never NULL. */
struct snapshot_wait *snapshot_refresh(struct snapshot *snapshot,
                                       void (*on_ready)(void *context, const struct error *err), void *context);
void snapshot_cancel(struct snapshot_wait *wait); /* NULL is fine */

/* The refs of a repository as of now. The caller frees the array; the states are borrowed until the next turn. */
size_t snapshot_known(const struct snapshot *snapshot, const char *name, struct compare_known **ret_known);
