#include "workers/common/kafka/publisher.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/kafka/kafka_handle.h"

#include <stdlib.h>

/* How often a right to write that is missing is asked for again. */
enum { RENEW_PAUSE_MS = 2000 };

struct publisher {
    rd_kafka_t *handle;
    const struct options *options;
    int wake_fd;
    int timeout_ms;
    int64_t opened_at_ms; /* of the handle */
};

/* Travels with a message through librdkafka. */
struct delivery {
    publisher_stored *stored;
    void *context;
    struct publisher_place *place; /* NULL: nobody asks */
};

static void publisher_delivered(rd_kafka_t *handle, const rd_kafka_message_t *message, void *opaque)
{
    (void)opaque;
    struct delivery *delivery = message->_private;
    struct error err;
    bool is_stored = message->err == RD_KAFKA_RESP_ERR_NO_ERROR;
    if (!is_stored) {
        handle_error(&err, handle_cause(handle, message->err), "not stored");
    } else if (delivery->place != NULL) {
        *delivery->place = (struct publisher_place){message->partition, message->offset};
    }
    delivery->stored(delivery->context, is_stored ? NULL : &err);
    free(delivery);
}

static void publisher_prepare(rd_kafka_conf_t *conf, void *context)
{
    (void)context;
    rd_kafka_conf_set_dr_msg_cb(conf, publisher_delivered);
}

static void publisher_free(struct publisher *publisher)
{
    publisher_close(publisher);
}
DEFINE_AUTO(publisher, struct publisher *);

static bool publisher_open_handle(struct publisher *publisher, struct error *err)
{
    AUTO(text) char *timeout = text_format("%d", publisher->timeout_ms);
    AUTO(text) char *message_bytes = text_format("%d", KAFKA_MESSAGE_MAXIMUM_BYTES);
    const struct handle_property properties[] = {
        {"enable.idempotence", "true"},       {"acks", "all"},
        {"compression.codec", "zstd"},        {"linger.ms", "1"},
        {"retry.backoff.ms", "20"},           {"message.timeout.ms", timeout},
        {"message.max.bytes", message_bytes}, {NULL, NULL},
    };
    publisher->opened_at_ms = clock_monotonic_ms();
    if (!handle_open(publisher->options, RD_KAFKA_PRODUCER, properties, publisher_prepare, NULL, &publisher->handle,
                     err)) {
        return false;
    }
    if (publisher->wake_fd >= 0) {
        static const uint64_t one = 1;
        rd_kafka_queue_t *queue = rd_kafka_queue_get_main(publisher->handle);
        rd_kafka_queue_io_event_enable(queue, publisher->wake_fd, &one, sizeof(one));
        rd_kafka_queue_destroy(queue);
    }
    return true;
}

bool publisher_open(const struct options *options, int wake_fd, int timeout_ms, struct publisher **ret_publisher,
                    struct error *err)
{
    AUTO(publisher) struct publisher *publisher = memory_zeroed(1, sizeof(*publisher));
    publisher->options = options;
    publisher->wake_fd = wake_fd;
    publisher->timeout_ms = timeout_ms;
    if (!publisher_open_handle(publisher, err)) {
        return false;
    }
    *ret_publisher = TAKE(publisher);
    return true;
}

void publisher_close(struct publisher *publisher)
{
    if (publisher == NULL) {
        return;
    }
    if (publisher->handle != NULL) {
        (void)rd_kafka_purge(publisher->handle, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        (void)rd_kafka_flush(publisher->handle, 100);
        handle_close(publisher->handle, 2000);
    }
    free(publisher);
}

static bool publisher_produce(struct publisher *publisher, const struct output *output, const struct delivery *wanted,
                              struct error *err)
{
    struct delivery *delivery = memory_zeroed(1, sizeof(*delivery));
    *delivery = *wanted;
    if (!handle_produce(publisher->handle, publisher->options, output, delivery, err)) {
        free(delivery);
        return false;
    }
    return true;
}

bool publisher_send(struct publisher *publisher, const struct output *output, publisher_stored *stored, void *context,
                    struct error *err)
{
    const struct delivery delivery = {stored, context, NULL};
    return publisher_produce(publisher, output, &delivery, err);
}

/* A producer that may write nowhere is refused its id, and librdkafka takes that for the end: once all its messages
 * have been reported, another handle asks again. */
static void publisher_renew(struct publisher *publisher)
{
    struct error err;
    rd_kafka_t *handle = publisher->handle;
    if (clock_monotonic_ms() - publisher->opened_at_ms < RENEW_PAUSE_MS ||
        handle_cause(handle, RD_KAFKA_RESP_ERR_NO_ERROR) == RD_KAFKA_RESP_ERR_NO_ERROR ||
        rd_kafka_outq_len(handle) > 0) {
        return;
    }
    if (publisher_open_handle(publisher, &err)) {
        handle_close(handle, 2000);
    } else {
        publisher->handle = handle;
    }
}

void publisher_poll(struct publisher *publisher, int timeout_ms)
{
    (void)rd_kafka_poll(publisher->handle, timeout_ms);
    publisher_renew(publisher);
}

struct send_wait {
    bool is_ended;
    bool is_stored;
    struct error err;
};

static void send_wait_stored(void *context, const struct error *err)
{
    struct send_wait *wait = context;
    wait->is_ended = true;
    wait->is_stored = err == NULL;
    if (err != NULL) {
        wait->err = *err;
    }
}

bool publisher_send_wait(struct publisher *publisher, const struct output *output, struct publisher_place *ret_place,
                         struct error *err)
{
    struct send_wait wait = {0};
    const struct delivery delivery = {send_wait_stored, &wait, ret_place};
    if (!publisher_produce(publisher, output, &delivery, err)) {
        return false;
    }
    /* Bounded by the handle's own time-out: librdkafka reports every message once. */
    while (!wait.is_ended) {
        publisher_poll(publisher, 100);
    }
    if (!wait.is_stored && err != NULL) {
        *err = wait.err;
    }
    return wait.is_stored;
}
