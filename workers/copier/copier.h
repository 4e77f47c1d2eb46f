/*
 * The copier: carries out jobs. Each job is one account's delivery (delivery.h) and ends in exactly one result; the
 * jobs of one account run one after the other, and one that waits while a newer one of the same application has come is
 * superseded without being run.
 */
#pragma once

#include "workers/common/engine/worker.h"

extern const struct worker copier_worker;
extern const struct option copier_options[];
