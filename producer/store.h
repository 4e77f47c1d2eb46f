/*
 * Where the events of a delivery go: to the brokers or, while those are away and the hook wants it, onto this
 * machine's disk, from where they follow in their order as soon as the brokers are back.
 *
 *     put --> sent --acknowledged--------------------> stored by the brokers
 *              |
 *              | time-out, or the spool is not empty
 *              v
 *          to the disk --synced--> on the disk --replayed, acknowledged--> the file is emptied
 *
 * As long as the spool holds anything, events that may go there go behind it, so that the order stays. What timed out
 * may have been stored all the same; everything downstream takes the same event once.
 */
#pragma once

#include "workers/common/base/options.h"
#include "workers/common/http/loop.h"
#include "workers/common/kafka/publisher.h"
#include "workers/common/kafka/record.h"

struct store;

enum store_place { STORE_NOWHERE, STORE_BROKERS, STORE_DISK };

/* Called once for each put; err is set with STORE_NOWHERE. */
typedef void store_done(void *context, enum store_place place, const struct error *err);

/* Reads producer.spool and producer.spool_maximum. wake_fd as for a publisher. */
bool store_open(const struct options *options, struct loop *loop, int wake_fd, struct store **ret_store,
                struct error *err) MUST_CHECK;
void store_close(struct store *store); /* what is still under way is done with STORE_NOWHERE; NULL is fine */

/* Takes the outputs (a list by their next), all events of one delivery. done comes later, from store_turn, within the
 * time-out of at most 4.5 seconds: git hosts wait 5 to 10 for an answer. */
void store_put(struct store *store, struct output *outputs, bool may_spool, store_done *done, void *context);

/* After each turn of the loop: hears what the brokers say, and writes to the disk what belongs there. */
void store_turn(struct store *store);

struct store_state {
    size_t waiting; /* puts that are not done */
    bool has_spool;
    int64_t spool_bytes;
    int64_t spool_maximum_bytes; /* 0 without a spool */
    int64_t away_since_ms;       /* clock_monotonic_ms; 0: the brokers are there, as far as is known */
    bool is_broken;              /* the publisher will never store anything again: a new process may */
    uint64_t replayed;           /* events that came from the disk to the brokers */
    uint64_t spooled;            /* events that went onto it */
};
void store_look(const struct store *store, struct store_state *ret_state);

/* For those whose events need no disk. */
struct publisher *store_publisher(struct store *store);
