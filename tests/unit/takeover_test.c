#include "workers/common/engine/takeover.h"

#include "tests/support/unit.h"

#include <string.h>

static struct takeover takeover_again(const struct takeover *takeover)
{
    struct buffer text;
    buffer_init(&text, TAKEOVER_TEXT_MAXIMUM);
    takeover_write(takeover, &text);
    assert_false(text.is_overflowed);
    struct takeover read = takeover_read(text.ptr);
    buffer_done(&text);
    return read;
}

static void what_is_written_is_read_again(void **state)
{
    (void)state;
    static const struct takeover cases[] = {
        {0}, {.is_held = true}, {.level = 2}, {.is_held = true, .level = 3, .alone = 2}, {.level = 4, .alone = 1000},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct takeover read = takeover_again(&cases[i]);
        assert_int_equal(read.is_held, cases[i].is_held);
        assert_int_equal(read.level, cases[i].level);
        assert_int_equal(read.alone, cases[i].alone);
    }
}

static void what_cannot_be_read_means_nothing_to_be_careful_about(void **state)
{
    (void)state;
    static const char *const texts[] = {NULL, "", ";", ";level=", ";level=x", ";hold", ";alone=-"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct takeover read = takeover_read(texts[i]);
        assert_false(read.is_held);
        assert_int_equal(read.level, 0);
        assert_int_equal(read.alone, 0);
    }
    assert_int_equal(takeover_read(";level=99999999999999999999").level, 4);
}

static void an_owner_that_let_go_makes_nobody_careful(void **state)
{
    (void)state;
    struct takeover takeover = {0};
    takeover_claim(&takeover);
    assert_true(takeover.is_held);
    assert_int_equal(takeover.level, 0);
    assert_true(takeover_window(&takeover) > 1000000);
}

static void each_owner_that_vanished_leaves_fewer_tasks_under_way_down_to_one_alone(void **state)
{
    (void)state;
    static const size_t windows[] = {256, 32, 4, 1, 1, 1};
    struct takeover takeover = {.is_held = true};
    for (size_t i = 0; i < sizeof(windows) / sizeof(windows[0]); i++) {
        takeover_claim(&takeover);
        assert_int_equal(takeover_window(&takeover), windows[i]);
        assert_int_equal(takeover_is_alone(&takeover), windows[i] == 1);
    }
}

static void care_goes_as_it_came_when_all_that_was_under_way_has_been_settled(void **state)
{
    (void)state;
    static const size_t under_way[] = {4, 32, 256, 16384};
    struct takeover takeover = {.is_held = true, .level = 4, .alone = 2};
    takeover_survive(&takeover, 0, false);
    assert_int_equal(takeover.alone, 2);
    takeover_survive(&takeover, 0, true);
    assert_int_equal(takeover.alone, 0);
    for (unsigned i = 0; i < 4; i++) {
        takeover_survive(&takeover, under_way[i] - 1, true);
        assert_int_equal(takeover.level, 4 - i);
        takeover_survive(&takeover, 1, true);
        assert_int_equal(takeover.level, 3 - i);
    }
    takeover_survive(&takeover, 100000, true);
    assert_int_equal(takeover.level, 0);
}

static void care_also_goes_with_time(void **state)
{
    (void)state;
    struct takeover takeover = {.is_held = true, .level = 2};
    takeover_pass(&takeover, 5000);
    takeover_pass(&takeover, 5000 + TAKEOVER_LEVEL_MS - 1);
    assert_int_equal(takeover.level, 2);
    takeover_pass(&takeover, 5000 + TAKEOVER_LEVEL_MS);
    assert_int_equal(takeover.level, 1);
    takeover_pass(&takeover, 5000 + 2 * TAKEOVER_LEVEL_MS - 1);
    assert_int_equal(takeover.level, 1);
    takeover_pass(&takeover, 5000 + 2 * TAKEOVER_LEVEL_MS);
    assert_int_equal(takeover.level, 0);
    takeover_pass(&takeover, 5000 + 9 * TAKEOVER_LEVEL_MS);
    assert_int_equal(takeover.level, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_again),
        cmocka_unit_test(what_cannot_be_read_means_nothing_to_be_careful_about),
        cmocka_unit_test(an_owner_that_let_go_makes_nobody_careful),
        cmocka_unit_test(each_owner_that_vanished_leaves_fewer_tasks_under_way_down_to_one_alone),
        cmocka_unit_test(care_goes_as_it_came_when_all_that_was_under_way_has_been_settled),
        cmocka_unit_test(care_also_goes_with_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
