/*
 * A member of a consumer group on one topic. Partitions come and go by the cooperative-sticky protocol; the owner is
 * told by events and decides itself when it lets a revoked partition go. Offsets are never committed here: that is
 * the transaction's work (transaction.h).
 *
 * Each partition has a queue of its own, so the owner holds one back by not reading it. Pausing a partition looks like
 * the way to do that; but librdkafka then throws away what it has fetched, and needs up to a second to fetch again.
 */
#pragma once

#include "workers/common/base/options.h"
#include "workers/common/kafka/record.h"

struct consumer;

enum consumer_event_kind {
    CONSUMER_NOTHING,
    CONSUMER_MESSAGE,  /* record: the caller frees it */
    CONSUMER_END,      /* offset: everything before it has been read */
    CONSUMER_ASSIGNED, /* partitions are ours from now on */
    CONSUMER_REVOKED,  /* the group wants them back: answer with consumer_release when they are settled */
    CONSUMER_LOST,     /* gone without asking: whatever is not committed belongs to somebody else. Already released */
    CONSUMER_FAILED,   /* err; ERROR_FATAL: this membership is over */
};

struct consumer_event {
    enum consumer_event_kind kind;
    struct record record;
    int64_t offset;
    const int32_t *partitions; /* valid until the next call */
    size_t partition_count;
    struct error err;
    bool is_said_again; /* CONSUMER_FAILED for the same reason as before: each partition has its own say */
};

struct consumer_settings {
    const char *group; /* short name */
    const char *topic; /* short name */
    /* Makes the member static: it gets its partitions back after a restart without a rebalance. NULL: dynamic. */
    const char *static_instance;
    int wake_fd; /* an eventfd that is written when there is something to poll */
};

bool consumer_open(const struct options *options, const struct consumer_settings *settings,
                   struct consumer **ret_consumer, struct error *err) MUST_CHECK;

/* Leaves the group; waits at most timeout_ms. False: librdkafka hangs, and the member may live until the process ends,
 * so the process should. NULL is fine. */
bool consumer_close(struct consumer *consumer, int timeout_ms);

/* What the group says; never blocks. */
void consumer_poll(struct consumer *consumer, struct consumer_event *ret_event);

/* The next message of an assigned partition, or its end; never blocks. wake_fd is written when there is one after
 * CONSUMER_NOTHING. */
void consumer_read(struct consumer *consumer, int32_t partition, struct consumer_event *ret_event);

/* Answers CONSUMER_REVOKED; until then no partition of this member delivers anything. */
void consumer_release(struct consumer *consumer);

/* Begins to read an assigned partition at its committed offset (-1: from the beginning); until then it gives nothing
 * that counts. Waits at most timeout_ms; to be tried again when it fails. */
bool consumer_begin(struct consumer *consumer, int32_t partition, int64_t offset, int timeout_ms,
                    struct error *err) MUST_CHECK;

/* The committed offset (-1: none) and its metadata ("" : none; the caller frees it) of a partition. Waits at most
 * timeout_ms, also for the end of a transaction that is about to commit it. */
bool consumer_committed(struct consumer *consumer, int32_t partition, int timeout_ms, int64_t *ret_offset,
                        char **ret_metadata, struct error *err) MUST_CHECK;

/* When (clock_monotonic_ms) the last request was sent with which the broker agreed that this process is a member: a
 * SyncGroup, or a heartbeat that was followed by another. The broker counts the session from a later moment, so a
 * session length after this one it may be over, and no earlier. May be set while a rebalance waits to be polled. */
int64_t consumer_member_at_ms(const struct consumer *consumer);

/* The end of an assigned partition as its last fetch told; -1: not known. Never blocks. */
int64_t consumer_end_offset(const struct consumer *consumer, int32_t partition);

/* Why nothing can be read at present, or the group not be joined; action ERROR_NONE when nothing is wrong. */
const struct error *consumer_failure(const struct consumer *consumer);

const char *consumer_topic(const struct consumer *consumer); /* full name */

/* For transaction.h: whose group membership goes with the offsets. */
struct rd_kafka_s;
struct rd_kafka_s *consumer_handle(const struct consumer *consumer);
