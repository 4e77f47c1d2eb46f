/*
 * `tagfleet webhook parse`: one payload on standard input, the neutral events as JSON lines on standard output,
 * offline.
 */
#pragma once

#include "workers/common/base/command.h"

extern const struct command webhook_parse_command;
