/*
 * The safety valve: a worker that puts nearly everything aside has met a mistake that is not in the messages, such as a
 * producer of a newer version, and should stop rather than fill the dead letters. Each message put aside counts one up,
 * each one worked on counts one down; at the limit the valve closes, and stays closed until the process starts anew.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct valve {
    size_t limit; /* 0: never closes */
    size_t excess;
    bool is_closed;
};

static inline void valve_count(struct valve *valve, bool is_put_aside)
{
    if (is_put_aside) {
        valve->excess++;
    } else if (valve->excess > 0) {
        valve->excess--;
    }
    valve->is_closed = valve->is_closed || (valve->limit > 0 && valve->excess >= valve->limit);
}
