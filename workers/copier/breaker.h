/*
 * Which accounts are broken: after some failures in a row an account's further jobs fail at once, with the reason,
 * instead of each using up its whole time; after a pause one job is let through, and its end decides. A job that
 * somebody asked for again (attempt above 1) always goes through. Nothing is remembered of accounts that work.
 */
#pragma once

#include "schemas/job.h"

struct breaker;

/* failures_maximum 0: never opens. */
struct breaker *breaker_new(unsigned failures_maximum, int64_t pause_ms);
void breaker_free(struct breaker *breaker); /* NULL is fine */

/* May the job be tried at now_ms (monotonic)? If not, reason says since when and why. */
bool breaker_lets_through(struct breaker *breaker, const struct job *job, int64_t now_ms, struct error *reason);

/* Accounts whose jobs fail at once, or whose next one decides. */
size_t breaker_open_count(const struct breaker *breaker);

/* How a job of the account ended that was tried; reason NULL: well. */
void breaker_learn(struct breaker *breaker, const char *account, const char *reason, int64_t now_ms);
