/*
 * The ways to the git hosts: which hook's host is told of which repository, and when it may be asked. Hooks with the
 * same address and token share a line, with one limit for all.
 *
 * A line is given no more than a few requests at once. When its host does not answer, it is left alone for a while that
 * grows, and then tried with a single request: one that is down costs next to nothing, however much waits for it.
 */
#pragma once

#include "producer/api/api.h"
#include "producer/api/status.h"
#include "workers/common/base/options.h"

enum { CHANNEL_IN_FLIGHT_MAXIMUM = 8, CHANNEL_TURN_MS = 10, CHANNEL_PAUSE_MAXIMUM_MS = 30000 };

struct channels;
struct channel;
struct channel_call;

/* Every mistake of the hooks' commit statuses as a line; false when there was one. */
bool channels_check(const struct options *options, struct buffer *mistakes);

/* For all hooks with status = true. ERROR_FATAL for a mistake. */
bool channels_open(struct loop *loop, const struct options *options, struct channels **ret_channels,
                   struct error *err) MUST_CHECK;
void channels_close(struct channels *channels); /* NULL is fine */

/* Of the first hook whose patterns match the repository, at a host that can have one of that name; NULL: none. */
const struct channel *channels_find(const struct channels *channels, const char *repository);

const char *channel_hook(const struct channel *channel);

/* How long to wait before asking for a turn again; 0: now is one. Those who have to wait are given turns one after the
 * other, so that thousands do not all come back at once. */
int64_t channel_turn_ms(const struct channel *channel);

/* Sets the status; its api_url is filled in. Answers as api_start does, with API_OK also where the host has it already.
 */
struct channel_call *channel_post(const struct channel *channel, const struct status *status,
                                  void (*on_done)(void *context, const struct api_answer *answer), void *context);
void channel_cancel(struct channel_call *call); /* NULL is fine */
