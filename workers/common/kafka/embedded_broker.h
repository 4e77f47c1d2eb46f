/*
 * A Kafka broker inside this process, librdkafka's own mock: enough to try the fleet out on one machine. It keeps
 * nothing, and its transactions promise nothing: an aborted one is visible, offsets of a transaction are not stored.
 */
#pragma once

#include "workers/common/base/options.h"

struct embedded_broker;

/* Has the fleet's topics, with few partitions. options: for the names of the topics. */
bool embedded_broker_open(const struct options *options, struct embedded_broker **ret_broker,
                          struct error *err) MUST_CHECK;
void embedded_broker_close(struct embedded_broker *broker); /* NULL is fine */

/* host:port for other processes. */
const char *embedded_broker_address(const struct embedded_broker *broker);
