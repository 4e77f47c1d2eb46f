/*
 * `tagfleet map ...`: reading and changing which accounts belong to a deploy tag. A change counts for every event that
 * is accepted after the command has returned.
 */
#pragma once

#include "workers/common/base/command.h"

extern const struct command map_list_command;
extern const struct command map_show_command;
extern const struct command map_set_command;
extern const struct command map_add_command;
extern const struct command map_remove_command;
extern const struct command map_delete_command;
extern const struct command map_apply_command;
extern const struct command map_export_command;
