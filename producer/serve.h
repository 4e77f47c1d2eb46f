/*
 * The producer's server: POST /hooks/<name>, one configured path per hook with its provider and its secrets. Success is
 * said only after every event of the delivery is where it lasts (store.h); whatever is not deployed says why.
 *
 *   202 stored   200 nothing to do   400 not the host's payload   401 signature   403 address   404 no such hook
 *   405 not a POST   413 too large   415 not JSON   503 not stored, or too often: send it again
 */
#pragma once

#include "workers/common/base/options.h"

extern const struct option producer_options[];

/* Until SIGTERM. Returns the exit code: 0 drained, 100 permanent, 111 temporary. */
int serve_run(const struct options *options);

/* What is wrong with the producer's part of the config, its repositories included, a line each. True when nothing is.
 */
bool serve_check(const struct options *options, struct buffer *mistakes);
