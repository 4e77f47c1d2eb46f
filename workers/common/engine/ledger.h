/*
 * What has happened to the messages of one partition, in the order in which they were read: which are settled (their
 * outputs are visible) and how that is written into a commit. Pure, no I/O.
 *
 * A commit says two things: the offset before which everything is settled, and, as metadata, which messages beyond it
 * are settled too. The metadata is text, since librdkafka 2.0.2 garbles NUL bytes: "v1:" and a list of distances from
 * the offset, "v1:2,4-9". A range covers whatever lies between two settled neighbours, so that the gaps that
 * transaction markers and compaction leave cost nothing: no message will ever come from a gap.
 */
#pragma once

#include "workers/common/base/buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ledger_mark {
    LEDGER_OPEN,      /* waiting, running, or finished but not sent yet */
    LEDGER_CANDIDATE, /* finished: may be settled by the commit that is being planned */
    LEDGER_CHOSEN,    /* the planned commit settles it */
    LEDGER_SETTLED,
};

struct ledger_entry {
    int64_t offset;
    enum ledger_mark mark;
    void *task; /* the owner's; NULL once settled */
};

struct ledger {
    struct ledger_entry *entries; /* a ring */
    size_t capacity;
    size_t first;
    size_t count;
    int64_t end;       /* everything before this offset has been read; -1 before the first message */
    int64_t *restored; /* ranges [from, to] that an earlier commit's map named, as pairs */
    size_t restored_count;
};

void ledger_init(struct ledger *ledger);
void ledger_done(struct ledger *ledger);

/* Takes over what the partition's last commit said. False when the metadata cannot be read: then nothing beyond the
 * offset counts as settled. */
bool ledger_restore(struct ledger *ledger, int64_t committed_offset, const char *metadata);

/* A message was read; offsets only grow. Returns false when the restored map says that it is settled already: the
 * entry is added as such, and task is not kept. */
bool ledger_push(struct ledger *ledger, int64_t offset, void *task);

/* Everything before the offset has been read: markers at the end of a partition are not messages. */
void ledger_reach(struct ledger *ledger, int64_t offset);

/* The entry of an offset that was pushed and not yet forgotten, or NULL. Valid until the next push. */
struct ledger_entry *ledger_find(const struct ledger *ledger, int64_t offset);

/* By position, 0 is the oldest. */
struct ledger_entry *ledger_at(const struct ledger *ledger, size_t position);

/* The offset that may be committed now: the first message that is not settled, or the end. */
int64_t ledger_commit_point(const struct ledger *ledger);

/* Plans a commit: turns as many candidates into chosen ones as the metadata's maximum allows, at most most_chosen, the
 * oldest first. Returns the offset to commit and fills the metadata ("" when there is nothing beyond it).
 * *ret_left_out tells how many candidates must wait because the metadata is full. */
int64_t ledger_plan(struct ledger *ledger, size_t most_chosen, size_t metadata_maximum, struct buffer *metadata,
                    size_t *ret_left_out);

/* The last message that the planned map names, -1: none. What is finished before it closes a gap and needs no more
 * room, or hardly any. */
int64_t ledger_map_end(const struct ledger *ledger);

/* The planned commit took place: chosen entries are settled and the settled head is forgotten. */
void ledger_settle(struct ledger *ledger);

/* It did not: chosen entries are candidates again. */
void ledger_unplan(struct ledger *ledger);
