/*
 * `tagfleet health ROLE`: asks the role that runs on this machine how it is, at its own admin listener (admin.h). For
 * health checks of containers and for people: an image needs neither shell nor curl for it.
 *
 * Which roles there are follows from the options' tables: those with an option <role>.admin.
 */
#pragma once

#include "workers/common/base/command.h"

extern const struct command health_command;

/* Where this machine asks a listener that was given this address: loopback for one that listens everywhere. path begins
 * with a slash. The caller frees *ret_url. ERROR_FATAL when the address is empty or has no fixed port; the text leaves
 * out which option it is. */
bool health_url(const char *address, const char *path, char **ret_url, struct error *err) MUST_CHECK;
