/*
 * `tagfleet status` and `tagfleet wait`: what became of deployments, read from `results` itself.
 */
#pragma once

#include "workers/common/base/command.h"

extern const struct command status_command;
extern const struct command wait_command;
