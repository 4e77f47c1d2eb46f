/*
 * The resolver's memory of one ref on `refs` (compacted, key: repository, blank, ref): where it points, how it came
 * there, and what was deployed last. Redelivered and reordered events are told apart by it (workers/resolver/order.h).
 */
#pragma once

#include "schemas/codec.h"

/* One event that was applied to the ref. */
struct ref_step {
    char *event;    /* event id */
    char *before;   /* absent: the ref did not exist, or nobody said */
    char *after;    /* absent: deleted */
    char *delivery; /* the host's id of the delivery, where there is one */
    bool late;      /* the ref had moved on already */
    bool polled;    /* found by a poll: the ref may have been elsewhere between before and after */
};

struct ref_state {
    struct envelope envelope;
    char *repository;
    char *ref;
    char *commit;         /* where it points; absent while deleted */
    int64_t committed_ms; /* when that commit was made, as the commit says; 0: not known */
    int64_t
        generation;   /* counts up when the ref is created again or comes back to a commit; part of the deployment id */
    bool waiting;     /* the commit was pushed, its build is not published yet */
    bool polled;      /* a poll has looked at it and at all others of its kind */
    bool baseline;    /* the commit was there when the poll first looked: it was not deployed */
    char *deployment; /* the last deployment of this ref */
    char *build;      /* the build it was of */
    struct groups steps; /* of struct ref_step, oldest first */
};

extern const struct codec ref_state_codec;

/* As message_parse, message_format and message_free. */
bool ref_state_parse(struct slice body, struct ref_state **ret_ref_state, struct error *err) MUST_CHECK;
void ref_state_format(const struct ref_state *ref_state, struct buffer *buffer);
void ref_state_free(struct ref_state *ref_state);
DEFINE_AUTO(ref_state, struct ref_state *);
