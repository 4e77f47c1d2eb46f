/*
 * SIGTERM, SIGINT and those that are wanted beside them as events of the loop. SIGPIPE is ignored.
 */
#pragma once

#include "workers/common/http/loop.h"

struct signals;

/* Blocks the signals for the whole process (call it before any thread is made) and calls on_signal from the loop.
 * wanted: ended by 0. */
struct signals *signals_watch(struct loop *loop, const int *wanted, void (*on_signal)(void *context, int signal),
                              void *context);
void signals_unwatch(struct signals *signals); /* NULL is fine */
