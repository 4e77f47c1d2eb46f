/*
 * How many copiers would clear what is queued in a given time. Each copier tells this of the partitions it holds, from
 * the speed it has just had; all copiers together hold all partitions, so the sum over them, rounded up, is the number
 * for the fleet. Pure; more copiers than `jobs` has partitions have nothing to do.
 */
#pragma once

#include "workers/common/engine/worker.h"

/* Zeroed at first. */
struct wanted {
    struct engine_load last;
    double jobs; /* of the last minutes, older ones counting less and less */
    double busy_ms;
};

enum { WANTED_LOOK_MS = 10000 };

/* Every WANTED_LOOK_MS: learns how long jobs take now. */
void wanted_look(struct wanted *wanted, const struct engine_load *load);

/* Negative: there are jobs, and none has ended yet from which to tell. */
double wanted_copiers(const struct wanted *wanted, const struct engine_load *load, int64_t target_ms);
