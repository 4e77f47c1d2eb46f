#include "workers/common/kafka/kafka.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/log.h"
#include "workers/common/kafka/kafka_handle.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

const struct option kafka_options[] = {
    {.name = "kafka.brokers",
     .type = OPTION_TEXT,
     .initial = "127.0.0.1:9092",
     .help = "bootstrap servers, host:port, separated by commas; name at least three of a larger cluster"},
    {.name = "kafka.prefix",
     .type = OPTION_TEXT,
     .initial = "tagfleet.",
     .help = "stands before the name of every topic, group and id, so that several fleets can share a cluster"},
    {.name = "kafka.replication_factor",
     .type = OPTION_INTEGER,
     .initial = "-1",
     .minimum = -1,
     .maximum = 32,
     .help = "replicas of each topic that `topics create` makes; -1: the broker's default"},
    {.name = "kafka.properties",
     .type = OPTION_PAIRS,
     .help = "any property of librdkafka, in the file with _ for each dot: { security_protocol = \"SSL\"; }"},
    {0},
};

char *kafka_name(const struct options *options, const char *short_name)
{
    return text_format("%s%s", options_text(options, "kafka.prefix"), short_name);
}

/* librdkafka's own lines: what it retries by itself is of interest to those who debug only. */
static void handle_log(const rd_kafka_t *handle, int level, const char *facility, const char *text)
{
    (void)handle;
    log_event(level <= 3 ? LOG_WARNING : LOG_DEBUG, text, "from", "librdkafka", "facility", facility, NULL);
}

struct conf_build {
    rd_kafka_conf_t *conf;
    struct error *err;
    bool is_valid;
};

static void conf_set(const char *name, const char *value, void *context)
{
    struct conf_build *build = context;
    char text[256];
    if (build->is_valid && rd_kafka_conf_set(build->conf, name, value, text, sizeof(text)) != RD_KAFKA_CONF_OK) {
        build->is_valid = error_set(build->err, ERROR_FATAL, "kafka.properties: %s", text);
    }
}

bool handle_open(const struct options *options, rd_kafka_type_t type, const struct handle_property *properties,
                 void (*prepare)(rd_kafka_conf_t *conf, void *context), void *context, rd_kafka_t **ret_handle,
                 struct error *err)
{
    static const struct handle_property common[] = {
        {"client.id", "tagfleet"},
        {"socket.nagle.disable", "true"},
        {"socket.keepalive.enable", "true"},
        {"reconnect.backoff.ms", "50"},
        {"reconnect.backoff.max.ms", "500"},
        {"log.connection.close", "false"},
        {NULL, NULL},
    };
    struct conf_build build = {rd_kafka_conf_new(), err, true};
    conf_set("bootstrap.servers", options_text(options, "kafka.brokers"), &build);
    for (const struct handle_property *property = common; property->name != NULL; property++) {
        conf_set(property->name, property->value, &build);
    }
    for (const struct handle_property *property = properties; property->name != NULL; property++) {
        conf_set(property->name, property->value, &build);
    }
    options_pairs(options, "kafka.properties", conf_set, &build);
    if (!build.is_valid) {
        rd_kafka_conf_destroy(build.conf);
        return false;
    }
    rd_kafka_conf_set_log_cb(build.conf, handle_log);
    if (prepare != NULL) {
        prepare(build.conf, context);
    }
    char text[256];
    rd_kafka_t *handle = rd_kafka_new(type, build.conf, text, sizeof(text));
    if (handle == NULL) {
        rd_kafka_conf_destroy(build.conf);
        return error_set(err, ERROR_FATAL, "librdkafka: %s", text);
    }
    *ret_handle = handle;
    return true;
}

bool handle_call(void *(*call)(void *context), void *context, int timeout_ms)
{
    pthread_t thread;
    struct timespec deadline;
    if (pthread_create(&thread, NULL, call, context) != 0) {
        return false;
    }
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += timeout_ms / 1000;
    deadline.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (deadline.tv_nsec >= 1000000000) {
        deadline.tv_sec++;
        deadline.tv_nsec -= 1000000000;
    }
    if (pthread_timedjoin_np(thread, NULL, &deadline) != 0) {
        pthread_detach(thread);
        return false;
    }
    return true;
}

static void *handle_destroy(void *handle)
{
    rd_kafka_destroy_flags(handle, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    return NULL;
}

void handle_close(rd_kafka_t *handle, int timeout_ms)
{
    if (handle != NULL) {
        (void)handle_call(handle_destroy, handle, timeout_ms);
    }
}

bool handle_error(struct error *err, rd_kafka_resp_err_t code, const char *what)
{
    switch (code) {
    case RD_KAFKA_RESP_ERR__FATAL:
    case RD_KAFKA_RESP_ERR__FENCED:
    case RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
        return error_set(err, ERROR_FATAL, "%s: %s", what, rd_kafka_err2str(code));
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
        return error_set(err, ERROR_RETRY, "%s: the topic does not exist; `tagfleet topics create` makes it", what);
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
        return error_set(err, ERROR_RETRY, "%s: no answer from the brokers; is kafka.brokers right?", what);
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
        return error_set(err, ERROR_REJECT, "%s: %s", what, rd_kafka_err2str(code));
    default:
        return error_set(err, ERROR_RETRY, "%s: %s", what, rd_kafka_err2str(code));
    }
}

void record_from_message(const rd_kafka_message_t *message, struct record *ret_record)
{
    char *bytes = memory_zeroed(message->key_len + message->len + 2, 1);
    char *value = bytes + message->key_len + 1;
    if (message->key_len > 0) {
        memcpy(bytes, message->key, message->key_len);
    }
    if (message->len > 0) {
        memcpy(value, message->payload, message->len);
    }
    *ret_record = (struct record){
        .partition = message->partition,
        .offset = message->offset,
        .timestamp_ms = rd_kafka_message_timestamp(message, NULL),
        .key = slice_from(message->key != NULL ? bytes : NULL, message->key_len),
        .value = slice_from(message->payload != NULL ? value : NULL, message->len),
        .bytes = bytes,
    };
}

void record_free(struct record *record)
{
    free(record->bytes);
    *record = (struct record){0};
}

size_t record_size_bytes(const struct record *record)
{
    return sizeof(*record) + record->key.len + record->value.len;
}

rd_kafka_headers_t *handle_headers(const struct output *output)
{
    if (output->header_count == 0) {
        return NULL;
    }
    rd_kafka_headers_t *headers = rd_kafka_headers_new(output->header_count);
    for (size_t i = 0; i < output->header_count; i++) {
        rd_kafka_header_add(headers, output->headers[i].name, -1, output->headers[i].value, -1);
    }
    return headers;
}

bool handle_produce(rd_kafka_t *producer, const struct options *options, const struct output *output, void *opaque,
                    struct error *err)
{
    AUTO(text) char *topic = kafka_name(options, output->topic);
    rd_kafka_headers_t *headers = handle_headers(output);
    size_t key_len = output->key != NULL ? strlen(output->key) : 0;
    rd_kafka_resp_err_t code =
        rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                          RD_KAFKA_V_KEY(output->key, key_len), RD_KAFKA_V_VALUE(output->value, output->value_len),
                          RD_KAFKA_V_HEADERS(headers), RD_KAFKA_V_OPAQUE(opaque), RD_KAFKA_V_END);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        return true;
    }
    if (headers != NULL) {
        rd_kafka_headers_destroy(headers);
    }
    return handle_error(err, code, topic);
}

struct output *output_new(const char *topic, const char *key, struct slice value)
{
    struct output *output = memory_zeroed(1, sizeof(*output));
    output->topic = text_copy(topic);
    output->key = key != NULL ? text_copy(key) : NULL;
    output->value = value.ptr != NULL ? slice_copy(value) : NULL;
    output->value_len = value.len;
    return output;
}

void output_add_header(struct output *output, const char *literal_name, const char *value)
{
    if (value != NULL && output->header_count < OUTPUT_HEADERS_MAXIMUM) {
        output->headers[output->header_count].name = literal_name;
        output->headers[output->header_count++].value = text_copy(value);
    }
}

size_t output_size_bytes(const struct output *output)
{
    return sizeof(*output) + output->value_len;
}

void output_free(struct output *output)
{
    if (output == NULL) {
        return;
    }
    free(output->topic);
    free(output->key);
    free(output->value);
    for (size_t i = 0; i < output->header_count; i++) {
        free(output->headers[i].value);
    }
    free(output);
}
