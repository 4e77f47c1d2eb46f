#include "workers/common/kafka/transaction.h"

#include "workers/common/base/auto.h"
#include "workers/common/kafka/kafka_handle.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    STEP_TIMEOUT_MS = 5000, /* after which the same step is tried again */
};

/* What the thread is asked to do. */
enum step { STEP_NONE, STEP_START, STEP_COMMIT, STEP_ABORT };

struct transaction {
    rd_kafka_t *handle;
    const struct options *options;
    /* The loop's own. */
    enum transaction_state state;
    rd_kafka_topic_partition_list_t *offsets;
    struct error err;
    /* Shared with the thread, under the lock. */
    pthread_mutex_t lock;
    pthread_cond_t asked;
    enum step step;
    enum transaction_state reached; /* how far the thread has got */
    struct error reached_err;
    struct error refused; /* what the brokers do not allow, until a transaction is committed */
    rd_kafka_topic_partition_list_t *sent_offsets;
    rd_kafka_consumer_group_metadata_t *group;
    int wake_fd;
    bool is_closing;
};

/* The last one to leave frees. */
static void transaction_destroy(struct transaction *transaction)
{
    if (transaction->handle != NULL) {
        (void)rd_kafka_purge(transaction->handle, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
        handle_close(transaction->handle, 2000);
    }
    if (transaction->offsets != NULL) {
        rd_kafka_topic_partition_list_destroy(transaction->offsets);
    }
    if (transaction->sent_offsets != NULL) {
        rd_kafka_topic_partition_list_destroy(transaction->sent_offsets);
    }
    if (transaction->group != NULL) {
        rd_kafka_consumer_group_metadata_destroy(transaction->group);
    }
    pthread_cond_destroy(&transaction->asked);
    pthread_mutex_destroy(&transaction->lock);
    free(transaction);
}

/* --- the thread --- */

static void step_tell(struct transaction *transaction, enum transaction_state reached)
{
    static const uint64_t one = 1;
    pthread_mutex_lock(&transaction->lock);
    transaction->reached = reached;
    if (!transaction->is_closing) {
        (void)!write(transaction->wake_fd, &one, sizeof(one));
    }
    pthread_mutex_unlock(&transaction->lock);
}

static bool step_is_closing(struct transaction *transaction)
{
    pthread_mutex_lock(&transaction->lock);
    bool is_closing = transaction->is_closing;
    pthread_mutex_unlock(&transaction->lock);
    return is_closing;
}

/* What a failed call leads to: the same call again, an abort, or the end of this producer. Takes the failure. */
static enum transaction_state step_after(struct transaction *transaction, rd_kafka_error_t *failure,
                                         enum transaction_state now, enum transaction_state succeeded)
{
    if (failure == NULL) {
        return succeeded;
    }
    enum transaction_state next = TRANSACTION_FENCED;
    if (!rd_kafka_error_is_fatal(failure) && rd_kafka_error_txn_requires_abort(failure)) {
        next = TRANSACTION_ABORTING;
    } else if (!rd_kafka_error_is_fatal(failure) && rd_kafka_error_is_retriable(failure)) {
        next = now;
    }
    if (next != now) {
        pthread_mutex_lock(&transaction->lock);
        rd_kafka_resp_err_t code = rd_kafka_error_code(failure);
        error_set(&transaction->reached_err, code == RD_KAFKA_RESP_ERR__FENCED ? ERROR_FATAL : ERROR_RETRY, "%s",
                  rd_kafka_error_string(failure));
        if (handle_is_denied(code)) {
            handle_error(&transaction->refused, code, "transactions");
        }
        pthread_mutex_unlock(&transaction->lock);
    }
    rd_kafka_error_destroy(failure);
    return next;
}

static rd_kafka_error_t *step_call(struct transaction *transaction, enum transaction_state now)
{
    switch (now) {
    case TRANSACTION_STARTING:
        return rd_kafka_init_transactions(transaction->handle, STEP_TIMEOUT_MS);
    case TRANSACTION_SENDING:
        return rd_kafka_send_offsets_to_transaction(transaction->handle, transaction->sent_offsets, transaction->group,
                                                    STEP_TIMEOUT_MS);
    case TRANSACTION_COMMITTING:
        return rd_kafka_commit_transaction(transaction->handle, STEP_TIMEOUT_MS);
    default:
        return rd_kafka_abort_transaction(transaction->handle, STEP_TIMEOUT_MS);
    }
}

/* From one state to a state that waits for the loop. */
static void step_run(struct transaction *transaction, enum transaction_state now)
{
    static const enum transaction_state next[] = {
        [TRANSACTION_STARTING] = TRANSACTION_IDLE,
        [TRANSACTION_SENDING] = TRANSACTION_COMMITTING,
        [TRANSACTION_COMMITTING] = TRANSACTION_COMMITTED,
        [TRANSACTION_ABORTING] = TRANSACTION_ABORTED,
    };
    while (now == TRANSACTION_STARTING || now == TRANSACTION_SENDING || now == TRANSACTION_COMMITTING ||
           now == TRANSACTION_ABORTING) {
        if (step_is_closing(transaction)) {
            return;
        }
        enum transaction_state after = step_after(transaction, step_call(transaction, now), now, next[now]);
        if (after != now) {
            step_tell(transaction, after);
        }
        now = after;
    }
}

static void *transaction_thread(void *context)
{
    struct transaction *transaction = context;
    pthread_mutex_lock(&transaction->lock);
    while (!transaction->is_closing) {
        if (transaction->step == STEP_NONE) {
            pthread_cond_wait(&transaction->asked, &transaction->lock);
            continue;
        }
        enum step step = transaction->step;
        enum transaction_state begin = step == STEP_START                  ? TRANSACTION_STARTING
                                       : step == STEP_ABORT                ? TRANSACTION_ABORTING
                                       : transaction->sent_offsets != NULL ? TRANSACTION_SENDING
                                                                           : TRANSACTION_COMMITTING;
        transaction->step = STEP_NONE;
        pthread_mutex_unlock(&transaction->lock);
        step_run(transaction, begin);
        pthread_mutex_lock(&transaction->lock);
    }
    pthread_mutex_unlock(&transaction->lock);
    transaction_destroy(transaction);
    return NULL;
}

static void step_ask(struct transaction *transaction, enum step step, enum transaction_state begin)
{
    pthread_mutex_lock(&transaction->lock);
    transaction->step = step;
    transaction->reached = begin;
    pthread_cond_signal(&transaction->asked);
    pthread_mutex_unlock(&transaction->lock);
    transaction->state = begin;
}

/* --- the loop's side --- */

/* An abort that comes of a missing right may say no more than that it must be, so whoever names the right is
 * remembered. On the loop's thread or on ours, which waits for deliveries while it commits. */
static void transaction_undelivered(rd_kafka_t *handle, const rd_kafka_message_t *message, void *opaque)
{
    struct transaction *transaction = opaque;
    (void)handle;
    if (handle_is_denied(message->err)) {
        pthread_mutex_lock(&transaction->lock);
        handle_error(&transaction->refused, message->err, "transactions");
        pthread_mutex_unlock(&transaction->lock);
    }
}

static void transaction_prepare(rd_kafka_conf_t *conf, void *context)
{
    rd_kafka_conf_set_opaque(conf, context);
    rd_kafka_conf_set_dr_msg_cb(conf, transaction_undelivered);
}

bool transaction_open(const struct options *options, const char *transactional_id, int wake_fd,
                      struct transaction **ret_transaction, struct error *err)
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
        {"delivery.report.only.error", "true"},
        {NULL, NULL},
    };
    struct transaction *transaction = memory_zeroed(1, sizeof(*transaction));
    pthread_t thread;
    transaction->options = options;
    transaction->wake_fd = wake_fd;
    transaction->offsets = rd_kafka_topic_partition_list_new(16);
    pthread_mutex_init(&transaction->lock, NULL);
    pthread_cond_init(&transaction->asked, NULL);
    if (!handle_open(options, RD_KAFKA_PRODUCER, properties, transaction_prepare, transaction, &transaction->handle,
                     err)) {
        transaction_destroy(transaction);
        return false;
    }
    if (pthread_create(&thread, NULL, transaction_thread, transaction) != 0) {
        transaction_destroy(transaction);
        return error_set(err, ERROR_FATAL, "no thread for the transactions");
    }
    pthread_detach(thread);
    step_ask(transaction, STEP_START, TRANSACTION_STARTING);
    *ret_transaction = transaction;
    return true;
}

void transaction_close(struct transaction *transaction)
{
    if (transaction == NULL) {
        return;
    }
    /* The thread frees it, now or when the call it is in has come back. */
    pthread_mutex_lock(&transaction->lock);
    transaction->is_closing = true;
    pthread_cond_signal(&transaction->asked);
    pthread_mutex_unlock(&transaction->lock);
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

bool transaction_has_news(struct transaction *transaction)
{
    pthread_mutex_lock(&transaction->lock);
    bool has_news = transaction_is_busy(transaction) && transaction->reached != transaction->state;
    pthread_mutex_unlock(&transaction->lock);
    return has_news;
}

void transaction_begin(struct transaction *transaction)
{
    rd_kafka_topic_partition_list_destroy(transaction->offsets);
    transaction->offsets = rd_kafka_topic_partition_list_new(16);
    transaction->state =
        step_after(transaction, rd_kafka_begin_transaction(transaction->handle), TRANSACTION_IDLE, TRANSACTION_OPEN);
    if (transaction->state != TRANSACTION_OPEN) {
        transaction->err = transaction->reached_err;
        transaction->state = TRANSACTION_FENCED;
    }
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

void transaction_finish(struct transaction *transaction, const struct consumer *consumer)
{
    if (transaction->state != TRANSACTION_OPEN) {
        return;
    }
    pthread_mutex_lock(&transaction->lock);
    if (transaction->sent_offsets != NULL) {
        rd_kafka_topic_partition_list_destroy(transaction->sent_offsets);
        transaction->sent_offsets = NULL;
    }
    if (transaction->group != NULL) {
        rd_kafka_consumer_group_metadata_destroy(transaction->group);
        transaction->group = NULL;
    }
    bool has_offsets = transaction->offsets->cnt > 0;
    if (has_offsets) {
        /* Taken anew each time: it carries the generation of the group. */
        transaction->group = rd_kafka_consumer_group_metadata(consumer_handle(consumer));
        transaction->sent_offsets = rd_kafka_topic_partition_list_copy(transaction->offsets);
    }
    pthread_mutex_unlock(&transaction->lock);
    step_ask(transaction, STEP_COMMIT, has_offsets ? TRANSACTION_SENDING : TRANSACTION_COMMITTING);
}

void transaction_abort(struct transaction *transaction, const struct error *reason)
{
    if (transaction->state == TRANSACTION_OPEN) {
        pthread_mutex_lock(&transaction->lock);
        error_set(&transaction->reached_err, ERROR_RETRY, "%s", reason->text);
        pthread_mutex_unlock(&transaction->lock);
        step_ask(transaction, STEP_ABORT, TRANSACTION_ABORTING);
    }
}

enum transaction_state transaction_advance(struct transaction *transaction)
{
    (void)rd_kafka_poll(transaction->handle, 0);
    pthread_mutex_lock(&transaction->lock);
    enum transaction_state reached = transaction->reached;
    if (reached == TRANSACTION_COMMITTED) {
        transaction->refused.action = ERROR_NONE;
    }
    bool is_refused = transaction->refused.action != ERROR_NONE && transaction->reached_err.action == ERROR_RETRY;
    transaction->err = is_refused ? transaction->refused : transaction->reached_err;
    pthread_mutex_unlock(&transaction->lock);
    if (!transaction_is_busy(transaction) || reached == transaction->state) {
        return transaction->state;
    }
    /* That the offsets were accepted is told even if the commit has ended meanwhile. */
    bool is_past_sending = transaction->state == TRANSACTION_SENDING && reached == TRANSACTION_COMMITTED;
    transaction->state = is_past_sending ? TRANSACTION_COMMITTING : reached;
    return transaction->state;
}
