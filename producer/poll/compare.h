/*
 * What a host says its refs are against what the fleet knows of them (`refs`): which events are missing. Pure.
 *
 * Nothing that is found here is certain yet: a webhook may be under way, and a replica of the host may lag. So the
 * comparison is made twice, some seconds apart, and only what both say counts. Where a stale answer would undo
 * something - a ref leading back to a commit that it has left, or being gone - the ref must also have been left alone
 * for a while, since a host may lag longer than those seconds.
 */
#pragma once

#include "producer/api/listing.h"
#include "schemas/event.h"
#include "schemas/ref_state.h"

/* What is known of the repository's refs. */
struct compare_known {
    const struct ref_state *state;
    int64_t age_ms; /* since its last change was seen */
};

struct compare_input {
    const struct compare_known *known; /* in any order */
    size_t known_count;
    const struct listing *listing; /* a whole one */

    const char *const *branches; /* patterns of what is looked at */
    size_t branch_count;
    const char *const *tags;
    size_t tag_count;
    const bool *is_seen; /* of each pattern, branches first: this process has compared by it before */

    int64_t look_ms;   /* since the host was begun to be asked: refs that have changed since are passed over */
    int64_t settle_ms; /* how long a ref must have been left alone before it may lead back or be gone */
};

struct compare_change {
    int kind; /* enum event_kind */
    char *ref;
    char *before; /* NULL: it does not exist, as far as is known; of a mark the same as after */
    char *after;  /* NULL: it is gone */
    int64_t committed_ms;
    int64_t generation; /* of the state that it was compared with */
    bool is_baseline;
};

struct compare_changes {
    struct groups items; /* of struct compare_change, by ref */
    size_t unsettled;    /* refs that would have changed, but were not left alone for long enough */
};

/* A ref that is neither known nor matched by a pattern that was looked at before is part of the baseline: it was there
 * before anybody looked. A pattern was looked at before when this process has, or when a known ref of it is marked as
 * polled.
 *
 * The mark is what is left of a first look when the process is gone, so it is set last: only when no baseline of the
 * pattern is missing from `refs` any more, its known refs are told once more, as baseline that leads nowhere. A process
 * killed in the middle of telling a baseline would otherwise leave the rest of it to be deployed as news. */
void compare(const struct compare_input *input, struct compare_changes *ret_changes);

/* Leaves only those of the changes that the earlier ones hold, too. */
void compare_confirm(const struct compare_changes *earlier, struct compare_changes *changes);

void compare_change_clear(struct compare_change *change);
void compare_clear(struct compare_changes *changes);

bool compare_is_same(const struct compare_change *a, const struct compare_change *b);
