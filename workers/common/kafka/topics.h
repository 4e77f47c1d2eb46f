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

enum { TOPICS_ACCOUNTS_MAXIMUM = 1000000 };

/* How many partitions jobs should have for so many accounts (1 to TOPICS_ACCOUNTS_MAXIMUM). One copier works on a
 * partition, and one copier brings a build of 21 objects to 100 accounts a second when S3 answers after 50 ms (README,
 * "How fast"): with a partition for each 1,000 accounts, as many copiers serve all of them within 10 s. Never more than
 * helps: a partition without an account is idle, and each costs every transaction of a resolver a little. The numbers
 * have many divisors, so that many numbers of copiers share them evenly. */
int topics_partitions_for(long accounts);

/* Creates what is missing and waits until the brokers know it; existing topics are left as they are. report gets one
 * line per topic. */
bool topics_create(const struct options *options, int jobs_partitions, struct buffer *report,
                   struct error *err) MUST_CHECK;

/* Compares the broker's topics with the table, and says how each difference is mended; *ret_differences counts what
 * wants a change. Nothing is changed. jobs_partitions: as many at least; 0: any number is right. */
bool topics_check(const struct options *options, int jobs_partitions, struct buffer *report, size_t *ret_differences,
                  struct error *err) MUST_CHECK;
