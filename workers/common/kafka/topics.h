/*
 * The topics the fleet lives on, with the settings it needs: created, and compared with what the broker has.
 */
#pragma once

#include "workers/common/base/buffer.h"
#include "workers/common/base/options.h"

struct topic_settings {
    const char *name; /* short name */
    int partitions;
    const char *cleanup_policy; /* "delete" or "compact" */
    int64_t retention_ms;       /* of "delete" */
};

extern const struct topic_settings topics[]; /* ended by a nameless one */

/* Creates what is missing and waits until the brokers know it; existing topics are left as they are. report gets one
 * line per topic. */
bool topics_create(const struct options *options, int jobs_partitions, struct buffer *report,
                   struct error *err) MUST_CHECK;

/* Compares the broker's topics with the table; *ret_differences counts the lines of the report that want a change. */
bool topics_check(const struct options *options, struct buffer *report, size_t *ret_differences,
                  struct error *err) MUST_CHECK;
