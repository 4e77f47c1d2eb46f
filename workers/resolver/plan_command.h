/*
 * `tagfleet plan REF`: what would happen if this ref were set now: the accounts, roles and buckets, or why nothing.
 */
#pragma once

#include "workers/common/base/command.h"

extern const struct command plan_command;
