/*
 * Inside the kafka folder only: making librdkafka handles from the options, and its errors into ours.
 */
#pragma once

#include "workers/common/kafka/kafka.h"
#include "workers/common/kafka/record.h"

#include <librdkafka/rdkafka.h>

struct handle_property {
    const char *name;
    const char *value;
};

/* A handle with the fleet's settings, then the given properties (ended by a nameless one), then the user's
 * kafka.properties. prepare (may be NULL) sees the configuration before the handle is made. */
bool handle_open(const struct options *options, rd_kafka_type_t type, const struct handle_property *properties,
                 void (*prepare)(rd_kafka_conf_t *conf, void *context), void *context, rd_kafka_t **ret_handle,
                 struct error *err) MUST_CHECK;

/* Runs a call that can hang in librdkafka 2.0.2 in a thread of its own and waits at most timeout_ms for it. False: it
 * still runs, and whatever it uses must go on to exist. */
bool handle_call(void *(*call)(void *context), void *context, int timeout_ms);

/* Destroys with handle_call. */
void handle_close(rd_kafka_t *handle, int timeout_ms);

/* What the brokers say of a topic; the caller frees it with rd_kafka_metadata_destroy. Waits at most timeout_ms, and
 * not for brokers that have refused this process: whoever asks is a command, and somebody waits for its answer. */
rd_kafka_resp_err_t handle_metadata(rd_kafka_t *handle, const char *topic, int timeout_ms,
                                    const struct rd_kafka_metadata **ret_metadata);

/* The brokers know who this is, and do not allow it. */
bool handle_is_denied(rd_kafka_resp_err_t code);

/* The missing right that has made a handle useless for good, which is behind everything that fails from then on; else
 * the code itself. */
rd_kafka_resp_err_t handle_cause(rd_kafka_t *handle, rd_kafka_resp_err_t code);

/* Sets err from a librdkafka code; false. */
bool handle_error(struct error *err, rd_kafka_resp_err_t code, const char *what);

/* A copy; the message stays the caller's. */
void record_from_message(const rd_kafka_message_t *message, struct record *ret_record);

/* The output's headers as librdkafka's; NULL when it has none. */
rd_kafka_headers_t *handle_headers(const struct output *output);

/* Queues a copy of an output on a producer. */
bool handle_produce(rd_kafka_t *producer, const struct options *options, const struct output *output, void *opaque,
                    struct error *err) MUST_CHECK;
