/*
 * How long the brokers take to answer this process, by kind of request: whether it is they or the network that are
 * slow. All of the process's connections are counted together. Thread-safe.
 */
#pragma once

#include "workers/common/base/buffer.h"

#include <stdbool.h>

#include <stdint.h>

/* api: of the protocol (https://kafka.apache.org/protocol#protocol_api_keys); one that the fleet does not live by is
 * not counted. is_failed: there was no answer. */
void round_trip_add(int16_t api, int64_t lasted_us, bool is_failed);

/* kafka_request_seconds, kafka_request_failures_total. A Fetch waits up to half a second for something to fetch. */
void round_trip_write(struct buffer *text);
