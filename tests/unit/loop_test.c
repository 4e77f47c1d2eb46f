#include "workers/common/http/loop.h"

#include "tests/support/http_script.h"
#include "tests/support/moved_clock.h"
#include "tests/support/unit.h"
#include "workers/common/base/clock.h"
#include "workers/common/http/signals.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

enum { TIMERS = 3000, DELAYS_MS = 400 };

/* What has been called, one letter each. */
static char called[64];

static void note(const char *letter)
{
    size_t length = strlen(called);
    if (length + 1 < sizeof(called)) {
        called[length] = letter[0];
        called[length + 1] = '\0';
    }
}

static char letter_a[] = "a", letter_b[] = "b", letter_c[] = "c";

static void on_due(void *context)
{
    note(context);
}

static int begin(void **state)
{
    (void)state;
    called[0] = '\0';
    moved_clock_reset();
    return 0;
}

static void timers_run_by_due_time_and_then_as_they_were_set(void **state)
{
    (void)state;
    struct loop *loop = loop_new(NULL);
    moved_clock_stand();
    (void)loop_after(loop, 20, on_due, letter_c);
    (void)loop_after(loop, 0, on_due, letter_a);
    (void)loop_after(loop, 0, on_due, letter_b);
    (void)loop_after(loop, -5, on_due, letter_a);
    loop_turn(loop, 0);
    assert_string_equal(called, "aba");
    moved_clock_by(19);
    loop_turn(loop, 0);
    assert_string_equal(called, "aba");
    moved_clock_by(1);
    loop_turn(loop, 0);
    assert_string_equal(called, "abac");
    loop_free(loop);
}

static void a_timer_is_never_early(void **state)
{
    (void)state;
    struct loop *loop = loop_new(NULL);
    int64_t start_ms = clock_monotonic_ms();
    (void)loop_after(loop, 30, on_due, letter_a);
    while (called[0] == '\0' && clock_monotonic_ms() < start_ms + 20000) {
        loop_turn(loop, 1000);
    }
    assert_string_equal(called, "a");
    assert_true(clock_monotonic_ms() - start_ms >= 30);
    loop_free(loop);
}

struct again {
    struct loop *loop;
    struct loop_timer *other;
};

static void set_again(void *context)
{
    struct again *again = context;
    note(letter_a);
    (void)loop_after(again->loop, 0, on_due, letter_b);
}

static void a_timer_set_in_a_callback_waits_for_the_next_turn(void **state)
{
    (void)state;
    struct loop *loop = loop_new(NULL);
    struct again again = {.loop = loop};
    (void)loop_after(loop, 0, set_again, &again);
    loop_turn(loop, 0);
    assert_string_equal(called, "a");
    loop_turn(loop, 0);
    assert_string_equal(called, "ab");
    loop_free(loop);
}

static void cancel_other(void *context)
{
    struct again *again = context;
    note(letter_a);
    loop_timer_cancel(again->loop, again->other);
}

static void a_cancelled_timer_does_not_run_even_when_it_was_due(void **state)
{
    (void)state;
    struct loop *loop = loop_new(NULL);
    struct again again = {.loop = loop};
    (void)loop_after(loop, 0, cancel_other, &again);
    again.other = loop_after(loop, 0, on_due, letter_b);
    (void)loop_after(loop, 0, on_due, letter_c);
    loop_timer_cancel(loop, NULL);
    loop_turn(loop, 0);
    loop_turn(loop, 0);
    assert_string_equal(called, "ac");
    loop_free(loop);
}

struct numbered {
    struct loop_timer *timer;
    int delay_ms;
    bool has_run;
};

static struct {
    int last_delay_ms;
    int count;
    bool is_out_of_order;
} run_order;

static void numbered_due(void *context)
{
    struct numbered *numbered = context;
    numbered->has_run = true;
    run_order.count++;
    run_order.is_out_of_order = run_order.is_out_of_order || numbered->delay_ms < run_order.last_delay_ms;
    run_order.last_delay_ms = numbered->delay_ms;
}

static void of_thousands_of_timers_those_left_run_in_order(void **state)
{
    (void)state;
    static struct numbered numbered[TIMERS];
    struct loop *loop = loop_new(NULL);
    unsigned seed = 3;
    int left = 0;
    memset(&run_order, 0, sizeof(run_order));
    moved_clock_stand();
    for (int i = 0; i < TIMERS; i++) {
        numbered[i] = (struct numbered){.delay_ms = rand_r(&seed) % DELAYS_MS};
        numbered[i].timer = loop_after(loop, numbered[i].delay_ms, numbered_due, &numbered[i]);
    }
    for (int i = 0; i < TIMERS; i++) {
        if (rand_r(&seed) % 2 == 0) {
            loop_timer_cancel(loop, numbered[i].timer);
            numbered[i].timer = NULL;
        } else {
            left++;
        }
    }
    /* Many are due in each turn. */
    for (int passed_ms = 0; passed_ms < DELAYS_MS; passed_ms += DELAYS_MS / 4) {
        moved_clock_by(DELAYS_MS / 4);
        loop_turn(loop, 0);
        assert_true(run_order.count > 0 && run_order.last_delay_ms <= passed_ms + DELAYS_MS / 4);
    }
    assert_int_equal(run_order.count, left);
    assert_false(run_order.is_out_of_order);
    for (int i = 0; i < TIMERS; i++) {
        assert_int_equal(numbered[i].has_run, numbered[i].timer != NULL);
    }
    loop_free(loop);
}

struct watched {
    struct loop *loop;
    int descriptor;
    int other;
    char *letter;
};

static void on_readable(void *context)
{
    const struct watched *watched = context;
    note(watched->letter);
}

static void on_readable_unwatch_both(void *context)
{
    const struct watched *watched = context;
    note(watched->letter);
    loop_unwatch(watched->loop, watched->descriptor);
    loop_unwatch(watched->loop, watched->other);
}

static int readable(unsigned value)
{
    int descriptor = eventfd(value, EFD_NONBLOCK | EFD_CLOEXEC);
    assert_true(descriptor >= 0);
    return descriptor;
}

static void a_readable_descriptor_calls_in_every_turn_until_it_is_read(void **state)
{
    (void)state;
    struct loop *loop = loop_new(NULL);
    struct watched watched = {loop, readable(0), -1, letter_a};
    loop_watch(loop, watched.descriptor, on_readable, &watched);
    loop_turn(loop, 0);
    assert_string_equal(called, "");
    uint64_t value = 1;
    assert_int_equal(write(watched.descriptor, &value, sizeof(value)), sizeof(value));
    loop_turn(loop, 1000);
    loop_turn(loop, 1000);
    assert_string_equal(called, "aa");
    assert_int_equal(read(watched.descriptor, &value, sizeof(value)), sizeof(value));
    loop_turn(loop, 0);
    assert_string_equal(called, "aa");
    loop_free(loop);
    close(watched.descriptor);
}

static void waiting_calls_nobody(void **state)
{
    (void)state;
    struct loop *loop = loop_new(NULL);
    struct watched watched = {loop, readable(1), -1, letter_a};
    loop_watch(loop, watched.descriptor, on_readable, &watched);
    (void)loop_after(loop, 0, on_due, letter_b);
    loop_wait(loop, 1000);
    assert_string_equal(called, "");
    loop_dispatch(loop);
    assert_string_equal(called, "ba");
    assert_true(loop_busy_ms(loop) >= 0);
    loop_free(loop);
    close(watched.descriptor);
}

static void what_one_callback_unwatches_is_not_called_any_more(void **state)
{
    (void)state;
    struct loop *loop = loop_new(NULL);
    struct watched first = {loop, readable(1), readable(1), letter_a};
    struct watched second = {loop, first.other, -1, letter_b};
    loop_watch(loop, first.descriptor, on_readable_unwatch_both, &first);
    loop_watch(loop, second.descriptor, on_readable, &second);
    loop_turn(loop, 1000);
    loop_turn(loop, 0);
    assert_string_equal(called, "a");
    loop_unwatch(loop, 12345);
    loop_watch(loop, second.descriptor, on_readable, &second);
    loop_turn(loop, 1000);
    assert_string_equal(called, "ab");
    loop_free(loop);
    close(first.descriptor);
    close(first.other);
}

static void a_loop_goes_with_all_that_waits_in_it(void **state)
{
    (void)state;
    struct loop *loop = loop_new(NULL);
    struct watched watched = {loop, readable(1), -1, letter_a};
    loop_watch(loop, watched.descriptor, on_readable, &watched);
    (void)loop_after(loop, 0, on_due, letter_b);
    (void)loop_after(loop, 1000000, on_due, letter_b);
    loop_free(loop);
    loop_free(NULL);
    assert_string_equal(called, "");
    close(watched.descriptor);
}

struct signalled {
    bool is_done;
    int signal;
};

static void on_signal(void *context, int number)
{
    struct signalled *signalled = context;
    signalled->signal = number;
    signalled->is_done = true;
}

static void signals_arrive_as_events_of_the_loop(void **state)
{
    (void)state;
    struct loop *loop = loop_new(NULL);
    struct signalled signalled = {0};
    struct signals *signals = signals_watch(loop, (const int[]){SIGHUP, 0}, on_signal, &signalled);
    assert_int_equal(raise(SIGPIPE), 0);
    assert_int_equal(raise(SIGTERM), 0);
    assert_false(signalled.is_done);
    loop_until(loop, &signalled.is_done);
    assert_int_equal(signalled.signal, SIGTERM);
    signalled.is_done = false;
    assert_int_equal(raise(SIGINT), 0);
    loop_until(loop, &signalled.is_done);
    assert_int_equal(signalled.signal, SIGINT);
    signalled.is_done = false;
    assert_int_equal(raise(SIGHUP), 0);
    loop_until(loop, &signalled.is_done);
    assert_int_equal(signalled.signal, SIGHUP);
    signals_unwatch(signals);
    signals_unwatch(NULL);
    loop_turn(loop, 0);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(timers_run_by_due_time_and_then_as_they_were_set, begin),
        cmocka_unit_test_setup(a_timer_is_never_early, begin),
        cmocka_unit_test_setup(a_timer_set_in_a_callback_waits_for_the_next_turn, begin),
        cmocka_unit_test_setup(a_cancelled_timer_does_not_run_even_when_it_was_due, begin),
        cmocka_unit_test_setup(of_thousands_of_timers_those_left_run_in_order, begin),
        cmocka_unit_test_setup(a_readable_descriptor_calls_in_every_turn_until_it_is_read, begin),
        cmocka_unit_test_setup(waiting_calls_nobody, begin),
        cmocka_unit_test_setup(what_one_callback_unwatches_is_not_called_any_more, begin),
        cmocka_unit_test_setup(a_loop_goes_with_all_that_waits_in_it, begin),
        cmocka_unit_test_setup(signals_arrive_as_events_of_the_loop, begin),
    };
    return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
