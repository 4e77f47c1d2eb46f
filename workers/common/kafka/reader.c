#include "workers/common/kafka/reader.h"

#include "workers/common/base/clock.h"
#include "workers/common/kafka/kafka_handle.h"

#include <stdlib.h>
#include <unistd.h>

enum { LEADER_POLL_MS = 50 };

struct partition_progress {
    int64_t position;
    int64_t end;
};

struct reader {
    rd_kafka_t *handle;
    char *topic;
    struct partition_progress *partitions;
    size_t partition_count;
    bool has_caught_up;
};

static int left_ms(int64_t deadline_ms)
{
    int64_t left = deadline_ms - clock_monotonic_ms();
    return left > 0 ? (int)left : 0;
}

/* A topic that has just been created, or a broker that has just been restarted, has no leader for a moment. True when
 * that moment has passed and the question should be asked again. */
static bool leader_was_awaited(rd_kafka_resp_err_t code, int64_t deadline_ms)
{
    switch (code) {
    case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION:
    case RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
        break;
    default:
        return false;
    }
    if (left_ms(deadline_ms) <= LEADER_POLL_MS) {
        return false;
    }
    usleep(1000 * LEADER_POLL_MS);
    return true;
}

static rd_kafka_resp_err_t reader_ask_partitions(struct reader *reader, int64_t deadline_ms)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t code = handle_metadata(reader->handle, reader->topic, left_ms(deadline_ms), &metadata);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
        return code;
    }
    code = metadata->topic_cnt > 0 ? metadata->topics[0].err : RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        reader->partition_count = (size_t)metadata->topics[0].partition_cnt;
        reader->partitions = memory_zeroed(reader->partition_count, sizeof(*reader->partitions));
    }
    rd_kafka_metadata_destroy(metadata);
    return code;
}

static bool reader_find_partitions(struct reader *reader, int64_t deadline_ms, struct error *err)
{
    rd_kafka_resp_err_t code;
    do {
        code = reader_ask_partitions(reader, deadline_ms);
    } while (leader_was_awaited(code, deadline_ms));
    return code == RD_KAFKA_RESP_ERR_NO_ERROR || handle_error(err, code, reader->topic);
}

static bool reader_find_end(struct reader *reader, size_t position, int64_t deadline_ms, struct error *err)
{
    rd_kafka_resp_err_t code;
    struct partition_progress *progress = &reader->partitions[position];
    do {
        code = rd_kafka_query_watermark_offsets(reader->handle, reader->topic, (int32_t)position, &progress->position,
                                                &progress->end, left_ms(deadline_ms));
    } while (leader_was_awaited(code, deadline_ms));
    return code == RD_KAFKA_RESP_ERR_NO_ERROR || handle_error(err, code, reader->topic);
}

/* Where to begin and where "caught up" is. The ends are those of committed messages: an open transaction is not
 * waited for. */
static bool reader_find_offsets(struct reader *reader, rd_kafka_topic_partition_list_t *starts, int64_t since_ms,
                                int64_t deadline_ms, struct error *err)
{
    for (size_t i = 0; i < reader->partition_count; i++) {
        if (!reader_find_end(reader, i, deadline_ms, err)) {
            return false;
        }
        rd_kafka_topic_partition_list_add(starts, reader->topic, (int32_t)i)->offset = since_ms;
    }
    if (since_ms > 0) {
        rd_kafka_resp_err_t code = rd_kafka_offsets_for_times(reader->handle, starts, left_ms(deadline_ms));
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
            return handle_error(err, code, reader->topic);
        }
    }
    for (int i = 0; i < starts->cnt; i++) {
        struct partition_progress *progress = &reader->partitions[i];
        if (since_ms > 0) {
            progress->position = starts->elems[i].offset >= 0 ? starts->elems[i].offset : progress->end;
        }
        starts->elems[i].offset = progress->position;
    }
    return true;
}

bool reader_open(const struct options *options, const char *topic, int64_t since_ms, int timeout_ms,
                 struct reader **ret_reader, struct error *err)
{
    AUTO(text) char *group = kafka_name(options, "reader"); /* required by librdkafka, never joined */
    const struct handle_property properties[] = {
        {"group.id", group},
        {"isolation.level", "read_committed"},
        {"enable.auto.commit", "false"},
        {"enable.partition.eof", "true"},
        {"auto.offset.reset", "earliest"},
        {"fetch.wait.max.ms", "50"},
        {"fetch.error.backoff.ms", "50"},
        {NULL, NULL},
    };
    int64_t deadline_ms = clock_monotonic_ms() + timeout_ms;
    AUTO(reader) struct reader *reader = memory_zeroed(1, sizeof(*reader));
    reader->topic = kafka_name(options, topic);
    if (!handle_open(options, RD_KAFKA_CONSUMER, properties, NULL, NULL, &reader->handle, err) ||
        !reader_find_partitions(reader, deadline_ms, err)) {
        return false;
    }
    rd_kafka_topic_partition_list_t *starts = rd_kafka_topic_partition_list_new((int)reader->partition_count);
    bool is_assigned = reader_find_offsets(reader, starts, since_ms, deadline_ms, err);
    if (is_assigned) {
        rd_kafka_resp_err_t code = rd_kafka_assign(reader->handle, starts);
        is_assigned = code == RD_KAFKA_RESP_ERR_NO_ERROR || handle_error(err, code, reader->topic);
    }
    rd_kafka_topic_partition_list_destroy(starts);
    if (!is_assigned) {
        return false;
    }
    rd_kafka_poll_set_consumer(reader->handle);
    *ret_reader = TAKE(reader);
    return true;
}

void reader_close(struct reader *reader)
{
    if (reader == NULL) {
        return;
    }
    handle_close(reader->handle, 2000);
    free(reader->partitions);
    free(reader->topic);
    free(reader);
}

static bool reader_is_at_end(const struct reader *reader)
{
    for (size_t i = 0; i < reader->partition_count; i++) {
        if (reader->partitions[i].position < reader->partitions[i].end) {
            return false;
        }
    }
    return true;
}

enum reader_outcome reader_next(struct reader *reader, int timeout_ms, struct record *ret_record, struct error *err)
{
    int64_t deadline_ms = clock_monotonic_ms() + timeout_ms;
    for (;;) {
        if (!reader->has_caught_up && reader_is_at_end(reader)) {
            reader->has_caught_up = true;
            return READER_CAUGHT_UP;
        }
        rd_kafka_message_t *message = rd_kafka_consumer_poll(reader->handle, left_ms(deadline_ms));
        if (message == NULL) {
            return READER_TIMED_OUT;
        }
        if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            reader->partitions[message->partition].position = message->offset + 1;
            record_from_message(message, ret_record);
            rd_kafka_message_destroy(message);
            return READER_MESSAGE;
        }
        if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
            reader->partitions[message->partition].position = message->offset;
        } else if (message->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART ||
                   message->err == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) {
            /* That it may not use its group does not matter: it never joins. */
            handle_error(err, message->err, reader->topic);
            rd_kafka_message_destroy(message);
            return READER_FAILED;
        }
        rd_kafka_message_destroy(message);
    }
}
