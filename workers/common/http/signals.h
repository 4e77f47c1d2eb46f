/*
 * SIGTERM, SIGINT and, if wanted, one more signal as events of the loop. SIGPIPE is ignored.
 */
#pragma once

#include "workers/common/http/loop.h"

struct signals;

/* Blocks the signals for the whole process (call it before any thread is made) and calls on_signal from the loop.
 * one_more: 0 for none. */
struct signals *signals_watch(struct loop *loop, int one_more, void (*on_signal)(void *context, int signal),
                              void *context);
void signals_unwatch(struct signals *signals); /* NULL is fine */
