#include "producer/poll/look.h"

#include "producer/poll/remote.h"
#include "workers/common/base/clock.h"

#include <stdlib.h>

enum { CONFIRM_MAXIMUM_MS = 10 * 1000, SETTLE_MAXIMUM_MS = 120 * 1000 };

struct look {
    const struct look_tools *tools;
    bool is_fresh;
    int64_t began_ms; /* to ask the host */
    struct snapshot_wait *wait;
    struct listing_walk *walk;
    struct remote *remote;
    void (*on_done)(void *context, struct look_end *end);
    void *context;
};

static int64_t at_most(int64_t value, int64_t maximum)
{
    return value < maximum ? value : maximum;
}

struct look_times look_times_for(int64_t poll_ms)
{
    return (struct look_times){
        .confirm_ms = at_most(poll_ms / 5, CONFIRM_MAXIMUM_MS),
        .settle_ms = at_most(poll_ms, SETTLE_MAXIMUM_MS),
    };
}

static void look_end(struct look *look, struct look_end *end)
{
    void (*on_done)(void *context, struct look_end *end) = look->on_done;
    void *context = look->context;
    free(look);
    on_done(context, end);
}

static void look_compare(const struct look *look, const struct listing *listing, struct compare_changes *ret_changes)
{
    const struct repository_settings *settings = look->tools->settings;
    struct compare_known *known;
    struct compare_input input = {
        .known_count = snapshot_known(look->tools->snapshot, settings->name, &known),
        .listing = listing,
        .branches = settings->branches,
        .branch_count = settings->branch_count,
        .tags = settings->tags,
        .tag_count = settings->tag_count,
        .is_seen = look->tools->is_seen,
        .look_ms = clock_monotonic_ms() - look->began_ms,
        .settle_ms = look_times_for(settings->poll_ms).settle_ms,
    };
    input.known = known;
    compare(&input, ret_changes);
    free(known);
}

static void look_listed(void *context, const struct listing *listing)
{
    struct look *look = context;
    struct compare_changes changes = {0};
    look->walk = NULL;
    look->remote = NULL;
    struct look_end end = {
        .err = listing->err,
        .again_ms = listing->again_ms,
        .rows = listing->row_count,
        .left_out = listing->left_out,
        .requests = listing->requests,
        .unchanged = listing->unchanged,
    };
    if (listing->is_whole) {
        look_compare(look, listing, &changes);
        end.changes = &changes;
    }
    look_end(look, &end);
    compare_clear(&changes);
}

static void look_ready(void *context, const struct error *err)
{
    struct look *look = context;
    const struct look_tools *tools = look->tools;
    look->wait = NULL;
    if (err != NULL) {
        struct look_end end = {.err = *err};
        look_end(look, &end);
        return;
    }
    look->began_ms = clock_monotonic_ms();
    if (tools->api != NULL) {
        look->walk = listing_start(tools->loop, tools->api, tools->cache, tools->settings->name, look->is_fresh,
                                   look_listed, look);
    } else {
        look->remote =
            remote_start(tools->loop, tools->settings->url, tools->settings->api.token_file, look_listed, look);
    }
}

struct look *look_start(const struct look_tools *tools, bool is_fresh,
                        void (*on_done)(void *context, struct look_end *end), void *context)
{
    struct look *look = memory_zeroed(1, sizeof(*look));
    look->tools = tools;
    look->is_fresh = is_fresh;
    look->on_done = on_done;
    look->context = context;
    look->wait = snapshot_refresh(tools->snapshot, look_ready, look);
    return look;
}

void look_cancel(struct look *look)
{
    if (look != NULL) {
        snapshot_cancel(look->wait);
        listing_cancel(look->walk);
        remote_cancel(look->remote);
        free(look);
    }
}
