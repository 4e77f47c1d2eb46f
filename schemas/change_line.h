/*
 * One line of `tagfleet webhook parse`: what a payload's change comes to, for people and scripts.
 */
#pragma once

#include "schemas/event.h"

/* event NULL: ignored, with its reason. */
void change_line_format(const char *provider, const struct event *event, const char *reason, struct buffer *buffer);
