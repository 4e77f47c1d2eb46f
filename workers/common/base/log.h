/*
 * One line per event on standard error: time, level, message, then key=value pairs (logfmt), or the same as one JSON
 * object. Only the roles' loops and the commands log; everything below returns an error instead. Values are escaped,
 * so that no input can forge a line. Never pass a secret.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG };

/* Process-wide, set once at start. The default is logfmt at LOG_INFO. */
void log_setup(enum log_level level, bool is_json, const char *role);

bool log_is_enabled(enum log_level level);

/* Pairs are alternating names and values, ended by NULL; a pair whose value is NULL is left out. Thread-safe. */
void log_event(enum log_level level, const char *message, ...) __attribute__((sentinel));

/* A number as text for log_event; valid until the same thread has formatted eight more. */
const char *log_number(long long number);
