#include "workers/common/base/error.h"

#include "tests/support/scratch.h"
#include "tests/support/unit.h"
#include "workers/common/base/file.h"

#include <string.h>

static void an_error_keeps_action_and_text_and_says_false(void **state)
{
    (void)state;
    struct error err;
    assert_false(error_set(&err, ERROR_REJECT, "%d of %s", 3, "four"));
    assert_int_equal(err.action, ERROR_REJECT);
    assert_string_equal(err.text, "3 of four");
    assert_false(error_set(NULL, ERROR_FATAL, "nobody listens"));
    assert_false(error_prefix(NULL, "nobody listens"));
}

static void a_text_that_does_not_fit_is_cut(void **state)
{
    (void)state;
    struct error err;
    char text[1000];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    (void)error_set(&err, ERROR_RETRY, "%s", text);
    assert_int_equal(strlen(err.text), sizeof(err.text) - 1);
}

static void an_error_may_quote_its_own_text(void **state)
{
    (void)state;
    struct error err;
    (void)error_set(&err, ERROR_RETRY, "inner");
    (void)error_set(&err, ERROR_FATAL, "outer (%s)", err.text);
    assert_string_equal(err.text, "outer (inner)");
}

static void a_prefix_goes_before_the_text_and_keeps_the_action(void **state)
{
    (void)state;
    struct error err;
    (void)error_set(&err, ERROR_FATAL, "no such thing");
    assert_false(error_prefix(&err, "reading %s", "x"));
    assert_string_equal(err.text, "reading x: no such thing");
    assert_int_equal(err.action, ERROR_FATAL);
}

static void every_action_has_a_name_of_its_own(void **state)
{
    (void)state;
    assert_string_equal(error_action_name(ERROR_NONE), "none");
    assert_string_equal(error_action_name(ERROR_RETRY), "retry");
    assert_string_equal(error_action_name(ERROR_REJECT), "reject");
    assert_string_equal(error_action_name(ERROR_FATAL), "fatal");
}

static void memory_of_no_size_is_memory_too(void **state)
{
    (void)state;
    char *block = memory_zeroed(0, 0);
    block = memory_resized(block, 0);
    free(block);
    AUTO(text) char *copy = text_format("%s%d", "a", 1);
    assert_string_equal(copy, "a1");
}

static void a_file_is_read_whole_or_refused(void **state)
{
    (void)state;
    struct scratch scratch;
    assert_true(scratch_make(&scratch));
    scratch_write(&scratch, "12345");
    struct error err;
    AUTO(buffer) struct buffer fitting;
    AUTO(buffer) struct buffer small;
    buffer_init(&fitting, 5);
    buffer_init(&small, 4);
    assert_true(file_read(scratch.path, &fitting, &err));
    assert_string_equal(fitting.ptr, "12345");
    assert_false(file_read(scratch.path, &small, &err));
    assert_int_equal(err.action, ERROR_REJECT);
    assert_string_equal(err.text, "is larger than 4 bytes");
    assert_int_equal(scratch_remove(&scratch), 0);
    buffer_clear(&fitting);
    assert_false(file_read(scratch.path, &fitting, &err));
    assert_non_null(strstr(err.text, "No such file"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_keeps_action_and_text_and_says_false),
        cmocka_unit_test(a_text_that_does_not_fit_is_cut),
        cmocka_unit_test(an_error_may_quote_its_own_text),
        cmocka_unit_test(a_prefix_goes_before_the_text_and_keeps_the_action),
        cmocka_unit_test(every_action_has_a_name_of_its_own),
        cmocka_unit_test(memory_of_no_size_is_memory_too),
        cmocka_unit_test(a_file_is_read_whole_or_refused),
    };
    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
