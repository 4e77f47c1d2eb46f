/*
 * The one wait of a process. Everything that can happen to a worker arrives here: readable descriptors (a signalfd,
 * an eventfd that librdkafka writes, the epoll descriptor of an HTTP listener), timers, and the transfers of the HTTP
 * room, all in one curl_multi_poll. One thread; callbacks run in loop_dispatch and nowhere else, never from within the
 * function that asked for them, and they must not block.
 *
 * A turn is two steps so that the caller can look at the clock in between: after loop_wait nothing has been read or
 * sent yet, so a process that was stopped longer than its session can drop what is in flight before any of it goes on.
 */
#pragma once

#include "workers/common/http/http.h"

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct loop_timer;

/* settings are those of the HTTP room (NULL: its defaults). Never NULL. */
struct loop *loop_new(const struct http_settings *settings);

/* Cancels every transfer and timer without calling anybody. The watched descriptors stay open. NULL is fine. */
void loop_free(struct loop *loop);

/* The HTTP room of this loop; lives as long as the loop. */
struct http *loop_http(struct loop *loop);

/* Calls on_readable in every turn in which the descriptor is readable, hung up or broken. One watch per descriptor.
 * The descriptor stays the caller's: unwatch it before closing it. */
void loop_watch(struct loop *loop, int descriptor, void (*on_readable)(void *context), void *context);
void loop_unwatch(struct loop *loop, int descriptor); /* unknown descriptors are ignored */

/* Calls on_due once, delay_ms (0 or more) from now, in a later turn. The handle is valid until the call begins or the
 * timer is cancelled. Thousands are fine: each costs logarithmic time. */
struct loop_timer *loop_after(struct loop *loop, int64_t delay_ms, void (*on_due)(void *context), void *context);
void loop_timer_cancel(struct loop *loop, struct loop_timer *timer); /* NULL is fine */

/* Waits until something is ready, a timer is due, or at_most_ms have passed. Calls nobody, transfers nothing. */
void loop_wait(struct loop *loop, int64_t at_most_ms);

/* Runs what became ready: timers, then descriptors, then transfers. What one callback cancels is not called any more,
 * not even when it was ready too. Timers set meanwhile wait for the next turn. */
void loop_dispatch(struct loop *loop);

/* loop_wait, then loop_dispatch. */
void loop_turn(struct loop *loop, int64_t at_most_ms);

/* How long the last loop_dispatch took: what delays everything else in this process. */
int64_t loop_busy_ms(const struct loop *loop);
