/*
 * The yardstick of the benchmarks: the ordinary loop over librdkafka, with the engine's settings and nothing around it.
 *     bare_loop fill BROKERS TOPIC PARTITIONS COUNT ORDER
 *                                                   writes "ORDER NUMBER" (trial_worker.c) to one partition after
 * another bare_loop copy BROKERS IN OUT GROUP SIZE      one output per input, SIZE inputs per transaction, until
 * SIGTERM bare_loop replay BROKERS FROM TO COUNT TIMES  writes the first COUNT messages of FROM to TO, a transaction
 * each time bare_loop count BROKERS TOPIC                 prints how many messages are visible, and how many different
 * orders
 */
#include <errno.h>
#include <librdkafka/rdkafka.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CALL_TIMEOUT_MS = 30000, POLL_MS = 100, SILENCE_MS = 30000, POLL_EVERY = 256, COUNT_MAXIMUM = 100000000 };

struct property {
    const char *name;
    const char *value;
};

static volatile sig_atomic_t is_stopped;

static void stop(int number)
{
    (void)number;
    is_stopped = 1;
}

static void give_up(const char *what, const char *reason)
{
    (void)fprintf(stderr, "bare_loop: %s: %s\n", what, reason);
    exit(1);
}

static void must(const char *what, rd_kafka_error_t *failure)
{
    if (failure != NULL) {
        give_up(what, rd_kafka_error_string(failure));
    }
}

static long number_of(const char *text)
{
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    if (errno != 0 || *end != '\0' || number < 1 || number > COUNT_MAXIMUM) {
        give_up("not a count", text);
    }
    return number;
}

static rd_kafka_t *open_handle(rd_kafka_type_t type, const char *brokers, const struct property *properties)
{
    char text[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    const struct property common[] = {{"bootstrap.servers", brokers}, {"socket.nagle.disable", "true"}, {NULL, NULL}};
    const struct property *const tables[] = {common, properties};
    for (size_t i = 0; i < 2; i++) {
        for (const struct property *property = tables[i]; property->name != NULL; property++) {
            if (rd_kafka_conf_set(conf, property->name, property->value, text, sizeof(text)) != RD_KAFKA_CONF_OK) {
                give_up(property->name, text);
            }
        }
    }
    rd_kafka_t *handle = rd_kafka_new(type, conf, text, sizeof(text));
    if (handle == NULL) {
        give_up("librdkafka", text);
    }
    return handle;
}

/* As transaction_open. */
static rd_kafka_t *open_transactional(const char *brokers, const char *id)
{
    const struct property properties[] = {{"transactional.id", id},
                                          {"transaction.timeout.ms", "10000"},
                                          {"compression.codec", "zstd"},
                                          {"linger.ms", "1"},
                                          {"message.max.bytes", "8388608"},
                                          {"retry.backoff.ms", "5"},
                                          {"queue.buffering.max.messages", "500000"},
                                          {NULL, NULL}};
    rd_kafka_t *producer = open_handle(RD_KAFKA_PRODUCER, brokers, properties);
    must("init", rd_kafka_init_transactions(producer, CALL_TIMEOUT_MS));
    return producer;
}

/* As consumer_open. */
static rd_kafka_t *open_consumer(const char *brokers, const char *group)
{
    const struct property properties[] = {{"group.id", group},
                                          {"partition.assignment.strategy", "cooperative-sticky"},
                                          {"isolation.level", "read_committed"},
                                          {"enable.auto.commit", "false"},
                                          {"enable.auto.offset.store", "false"},
                                          {"auto.offset.reset", "earliest"},
                                          {"fetch.wait.max.ms", "100"},
                                          {"fetch.error.backoff.ms", "50"},
                                          {"queued.min.messages", "30000"},
                                          {"queued.max.messages.kbytes", "4096"},
                                          {"max.partition.fetch.bytes", "131072"},
                                          {"enable.partition.eof", "true"},
                                          {NULL, NULL}};
    rd_kafka_t *consumer = open_handle(RD_KAFKA_CONSUMER, brokers, properties);
    rd_kafka_poll_set_consumer(consumer);
    return consumer;
}

/* Waits while the queue is full. */
static void produce(rd_kafka_t *producer, const char *topic, int32_t partition, void *key, size_t key_len, void *value,
                    size_t value_len, const rd_kafka_headers_t *headers)
{
    for (;;) {
        rd_kafka_headers_t *copy = headers != NULL ? rd_kafka_headers_copy(headers) : NULL;
        rd_kafka_resp_err_t code =
            rd_kafka_producev(producer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(partition),
                              RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(key, key_len),
                              RD_KAFKA_V_VALUE(value, value_len), RD_KAFKA_V_HEADERS(copy), RD_KAFKA_V_END);
        if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
            return;
        }
        if (copy != NULL) {
            rd_kafka_headers_destroy(copy);
        }
        if (code != RD_KAFKA_RESP_ERR__QUEUE_FULL) {
            give_up("produce", rd_kafka_err2str(code));
        }
        (void)rd_kafka_poll(producer, POLL_MS);
    }
}

static int fill(const char *brokers, const char *topic, long partitions, long count, const char *order)
{
    const struct property properties[] = {
        {"enable.idempotence", "true"}, {"compression.codec", "zstd"}, {"linger.ms", "5"}, {NULL, NULL}};
    rd_kafka_t *producer = open_handle(RD_KAFKA_PRODUCER, brokers, properties);
    for (long i = 0; i < count; i++) {
        char key[32];
        char value[64];
        size_t key_len = (size_t)snprintf(key, sizeof(key), "k%ld", i);
        size_t value_len = (size_t)snprintf(value, sizeof(value), "%s %ld", order, i);
        produce(producer, topic, (int32_t)(i % partitions), key, key_len, value, value_len, NULL);
        if (i % POLL_EVERY == 0) {
            (void)rd_kafka_poll(producer, 0);
        }
    }
    if (rd_kafka_flush(producer, CALL_TIMEOUT_MS) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        give_up("fill", "not everything was stored in time");
    }
    rd_kafka_destroy(producer);
    return 0;
}

static void copy_commit(rd_kafka_t *producer, rd_kafka_t *consumer, rd_kafka_topic_partition_list_t *offsets)
{
    rd_kafka_consumer_group_metadata_t *group = rd_kafka_consumer_group_metadata(consumer);
    must("offsets", rd_kafka_send_offsets_to_transaction(producer, offsets, group, CALL_TIMEOUT_MS));
    rd_kafka_consumer_group_metadata_destroy(group);
    must("commit", rd_kafka_commit_transaction(producer, CALL_TIMEOUT_MS));
}

static void copy_message(rd_kafka_t *producer, const char *out, const rd_kafka_message_t *message,
                         rd_kafka_topic_partition_list_t *offsets)
{
    char text[256];
    int length = snprintf(text, sizeof(text), "%.*s 1", (int)message->len, (const char *)message->payload);
    if (length < 0 || (size_t)length >= sizeof(text)) {
        give_up("copy", "a message that is too long");
    }
    produce(producer, out, RD_KAFKA_PARTITION_UA, message->key, message->key_len, text, (size_t)length, NULL);
    const char *in = rd_kafka_topic_name(message->rkt);
    rd_kafka_topic_partition_t *offset = rd_kafka_topic_partition_list_find(offsets, in, message->partition);
    if (offset == NULL) {
        offset = rd_kafka_topic_partition_list_add(offsets, in, message->partition);
    }
    offset->offset = message->offset + 1;
}

/* One transaction: as many messages as it may hold, or fewer when there are no more. */
static void copy_some(rd_kafka_t *producer, rd_kafka_t *consumer, const char *out, long size)
{
    long taken = 0;
    rd_kafka_topic_partition_list_t *offsets = rd_kafka_topic_partition_list_new(16);
    while (taken < size && !is_stopped) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer, POLL_MS);
        if (message == NULL && taken > 0) {
            break;
        }
        if (message != NULL && message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            if (taken++ == 0) {
                must("begin", rd_kafka_begin_transaction(producer));
            }
            copy_message(producer, out, message, offsets);
        }
        if (message != NULL) {
            rd_kafka_message_destroy(message);
        }
        if (taken % POLL_EVERY == 0) {
            (void)rd_kafka_poll(producer, 0);
        }
    }
    if (taken > 0) {
        copy_commit(producer, consumer, offsets);
    }
    rd_kafka_topic_partition_list_destroy(offsets);
}

static int copy(const char *brokers, const char *in, const char *out, const char *group, long size)
{
    rd_kafka_t *producer = open_transactional(brokers, group);
    rd_kafka_t *consumer = open_consumer(brokers, group);
    rd_kafka_topic_partition_list_t *subscription = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(subscription, in, RD_KAFKA_PARTITION_UA);
    if (rd_kafka_subscribe(consumer, subscription) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        give_up("subscribe", in);
    }
    rd_kafka_topic_partition_list_destroy(subscription);
    while (!is_stopped) {
        copy_some(producer, consumer, out, size);
    }
    rd_kafka_destroy(producer);
    (void)rd_kafka_consumer_close(consumer);
    rd_kafka_destroy(consumer);
    return 0;
}

/* Reads all partitions from their beginnings to their ends, or as many messages as asked for. Returns how many. */
static long read_topic(const char *brokers, const char *topic, long most, void (*take)(rd_kafka_message_t *message))
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_t *consumer = open_consumer(brokers, "bare-loop-reader");
    rd_kafka_topic_t *handle = rd_kafka_topic_new(consumer, topic, NULL);
    if (rd_kafka_metadata(consumer, 0, handle, &metadata, CALL_TIMEOUT_MS) != RD_KAFKA_RESP_ERR_NO_ERROR ||
        metadata->topics[0].partition_cnt < 1) {
        give_up("no partitions", topic);
    }
    int open_count = metadata->topics[0].partition_cnt;
    rd_kafka_topic_partition_list_t *all = rd_kafka_topic_partition_list_new(open_count);
    for (int i = 0; i < open_count; i++) {
        rd_kafka_topic_partition_list_add(all, topic, i)->offset = 0;
    }
    (void)rd_kafka_assign(consumer, all);
    long found = 0;
    while (open_count > 0 && found < most) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer, SILENCE_MS);
        if (message == NULL) {
            give_up("nothing more is read", topic);
        }
        if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
            open_count--;
        }
        if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
            found++;
            take(message);
        } else {
            rd_kafka_message_destroy(message);
        }
    }
    return found;
}

static rd_kafka_message_t **kept;
static long kept_count;

static void keep(rd_kafka_message_t *message)
{
    kept[kept_count++] = message;
}

static int replay(const char *brokers, const char *from, const char *to, long count, long times)
{
    kept = calloc((size_t)count, sizeof(*kept));
    if (kept == NULL || read_topic(brokers, from, count, keep) != count) {
        give_up("there are not as many messages", from);
    }
    rd_kafka_t *producer = open_transactional(brokers, to);
    for (long time = 0; time <= times; time++) {
        /* The first transaction of a process is slow: it is of one message, and whoever measures begins after it. */
        long until = time == 0 ? 1 : count;
        must("begin", rd_kafka_begin_transaction(producer));
        for (long i = 0; i < until; i++) {
            rd_kafka_headers_t *headers = NULL;
            (void)rd_kafka_message_headers(kept[i], &headers);
            produce(producer, to, RD_KAFKA_PARTITION_UA, kept[i]->key, kept[i]->key_len, kept[i]->payload, kept[i]->len,
                    headers);
            if (i % POLL_EVERY == 0) {
                (void)rd_kafka_poll(producer, 0);
            }
        }
        must("commit", rd_kafka_commit_transaction(producer, CALL_TIMEOUT_MS));
        (void)printf("committed\n");
        (void)fflush(stdout);
        /* Goes on when it is told to. */
        if (time < times && getchar() == EOF) {
            give_up("replay", "nobody asks for more");
        }
    }
    rd_kafka_destroy(producer);
    return 0;
}

static unsigned char *seen;
static long different;

/* The order's number is the fifth word. */
static void look_at(rd_kafka_message_t *message)
{
    char text[256];
    (void)snprintf(text, sizeof(text), "%.*s", (int)message->len, (const char *)message->payload);
    const char *word = text;
    for (int i = 0; i < 4 && word != NULL; i++) {
        word = strchr(word, ' ');
        word = word != NULL ? word + 1 : NULL;
    }
    if (word != NULL && *word >= '0' && *word <= '9') {
        unsigned long number = strtoul(word, NULL, 10);
        if (number < COUNT_MAXIMUM) {
            different += seen[number] == 0;
            seen[number] = 1;
        }
    }
    rd_kafka_message_destroy(message);
}

static int count_topic(const char *brokers, const char *topic)
{
    seen = calloc(COUNT_MAXIMUM, 1);
    if (seen == NULL) {
        give_up("count", "no memory");
    }
    long found = read_topic(brokers, topic, COUNT_MAXIMUM, look_at);
    (void)printf("%ld %ld\n", found, different);
    return 0;
}

int main(int argc, char **argv)
{
    const struct sigaction action = {.sa_handler = stop};
    sigaction(SIGTERM, &action, NULL);
    if (argc == 7 && strcmp(argv[1], "fill") == 0) {
        return fill(argv[2], argv[3], number_of(argv[4]), number_of(argv[5]), argv[6]);
    }
    if (argc == 7 && strcmp(argv[1], "copy") == 0) {
        return copy(argv[2], argv[3], argv[4], argv[5], number_of(argv[6]));
    }
    if (argc == 7 && strcmp(argv[1], "replay") == 0) {
        return replay(argv[2], argv[3], argv[4], number_of(argv[5]), number_of(argv[6]));
    }
    if (argc == 4 && strcmp(argv[1], "count") == 0) {
        return count_topic(argv[2], argv[3]);
    }
    (void)fprintf(stderr, "usage: see the head of bare_loop.c\n");
    return 2;
}
