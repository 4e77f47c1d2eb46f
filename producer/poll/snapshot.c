#include "producer/poll/snapshot.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/index.h"
#include "workers/common/base/log.h"
#include "workers/common/kafka/table.h"

#include <stdlib.h>
#include <sys/eventfd.h>

enum {
    ASK_TIMEOUT_MS = 300,      /* blocks the loop, so it is short */
    ASK_AGAIN_AFTER_MS = 2000, /* brokers that did not answer are left alone for so long */
    READ_INTERVAL_MS = 20,
    READ_TIMEOUT_MS = 15 * 1000,
};

struct slot {
    struct ref_state *state;
    int64_t changed_ms; /* when we saw it change */
};

struct snapshot_wait {
    struct snapshot *snapshot;
    struct snapshot_wait *next;
    uint64_t number; /* in the order in which they began */
    int64_t deadline_ms;
    struct error err; /* set: it ends with it */
    void (*on_ready)(void *context, const struct error *err);
    void *context;
};

struct snapshot {
    struct loop *loop;
    struct tables *tables;
    int wake_fd;
    struct index repositories; /* name -> struct index, ref -> struct slot */
    struct snapshot_wait *waits;
    uint64_t wait_count; /* that ever began */
    struct loop_timer *timer;
    int64_t unasked_until_ms;
};

static void slot_free(void *value)
{
    struct slot *slot = value;
    ref_state_free(slot->state);
    free(slot);
}

static void refs_free(void *value)
{
    struct index *refs = value;
    index_clear(refs, slot_free);
    free(refs);
}

static bool is_same_place(const struct ref_state *a, const struct ref_state *b)
{
    bool has_same_commit =
        a->commit == NULL || b->commit == NULL ? a->commit == b->commit : strcmp(a->commit, b->commit) == 0;
    return has_same_commit && a->generation == b->generation;
}

/* The key is the repository, a blank and the ref. */
static void ref_apply(void *context, struct slice key, struct slice value)
{
    struct snapshot *snapshot = context;
    const char *blank = key.len > 0 ? memchr(key.ptr, ' ', key.len) : NULL;
    size_t length = blank != NULL ? (size_t)(blank - key.ptr) : 0;
    struct index *refs = index_get(&snapshot->repositories, slice_from(key.ptr, length));
    if (refs == NULL) {
        return;
    }
    struct slice ref = slice_from(blank + 1, key.len - length - 1);
    struct ref_state *state = NULL;
    struct error err;
    if (value.ptr != NULL && !ref_state_parse(value, &state, &err)) {
        log_event(LOG_WARNING, "unreadable ref state, the one before it stays", "reason", err.text, NULL);
        return;
    }
    struct slot *slot = state != NULL ? memory_zeroed(1, sizeof(*slot)) : NULL;
    struct slot *old = state != NULL ? index_put(refs, ref, slot) : index_remove(refs, ref);
    if (slot != NULL) {
        bool is_unmoved = old != NULL && is_same_place(old->state, state);
        *slot = (struct slot){state, is_unmoved ? old->changed_ms : clock_monotonic_ms()};
    }
    if (old != NULL) {
        slot_free(old);
    }
}

static void waits_end(struct snapshot *snapshot, bool is_caught_up);

static void snapshot_turn(struct snapshot *snapshot)
{
    waits_end(snapshot, tables_caught_up(snapshot->tables));
}

static void snapshot_due(void *context)
{
    struct snapshot *snapshot = context;
    snapshot->timer = NULL;
    snapshot_turn(snapshot);
    if (snapshot->waits != NULL && snapshot->timer == NULL) {
        snapshot->timer = loop_after(snapshot->loop, READ_INTERVAL_MS, snapshot_due, snapshot);
    }
}

static void snapshot_woken(void *context)
{
    struct snapshot *snapshot = context;
    uint64_t count;
    (void)!read(snapshot->wake_fd, &count, sizeof(count));
    snapshot_turn(snapshot);
}

static void unlink_wait(struct snapshot_wait *wait)
{
    struct snapshot_wait **at = &wait->snapshot->waits;
    while (*at != wait) {
        at = &(*at)->next;
    }
    *at = wait->next;
}

/* One of those begun before `until` that may end, or NULL. */
static struct snapshot_wait *wait_ended(const struct snapshot *snapshot, uint64_t until, bool is_caught_up)
{
    struct snapshot_wait *wait = snapshot->waits;
    int64_t now_ms = clock_monotonic_ms();
    // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): unlinked before it is freed
    while (wait != NULL &&
           // NOLINTNEXTLINE(clang-analyzer-unix.Malloc)
           (wait->number >= until || (!is_caught_up && wait->err.action == ERROR_NONE && now_ms < wait->deadline_ms))) {
        wait = wait->next;
    }
    return wait;
}

/* Callbacks may add and cancel waits, so the list is looked through anew each time. Who is added meanwhile has asked
 * the brokers for a later end. */
static void waits_end(struct snapshot *snapshot, bool is_caught_up)
{
    uint64_t until = snapshot->wait_count;
    for (struct snapshot_wait *wait; (wait = wait_ended(snapshot, until, is_caught_up)) != NULL;) {
        unlink_wait(wait);
        if (wait->err.action == ERROR_NONE && !is_caught_up) {
            const struct error *reason = tables_error(snapshot->tables);
            (void)error_set(&wait->err, ERROR_RETRY, "the table refs is not read to its end%s%.200s",
                            reason->action != ERROR_NONE ? ": " : "", reason->text);
        }
        wait->on_ready(wait->context, wait->err.action != ERROR_NONE ? &wait->err : NULL);
        free(wait);
    }
}

bool snapshot_open(const struct options *options, struct loop *loop, const char *const *names, size_t count,
                   struct snapshot **ret_snapshot, struct error *err)
{
    struct snapshot *snapshot = memory_zeroed(1, sizeof(*snapshot));
    snapshot->loop = loop;
    snapshot->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    for (size_t i = 0; i < count; i++) {
        (void)index_put(&snapshot->repositories, slice_of(names[i]), memory_zeroed(1, sizeof(struct index)));
    }
    struct table_reader reader = {"refs", ref_apply, snapshot};
    loop_watch(loop, snapshot->wake_fd, snapshot_woken, snapshot);
    if (!tables_open(options, &reader, 1, snapshot->wake_fd, &snapshot->tables, err)) {
        snapshot_close(snapshot);
        return false;
    }
    *ret_snapshot = snapshot;
    return true;
}

void snapshot_close(struct snapshot *snapshot)
{
    if (snapshot == NULL) {
        return;
    }
    while (snapshot->waits != NULL) {
        snapshot_cancel(snapshot->waits); // NOLINT(clang-analyzer-unix.Malloc): unlinked before it is freed
    }
    tables_close(snapshot->tables);
    loop_timer_cancel(snapshot->loop, snapshot->timer);
    loop_unwatch(snapshot->loop, snapshot->wake_fd);
    close(snapshot->wake_fd);
    index_clear(&snapshot->repositories, refs_free);
    free(snapshot);
}

struct snapshot_wait *snapshot_refresh(struct snapshot *snapshot,
                                       void (*on_ready)(void *context, const struct error *err), void *context)
{
    struct snapshot_wait *wait = memory_zeroed(1, sizeof(*wait));
    wait->snapshot = snapshot;
    wait->number = snapshot->wait_count++;
    wait->on_ready = on_ready;
    wait->context = context;
    int64_t now_ms = clock_monotonic_ms();
    wait->deadline_ms = now_ms + READ_TIMEOUT_MS;
    if (now_ms < snapshot->unasked_until_ms) {
        (void)error_set(&wait->err, ERROR_RETRY, "the brokers did not answer a moment ago");
    } else if (!tables_refresh(snapshot->tables, 0, 1, ASK_TIMEOUT_MS, &wait->err)) {
        snapshot->unasked_until_ms = clock_monotonic_ms() + ASK_AGAIN_AFTER_MS;
    }
    wait->next = snapshot->waits;
    snapshot->waits = wait;
    if (snapshot->timer == NULL) {
        snapshot->timer = loop_after(snapshot->loop, 0, snapshot_due, snapshot);
    }
    return wait;
}

void snapshot_cancel(struct snapshot_wait *wait)
{
    if (wait != NULL) {
        unlink_wait(wait);
        free(wait);
    }
}

struct collection {
    struct compare_known *known;
    size_t count;
    int64_t now_ms;
};

static void slot_visit(const char *ref, void *value, void *context)
{
    (void)ref;
    const struct slot *slot = value;
    struct collection *collection = context;
    collection->known[collection->count++] = (struct compare_known){slot->state, collection->now_ms - slot->changed_ms};
}

size_t snapshot_known(const struct snapshot *snapshot, const char *name, struct compare_known **ret_known)
{
    const struct index *refs = index_get(&snapshot->repositories, slice_of(name));
    struct collection collection = {.now_ms = clock_monotonic_ms()};
    collection.known = memory_zeroed(refs->count + 1, sizeof(*collection.known));
    index_each(refs, slot_visit, &collection);
    *ret_known = collection.known;
    return collection.count;
}
