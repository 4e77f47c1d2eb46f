/*
 * `tagfleet topics create` and `tagfleet topics check`.
 */
#pragma once

#include "workers/common/base/command.h"

extern const struct command topics_create_command;
extern const struct command topics_check_command;
