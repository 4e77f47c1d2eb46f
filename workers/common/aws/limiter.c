#include "workers/common/aws/limiter.h"

#include "workers/common/base/clock.h"

#include <stdlib.h>

/* Tokens are counted in thousandths, so that a millisecond is worth calls_per_second of them. */
enum { TOKEN = 1000, BURST_MS = 100 };

struct limiter_wait {
    struct limiter *limiter;
    struct limiter_wait *next;
    struct limiter_wait **link; /* what points to this wait */
    bool (*on_turn)(void *context, int64_t waited_ms);
    void *context;
    int64_t asked_ms;
};

struct limiter {
    struct loop *loop;
    int64_t calls_per_second;
    int64_t tokens;
    int64_t filled_ms;
    struct limiter_wait *first;
    struct limiter_wait **end;
    struct loop_timer *timer;
};

static int64_t limiter_capacity(const struct limiter *limiter)
{
    int64_t burst = limiter->calls_per_second * BURST_MS;
    return burst > TOKEN ? burst : TOKEN;
}

struct limiter *limiter_new(struct loop *loop, int64_t calls_per_second)
{
    struct limiter *limiter = memory_zeroed(1, sizeof(*limiter));
    limiter->loop = loop;
    limiter->calls_per_second = calls_per_second;
    limiter->tokens = limiter_capacity(limiter);
    limiter->filled_ms = clock_monotonic_ms();
    limiter->end = &limiter->first;
    return limiter;
}

static void wait_unlink(struct limiter_wait *wait)
{
    *wait->link = wait->next;
    if (wait->next != NULL) {
        wait->next->link = wait->link;
    } else {
        wait->limiter->end = wait->link;
    }
}

void limiter_free(struct limiter *limiter)
{
    if (limiter == NULL) {
        return;
    }
    for (struct limiter_wait *wait = limiter->first; wait != NULL;) {
        struct limiter_wait *next = wait->next;
        free(wait);
        wait = next;
    }
    loop_timer_cancel(limiter->loop, limiter->timer);
    free(limiter);
}

static void limiter_fill(struct limiter *limiter)
{
    int64_t now_ms = clock_monotonic_ms();
    int64_t capacity = limiter_capacity(limiter);
    int64_t missing_ms = (capacity - limiter->tokens) / limiter->calls_per_second + 1;
    int64_t elapsed_ms = now_ms - limiter->filled_ms;
    limiter->tokens = elapsed_ms >= missing_ms ? capacity : limiter->tokens + elapsed_ms * limiter->calls_per_second;
    limiter->filled_ms = now_ms;
}

static void limiter_run(void *context);

static void limiter_run_later(struct limiter *limiter)
{
    if (limiter->first != NULL && limiter->timer == NULL) {
        limiter_fill(limiter);
        int64_t missing = TOKEN - limiter->tokens;
        int64_t delay_ms = missing > 0 ? (missing + limiter->calls_per_second - 1) / limiter->calls_per_second : 0;
        limiter->timer = loop_after(limiter->loop, delay_ms, limiter_run, limiter);
    }
}

static void limiter_run(void *context)
{
    struct limiter *limiter = context;
    limiter->timer = NULL;
    limiter_fill(limiter);
    while (limiter->first != NULL && limiter->tokens >= TOKEN) {
        struct limiter_wait *wait = limiter->first;
        wait_unlink(wait); // NOLINT(clang-analyzer-unix.Malloc): those before were unlinked before they were freed
        bool is_used = wait->on_turn(wait->context, clock_monotonic_ms() - wait->asked_ms);
        limiter->tokens -= is_used ? TOKEN : 0;
        free(wait);
    }
    limiter_run_later(limiter);
}

struct limiter_wait *limiter_wait(struct limiter *limiter, bool (*on_turn)(void *context, int64_t waited_ms),
                                  void *context)
{
    struct limiter_wait *wait = memory_zeroed(1, sizeof(*wait));
    *wait = (struct limiter_wait){
        .limiter = limiter,
        .link = limiter->end,
        .on_turn = on_turn,
        .context = context,
        .asked_ms = clock_monotonic_ms(),
    };
    *limiter->end = wait;
    limiter->end = &wait->next;
    limiter_run_later(limiter);
    return wait;
}

void limiter_wait_cancel(struct limiter_wait *wait)
{
    if (wait != NULL) {
        wait_unlink(wait);
        free(wait);
    }
}
