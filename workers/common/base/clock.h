/*
 * Time. Durations and deadlines use the monotonic clock; what people and messages see uses the wall clock, as
 * RFC 3339 in UTC with milliseconds.
 */
#pragma once

#include "workers/common/base/error.h"

#include <stdbool.h>
#include <stdint.h>

enum { CLOCK_TEXT_SIZE = 25 }; /* "2026-01-02T03:04:05.678Z" and NUL */

int64_t clock_monotonic_ms(void);
int64_t clock_monotonic_us(void); /* the same clock, for what is summed up */
int64_t clock_wall_ms(void);      /* milliseconds since 1970-01-01T00:00:00Z */

void clock_format(int64_t wall_ms, char ret_text[CLOCK_TEXT_SIZE]);

/* Reads RFC 3339 with any offset, from 1970 to 9999; what is finer than milliseconds is cut. */
bool clock_parse(const char *text, int64_t *ret_wall_ms);

/* Reads "1500ms", "30s", "10m", "2h", "1d", also with a blank before the unit and "min" for "m". A bare number other
 * than 0 is refused, because it does not say its unit. */
bool duration_parse(const char *text, int64_t *ret_ms);

/* A delay before another attempt: uniformly random up to min(base_ms * 2^attempt, maximum_ms), at least 1 ms. attempt
 * counts from 0. Full jitter keeps many workers from retrying in step. */
int64_t backoff_ms(unsigned attempt, int64_t base_ms, int64_t maximum_ms);
