/*
 * What /metrics is made of: Prometheus' text format, version 0.0.4
 * (https://prometheus.io/docs/instrumenting/exposition_formats/). Every name begins with "tagfleet_", which is put
 * before it here. That units are base units (seconds, bytes) and that labels have few values is up to the caller.
 */
#pragma once

#include "workers/common/base/buffer.h"

#include <stdint.h>

enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };

/* Before the first sample of a name. */
void metric_begin(struct buffer *text, const char *name, enum metric_type type, const char *help);

/* Labels are alternating names and values, ended by NULL. */
void metric_sample(struct buffer *text, const char *name, double value, ...) __attribute__((sentinel));

/* A name with a single sample. */
void metric_write(struct buffer *text, const char *name, enum metric_type type, const char *help, double value, ...)
    __attribute__((sentinel));

/* How long something took, counted in buckets from 5 ms to an hour. Zeroed at first. */
enum { HISTOGRAM_BUCKETS = 16 };
struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS + 1]; /* the last is for what took longer */
    int64_t sum_ms;
};

void histogram_add(struct histogram *histogram, int64_t duration_ms); /* a clock set back counts as nothing */
uint64_t histogram_count(const struct histogram *histogram);

/* The samples of one label, after metric_begin with METRIC_HISTOGRAM; label NULL: none. */
void histogram_write(struct buffer *text, const char *name, const struct histogram *histogram, const char *label,
                     const char *value);
