#include "workers/common/kafka/consumer.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/kafka/kafka_handle.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* The parts of the group protocol that tell something (kafka.apache.org/protocol, Api Keys). */
enum { API_HEARTBEAT = 12, API_SYNC_GROUP = 14 };

enum { REVIEW_FAILURE_MS = 1000, REVIEW_TIMEOUT_MS = 100 };

struct consumer {
    rd_kafka_t *handle;
    rd_kafka_queue_t *queue;             /* what the group says */
    rd_kafka_queue_t **partition_queues; /* by number; NULL: not assigned */
    size_t partition_queue_count;
    int wake_fd;
    char *topic;
    /* What the last rebalance brought and consumer_poll has not told yet. */
    enum consumer_event_kind pending;
    rd_kafka_topic_partition_list_t *pending_partitions;
    rd_kafka_topic_partition_list_t *revoked; /* told, not yet released */
    int32_t *told;                            /* the array handed out with the event */
    bool was_assigned;                        /* once in its life */
    struct error failure;                     /* the last one, until it is over */
    int32_t failed_partition;                 /* of the failure; -1: the group's */
    int64_t failed_at_ms;                     /* or when it was last looked at */
    /* Written by a thread of librdkafka. */
    _Atomic int64_t member_at_ms;
    _Atomic int64_t asked_at_ms; /* when the last heartbeat was sent */
};

static rd_kafka_resp_err_t consumer_answered(rd_kafka_t *handle, int socket, const char *broker, int32_t broker_id,
                                             int16_t api, int16_t version, int32_t correlation, size_t size_bytes,
                                             int64_t round_trip_us, rd_kafka_resp_err_t code, void *opaque)
{
    (void)handle, (void)socket, (void)broker, (void)broker_id, (void)version, (void)correlation, (void)size_bytes;
    struct consumer *consumer = opaque;
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return RD_KAFKA_RESP_ERR_NO_ERROR;
    }
    int64_t sent_at_ms = clock_monotonic_ms() - round_trip_us / 1000 - 1;
    if (api == API_SYNC_GROUP) {
        consumer->member_at_ms = sent_at_ms;
    } else if (api == API_HEARTBEAT) {
        /* What the broker has answered is not seen here. But librdkafka sends no heartbeat after one that was refused.
         */
        int64_t agreed_at_ms = consumer->asked_at_ms;
        if (agreed_at_ms > consumer->member_at_ms) {
            consumer->member_at_ms = agreed_at_ms;
        }
        consumer->asked_at_ms = sent_at_ms;
    }
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t consumer_watch(rd_kafka_t *handle, const rd_kafka_conf_t *conf, void *opaque, char *text,
                                          size_t text_size)
{
    (void)conf, (void)text, (void)text_size;
    return rd_kafka_interceptor_add_on_response_received(handle, "membership", consumer_answered, opaque);
}

static const uint64_t one = 1;

/* Before the assignment begins to fetch: whatever is fetched would go to the group's queue otherwise. */
static void consumer_take_queue(struct consumer *consumer, int32_t partition)
{
    size_t position = (size_t)partition;
    if (position >= consumer->partition_queue_count) {
        size_t count = position + 1;
        consumer->partition_queues =
            memory_resized((void *)consumer->partition_queues, count * sizeof(rd_kafka_queue_t *));
        for (size_t i = consumer->partition_queue_count; i < count; i++) {
            consumer->partition_queues[i] = NULL;
        }
        consumer->partition_queue_count = count;
    }
    if (consumer->partition_queues[position] == NULL) {
        rd_kafka_queue_t *queue = rd_kafka_queue_get_partition(consumer->handle, consumer->topic, partition);
        rd_kafka_queue_forward(queue, NULL);
        if (consumer->wake_fd >= 0) {
            rd_kafka_queue_io_event_enable(queue, consumer->wake_fd, &one, sizeof(one));
        }
        consumer->partition_queues[position] = queue;
    }
}

static void consumer_drop_queue(struct consumer *consumer, int32_t partition)
{
    size_t position = (size_t)partition;
    if (position < consumer->partition_queue_count && consumer->partition_queues[position] != NULL) {
        rd_kafka_queue_io_event_enable(consumer->partition_queues[position], -1, NULL, 0);
        rd_kafka_queue_destroy(consumer->partition_queues[position]);
        consumer->partition_queues[position] = NULL;
    }
}

/* Assigns at once; lets the owner decide when a revoked partition goes; a lost one is gone already. */
static void consumer_rebalance(rd_kafka_t *handle, rd_kafka_resp_err_t code,
                               rd_kafka_topic_partition_list_t *partitions, void *opaque)
{
    struct consumer *consumer = opaque;
    rd_kafka_error_t *failure = NULL;
    if (code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        consumer->pending = CONSUMER_ASSIGNED;
        consumer->was_assigned = true;
        for (int i = 0; i < partitions->cnt; i++) {
            consumer_take_queue(consumer, partitions->elems[i].partition);
            /* Until consumer_begin. Without an offset librdkafka 2.0.2 would ask for the committed one itself; when
             * that fails, it reads from the beginning (a dead worker's transaction still holds the offset, and the
             * group changes) or never (the coordinator moves). It may also come back to this offset by itself, when
             * another rebalance pauses the partition before anything was read: so it is one from which nothing is lost.
             */
            partitions->elems[i].offset = RD_KAFKA_OFFSET_BEGINNING;
        }
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
}

static void consumer_prepare(rd_kafka_conf_t *conf, void *context)
{
    rd_kafka_conf_set_rebalance_cb(conf, consumer_rebalance);
    rd_kafka_conf_set_opaque(conf, context);
    (void)rd_kafka_conf_interceptor_add_on_new(conf, "membership", consumer_watch, context);
}

static void consumer_free(struct consumer *consumer)
{
    (void)consumer_close(consumer, 1000);
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
        /* Fetched ahead, for each partition. When it is full librdkafka looks again after up to a second, so it is to
         * last that long. */
        {"queued.min.messages", "30000"},
        {"queued.max.messages.kbytes", "4096"},
        /* Of compressed bytes: what comes in one answer is unpacked at once. */
        {"max.partition.fetch.bytes", "131072"},
        {instance[0] != '\0' ? "group.instance.id" : NULL, instance},
        {NULL, NULL},
    };
    AUTO(consumer) struct consumer *consumer = memory_zeroed(1, sizeof(*consumer));
    consumer->wake_fd = settings->wake_fd;
    consumer->topic = kafka_name(options, settings->topic);
    if (!handle_open(options, RD_KAFKA_CONSUMER, properties, consumer_prepare, consumer, &consumer->handle, err)) {
        return false;
    }
    rd_kafka_poll_set_consumer(consumer->handle);
    consumer->queue = rd_kafka_queue_get_consumer(consumer->handle);
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

/* Rebalances that have not been polled yet: closing with one of them unanswered can wait for ever (librdkafka's issue
 * 4884). */
static void consumer_answer_rebalances(struct consumer *consumer)
{
    for (int i = 0; i < 100; i++) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer->handle, 0);
        consumer_release(consumer);
        if (message == NULL) {
            return;
        }
        rd_kafka_message_destroy(message);
    }
}

static void consumer_answer_last(struct consumer *consumer, rd_kafka_event_t *event)
{
    rd_kafka_topic_partition_list_t *partitions = rd_kafka_event_topic_partition_list(event);
    bool is_revocation = rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS;
    if (!is_revocation || partitions == NULL) {
        (void)rd_kafka_assign(consumer->handle, NULL);
        return;
    }
    rd_kafka_error_t *failure = rd_kafka_incremental_unassign(consumer->handle, partitions);
    if (failure != NULL) {
        rd_kafka_error_destroy(failure);
    }
}

/* The group's leave request is sent by the close; its last rebalance arrives on the queue meanwhile. */
static void consumer_leave(struct consumer *consumer)
{
    rd_kafka_queue_t *queue = rd_kafka_queue_new(consumer->handle);
    rd_kafka_error_t *failure = rd_kafka_consumer_close_queue(consumer->handle, queue);
    while (failure == NULL && !rd_kafka_consumer_closed(consumer->handle)) {
        rd_kafka_event_t *event = rd_kafka_queue_poll(queue, 20);
        if (event != NULL && rd_kafka_event_type(event) == RD_KAFKA_EVENT_REBALANCE) {
            consumer_answer_last(consumer, event);
        }
        if (event != NULL) {
            rd_kafka_event_destroy(event);
        }
    }
    if (failure != NULL) {
        rd_kafka_error_destroy(failure);
    }
    rd_kafka_queue_destroy(queue);
}

static void *consumer_end(void *context)
{
    struct consumer *consumer = context;
    if (consumer->queue != NULL) {
        consumer->wake_fd = -1;
        rd_kafka_queue_io_event_enable(consumer->queue, -1, NULL, 0);
        for (size_t i = 0; i < consumer->partition_queue_count; i++) {
            consumer_drop_queue(consumer, (int32_t)i);
        }
        consumer_answer_rebalances(consumer);
        consumer_leave(consumer);
        for (size_t i = 0; i < consumer->partition_queue_count; i++) {
            consumer_drop_queue(consumer, (int32_t)i);
        }
        rd_kafka_queue_destroy(consumer->queue);
    }
    if (consumer->revoked != NULL) {
        rd_kafka_topic_partition_list_destroy(consumer->revoked);
    }
    if (consumer->pending_partitions != NULL) {
        rd_kafka_topic_partition_list_destroy(consumer->pending_partitions);
    }
    free(consumer->topic);
    free((void *)consumer->partition_queues);
    free(consumer->told);
    consumer->topic = NULL;
    /* librdkafka 2.0.2 ends the process when a handle goes that was let into a group and has not had its first
     * assignment (its issue 4312). It has left the group; what is lost is the memory of one handle. */
    if (consumer->was_assigned) {
        rd_kafka_destroy_flags(consumer->handle, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
        free(consumer);
    }
    return NULL;
}

bool consumer_close(struct consumer *consumer, int timeout_ms)
{
    return consumer == NULL || handle_call(consumer_end, consumer, timeout_ms);
}

static void consumer_tell_rebalance(struct consumer *consumer, struct consumer_event *ret_event)
{
    size_t count = (size_t)consumer->pending_partitions->cnt;
    consumer->told = memory_resized(consumer->told, count * sizeof(int32_t));
    for (size_t i = 0; i < count; i++) {
        consumer->told[i] = consumer->pending_partitions->elems[i].partition;
        if (consumer->pending == CONSUMER_LOST) {
            consumer_drop_queue(consumer, consumer->told[i]);
        }
    }
    if (consumer->pending == CONSUMER_ASSIGNED) {
        consumer->failure.action = ERROR_NONE; /* partitions also go because of what is failing */
    }
    ret_event->kind = consumer->pending;
    ret_event->partitions = consumer->told;
    ret_event->partition_count = count;
    consumer->pending = CONSUMER_NOTHING;
}

static void consumer_tell(struct consumer *consumer, rd_kafka_message_t *message, struct consumer_event *ret_event)
{
    switch (message->err) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        ret_event->kind = CONSUMER_MESSAGE;
        record_from_message(message, &ret_event->record);
        break;
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        ret_event->kind = CONSUMER_END;
        ret_event->offset = message->offset;
        break;
    default:
        ret_event->kind = CONSUMER_FAILED;
        handle_error(&ret_event->err, message->err, rd_kafka_message_errstr(message));
        ret_event->is_said_again =
            consumer->failure.action != ERROR_NONE && strcmp(consumer->failure.text, ret_event->err.text) == 0;
        consumer->failure = ret_event->err;
        consumer->failed_partition = message->rkt != NULL ? message->partition : -1;
        consumer->failed_at_ms = clock_monotonic_ms();
        break;
    }
    rd_kafka_message_destroy(message);
}

/* librdkafka tells when reading begins to fail, and not that it is over: an empty partition stays silent. So the
 * group's next agreement, or an answer from the partition, has to say it. */
static void consumer_review_failure(struct consumer *consumer)
{
    int64_t now_ms = clock_monotonic_ms();
    if (consumer->failure.action == ERROR_NONE || now_ms - consumer->failed_at_ms < REVIEW_FAILURE_MS) {
        return;
    }
    int64_t low;
    int64_t high;
    bool is_over = consumer->failed_partition < 0
                       ? consumer->member_at_ms > consumer->failed_at_ms
                       : rd_kafka_query_watermark_offsets(consumer->handle, consumer->topic, consumer->failed_partition,
                                                          &low, &high, REVIEW_TIMEOUT_MS) == RD_KAFKA_RESP_ERR_NO_ERROR;
    if (is_over) {
        consumer->failure.action = ERROR_NONE;
    } else if (consumer->failed_partition >= 0) {
        consumer->failed_at_ms = now_ms;
    }
}

void consumer_poll(struct consumer *consumer, struct consumer_event *ret_event)
{
    *ret_event = (struct consumer_event){.kind = CONSUMER_NOTHING};
    consumer_review_failure(consumer);
    if (consumer->pending == CONSUMER_NOTHING) {
        rd_kafka_message_t *failure = rd_kafka_consumer_poll(consumer->handle, 0);
        if (failure != NULL) {
            /* A rebalance that came with the same call is told by the next one. */
            consumer_tell(consumer, failure, ret_event);
            return;
        }
    }
    if (consumer->pending != CONSUMER_NOTHING) {
        consumer_tell_rebalance(consumer, ret_event);
    }
}

void consumer_read(struct consumer *consumer, int32_t partition, struct consumer_event *ret_event)
{
    *ret_event = (struct consumer_event){.kind = CONSUMER_NOTHING};
    size_t position = (size_t)partition;
    if (position >= consumer->partition_queue_count || consumer->partition_queues[position] == NULL) {
        return;
    }
    rd_kafka_message_t *message = rd_kafka_consume_queue(consumer->partition_queues[position], 0);
    if (message != NULL) {
        consumer_tell(consumer, message, ret_event);
    }
}

void consumer_release(struct consumer *consumer)
{
    if (consumer->revoked == NULL) {
        return;
    }
    for (int i = 0; i < consumer->revoked->cnt; i++) {
        consumer_drop_queue(consumer, consumer->revoked->elems[i].partition);
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

bool consumer_begin(struct consumer *consumer, int32_t partition, int64_t offset, int timeout_ms, struct error *err)
{
    rd_kafka_topic_partition_list_t *list = partition_list(consumer, partition);
    list->elems[0].offset = offset >= 0 ? offset : RD_KAFKA_OFFSET_BEGINNING;
    rd_kafka_error_t *failure = rd_kafka_seek_partitions(consumer->handle, list, timeout_ms);
    rd_kafka_resp_err_t code = failure != NULL ? rd_kafka_error_code(failure) : list->elems[0].err;
    if (failure != NULL) {
        rd_kafka_error_destroy(failure);
    }
    rd_kafka_topic_partition_list_destroy(list);
    return code == RD_KAFKA_RESP_ERR_NO_ERROR || handle_error(err, code, "beginning to read");
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

int64_t consumer_member_at_ms(const struct consumer *consumer)
{
    return consumer->member_at_ms;
}

int64_t consumer_end_offset(const struct consumer *consumer, int32_t partition)
{
    int64_t low;
    int64_t high = -1;
    bool is_known = rd_kafka_get_watermark_offsets(consumer->handle, consumer->topic, partition, &low, &high) ==
                    RD_KAFKA_RESP_ERR_NO_ERROR;
    return is_known && high >= 0 ? high : -1;
}

const struct error *consumer_failure(const struct consumer *consumer)
{
    return &consumer->failure;
}

struct rd_kafka_s *consumer_handle(const struct consumer *consumer)
{
    return consumer->handle;
}

const char *consumer_topic(const struct consumer *consumer)
{
    return consumer->topic;
}
