#include "workers/common/kafka/topics.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/kafka/kafka_handle.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    ADMIN_TIMEOUT_MS = 15000,
    LEADER_POLL_MS = 20,
    SAFE_REPLICAS = 3, /* from here on an acknowledged message can be on two brokers while a third is away */
};

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

int topics_partitions_for(long accounts)
{
    static const int steps[] = {12, 24, 48, 60, 120, 180, 240, 360, 720, 1260};
    enum { STEP_COUNT = sizeof(steps) / sizeof(steps[0]), USUAL = 48, ACCOUNTS_PER_COPIER = 1000 };
    long wanted = accounts < USUAL ? accounts : (accounts + ACCOUNTS_PER_COPIER - 1) / ACCOUNTS_PER_COPIER;
    if (accounts >= USUAL && wanted < USUAL) {
        wanted = USUAL;
    }
    size_t i = 0;
    while (i + 1 < STEP_COUNT && steps[i] < wanted) {
        i++;
    }
    return steps[i];
}

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
    if (options_integer(options, "kafka.replication_factor") >= SAFE_REPLICAS) {
        topic_set(topic, "min.insync.replicas", "2");
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
            buffer_append_format(report, "%s failed: %s\n", name, rd_kafka_topic_result_error_string(results[i]));
            is_complete = handle_is_denied(code) ? handle_error(err, code, name)
                                                 : error_set(err, ERROR_RETRY, "%s: %s", name,
                                                             rd_kafka_topic_result_error_string(results[i]));
        }
    }
    return is_complete;
}

/* A topic as the brokers know it. */
struct topic_shape {
    int partitions; /* 0: it does not exist */
    int led;        /* those that have a leader */
    int replicas;   /* of the partition that has the fewest */
};

static bool topic_look(rd_kafka_t *handle, const char *name, struct topic_shape *ret_shape, struct error *err)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t code = handle_metadata(handle, name, ADMIN_TIMEOUT_MS, &metadata);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return handle_error(err, code, name);
    }
    *ret_shape = (struct topic_shape){0};
    const struct rd_kafka_metadata_topic *found = metadata->topic_cnt > 0 ? &metadata->topics[0] : NULL;
    if (found != NULL && handle_is_denied(found->err)) {
        handle_error(err, found->err, name);
        rd_kafka_metadata_destroy(metadata);
        return false;
    }
    if (found != NULL && found->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        ret_shape->partitions = found->partition_cnt;
        for (int i = 0; i < found->partition_cnt; i++) {
            const struct rd_kafka_metadata_partition *partition = &found->partitions[i];
            ret_shape->led += partition->leader >= 0;
            ret_shape->replicas =
                i == 0 || partition->replica_cnt < ret_shape->replicas ? partition->replica_cnt : ret_shape->replicas;
        }
    }
    rd_kafka_metadata_destroy(metadata);
    return true;
}

/* The controller has created the topic; the brokers hear of it a moment later. */
static bool topic_await(rd_kafka_t *handle, const char *name, int64_t deadline_ms, struct error *err)
{
    for (;;) {
        struct topic_shape shape;
        if (!topic_look(handle, name, &shape, err)) {
            return false;
        }
        if (shape.partitions > 0 && shape.led == shape.partitions) {
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

/* What compares a topic with its row. */
struct check {
    rd_kafka_t *handle;
    const struct options *options;
    const struct topic_settings *settings;
    const char *name; /* in full */
    struct topic_shape shape;
    struct buffer *report;
    size_t differences;
};

/* A line of kafka-configs.sh mends it, which is safe at any time. */
static void check_setting(struct check *check, const rd_kafka_ConfigResource_t *resource, const char *setting,
                          const char *wanted)
{
    const char *found = config_value(resource, setting);
    if (found != NULL && strcmp(found, wanted) == 0) {
        return;
    }
    buffer_append_format(check->report,
                         "%s: %s is %s, wanted %s: kafka-configs.sh --bootstrap-server %s --alter --topic %s "
                         "--add-config %s=%s\n",
                         check->name, setting, found != NULL ? found : "unknown", wanted,
                         options_text(check->options, "kafka.brokers"), check->name, setting, wanted);
    check->differences++;
}

/* More in-sync replicas than there are: nothing could be written. With three or more, one alone does not make a message
 * stored, since that broker may be the next to be lost. */
static void check_in_sync(struct check *check, const rd_kafka_ConfigResource_t *resource)
{
    const char *found = config_value(resource, "min.insync.replicas");
    long minimum = found != NULL ? strtol(found, NULL, 10) : 0;
    if (minimum > check->shape.replicas) {
        check_setting(check, resource, "min.insync.replicas", "1");
    } else if (check->shape.replicas >= SAFE_REPLICAS && minimum < 2) {
        check_setting(check, resource, "min.insync.replicas", "2");
    }
}

static void check_config(struct check *check, const rd_kafka_ConfigResource_t *resource)
{
    char number[32];
    check_setting(check, resource, "cleanup.policy", check->settings->cleanup_policy);
    (void)snprintf(number, sizeof(number), "%d", KAFKA_MESSAGE_MAXIMUM_BYTES);
    check_setting(check, resource, "max.message.bytes", number);
    if (check->settings->retention_ms > 0) {
        (void)snprintf(number, sizeof(number), "%" PRId64, check->settings->retention_ms);
        check_setting(check, resource, "retention.ms", number);
    }
    check_in_sync(check, resource);
}

static bool check_read_config(struct check *check, struct error *err)
{
    rd_kafka_ConfigResource_t *resource = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, check->name);
    rd_kafka_queue_t *queue = rd_kafka_queue_new(check->handle);
    rd_kafka_AdminOptions_t *admin = admin_options(check->handle, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    rd_kafka_DescribeConfigs(check->handle, &resource, 1, admin, queue);
    rd_kafka_AdminOptions_destroy(admin);
    rd_kafka_ConfigResource_destroy(resource);
    rd_kafka_event_t *event = admin_wait(queue, err);
    bool is_read = event != NULL;
    if (event != NULL) {
        size_t count;
        const rd_kafka_ConfigResource_t **found =
            rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(event), &count);
        rd_kafka_resp_err_t code = count > 0 ? rd_kafka_ConfigResource_error(found[0]) : RD_KAFKA_RESP_ERR_NO_ERROR;
        is_read = code == RD_KAFKA_RESP_ERR_NO_ERROR || handle_error(err, code, check->name);
        if (is_read && count > 0) {
            check_config(check, found[0]);
        }
        rd_kafka_event_destroy(event);
    }
    rd_kafka_queue_destroy(queue);
    return is_read;
}

/* Partitions cannot become fewer, and more of them move keys to others. */
static void check_partitions(struct check *check, int jobs_partitions)
{
    bool is_table = strcmp(check->settings->cleanup_policy, "compact") == 0;
    if (is_table && check->shape.partitions != 1) {
        buffer_append_format(check->report,
                             "%s: has %d partitions, a table must have 1: stop the fleet, keep what the table holds "
                             "(`tagfleet map export`), delete the topic and let `tagfleet topics create` make it\n",
                             check->name, check->shape.partitions);
        check->differences++;
    } else if (strcmp(check->settings->name, "jobs") == 0 && check->shape.partitions < jobs_partitions) {
        buffer_append_format(
            check->report,
            "%s: has %d partitions, so no more than %d copiers work at once; wanted %d. More partitions move accounts "
            "to "
            "others, where a newer job could overtake an older one: stop the resolvers, wait until the copiers have "
            "nothing left to do, then kafka-topics.sh --bootstrap-server %s --alter --topic %s --partitions %d\n",
            check->name, check->shape.partitions, check->shape.partitions, jobs_partitions,
            options_text(check->options, "kafka.brokers"), check->name, jobs_partitions);
        check->differences++;
    }
}

static void check_replicas(struct check *check)
{
    int64_t wanted = options_integer(check->options, "kafka.replication_factor");
    if (wanted > 0 && check->shape.replicas < wanted) {
        buffer_append_format(check->report,
                             "%s: has %d replicas, kafka.replication_factor is %" PRId64
                             ": kafka-reassign-partitions.sh gives it more\n",
                             check->name, check->shape.replicas, wanted);
        check->differences++;
    }
}

static bool check_topic(struct check *check, int jobs_partitions, struct error *err)
{
    if (!topic_look(check->handle, check->name, &check->shape, err)) {
        return false;
    }
    if (check->shape.partitions == 0) {
        buffer_append_format(check->report, "%s: does not exist; `tagfleet topics create` makes it\n", check->name);
        check->differences++;
        return true;
    }
    check_partitions(check, jobs_partitions);
    check_replicas(check);
    return check_read_config(check, err);
}

bool topics_check(const struct options *options, int jobs_partitions, struct buffer *report, size_t *ret_differences,
                  struct error *err)
{
    static const struct handle_property none[] = {{NULL, NULL}};
    struct check check = {.options = options, .report = report};
    if (!handle_open(options, RD_KAFKA_PRODUCER, none, NULL, NULL, &check.handle, err)) {
        return false;
    }
    bool is_checked = true;
    for (const struct topic_settings *settings = topics; settings->name != NULL && is_checked; settings++) {
        AUTO(text) char *name = kafka_name(options, settings->name);
        check.settings = settings;
        check.name = name;
        is_checked = check_topic(&check, jobs_partitions, err);
    }
    *ret_differences = check.differences;
    handle_close(check.handle, 2000);
    return is_checked;
}
