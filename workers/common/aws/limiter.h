/*
 * A rate that calls do not exceed: a token bucket that holds a tenth of a second's worth at most, so that a thousand
 * calls wanted at once leave evenly, first come, first served. Each wait is a handle that can be cancelled. STS counts
 * 600 calls a second for a whole account and Region, retries included, so every attempt takes its turn here.
 *
 * On the loop, one thread; the turn comes in a callback from a later loop_dispatch.
 */
#pragma once

#include "workers/common/http/loop.h"

#include <stdbool.h>
#include <stdint.h>

struct limiter;
struct limiter_wait;

/* calls_per_second: at least 1. The loop must outlive the limiter. Never NULL. */
struct limiter *limiter_new(struct loop *loop, int64_t calls_per_second);
void limiter_free(struct limiter *limiter); /* forgets who waits without calling back; NULL is fine */

/* on_turn is called exactly once unless cancelled; the handle is valid until the call begins. waited_ms: since the
 * question. It says whether the turn was used; if not, the next one gets it. It may ask and cancel, but not free the
 * limiter. Never NULL. */
struct limiter_wait *limiter_wait(struct limiter *limiter, bool (*on_turn)(void *context, int64_t waited_ms),
                                  void *context);
void limiter_wait_cancel(struct limiter_wait *wait); /* NULL is fine; gives the place to the next */
