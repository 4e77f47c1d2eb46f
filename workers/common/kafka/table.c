#include "workers/common/kafka/table.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/kafka/kafka_handle.h"

#include <stdlib.h>

enum { READ_SLICE_MS = 20 };

struct table {
    struct table_reader reader;
    char *topic;
    int64_t position; /* everything before this offset has been applied */
    int64_t end;      /* as of the last refresh */
    struct error err; /* the last one of reading, until something is read */
};

struct tables {
    rd_kafka_t *handle;
    /* Asks for ends: reading uncommitted, since the end must count what an open transaction may still commit. */
    rd_kafka_t *asker;
    rd_kafka_queue_t *queue;
    struct table tables[TABLES_MAXIMUM];
    size_t count;
};

static void tables_free(struct tables *tables)
{
    tables_close(tables);
}
DEFINE_AUTO(tables, struct tables *);

static bool tables_open_handles(const struct options *options, struct tables *tables, struct error *err)
{
    AUTO(text) char *group = kafka_name(options, "tables"); /* required by librdkafka, never joined */
    struct handle_property properties[] = {
        {"group.id", group},
        {"isolation.level", "read_committed"},
        {"enable.auto.commit", "false"},
        {"enable.auto.offset.store", "false"},
        {"enable.partition.eof", "true"},
        {"auto.offset.reset", "earliest"},
        {"fetch.wait.max.ms", "100"},
        {"fetch.error.backoff.ms", "50"},
        {NULL, NULL},
    };
    if (!handle_open(options, RD_KAFKA_CONSUMER, properties, NULL, NULL, &tables->handle, err)) {
        return false;
    }
    properties[1].value = "read_uncommitted";
    return handle_open(options, RD_KAFKA_CONSUMER, properties, NULL, NULL, &tables->asker, err);
}

bool tables_open(const struct options *options, const struct table_reader *readers, size_t count, int wake_fd,
                 struct tables **ret_tables, struct error *err)
{
    AUTO(tables) struct tables *tables = memory_zeroed(1, sizeof(*tables));
    if (!tables_open_handles(options, tables, err)) {
        return false;
    }
    rd_kafka_topic_partition_list_t *assignment = rd_kafka_topic_partition_list_new((int)count);
    for (size_t i = 0; i < count && i < TABLES_MAXIMUM; i++) {
        struct table *table = &tables->tables[tables->count++];
        table->reader = readers[i];
        table->topic = kafka_name(options, readers[i].topic);
        rd_kafka_topic_partition_list_add(assignment, table->topic, 0)->offset = RD_KAFKA_OFFSET_BEGINNING;
    }
    rd_kafka_poll_set_consumer(tables->handle);
    tables->queue = rd_kafka_queue_get_consumer(tables->handle);
    static const uint64_t one = 1;
    rd_kafka_queue_io_event_enable(tables->queue, wake_fd, &one, sizeof(one));
    rd_kafka_resp_err_t code = rd_kafka_assign(tables->handle, assignment);
    rd_kafka_topic_partition_list_destroy(assignment);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return handle_error(err, code, "tables");
    }
    *ret_tables = TAKE(tables);
    return true;
}

void tables_close(struct tables *tables)
{
    if (tables == NULL) {
        return;
    }
    if (tables->queue != NULL) {
        rd_kafka_queue_io_event_enable(tables->queue, -1, NULL, 0);
        rd_kafka_queue_destroy(tables->queue);
    }
    handle_close(tables->handle, 2000);
    handle_close(tables->asker, 2000);
    for (size_t i = 0; i < tables->count; i++) {
        free(tables->tables[i].topic);
    }
    free(tables);
}

bool tables_refresh(struct tables *tables, size_t first, size_t count, int timeout_ms, struct error *err)
{
    for (size_t i = first; i < first + count && i < tables->count; i++) {
        struct table *table = &tables->tables[i];
        int64_t low;
        int64_t high;
        rd_kafka_resp_err_t code =
            rd_kafka_query_watermark_offsets(tables->asker, table->topic, 0, &low, &high, timeout_ms);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
            return handle_error(err, code, table->topic);
        }
        table->end = high;
    }
    return true;
}

static void tables_take(struct tables *tables, const rd_kafka_message_t *message)
{
    const char *topic = rd_kafka_topic_name(message->rkt);
    for (size_t i = 0; i < tables->count; i++) {
        struct table *table = &tables->tables[i];
        if (strcmp(topic, table->topic) != 0) {
            continue;
        }
        if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
            table->position = message->offset;
            table->err.action = ERROR_NONE;
        } else if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            table->err.action = ERROR_NONE;
            table->reader.apply(table->reader.context, slice_from(message->key, message->key_len),
                                slice_from(message->payload, message->len));
            table->position = message->offset + 1;
        } else {
            handle_error(&table->err, message->err, table->topic);
        }
        return;
    }
}

static bool tables_are_at_end(const struct tables *tables)
{
    for (size_t i = 0; i < tables->count; i++) {
        if (tables->tables[i].position < tables->tables[i].end) {
            return false;
        }
    }
    return true;
}

const struct error *tables_error(const struct tables *tables)
{
    static const struct error none = {.action = ERROR_NONE};
    for (size_t i = 0; i < tables->count; i++) {
        if (tables->tables[i].err.action != ERROR_NONE) {
            return &tables->tables[i].err;
        }
    }
    return &none;
}

bool tables_caught_up(struct tables *tables)
{
    int64_t until_ms = clock_monotonic_ms() + READ_SLICE_MS;
    do {
        bool is_at_end = tables_are_at_end(tables);
        rd_kafka_message_t *message = rd_kafka_consumer_poll(tables->handle, is_at_end ? 0 : READ_SLICE_MS / 4);
        if (message == NULL && is_at_end) {
            return true;
        }
        if (message != NULL && message->rkt != NULL) {
            tables_take(tables, message);
        }
        if (message != NULL) {
            rd_kafka_message_destroy(message);
        }
    } while (clock_monotonic_ms() < until_ms);
    return tables_are_at_end(tables);
}
