/*
 * `tagfleet emit`: puts events of builds and refs on the bus, says where they went and what the resolver made of them,
 * and can follow the deployment to its end. It stands above the rooms, since it both writes events and reads results.
 */
#pragma once

#include "workers/common/base/command.h"

extern const struct command emit_command;
