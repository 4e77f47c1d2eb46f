/*
 * How a message that kills its worker is found, wherever that worker ran. The commits of a partition say, behind the
 * map of finished work, whether an owner holds it. A new owner that finds it held knows that the one before has
 * vanished: crashed, killed, out of memory, cut off. So it is one level more careful, which means fewer tasks at once,
 * and on the last level one task, the oldest, alone in the whole process. What is begun alone is counted before it
 * begins; when owners have vanished over it often enough, it is the message, and it is put aside.
 *
 * A level is left for the one before when as many tasks have been settled as may be under way at that one: what killed
 * the owner was one of them. So it takes about four deaths to get to the message, and three more to be sure. The text
 * is
 * ";held", ";level=1", ";alone=2", each only when there is something to say. Pure, no I/O.
 */
#pragma once

#include "workers/common/base/buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TAKEOVER_LEVEL_MS =
        3600000, /* a level is also left after an hour without a death, for partitions with little to do */
    TAKEOVER_ALONE_MAXIMUM = 3, /* begun alone this often and never finished: it is the message */
    TAKEOVER_TEXT_MAXIMUM = 32, /* bytes */
};

struct takeover {
    bool is_held;
    unsigned level;   /* 0: nothing to be careful about */
    unsigned alone;   /* how often the oldest message has been begun alone */
    size_t survived;  /* tasks that have been settled at this level; not written */
    int64_t since_ms; /* when the level was first seen, 0: not yet; not written */
};

/* From the part of the metadata that begins with the first ';'; NULL: there is none. What cannot be read is ignored: it
 * costs care, nothing else. */
struct takeover takeover_read(const char *text);
void takeover_write(const struct takeover *takeover, struct buffer *text);

/* A new owner begins. */
void takeover_claim(struct takeover *takeover);

/* How many tasks of the partition may have begun without being settled. */
size_t takeover_window(const struct takeover *takeover);

/* Only the oldest message may run, and nothing beside it. */
bool takeover_is_alone(const struct takeover *takeover);

/* A moment of the monotonic clock has been reached; the first one begins the hour. */
void takeover_pass(struct takeover *takeover, int64_t now_ms);

/* Tasks were settled; has_moved: the oldest message was among them. */
void takeover_survive(struct takeover *takeover, size_t settled, bool has_moved);
