/*
 * What a poll has put on `events` already. It need not be told again until the ref has moved on, however long the
 * resolver takes to decide it; and what was told as baseline must not be told as news meanwhile.
 */
#pragma once

#include "producer/poll/compare.h"
#include "workers/common/base/index.h"

struct told {
    struct index changes; /* ref -> struct compare_change */
};

/* Takes the content of the change and leaves it empty. */
void told_add(struct told *told, struct compare_change *change);
void told_clear(struct told *told);

/* Removes from the changes what was told. */
void told_drop(const struct told *told, struct compare_changes *changes);
