/*
 * The notifier: tells the git host how a deployment stands, as a status of its commit. A role of its own, so that a
 * host that is down slows nobody. It counts the results of the deployments under way in the table `statuses` and posts
 * when the state changes: pending when accepted, then success, failure or error with the counts.
 *
 * What is promised: results are counted exactly once, whatever dies; a status is posted at least once, or given up with
 * a line in the log after notifier.retry_for; one whose state and words are the same is not posted again, but for a
 * process that dies between the host's answer and the commit.
 */
#pragma once

#include "workers/common/engine/worker.h"

extern const struct worker notifier_worker;
extern const struct option notifier_options[];

/* Appends a line for each mistake; false when there was one. */
bool notifier_check(const struct options *options, struct buffer *mistakes);
