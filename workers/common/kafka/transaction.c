#include "workers/common/kafka/transaction.h"

#include "workers/common/base/auto.h"
#include "workers/common/kafka/kafka_handle.h"

#include <stdlib.h>
#include <string.h>

enum {
    START_SLICE_MS = 50,
    SEND_SLICE_MS = 500,
    COMMIT_SLICE_MS = 1,
    ABORT_SLICE_MS = 20,
};

struct transaction {
    rd_kafka_t *handle;
    const struct options *options;
    enum transaction_state state;
    rd_kafka_topic_partition_list_t *offsets;
    struct error err;
};

static void transaction_free(struct transaction *transaction)
{
    transaction_close(transaction);
}
DEFINE_AUTO(transaction, struct transaction *);

bool transaction_open(const struct options *options, const char *transactional_id, struct transaction **ret_transaction,
                      struct error *err)
{
    AUTO(text) char *id = kafka_name(options, transactional_id);
    AUTO(text) char *timeout = text_format("%d", KAFKA_TRANSACTION_TIMEOUT_MS);
    AUTO(text) char *message_bytes = text_format("%d", KAFKA_MESSAGE_MAXIMUM_BYTES);
    const struct handle_property properties[] = {
        {"transactional.id", id},
        {"transaction.timeout.ms", timeout},
        /* zstd: the only codec that every broker of today takes from librdkafka 2.0.2. */
        {"compression.codec", "zstd"},
        {"linger.ms", "1"},
        {"message.max.bytes", message_bytes},
        /* A transaction right after another is told to come back later; that should be soon. */
        {"retry.backoff.ms", "5"},
        {"queue.buffering.max.messages", "500000"},
        {NULL, NULL},
    };
    AUTO(transaction) struct transaction *transaction = memory_zeroed(1, sizeof(*transaction));
    transaction->options = options;
    transaction->state = TRANSACTION_STARTING;
    transaction->offsets = rd_kafka_topic_partition_list_new(16);
    if (!handle_open(options, RD_KAFKA_PRODUCER, properties, NULL, NULL, &transaction->handle, err)) {
        return false;
    }
    *ret_transaction = TAKE(transaction);
    return true;
}

void transaction_close(struct transaction *transaction)
{
    if (transaction == NULL) {
        return;
    }
    if (transaction->handle != NULL) {
        (void)rd_kafka_purge(transaction->handle, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        handle_close(transaction->handle, 2000);
    }
    rd_kafka_topic_partition_list_destroy(transaction->offsets);
    free(transaction);
}

enum transaction_state transaction_state(const struct transaction *transaction)
{
    return transaction->state;
}

const struct error *transaction_error(const struct transaction *transaction)
{
    return &transaction->err;
}

bool transaction_is_busy(const struct transaction *transaction)
{
    return transaction->state == TRANSACTION_STARTING || transaction->state == TRANSACTION_SENDING ||
           transaction->state == TRANSACTION_COMMITTING || transaction->state == TRANSACTION_ABORTING;
}

/* What a failed step leads to: the same step again, an abort, or the end of this producer. Takes the failure. */
static enum transaction_state transaction_after(struct transaction *transaction, rd_kafka_error_t *failure,
                                                enum transaction_state succeeded)
{
    if (failure == NULL) {
        return succeeded;
    }
    enum transaction_state next = TRANSACTION_FENCED;
    if (!rd_kafka_error_is_fatal(failure) && rd_kafka_error_txn_requires_abort(failure)) {
        next = TRANSACTION_ABORTING;
    } else if (!rd_kafka_error_is_fatal(failure) && rd_kafka_error_is_retriable(failure)) {
        next = transaction->state;
    }
    if (next != transaction->state) {
        error_set(&transaction->err, ERROR_RETRY, "%s", rd_kafka_error_string(failure));
    }
    rd_kafka_error_destroy(failure);
    return next;
}

void transaction_begin(struct transaction *transaction)
{
    rd_kafka_topic_partition_list_destroy(transaction->offsets);
    transaction->offsets = rd_kafka_topic_partition_list_new(16);
    transaction->state =
        transaction_after(transaction, rd_kafka_begin_transaction(transaction->handle), TRANSACTION_OPEN);
}

bool transaction_produce(struct transaction *transaction, const struct output *output, struct error *err)
{
    return handle_produce(transaction->handle, transaction->options, output, NULL, err);
}

void transaction_offset(struct transaction *transaction, const struct consumer *consumer, int32_t partition,
                        int64_t offset, const char *metadata)
{
    rd_kafka_topic_partition_t *added =
        rd_kafka_topic_partition_list_add(transaction->offsets, consumer_topic(consumer), partition);
    added->offset = offset;
    if (metadata[0] != '\0') {
        /* librdkafka frees it with the list. */
        added->metadata = text_copy(metadata);
        added->metadata_size = strlen(metadata);
    }
}

void transaction_finish(struct transaction *transaction)
{
    if (transaction->state == TRANSACTION_OPEN) {
        transaction->state = transaction->offsets->cnt > 0 ? TRANSACTION_SENDING : TRANSACTION_COMMITTING;
    }
}

void transaction_abort(struct transaction *transaction)
{
    if (transaction->state == TRANSACTION_OPEN) {
        error_set(&transaction->err, ERROR_RETRY, "given up by the engine");
        transaction->state = TRANSACTION_ABORTING;
    }
}

static rd_kafka_error_t *transaction_send_offsets(struct transaction *transaction, struct consumer *consumer)
{
    /* Taken anew each time: it carries the generation of the group. */
    rd_kafka_consumer_group_metadata_t *group = rd_kafka_consumer_group_metadata(consumer_handle(consumer));
    rd_kafka_error_t *failure =
        rd_kafka_send_offsets_to_transaction(transaction->handle, transaction->offsets, group, SEND_SLICE_MS);
    rd_kafka_consumer_group_metadata_destroy(group);
    return failure;
}

enum transaction_state transaction_advance(struct transaction *transaction, struct consumer *consumer)
{
    /* Delivery reports carry nothing that the commit does not tell. */
    (void)rd_kafka_poll(transaction->handle, 0);
    switch (transaction->state) {
    case TRANSACTION_STARTING:
        transaction->state = transaction_after(
            transaction, rd_kafka_init_transactions(transaction->handle, START_SLICE_MS), TRANSACTION_IDLE);
        break;
    case TRANSACTION_SENDING:
        transaction->state =
            transaction_after(transaction, transaction_send_offsets(transaction, consumer), TRANSACTION_COMMITTING);
        break;
    case TRANSACTION_COMMITTING:
        transaction->state = transaction_after(
            transaction, rd_kafka_commit_transaction(transaction->handle, COMMIT_SLICE_MS), TRANSACTION_COMMITTED);
        break;
    case TRANSACTION_ABORTING:
        transaction->state = transaction_after(
            transaction, rd_kafka_abort_transaction(transaction->handle, ABORT_SLICE_MS), TRANSACTION_ABORTED);
        break;
    case TRANSACTION_IDLE:
    case TRANSACTION_OPEN:
    case TRANSACTION_COMMITTED:
    case TRANSACTION_ABORTED:
    case TRANSACTION_FENCED:
        break;
    }
    return transaction->state;
}
