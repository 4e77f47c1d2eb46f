#include "workers/common/base/buffer.h"

#include "tests/support/unit.h"

static void an_empty_buffer_is_an_empty_text(void **state)
{
    (void)state;
    AUTO(buffer) struct buffer buffer;
    buffer_init(&buffer, 10);
    assert_string_equal(buffer.ptr, "");
    assert_int_equal(buffer_slice(&buffer).len, 0);
    buffer_append(&buffer, slice_from(NULL, 0));
    buffer_append_format(&buffer, "%s", "");
    assert_string_equal(buffer.ptr, "");
    assert_false(buffer.is_overflowed);
}

static void everything_appended_is_there_in_order_and_ended_by_nul(void **state)
{
    (void)state;
    AUTO(buffer) struct buffer buffer;
    buffer_init(&buffer, 100);
    buffer_append_text(&buffer, "one ");
    buffer_append_char(&buffer, '2');
    buffer_append_format(&buffer, " %s-%d", "three", 4);
    buffer_append(&buffer, slice_from("five!!", 4));
    assert_string_equal(buffer.ptr, "one 2 three-4five");
    assert_int_equal(buffer.len, strlen("one 2 three-4five"));
}

static void nul_bytes_count_like_any_other(void **state)
{
    (void)state;
    AUTO(buffer) struct buffer buffer;
    buffer_init(&buffer, 100);
    buffer_append(&buffer, slice_from("a\0b", 3));
    buffer_append_char(&buffer, '\0');
    assert_int_equal(buffer.len, 4);
    assert_memory_equal(buffer.ptr, "a\0b\0", 5);
}

static void exactly_the_maximum_fits(void **state)
{
    (void)state;
    AUTO(buffer) struct buffer buffer;
    buffer_init(&buffer, 5);
    buffer_append_text(&buffer, "abc");
    buffer_append_format(&buffer, "%s", "de");
    assert_false(buffer.is_overflowed);
    assert_string_equal(buffer.ptr, "abcde");
}

static void what_does_not_fit_is_dropped_with_all_that_follows(void **state)
{
    (void)state;
    AUTO(buffer) struct buffer buffer;
    buffer_init(&buffer, 5);
    buffer_append_text(&buffer, "abc");
    buffer_append_text(&buffer, "def");
    assert_true(buffer.is_overflowed);
    buffer_append_char(&buffer, 'x');
    buffer_append_format(&buffer, "%d", 1);
    assert_string_equal(buffer.ptr, "abc");
    assert_int_equal(buffer.len, 3);
}

static void a_formatted_text_that_does_not_fit_leaves_nothing_behind(void **state)
{
    (void)state;
    AUTO(buffer) struct buffer buffer;
    buffer_init(&buffer, 5);
    buffer_append_format(&buffer, "%s", "123456");
    assert_true(buffer.is_overflowed);
    assert_string_equal(buffer.ptr, "");
}

static void clearing_forgets_content_and_overflow_but_keeps_the_memory(void **state)
{
    (void)state;
    AUTO(buffer) struct buffer buffer;
    buffer_init(&buffer, 3);
    buffer_append_text(&buffer, "abc");
    buffer_append_char(&buffer, 'd');
    size_t capacity = buffer.capacity;
    buffer_clear(&buffer);
    assert_false(buffer.is_overflowed);
    assert_string_equal(buffer.ptr, "");
    assert_int_equal(buffer.capacity, capacity);
    buffer_append_text(&buffer, "xyz");
    assert_string_equal(buffer.ptr, "xyz");
}

static void a_buffer_that_is_done_can_be_started_again(void **state)
{
    (void)state;
    struct buffer buffer;
    buffer_init(&buffer, 1000);
    buffer_append_text(&buffer, "something");
    buffer_done(&buffer);
    buffer_done(&buffer);
    AUTO(buffer) struct buffer again;
    buffer_init(&again, 4);
    buffer_append_text(&again, "new");
    assert_string_equal(again.ptr, "new");
}

static void a_buffer_grows_over_many_small_pieces(void **state)
{
    (void)state;
    AUTO(buffer) struct buffer buffer;
    buffer_init(&buffer, 1 << 20);
    for (int i = 0; i < 10000; i++) {
        buffer_append_format(&buffer, "%05d", i);
    }
    assert_int_equal(buffer.len, 50000);
    assert_memory_equal(buffer.ptr, "0000000001", 10);
    assert_string_equal(buffer.ptr + 49995, "09999");
}

static void slices_are_equal_by_length_and_bytes(void **state)
{
    (void)state;
    assert_true(slice_equal(slice_from("ab\0c", 4), slice_from("ab\0c", 4)));
    assert_false(slice_equal(slice_from("ab\0c", 4), slice_from("ab\0d", 4)));
    assert_false(slice_equal_text(slice_from("ab", 2), "abc"));
    assert_true(slice_equal(slice_of(NULL), slice_of("")));
    assert_true(text_starts_with("prefix", "pre"));
    assert_false(text_starts_with("pr", "pre"));
}

static void what_is_expected_is_taken_at_once_and_no_more(void **state)
{
    (void)state;
    AUTO(buffer) struct buffer buffer;
    buffer_init(&buffer, 1000);
    buffer_expect(&buffer, 0);
    assert_int_equal(buffer.capacity, 0);
    buffer_expect(&buffer, 700);
    assert_int_equal(buffer.capacity, 701);
    assert_string_equal(buffer.ptr, "");
    AUTO(text) char *bytes = memory_zeroed(701, 1);
    memset(bytes, 'x', 700);
    buffer_append(&buffer, slice_from(bytes, 700));
    assert_int_equal(buffer.capacity, 701);
    assert_string_equal(buffer.ptr, bytes);
    buffer_expect(&buffer, 10);
    buffer_expect(&buffer, 1001);
    assert_int_equal(buffer.capacity, 701);
    buffer_append_char(&buffer, 'y');
    assert_int_equal(buffer.len, 701);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_buffer_is_an_empty_text),
        cmocka_unit_test(everything_appended_is_there_in_order_and_ended_by_nul),
        cmocka_unit_test(nul_bytes_count_like_any_other),
        cmocka_unit_test(exactly_the_maximum_fits),
        cmocka_unit_test(what_does_not_fit_is_dropped_with_all_that_follows),
        cmocka_unit_test(a_formatted_text_that_does_not_fit_leaves_nothing_behind),
        cmocka_unit_test(clearing_forgets_content_and_overflow_but_keeps_the_memory),
        cmocka_unit_test(a_buffer_that_is_done_can_be_started_again),
        cmocka_unit_test(a_buffer_grows_over_many_small_pieces),
        cmocka_unit_test(slices_are_equal_by_length_and_bytes),
        cmocka_unit_test(what_is_expected_is_taken_at_once_and_no_more),
    };
    return cmocka_run_group_tests_name("buffer", tests, NULL, NULL);
}
