/*
 * The copier: carries out jobs. Each job is one account's delivery (delivery.h) and ends in exactly one result; the
 * jobs of one account run one after the other, and one that waits while a newer one of the same application has come is
 * superseded without being run.
 */
#pragma once

#include "workers/common/engine/worker.h"

extern const struct worker copier_worker;
extern const struct option copier_options[];

/* What is wrong with the copier's part of the config, a line each. True when nothing is. */
bool copier_check(const struct options *options, struct buffer *mistakes) MUST_CHECK;
