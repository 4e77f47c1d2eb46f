#include "workers/common/kafka/kafka.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/log.h"
#include "workers/common/kafka/kafka_handle.h"
#include "workers/common/kafka/reach.h"
#include "workers/common/kafka/round_trip.h"
#include "workers/common/kafka/security.h"

#include <errno.h>
#include <openssl/x509.h>
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
    {.name = "kafka.security",
     .type = OPTION_CHOICE,
     .initial = "plaintext",
     .choices = "plaintext|tls|sasl_plaintext|sasl_tls",
     .help = "what the listener of kafka.brokers speaks"},
    {.name = "kafka.ca_file",
     .type = OPTION_TEXT,
     .help = "authorities that may sign the brokers' certificates, PEM; without it those of the system"},
    {.name = "kafka.certificate_file",
     .type = OPTION_TEXT,
     .help = "this end's own certificate, PEM, where the brokers want one (mutual TLS)"},
    {.name = "kafka.key_file", .type = OPTION_TEXT, .help = "its private key, PEM"},
    {.name = "kafka.key_password_file", .type = OPTION_TEXT, .help = "file with the password of an encrypted key"},
    {.name = "kafka.sasl_mechanism",
     .type = OPTION_CHOICE,
     .choices = "PLAIN|SCRAM-SHA-256|SCRAM-SHA-512",
     .help = "how the password is shown; PLAIN with TLS only"},
    {.name = "kafka.sasl_user", .type = OPTION_TEXT, .help = "name at the brokers"},
    {.name = "kafka.sasl_password_file", .type = OPTION_TEXT, .help = "file with the password, one line"},
    {.name = "kafka.properties",
     .type = OPTION_PAIRS,
     .help = "any property of librdkafka, in the file with _ for each dot: { security_protocol = \"SSL\"; }"},
    {0},
};

/* What the brokers' logs, metrics and quotas call this process. */
static char client_id[64] = "tagfleet";

void kafka_start_role(const char *role)
{
    (void)snprintf(client_id, sizeof(client_id), "tagfleet-%s", role);
    reach_start_logging();
}

char *kafka_name(const struct options *options, const char *short_name)
{
    return text_format("%s%s", options_text(options, "kafka.prefix"), short_name);
}

/* librdkafka's own lines: what it retries by itself is of interest to those who debug only. Every connection that fails
 * has such a line, whichever handle it belongs to and whoever polls that; what else fails is told by the call. */
static void handle_log(const rd_kafka_t *handle, int level, const char *facility, const char *text)
{
    static const char *const told_elsewhere[] = {"FAIL",     "ERROR",      "TXNERR",    "SSLCERTVRFY",
                                                 "ADDPARTS", "ADDOFFSETS", "TXNOFFSETS"};
    (void)handle;
    bool is_told = false;
    for (size_t i = 0; i < sizeof(told_elsewhere) / sizeof(told_elsewhere[0]); i++) {
        is_told = is_told || strcmp(facility, told_elsewhere[i]) == 0;
    }
    if (strcmp(facility, "FAIL") == 0) {
        reach_connection_failed(text);
    } else if (strstr(text, "brokers are down") != NULL) {
        reach_all_brokers_down();
    }
    log_event(level <= 3 && !is_told ? LOG_WARNING : LOG_DEBUG, text, "from", "librdkafka", "facility", facility, NULL);
}

/* The requests by which a connection is set up (kafka.apache.org/protocol, Api Keys): they are answered before it is
 * known whether the other end is let in. */
enum { API_SASL_HANDSHAKE = 17, API_API_VERSIONS = 18, API_SASL_AUTHENTICATE = 36 };

static rd_kafka_resp_err_t handle_answered(rd_kafka_t *handle, int socket, const char *broker, int32_t broker_id,
                                           int16_t api, int16_t version, int32_t correlation, size_t size_bytes,
                                           int64_t round_trip_us, rd_kafka_resp_err_t code, void *opaque)
{
    (void)handle, (void)socket, (void)broker, (void)broker_id, (void)version, (void)correlation, (void)size_bytes;
    (void)opaque;
    round_trip_add(api, round_trip_us, code != RD_KAFKA_RESP_ERR_NO_ERROR);
    bool is_setting_up = api == API_SASL_HANDSHAKE || api == API_API_VERSIONS || api == API_SASL_AUTHENTICATE;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR && !is_setting_up) {
        reach_answered();
    }
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t handle_watch(rd_kafka_t *handle, const rd_kafka_conf_t *conf, void *opaque, char *text,
                                        size_t text_size)
{
    (void)conf, (void)text, (void)text_size;
    return rd_kafka_interceptor_add_on_response_received(handle, "reach", handle_answered, opaque);
}

/* OpenSSL has judged already; this only keeps why. */
static int handle_verify(rd_kafka_t *handle, const char *broker, int32_t broker_id, int *verdict, int depth,
                         const char *certificate, size_t size_bytes, char *text, size_t text_size, void *opaque)
{
    (void)handle, (void)broker, (void)broker_id, (void)depth, (void)certificate, (void)size_bytes, (void)opaque;
    if (*verdict == X509_V_OK) {
        return 1;
    }
    const char *reason = X509_verify_cert_error_string(*verdict);
    reach_verification_failed(reason);
    (void)snprintf(text, text_size, "%s", reason);
    return 0;
}

enum { METADATA_SLICE_MS = 2000 };

struct conf_build {
    rd_kafka_conf_t *conf;
    struct buffer *mistakes;
    char mechanism[32];
};

static void conf_set(const char *name, const char *value, void *context)
{
    struct conf_build *build = context;
    char text[256];
    if (rd_kafka_conf_set(build->conf, name, value, text, sizeof(text)) != RD_KAFKA_CONF_OK) {
        buffer_append_format(build->mistakes, "kafka.properties: %s\n", text);
    } else if (strcmp(name, "sasl.mechanism") == 0 || strcmp(name, "sasl.mechanisms") == 0) {
        (void)snprintf(build->mechanism, sizeof(build->mechanism), "%s", value);
    }
}

static void conf_set_all(const struct options *options, const struct handle_property *properties,
                         struct conf_build *build)
{
    static const struct handle_property common[] = {
        {"socket.nagle.disable", "true"},    {"socket.keepalive.enable", "true"}, {"reconnect.backoff.ms", "50"},
        {"reconnect.backoff.max.ms", "500"}, {"log.connection.close", "false"},   {NULL, NULL},
    };
    struct error err;
    conf_set("client.id", client_id, build);
    for (const struct handle_property *property = common; property->name != NULL; property++) {
        conf_set(property->name, property->value, build);
    }
    for (const struct handle_property *property = properties; property->name != NULL; property++) {
        conf_set(property->name, property->value, build);
    }
    if (security_check(options, build->mistakes) && !security_properties(options, conf_set, build, &err)) {
        buffer_append_format(build->mistakes, "%s\n", err.text);
    }
    options_pairs(options, "kafka.properties", conf_set, build);
}

/* NULL: mistakes has the reason, and the configuration is still the caller's. */
static rd_kafka_t *handle_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, struct buffer *mistakes)
{
    char text[512];
    rd_kafka_t *handle = rd_kafka_new(type, conf, text, sizeof(text));
    if (handle == NULL) {
        bool is_about_key = strstr(text, "ssl.key.location") != NULL;
        buffer_append_format(mistakes, "kafka: %s%s\n", text,
                             is_about_key ? "; kafka.key_file must be a key in PEM that belongs to "
                                            "kafka.certificate_file, its password in kafka.key_password_file"
                                          : "");
    }
    return handle;
}

bool kafka_check(const struct options *options, struct buffer *mistakes)
{
    static const struct handle_property none[] = {{NULL, NULL}};
    size_t before = mistakes->len;
    struct conf_build build = {rd_kafka_conf_new(), mistakes, ""};
    conf_set_all(options, none, &build);
    if (mistakes->len > before) {
        rd_kafka_conf_destroy(build.conf);
        return false;
    }
    /* Files are read and keys compared with certificates when a handle is made; without brokers it asks nobody. */
    rd_kafka_conf_set_log_cb(build.conf, NULL);
    rd_kafka_t *handle = handle_new(RD_KAFKA_PRODUCER, build.conf, mistakes);
    if (handle == NULL) {
        rd_kafka_conf_destroy(build.conf);
    }
    handle_close(handle, 2000);
    return handle != NULL;
}

/* The mistakes' lines as one. */
static bool mistakes_fail(struct buffer *mistakes, struct error *err)
{
    for (size_t i = 0; i < mistakes->len; i++) {
        mistakes->ptr[i] = mistakes->ptr[i] != '\n' ? mistakes->ptr[i] : i + 1 < mistakes->len ? ';' : ' ';
    }
    AUTO(text) char *text = slice_copy(slice_trim(buffer_slice(mistakes)));
    return error_set(err, ERROR_FATAL, "%s", text);
}

bool handle_open(const struct options *options, rd_kafka_type_t type, const struct handle_property *properties,
                 void (*prepare)(rd_kafka_conf_t *conf, void *context), void *context, rd_kafka_t **ret_handle,
                 struct error *err)
{
    AUTO(buffer) struct buffer mistakes;
    buffer_init(&mistakes, 16 * 1024);
    struct conf_build build = {rd_kafka_conf_new(), &mistakes, ""};
    conf_set("bootstrap.servers", options_text(options, "kafka.brokers"), &build);
    conf_set_all(options, properties, &build);
    if (mistakes.len > 0) {
        rd_kafka_conf_destroy(build.conf);
        return mistakes_fail(&mistakes, err);
    }
    const struct reach_setup setup = {build.mechanism, (uint32_t)rd_kafka_version()};
    reach_set_up(&setup);
    rd_kafka_conf_set_log_cb(build.conf, handle_log);
    (void)rd_kafka_conf_set_ssl_cert_verify_cb(build.conf, handle_verify);
    (void)rd_kafka_conf_interceptor_add_on_new(build.conf, "reach", handle_watch, NULL);
    if (prepare != NULL) {
        prepare(build.conf, context);
    }
    /* When that fails the configuration is lost on purpose: librdkafka 2.0.2 has freed its interceptors, and would free
     * them again with it. */
    *ret_handle = handle_new(type, build.conf, &mistakes);
    return *ret_handle != NULL || mistakes_fail(&mistakes, err);
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

rd_kafka_resp_err_t handle_metadata(rd_kafka_t *handle, const char *topic, int timeout_ms,
                                    const struct rd_kafka_metadata **ret_metadata)
{
    rd_kafka_topic_t *asked = rd_kafka_topic_new(handle, topic, NULL);
    int64_t deadline_ms = clock_monotonic_ms() + timeout_ms;
    rd_kafka_resp_err_t code;
    int64_t left_ms = timeout_ms;
    do {
        int slice_ms = left_ms < METADATA_SLICE_MS ? (int)left_ms : METADATA_SLICE_MS;
        code = rd_kafka_metadata(handle, 0, asked, ret_metadata, slice_ms);
        left_ms = deadline_ms - clock_monotonic_ms();
    } while (code != RD_KAFKA_RESP_ERR_NO_ERROR && left_ms > 0 && !reach_is_refused());
    rd_kafka_topic_destroy(asked);
    return code;
}

static bool handle_error_unreached(struct error *err, const char *what)
{
    AUTO(buffer) struct buffer reason;
    buffer_init(&reason, sizeof(err->text));
    return reach_is_well(&reason)
               ? error_set(err, ERROR_RETRY, "%s: no answer from the brokers; is kafka.brokers right?", what)
               : error_set(err, ERROR_RETRY, "%s: %s", what, reason.ptr);
}

bool handle_is_denied(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
           code == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED ||
           code == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED ||
           code == RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
}

rd_kafka_resp_err_t handle_cause(rd_kafka_t *handle, rd_kafka_resp_err_t code)
{
    char text[256];
    rd_kafka_resp_err_t fatal = rd_kafka_fatal_error(handle, text, sizeof(text));
    return handle_is_denied(fatal) ? fatal : code;
}

bool handle_error(struct error *err, rd_kafka_resp_err_t code, const char *what)
{
    if (handle_is_denied(code)) {
        return error_set(err, ERROR_RETRY,
                         "%s: %s; config/kafka-acls.txt lists what each role and command needs to be allowed", what,
                         rd_kafka_err2str(code));
    }
    switch (code) {
    case RD_KAFKA_RESP_ERR__FATAL:
    case RD_KAFKA_RESP_ERR__FENCED:
    case RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
        return error_set(err, ERROR_FATAL, "%s: %s", what, rd_kafka_err2str(code));
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
        return error_set(err, ERROR_RETRY, "%s: the topic does not exist; `tagfleet topics create` makes it", what);
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR__SSL:
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__MSG_TIMED_OUT:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
        return handle_error_unreached(err, what);
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
    return handle_error(err, handle_cause(producer, code), topic);
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
