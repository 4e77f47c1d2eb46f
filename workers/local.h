/*
 * `tagfleet local`: a whole fleet on one machine, for trying it out, with a broker inside that keeps nothing.
 */
#pragma once

#include "workers/common/base/command.h"

extern const struct command local_command;
