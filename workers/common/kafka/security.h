/*
 * How the process proves to the brokers who it is, and they to it: the options kafka.security and what goes with it, as
 * properties of librdkafka (its CONFIGURATION.md). Passwords come from files, which are read anew for every connection
 * that is opened, and stand in no message and no error.
 */
#pragma once

#include "workers/common/base/buffer.h"
#include "workers/common/base/options.h"

/* Appends a line for everything that is missing, meaningless together or not readable. True: nothing. No I/O but the
 * reading of the files. */
bool security_check(const struct options *options, struct buffer *mistakes) MUST_CHECK;

/* Calls set for each property that follows from options that security_check has found right. False: a password's file
 * has become unreadable since. */
bool security_properties(const struct options *options, void (*set)(const char *name, const char *value, void *context),
                         void *context, struct error *err) MUST_CHECK;
