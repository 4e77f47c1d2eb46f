#include "workers/common/kafka/topics.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/kafka/kafka_handle.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { ADMIN_TIMEOUT_MS = 15000, LEADER_POLL_MS = 20 };

const struct topic_settings topics[] = {
    {"events", 12, "delete", 30 * 86400000LL},
    {"refs", 1, "compact", 0},
    {"builds", 1, "compact", 0},
    {"map", 1, "compact", 0},
    {"accounts", 1, "compact", 0},
    {"jobs", 48, "delete", 14 * 86400000LL},
    {"results", 12, "delete", 365 * 86400000LL},
    {"statuses", 1, "compact", 0},
    {"dead", 1, "delete", 90 * 86400000LL},
    {0},
};

static int topic_partitions(const struct topic_settings *topic, int jobs_partitions)
{
    return jobs_partitions > 0 && strcmp(topic->name, "jobs") == 0 ? jobs_partitions : topic->partitions;
}

static void topic_set(rd_kafka_NewTopic_t *topic, const char *name, const char *value)
{
    (void)rd_kafka_NewTopic_set_config(topic, name, value);
}

static rd_kafka_NewTopic_t *topic_new(const struct options *options, const struct topic_settings *settings,
                                      int jobs_partitions)
{
    AUTO(text) char *name = kafka_name(options, settings->name);
    char text[256];
    rd_kafka_NewTopic_t *topic =
        rd_kafka_NewTopic_new(name, topic_partitions(settings, jobs_partitions),
                              (int)options_integer(options, "kafka.replication_factor"), text, sizeof(text));
    if (topic == NULL) {
        return NULL;
    }
    topic_set(topic, "cleanup.policy", settings->cleanup_policy);
    (void)snprintf(text, sizeof(text), "%d", KAFKA_MESSAGE_MAXIMUM_BYTES);
    topic_set(topic, "max.message.bytes", text);
    if (settings->retention_ms > 0) {
        (void)snprintf(text, sizeof(text), "%" PRId64, settings->retention_ms);
        topic_set(topic, "retention.ms", text);
    }
    return topic;
}

static size_t topics_count(void)
{
    size_t count = 0;
    while (topics[count].name != NULL) {
        count++;
    }
    return count;
}

/* Waits for the one event that a request answers with. */
static rd_kafka_event_t *admin_wait(rd_kafka_queue_t *queue, struct error *err)
{
    rd_kafka_event_t *event = rd_kafka_queue_poll(queue, ADMIN_TIMEOUT_MS + 1000);
    if (event == NULL) {
        error_set(err, ERROR_RETRY, "no answer from the brokers");
        return NULL;
    }
    if (rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        error_set(err, ERROR_RETRY, "%s", rd_kafka_event_error_string(event));
        rd_kafka_event_destroy(event);
        return NULL;
    }
    return event;
}

static rd_kafka_AdminOptions_t *admin_options(rd_kafka_t *handle, rd_kafka_admin_op_t operation)
{
    char text[256];
    rd_kafka_AdminOptions_t *admin = rd_kafka_AdminOptions_new(handle, operation);
    (void)rd_kafka_AdminOptions_set_request_timeout(admin, ADMIN_TIMEOUT_MS, text, sizeof(text));
    if (operation == RD_KAFKA_ADMIN_OP_CREATETOPICS) {
        (void)rd_kafka_AdminOptions_set_operation_timeout(admin, ADMIN_TIMEOUT_MS, text, sizeof(text));
    }
    return admin;
}

static bool created_report(const rd_kafka_event_t *event, struct buffer *report, struct error *err)
{
    size_t count;
    const rd_kafka_topic_result_t **results = rd_kafka_CreateTopics_result_topics(
        rd_kafka_event_CreateTopics_result((rd_kafka_event_t *)(uintptr_t)event), &count);
    bool is_complete = true;
    for (size_t i = 0; i < count; i++) {
        const char *name = rd_kafka_topic_result_name(results[i]);
        rd_kafka_resp_err_t code = rd_kafka_topic_result_error(results[i]);
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
            buffer_append_format(report, "%s created\n", name);
        } else if (code == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) {
            buffer_append_format(report, "%s exists\n", name);
        } else {
            const char *text = rd_kafka_topic_result_error_string(results[i]);
            buffer_append_format(report, "%s failed: %s\n", name, text);
            is_complete = error_set(err, ERROR_RETRY, "%s: %s", name, text);
        }
    }
    return is_complete;
}

/* Partitions of a topic as the broker says, those with a leader; 0 when it does not exist. */
static bool topic_count_partitions(rd_kafka_t *handle, const char *name, int *ret_partitions, int *ret_led,
                                   struct error *err)
{
    rd_kafka_topic_t *topic = rd_kafka_topic_new(handle, name, NULL);
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t code = rd_kafka_metadata(handle, 0, topic, &metadata, ADMIN_TIMEOUT_MS);
    rd_kafka_topic_destroy(topic);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return handle_error(err, code, "no answer from the brokers");
    }
    *ret_partitions = 0;
    *ret_led = 0;
    if (metadata->topic_cnt > 0 && metadata->topics[0].err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        *ret_partitions = metadata->topics[0].partition_cnt;
        for (int i = 0; i < *ret_partitions; i++) {
            *ret_led += metadata->topics[0].partitions[i].leader >= 0;
        }
    }
    rd_kafka_metadata_destroy(metadata);
    return true;
}

/* The controller has created the topic; the brokers hear of it a moment later. */
static bool topic_await(rd_kafka_t *handle, const char *name, int64_t deadline_ms, struct error *err)
{
    for (;;) {
        int partitions = 0;
        int led = 0;
        if (!topic_count_partitions(handle, name, &partitions, &led, err)) {
            return false;
        }
        if (partitions > 0 && led == partitions) {
            return true;
        }
        if (clock_monotonic_ms() >= deadline_ms) {
            return error_set(err, ERROR_RETRY, "%s was created, but has no leaders yet", name);
        }
        usleep(1000 * LEADER_POLL_MS);
    }
}

static bool topics_await(rd_kafka_t *handle, const struct options *options, struct error *err)
{
    int64_t deadline_ms = clock_monotonic_ms() + ADMIN_TIMEOUT_MS;
    for (const struct topic_settings *settings = topics; settings->name != NULL; settings++) {
        AUTO(text) char *name = kafka_name(options, settings->name);
        if (!topic_await(handle, name, deadline_ms, err)) {
            return false;
        }
    }
    return true;
}

bool topics_create(const struct options *options, int jobs_partitions, struct buffer *report, struct error *err)
{
    static const struct handle_property none[] = {{NULL, NULL}};
    rd_kafka_t *handle;
    if (!handle_open(options, RD_KAFKA_PRODUCER, none, NULL, NULL, &handle, err)) {
        return false;
    }
    size_t count = topics_count();
    rd_kafka_NewTopic_t **wanted = memory_zeroed(count, sizeof(rd_kafka_NewTopic_t *));
    bool is_valid = true;
    for (size_t i = 0; i < count; i++) {
        wanted[i] = topic_new(options, &topics[i], jobs_partitions);
        is_valid =
            is_valid && (wanted[i] != NULL || error_set(err, ERROR_FATAL, "the prefix gives no valid topic name"));
    }
    bool is_created = false;
    if (is_valid) {
        rd_kafka_queue_t *queue = rd_kafka_queue_new(handle);
        rd_kafka_AdminOptions_t *admin = admin_options(handle, RD_KAFKA_ADMIN_OP_CREATETOPICS);
        rd_kafka_CreateTopics(handle, wanted, count, admin, queue);
        rd_kafka_AdminOptions_destroy(admin);
        rd_kafka_event_t *event = admin_wait(queue, err);
        if (event != NULL) {
            is_created = created_report(event, report, err);
            rd_kafka_event_destroy(event);
        }
        rd_kafka_queue_destroy(queue);
    }
    for (size_t i = 0; i < count; i++) {
        if (wanted[i] != NULL) {
            rd_kafka_NewTopic_destroy(wanted[i]);
        }
    }
    free((void *)wanted);
    is_created = is_created && topics_await(handle, options, err);
    handle_close(handle, 2000);
    return is_created;
}

static const char *config_value(const rd_kafka_ConfigResource_t *resource, const char *name)
{
    size_t count;
    const rd_kafka_ConfigEntry_t **entries = rd_kafka_ConfigResource_configs(resource, &count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(rd_kafka_ConfigEntry_name(entries[i]), name) == 0) {
            return rd_kafka_ConfigEntry_value(entries[i]);
        }
    }
    return NULL;
}

static size_t config_compare(const rd_kafka_ConfigResource_t *resource, const struct topic_settings *settings,
                             struct buffer *report)
{
    char wanted[3][32];
    (void)snprintf(wanted[0], sizeof(wanted[0]), "%s", settings->cleanup_policy);
    (void)snprintf(wanted[1], sizeof(wanted[1]), "%d", KAFKA_MESSAGE_MAXIMUM_BYTES);
    (void)snprintf(wanted[2], sizeof(wanted[2]), "%" PRId64, settings->retention_ms);
    static const char *const names[] = {"cleanup.policy", "max.message.bytes", "retention.ms"};
    size_t differences = 0;
    for (size_t i = 0; i < (settings->retention_ms > 0 ? 3U : 2U); i++) {
        const char *found = config_value(resource, names[i]);
        if (found == NULL || strcmp(found, wanted[i]) != 0) {
            buffer_append_format(report, "%s: %s is %s, wanted %s\n", rd_kafka_ConfigResource_name(resource), names[i],
                                 found != NULL ? found : "unknown", wanted[i]);
            differences++;
        }
    }
    return differences;
}

static bool topic_check_config(rd_kafka_t *handle, const struct topic_settings *settings, const char *name,
                               struct buffer *report, size_t *differences, struct error *err)
{
    rd_kafka_ConfigResource_t *resource = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, name);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(handle);
    rd_kafka_AdminOptions_t *admin = admin_options(handle, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    rd_kafka_DescribeConfigs(handle, &resource, 1, admin, queue);
    rd_kafka_AdminOptions_destroy(admin);
    rd_kafka_ConfigResource_destroy(resource);
    rd_kafka_event_t *event = admin_wait(queue, err);
    if (event != NULL) {
        size_t count;
        const rd_kafka_ConfigResource_t **found =
            rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(event), &count);
        *differences += count > 0 ? config_compare(found[0], settings, report) : 0;
        rd_kafka_event_destroy(event);
    }
    rd_kafka_queue_destroy(queue);
    return event != NULL;
}

static bool topic_check(rd_kafka_t *handle, const struct options *options, const struct topic_settings *settings,
                        struct buffer *report, size_t *differences, struct error *err)
{
    AUTO(text) char *name = kafka_name(options, settings->name);
    int partitions = 0;
    int led = 0;
    if (!topic_count_partitions(handle, name, &partitions, &led, err)) {
        return false;
    }
    if (partitions == 0) {
        buffer_append_format(report, "%s: does not exist; `tagfleet topics create` makes it\n", name);
        (*differences)++;
        return true;
    }
    /* More partitions of jobs, events or results are a matter of scale; a table has exactly one. */
    bool is_table = strcmp(settings->cleanup_policy, "compact") == 0;
    if (is_table && partitions != 1) {
        buffer_append_format(report, "%s: has %d partitions, a table must have 1\n", name, partitions);
        (*differences)++;
    }
    return topic_check_config(handle, settings, name, report, differences, err);
}

bool topics_check(const struct options *options, struct buffer *report, size_t *ret_differences, struct error *err)
{
    static const struct handle_property none[] = {{NULL, NULL}};
    rd_kafka_t *handle;
    if (!handle_open(options, RD_KAFKA_PRODUCER, none, NULL, NULL, &handle, err)) {
        return false;
    }
    *ret_differences = 0;
    bool is_checked = true;
    for (const struct topic_settings *settings = topics; settings->name != NULL && is_checked; settings++) {
        is_checked = topic_check(handle, options, settings, report, ret_differences, err);
    }
    handle_close(handle, 2000);
    return is_checked;
}
