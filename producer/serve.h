/*
 * The producer's process: webhooks over HTTP (reception.h), the spool, the polls, health and metrics, until SIGTERM.
 */
#pragma once

#include "workers/common/base/options.h"

extern const struct option producer_options[];

/* With options that serve_check has found right, until SIGTERM. Returns the exit code: 0 drained, 100 permanent, 111
 * temporary. */
int serve_run(const struct options *options);

/* What is wrong with the producer's part of the config, its repositories included, a line each. True when nothing is.
 */
bool serve_check(const struct options *options, struct buffer *mistakes);
