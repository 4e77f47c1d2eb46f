/*
 * How fast a source may be read: S3 takes only so many reads a second below one prefix, and a deployment to thousands
 * of accounts reads one prefix only. Each copy is told how long to wait for its turn.
 */
#pragma once

#include "schemas/job.h"
#include "workers/common/base/rate.h"

struct pace;

struct pace *pace_new(double copies_per_second); /* 0: no limit */
void pace_free(struct pace *pace);               /* NULL is fine */

/* In how many ms a copy of this rule may begin; 0: now. The turn is taken. */
int64_t pace_take(struct pace *pace, const struct job_copy *rule, int64_t now_ms);
