/*
 * What a poll has found, as an event. Pure.
 */
#pragma once

#include "producer/poll/compare.h"

/* The caller frees it. `delivery` names what the change was compared with, so that two producers that find the same say
 * the same, while the same change at another time of the ref's life is another delivery. */
struct event *announce_event(const char *repository, const char *provider, const struct compare_change *change);
