#include "workers/common/http/loop.h"

#include "workers/common/base/clock.h"
#include "workers/common/base/error.h"

#include <assert.h>
#include <stdlib.h>

struct loop_timer {
    int64_t due_ms;
    uint64_t sequence; /* timers due at the same moment run in the order in which they were set */
    size_t position;   /* in the heap */
    void (*on_due)(void *context);
    void *context;
};

struct watch {
    int descriptor;
    bool is_ready;
    bool is_dead; /* unwatched; freed before the next wait, because a dispatch may be walking over it */
    void (*on_readable)(void *context);
    void *context;
};

struct loop {
    struct http *http;

    struct loop_timer **heap; /* the earliest first */
    size_t timer_count;
    size_t timer_capacity;
    uint64_t sequence;

    struct watch **watches;
    size_t watch_count;
    size_t watch_capacity;
    struct http_descriptor *descriptors; /* one per watch while waiting */

    int64_t busy_ms;
};

struct loop *loop_new(const struct http_settings *settings)
{
    struct loop *loop = memory_zeroed(1, sizeof(*loop));
    loop->http = http_new(settings);
    return loop;
}

void loop_free(struct loop *loop)
{
    if (loop == NULL) {
        return;
    }
    http_free(loop->http);
    for (size_t i = 0; i < loop->timer_count; i++) {
        free(loop->heap[i]);
    }
    for (size_t i = 0; i < loop->watch_count; i++) {
        free(loop->watches[i]);
    }
    free(loop->heap);
    free(loop->watches);
    free(loop->descriptors);
    free(loop);
}

struct http *loop_http(struct loop *loop)
{
    return loop->http;
}

void loop_watch(struct loop *loop, int descriptor, void (*on_readable)(void *context), void *context)
{
    if (loop->watch_count == loop->watch_capacity) {
        loop->watch_capacity = loop->watch_capacity > 0 ? loop->watch_capacity * 2 : 8;
        loop->watches = memory_resized(loop->watches, loop->watch_capacity * sizeof(struct watch *));
        loop->descriptors = memory_resized(loop->descriptors, loop->watch_capacity * sizeof(struct http_descriptor));
    }
    struct watch *watch = memory_zeroed(1, sizeof(*watch));
    *watch = (struct watch){.descriptor = descriptor, .on_readable = on_readable, .context = context};
    loop->watches[loop->watch_count++] = watch;
}

void loop_unwatch(struct loop *loop, int descriptor)
{
    for (size_t i = 0; i < loop->watch_count; i++) {
        if (loop->watches[i]->descriptor == descriptor) {
            loop->watches[i]->is_dead = true;
        }
    }
}

static void watches_sweep(struct loop *loop)
{
    size_t kept = 0;
    for (size_t i = 0; i < loop->watch_count; i++) {
        if (loop->watches[i]->is_dead) {
            free(loop->watches[i]);
        } else {
            loop->watches[kept++] = loop->watches[i];
        }
    }
    loop->watch_count = kept;
}

static bool timer_is_earlier(const struct loop_timer *a, const struct loop_timer *b)
{
    return a->due_ms != b->due_ms ? a->due_ms < b->due_ms : a->sequence < b->sequence;
}

static void heap_place(struct loop *loop, struct loop_timer *timer, size_t position)
{
    loop->heap[position] = timer;
    timer->position = position;
}

static void heap_sift_up(struct loop *loop, struct loop_timer *timer, size_t position)
{
    while (position > 0) {
        size_t parent = (position - 1) / 2;
        if (!timer_is_earlier(timer, loop->heap[parent])) {
            break;
        }
        heap_place(loop, loop->heap[parent], position);
        position = parent;
    }
    heap_place(loop, timer, position);
}

static void heap_sift_down(struct loop *loop, struct loop_timer *timer, size_t position)
{
    for (;;) {
        size_t child = 2 * position + 1;
        if (child >= loop->timer_count) {
            break;
        }
        if (child + 1 < loop->timer_count && timer_is_earlier(loop->heap[child + 1], loop->heap[child])) {
            child++;
        }
        if (!timer_is_earlier(loop->heap[child], timer)) {
            break;
        }
        heap_place(loop, loop->heap[child], position);
        position = child;
    }
    heap_place(loop, timer, position);
}

static void heap_remove(struct loop *loop, const struct loop_timer *timer)
{
    size_t position = timer->position;
    assert(position < loop->timer_count && loop->heap[position] == timer);
    struct loop_timer *last = loop->heap[--loop->timer_count];
    if (last == timer) {
        return;
    }
    if (position > 0 && timer_is_earlier(last, loop->heap[(position - 1) / 2])) {
        heap_sift_up(loop, last, position);
    } else {
        heap_sift_down(loop, last, position);
    }
}

struct loop_timer *loop_after(struct loop *loop, int64_t delay_ms, void (*on_due)(void *context), void *context)
{
    if (loop->timer_count == loop->timer_capacity) {
        loop->timer_capacity = loop->timer_capacity > 0 ? loop->timer_capacity * 2 : 64;
        loop->heap = memory_resized(loop->heap, loop->timer_capacity * sizeof(struct loop_timer *));
    }
    struct loop_timer *timer = memory_zeroed(1, sizeof(*timer));
    timer->due_ms = clock_monotonic_ms() + (delay_ms > 0 ? delay_ms : 0);
    timer->sequence = ++loop->sequence;
    timer->on_due = on_due;
    timer->context = context;
    heap_sift_up(loop, timer, loop->timer_count++);
    return timer;
}

void loop_timer_cancel(struct loop *loop, struct loop_timer *timer)
{
    if (timer != NULL) {
        heap_remove(loop, timer);
        free(timer);
    }
}

void loop_wait(struct loop *loop, int64_t at_most_ms)
{
    watches_sweep(loop);
    if (loop->timer_count > 0) {
        int64_t until_due_ms = loop->heap[0]->due_ms - clock_monotonic_ms();
        at_most_ms = until_due_ms < at_most_ms ? until_due_ms : at_most_ms;
    }
    for (size_t i = 0; i < loop->watch_count; i++) {
        loop->descriptors[i] = (struct http_descriptor){.descriptor = loop->watches[i]->descriptor};
    }
    http_wait(loop->http, loop->descriptors, loop->watch_count, at_most_ms > 0 ? at_most_ms : 0);
    for (size_t i = 0; i < loop->watch_count; i++) {
        loop->watches[i]->is_ready = loop->descriptors[i].is_ready;
    }
}

static void timers_run(struct loop *loop)
{
    int64_t now_ms = clock_monotonic_ms();
    uint64_t last_sequence = loop->sequence;
    while (loop->timer_count > 0) {
        struct loop_timer *timer = loop->heap[0];
        // NOLINTNEXTLINE(clang-analyzer-unix.Malloc): what was freed is no longer in the heap.
        if (timer->due_ms > now_ms || timer->sequence > last_sequence) {
            return;
        }
        heap_remove(loop, timer);
        void (*on_due)(void *context) = timer->on_due;
        void *context = timer->context;
        free(timer);
        on_due(context);
    }
}

void loop_dispatch(struct loop *loop)
{
    int64_t start_ms = clock_monotonic_ms();
    timers_run(loop);
    size_t watch_count = loop->watch_count;
    for (size_t i = 0; i < watch_count; i++) {
        struct watch *watch = loop->watches[i];
        if (watch->is_ready && !watch->is_dead) {
            watch->is_ready = false;
            watch->on_readable(watch->context);
        }
    }
    http_dispatch(loop->http);
    loop->busy_ms = clock_monotonic_ms() - start_ms;
}

void loop_turn(struct loop *loop, int64_t at_most_ms)
{
    loop_wait(loop, at_most_ms);
    loop_dispatch(loop);
}

int64_t loop_busy_ms(const struct loop *loop)
{
    return loop->busy_ms;
}
