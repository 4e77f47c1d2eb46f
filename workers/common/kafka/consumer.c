#include "workers/common/kafka/consumer.h"

#include "workers/common/base/auto.h"
#include "workers/common/kafka/kafka_handle.h"

#include <stdlib.h>
#include <string.h>

struct consumer {
    rd_kafka_t *handle;
    rd_kafka_queue_t *queue;
    char *topic;
    /* What the last rebalance brought and consumer_poll has not told yet. */
    enum consumer_event_kind pending;
    rd_kafka_topic_partition_list_t *pending_partitions;
    rd_kafka_topic_partition_list_t *revoked; /* told, not yet released */
    int32_t *told;                            /* the array handed out with the event */
};

/* Assigns at once; lets the owner decide when a revoked partition goes; a lost one is gone already. */
static void consumer_rebalance(rd_kafka_t *handle, rd_kafka_resp_err_t code,
                               rd_kafka_topic_partition_list_t *partitions, void *opaque)
{
    struct consumer *consumer = opaque;
    rd_kafka_error_t *failure = NULL;
    if (code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        consumer->pending = CONSUMER_ASSIGNED;
        /* librdkafka remembers that a partition was paused when it left. */
        (void)rd_kafka_resume_partitions(handle, partitions);
        failure = rd_kafka_incremental_assign(handle, partitions);
    } else if (code == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS && rd_kafka_assignment_lost(handle)) {
        consumer->pending = CONSUMER_LOST;
        failure = rd_kafka_incremental_unassign(handle, partitions);
    } else if (code == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS) {
        consumer->pending = CONSUMER_REVOKED;
        consumer->revoked = rd_kafka_topic_partition_list_copy(partitions);
    } else {
        consumer->pending = CONSUMER_LOST;
        (void)rd_kafka_assign(handle, NULL);
    }
    if (failure != NULL) {
        rd_kafka_error_destroy(failure);
    }
    if (consumer->pending_partitions != NULL) {
        rd_kafka_topic_partition_list_destroy(consumer->pending_partitions);
    }
    consumer->pending_partitions = rd_kafka_topic_partition_list_copy(partitions);
    /* The poll that has called this would go on to the first message of a partition nobody has been told of. */
    rd_kafka_yield(handle);
}

static void consumer_prepare(rd_kafka_conf_t *conf, void *context)
{
    rd_kafka_conf_set_rebalance_cb(conf, consumer_rebalance);
    rd_kafka_conf_set_opaque(conf, context);
}

static void consumer_free(struct consumer *consumer)
{
    consumer_close(consumer, 1000);
}
DEFINE_AUTO(consumer, struct consumer *);

bool consumer_open(const struct options *options, const struct consumer_settings *settings,
                   struct consumer **ret_consumer, struct error *err)
{
    AUTO(text) char *group = kafka_name(options, settings->group);
    AUTO(text)
    char *instance = settings->static_instance != NULL ? kafka_name(options, settings->static_instance) : text_copy("");
    AUTO(text) char *session_timeout = text_format("%d", KAFKA_SESSION_TIMEOUT_MS);
    AUTO(text) char *heartbeat_interval = text_format("%d", KAFKA_HEARTBEAT_INTERVAL_MS);
    const struct handle_property properties[] = {
        {"group.id", group},
        {"session.timeout.ms", session_timeout},
        {"heartbeat.interval.ms", heartbeat_interval},
        {"partition.assignment.strategy", "cooperative-sticky"},
        {"isolation.level", "read_committed"},
        {"enable.auto.commit", "false"},
        {"enable.auto.offset.store", "false"},
        {"enable.partition.eof", "true"},
        {"auto.offset.reset", "earliest"},
        {"fetch.wait.max.ms", "100"},
        {"fetch.error.backoff.ms", "50"},
        {"topic.metadata.refresh.interval.ms", "10000"},
        /* What is fetched ahead is thrown away at each pause, and it is memory. */
        {"queued.min.messages", "1000"},
        {"queued.max.messages.kbytes", "16384"},
        {instance[0] != '\0' ? "group.instance.id" : NULL, instance},
        {NULL, NULL},
    };
    AUTO(consumer) struct consumer *consumer = memory_zeroed(1, sizeof(*consumer));
    consumer->topic = kafka_name(options, settings->topic);
    if (!handle_open(options, RD_KAFKA_CONSUMER, properties, consumer_prepare, consumer, &consumer->handle, err)) {
        return false;
    }
    rd_kafka_poll_set_consumer(consumer->handle);
    consumer->queue = rd_kafka_queue_get_consumer(consumer->handle);
    static const uint64_t one = 1;
    rd_kafka_queue_io_event_enable(consumer->queue, settings->wake_fd, &one, sizeof(one));
    rd_kafka_topic_partition_list_t *subscription = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(subscription, consumer->topic, RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t code = rd_kafka_subscribe(consumer->handle, subscription);
    rd_kafka_topic_partition_list_destroy(subscription);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return handle_error(err, code, consumer->topic);
    }
    *ret_consumer = TAKE(consumer);
    return true;
}

/* The group's leave request is sent by the close; its last rebalance arrives on the queue meanwhile. */
static void consumer_leave(struct consumer *consumer, int timeout_ms)
{
    rd_kafka_queue_t *queue = rd_kafka_queue_new(consumer->handle);
    rd_kafka_error_t *failure = rd_kafka_consumer_close_queue(consumer->handle, queue);
    for (int waited_ms = 0; failure == NULL && waited_ms < timeout_ms && !rd_kafka_consumer_closed(consumer->handle);
         waited_ms += 20) {
        rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 20);
        if (event != NULL && rd_kafka_event_type(event) == RD_KAFKA_EVENT_REBALANCE) {
            (void)rd_kafka_assign(consumer->handle, NULL);
        }
        if (event != NULL) {
            rd_kafka_event_destroy(event);
        }
        consumer_release(consumer);
    }
    if (failure != NULL) {
        rd_kafka_error_destroy(failure);
    }
    rd_kafka_queue_destroy(queue);
}

void consumer_close(struct consumer *consumer, int timeout_ms)
{
    if (consumer == NULL) {
        return;
    }
    if (consumer->queue != NULL) {
        consumer_leave(consumer, timeout_ms);
        rd_kafka_queue_io_event_enable(consumer->queue, -1, NULL, 0);
        rd_kafka_queue_destroy(consumer->queue);
    }
    if (consumer->revoked != NULL) {
        rd_kafka_topic_partition_list_destroy(consumer->revoked);
    }
    if (consumer->pending_partitions != NULL) {
        rd_kafka_topic_partition_list_destroy(consumer->pending_partitions);
    }
    handle_close(consumer->handle, timeout_ms);
    free(consumer->topic);
    free(consumer->told);
    free(consumer);
}

static void consumer_tell_rebalance(struct consumer *consumer, struct consumer_event *ret_event)
{
    size_t count = (size_t)consumer->pending_partitions->cnt;
    consumer->told = memory_resized(consumer->told, count * sizeof(int32_t));
    for (size_t i = 0; i < count; i++) {
        consumer->told[i] = consumer->pending_partitions->elems[i].partition;
    }
    ret_event->kind = consumer->pending;
    ret_event->partitions = consumer->told;
    ret_event->partition_count = count;
    consumer->pending = CONSUMER_NOTHING;
}

static void consumer_tell_message(rd_kafka_message_t *message, struct consumer_event *ret_event)
{
    switch (message->err) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        ret_event->kind = CONSUMER_MESSAGE;
        record_from_message(message, &ret_event->record);
        return;
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        ret_event->kind = CONSUMER_END;
        ret_event->partition = message->partition;
        ret_event->offset = message->offset;
        break;
    default:
        ret_event->kind = CONSUMER_FAILED;
        handle_error(&ret_event->err, message->err, rd_kafka_message_errstr(message));
        break;
    }
    rd_kafka_message_destroy(message);
}

void consumer_poll(struct consumer *consumer, struct consumer_event *ret_event)
{
    *ret_event = (struct consumer_event){.kind = CONSUMER_NOTHING};
    if (consumer->pending == CONSUMER_NOTHING) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer->handle, 0);
        if (message != NULL) {
            /* A rebalance that came with the same call is told by the next one. */
            consumer_tell_message(message, ret_event);
            return;
        }
    }
    if (consumer->pending != CONSUMER_NOTHING) {
        consumer_tell_rebalance(consumer, ret_event);
    }
}

void consumer_release(struct consumer *consumer)
{
    if (consumer->revoked == NULL) {
        return;
    }
    rd_kafka_error_t *failure = rd_kafka_incremental_unassign(consumer->handle, consumer->revoked);
    if (failure != NULL) {
        rd_kafka_error_destroy(failure);
    }
    rd_kafka_topic_partition_list_destroy(consumer->revoked);
    consumer->revoked = NULL;
}

static rd_kafka_topic_partition_list_t *partition_list(const struct consumer *consumer, int32_t partition)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, consumer->topic, partition);
    return list;
}

void consumer_pause(struct consumer *consumer, int32_t partition)
{
    rd_kafka_topic_partition_list_t *list = partition_list(consumer, partition);
    (void)rd_kafka_pause_partitions(consumer->handle, list);
    rd_kafka_topic_partition_list_destroy(list);
}

void consumer_resume(struct consumer *consumer, int32_t partition)
{
    rd_kafka_topic_partition_list_t *list = partition_list(consumer, partition);
    (void)rd_kafka_resume_partitions(consumer->handle, list);
    rd_kafka_topic_partition_list_destroy(list);
}

bool consumer_committed(struct consumer *consumer, int32_t partition, int timeout_ms, int64_t *ret_offset,
                        char **ret_metadata, struct error *err)
{
    rd_kafka_topic_partition_list_t *list = partition_list(consumer, partition);
    rd_kafka_resp_err_t code = rd_kafka_committed(consumer->handle, list, timeout_ms);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        code = list->elems[0].err;
    }
    bool is_known = code == RD_KAFKA_RESP_ERR_NO_ERROR;
    if (is_known) {
        *ret_offset = list->elems[0].offset >= 0 ? list->elems[0].offset : -1;
        *ret_metadata = slice_copy(slice_from(list->elems[0].metadata, list->elems[0].metadata_size));
    } else {
        handle_error(err, code, "committed offsets");
    }
    rd_kafka_topic_partition_list_destroy(list);
    return is_known;
}

struct rd_kafka_s *consumer_handle(const struct consumer *consumer)
{
    return consumer->handle;
}

const char *consumer_topic(const struct consumer *consumer)
{
    return consumer->topic;
}
