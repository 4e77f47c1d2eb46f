/*
 * One look at a repository: `refs` read to its end, the host's refs, and what differs.
 */
#pragma once

#include "producer/api/repository.h"
#include "producer/poll/compare.h"
#include "producer/poll/snapshot.h"

/* How long the parts of a poll take, for a repository that is polled this often. */
struct look_times {
    int64_t confirm_ms; /* between the two looks */
    int64_t settle_ms;  /* how long a ref must have been left alone before it may lead back or be gone */
};
struct look_times look_times_for(int64_t poll_ms);

struct look;

/* What a look is made with; borrowed until it ends. */
struct look_tools {
    struct loop *loop;
    struct snapshot *snapshot;
    struct api *api;             /* NULL: by git, see the settings' url */
    struct listing_cache *cache; /* with api */
    const struct repository_settings *settings;
    const bool *is_seen; /* of each pattern, branches first */
};

/* How it ended; borrowed for the duration of the callback. */
struct look_end {
    struct compare_changes *changes; /* NULL: it failed, see err. The callee may take the content and leave it empty */
    struct error err;
    int64_t again_ms; /* not before; 0: nobody has said */
    size_t rows;
    size_t left_out;
    size_t requests;
    size_t unchanged; /* pages */
};

/* Answers from a later loop_dispatch, exactly once unless cancelled. Never NULL. */
struct look *look_start(const struct look_tools *tools, bool is_fresh,
                        void (*on_done)(void *context, struct look_end *end), void *context);
void look_cancel(struct look *look); /* NULL is fine */
