/*
 * The resolver: from events to deployments. Each event ends in exactly one visible record on `results`, and an accepted
 * one in one job per account, all in the same transaction. It only decides; the tables it decides by are in memory.h,
 * the order of events in order.h, the tags in tag.h, the rendering of jobs in plan.h.
 */
#pragma once

#include "workers/common/engine/worker.h"

extern const struct worker resolver_worker;

/* What is wrong with the resolver's part of the config, or missing for real jobs, a line each. True when nothing is. */
bool resolver_check(const struct options *options, struct buffer *mistakes) MUST_CHECK;
