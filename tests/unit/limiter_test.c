#include "workers/common/aws/limiter.h"

#include "tests/support/moved_clock.h"
#include "tests/support/unit.h"

#include <string.h>

enum { MANY = 1000, RATE = 100, BURST = 10, GAP_MS = 10 };

struct world {
    struct loop *loop;
    struct limiter *limiter;
    size_t turns;
    size_t order[MANY];
    int64_t waited_ms[MANY];
};

struct waiter {
    struct world *world;
    size_t number;
    struct limiter_wait *wait;
    struct waiter *cancels;
    bool asks_again;
    bool declines;
};

static bool on_turn(void *context, int64_t waited_ms)
{
    struct waiter *waiter = context;
    struct world *world = waiter->world;
    world->waited_ms[world->turns] = waited_ms;
    world->order[world->turns++] = waiter->number;
    waiter->wait = NULL;
    if (waiter->cancels != NULL) {
        limiter_wait_cancel(waiter->cancels->wait);
        waiter->cancels->wait = NULL;
    }
    if (waiter->asks_again) {
        waiter->asks_again = false;
        waiter->wait = limiter_wait(world->limiter, on_turn, waiter);
    }
    return !waiter->declines;
}

static void world_start(struct world *world, int64_t rate)
{
    memset(world, 0, sizeof(*world));
    moved_clock_stand();
    world->loop = loop_new(NULL);
    world->limiter = limiter_new(world->loop, rate);
}

static void world_stop(struct world *world)
{
    limiter_free(world->limiter);
    loop_free(world->loop);
    moved_clock_reset();
}

static void world_wait(struct world *world, struct waiter *waiters, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        waiters[i].world = world;
        waiters[i].number = i;
        waiters[i].wait = limiter_wait(world->limiter, on_turn, &waiters[i]);
    }
}

static void pass(struct world *world, int64_t duration_ms)
{
    moved_clock_by(duration_ms);
    loop_turn(world->loop, 0);
    loop_turn(world->loop, 0); /* a timer set meanwhile */
}

static void a_thousand_at_once_leave_evenly_and_in_their_order(void **state)
{
    (void)state;
    static struct waiter waiters[MANY];
    struct world world;
    memset(waiters, 0, sizeof(waiters));
    world_start(&world, RATE);
    world_wait(&world, waiters, MANY);
    assert_int_equal(world.turns, 0);
    pass(&world, 0);
    assert_int_equal(world.turns, BURST);
    for (size_t i = BURST + 1; i <= MANY; i++) {
        pass(&world, GAP_MS);
        assert_int_equal(world.turns, i);
    }
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(world.order[i], i);
    }
    assert_int_equal(world.waited_ms[0], 0);
    assert_int_equal(world.waited_ms[MANY - 1], (MANY - BURST) * GAP_MS);
    world_stop(&world);
}

static void after_any_pause_no_more_than_a_burst_leaves_at_once(void **state)
{
    (void)state;
    static const struct {
        int64_t rate;
        int64_t pause_ms;
        size_t leave;
    } cases[] = {
        {100, 3600000, 10}, {600, 3600000, 60}, {1, 3600000, 1}, {5, 86400000, 1}, {11, 1000, 1}, {100, 0, 10},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        static struct waiter waiters[MANY];
        struct world world;
        memset(waiters, 0, sizeof(waiters));
        world_start(&world, cases[i].rate);
        pass(&world, cases[i].pause_ms);
        world_wait(&world, waiters, MANY);
        pass(&world, 0);
        assert_int_equal(world.turns, cases[i].leave);
        world_stop(&world);
    }
}

/* However time is cut into pieces, the rate is kept over all of it. */
static void no_rhythm_of_turns_exceeds_or_wastes_the_rate(void **state)
{
    (void)state;
    static const int64_t steps_ms[] = {1, 3, 7, 33, 100};
    for (size_t i = 0; i < sizeof(steps_ms) / sizeof(steps_ms[0]); i++) {
        static struct waiter waiters[MANY];
        struct world world;
        int64_t passed_ms = 0;
        memset(waiters, 0, sizeof(waiters));
        world_start(&world, 333);
        world_wait(&world, waiters, MANY);
        pass(&world, 0);
        size_t burst = world.turns;
        assert_int_equal(burst, 33);
        while (passed_ms < 2100) {
            pass(&world, steps_ms[i]);
            passed_ms += steps_ms[i];
            assert_true(world.turns <= burst + (size_t)(passed_ms * 333 / 1000) + 1);
        }
        assert_true(world.turns >= (size_t)(passed_ms * 333 / 1000));
        world_stop(&world);
    }
}

static void what_has_grown_before_the_question_counts(void **state)
{
    (void)state;
    struct waiter waiters[2] = {{0}};
    struct world world;
    world_start(&world, 1);
    world_wait(&world, &waiters[0], 1);
    pass(&world, 0);
    pass(&world, 999);
    world_wait(&world, &waiters[1], 1);
    pass(&world, 0);
    assert_int_equal(world.turns, 1);
    pass(&world, 1);
    assert_int_equal(world.turns, 2);
    world_stop(&world);
}

static void who_cancels_gives_the_place_to_the_next(void **state)
{
    (void)state;
    static const size_t expected[] = {1, 3, 5, 7};
    struct waiter waiters[8] = {{0}};
    struct waiter last = {0};
    struct world world;
    world_start(&world, 1);
    world_wait(&world, waiters, 8);
    limiter_wait_cancel(waiters[0].wait);
    limiter_wait_cancel(waiters[2].wait);
    limiter_wait_cancel(waiters[6].wait);
    limiter_wait_cancel(NULL);
    waiters[3].cancels = &waiters[4];
    for (size_t i = 0; i < 4; i++) {
        pass(&world, i > 0 ? 1000 : 0);
        assert_int_equal(world.turns, i + 1);
        assert_int_equal(world.order[i], expected[i]);
    }
    /* The end of the queue is where it was, though the last one has gone. */
    world_wait(&world, &last, 1);
    limiter_wait_cancel(last.wait);
    world_wait(&world, waiters, 2);
    pass(&world, 1000);
    assert_int_equal(world.order[4], 0);
    world_stop(&world);
}

static void who_asks_again_from_a_turn_goes_behind_the_others(void **state)
{
    (void)state;
    static const size_t expected[] = {0, 1, 2, 0};
    struct waiter waiters[3] = {{.asks_again = true}};
    struct world world;
    world_start(&world, RATE);
    world_wait(&world, waiters, 3);
    pass(&world, 0);
    assert_int_equal(world.turns, 4);
    assert_memory_equal(world.order, expected, sizeof(expected));
    world_stop(&world);
}

static void a_turn_that_is_not_used_is_the_next_ones(void **state)
{
    (void)state;
    struct waiter waiters[5] = {{.declines = true}, {.declines = true}, {0}, {.declines = true}, {0}};
    struct world world;
    world_start(&world, 1);
    world_wait(&world, waiters, 5);
    pass(&world, 0);
    assert_int_equal(world.turns, 3);
    pass(&world, 1000);
    assert_int_equal(world.turns, 5);
    world_stop(&world);
}

static void a_limiter_that_goes_calls_nobody(void **state)
{
    (void)state;
    struct waiter waiters[3] = {{0}};
    struct world world;
    world_start(&world, RATE);
    world_wait(&world, waiters, 3);
    limiter_free(world.limiter);
    limiter_free(NULL);
    world.limiter = NULL;
    pass(&world, 1000);
    assert_int_equal(world.turns, 0);
    world_stop(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thousand_at_once_leave_evenly_and_in_their_order),
        cmocka_unit_test(after_any_pause_no_more_than_a_burst_leaves_at_once),
        cmocka_unit_test(no_rhythm_of_turns_exceeds_or_wastes_the_rate),
        cmocka_unit_test(what_has_grown_before_the_question_counts),
        cmocka_unit_test(who_cancels_gives_the_place_to_the_next),
        cmocka_unit_test(who_asks_again_from_a_turn_goes_behind_the_others),
        cmocka_unit_test(a_turn_that_is_not_used_is_the_next_ones),
        cmocka_unit_test(a_limiter_that_goes_calls_nobody),
    };
    return cmocka_run_group_tests_name("limiter", tests, NULL, NULL);
}
