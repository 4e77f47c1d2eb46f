/*
 * The reconcile poll: webhooks lose tags silently, so every few minutes each repository's host is asked for its refs,
 * and what `refs` does not know is put on `events` with origin `poll`. The resolver tells apart what it has seen, so a
 * poll beside webhooks, and several producers that poll the same repository, deploy nothing twice.
 *
 * One poll of a repository: read `refs` to its end, ask the host, compare (compare.h); when there is a difference, wait
 * some seconds and do all of it again without what was kept of the host's pages; put on the bus what both looks say.
 * A repository that is polled for the first time deploys nothing: what is there already is its baseline.
 */
#pragma once

#include "workers/common/base/options.h"
#include "workers/common/http/loop.h"
#include "workers/common/kafka/publisher.h"

struct poll;

/* *ret_poll is NULL when no repository has a poll. options (checked: producer/api/repository.h), loop and publisher
 * must outlive the poll; poll_close comes after publisher_close, whose last reports are the poll's, too. */
bool poll_open(const struct options *options, struct loop *loop, struct publisher *publisher, struct poll **ret_poll,
               struct error *err) MUST_CHECK;
void poll_close(struct poll *poll); /* NULL is fine */

/* Looks at a repository as soon as may be: a webhook says that refs have moved, but not which. poll may be NULL; a
 * repository without a poll is ignored. */
void poll_now(struct poll *poll, const char *repository);

/* How the polls went, by repository. poll may be NULL. */
void poll_write_metrics(const struct poll *poll, struct buffer *text);

/* The publisher will never store anything again: a new process may. */
bool poll_is_broken(const struct poll *poll);
