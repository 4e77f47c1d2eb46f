/*
 * What every use of Kafka in the fleet has in common: the options, the names of topics, and how librdkafka's errors
 * become ours. librdkafka is included in this folder only; kafka_handle.h is its inside.
 */
#pragma once

#include "workers/common/base/buffer.h"
#include "workers/common/base/options.h"

#include <stdint.h>

extern const struct option kafka_options[];

enum {
    /* Broker's view of a dead member, and of a dead member's open transaction: they must not differ much. */
    KAFKA_SESSION_TIMEOUT_MS = 10000,
    KAFKA_HEARTBEAT_INTERVAL_MS = 1000,
    KAFKA_TRANSACTION_TIMEOUT_MS = 10000,
    /* Longest metadata of a committed offset that brokers accept (offset.metadata.max.bytes). */
    KAFKA_METADATA_MAXIMUM_BYTES = 4096,
    /* Largest message: a deployment of 100,000 accounts fits. */
    KAFKA_MESSAGE_MAXIMUM_BYTES = 8 * 1024 * 1024,
};

/* Appends a line for every mistake in the options, also what only librdkafka can see, such as a key that does not
 * belong to its certificate. Asks no broker. */
bool kafka_check(const struct options *options, struct buffer *mistakes) MUST_CHECK;

/* This process is a role: the brokers know it by that name, and its log tells when they cannot be reached. Before
 * anything is opened. */
void kafka_start_role(const char *role);

/* The full name of a topic, group or id: the prefix and the short name. The caller frees it. */
char *kafka_name(const struct options *options, const char *short_name);
