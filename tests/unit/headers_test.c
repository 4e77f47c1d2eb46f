#include "workers/common/aws/headers.h"

#include "tests/support/unit.h"

#include <stdio.h>

static void a_list_keeps_order_and_copies(void **state)
{
    (void)state;
    AUTO(headers) struct headers headers = {0};
    char value[] = "one";
    headers_add(&headers, "a", value);
    headers_add(&headers, "b", NULL);
    headers_add(&headers, "a", "two");
    value[0] = 'x';
    assert_int_equal(headers.count, 2);
    assert_string_equal(headers.items[0].value, "one");
    assert_string_equal(headers.items[1].value, "two");
}

static void names_are_found_in_any_case_the_first_wins(void **state)
{
    (void)state;
    AUTO(headers) struct headers headers = {0};
    assert_null(headers_get(&headers, "a"));
    headers_add(&headers, "Content-Type", "text/plain");
    headers_add(&headers, "content-type", "text/html");
    assert_string_equal(headers_get(&headers, "CONTENT-TYPE"), "text/plain");
    assert_null(headers_get(&headers, "content"));
}

static void setting_replaces_in_place_or_adds(void **state)
{
    (void)state;
    AUTO(headers) struct headers headers = {0};
    headers_set(&headers, "a", "1");
    headers_set(&headers, "b", "2");
    headers_set(&headers, "A", "3");
    headers_set(&headers, "b", NULL);
    headers_set(&headers, "c", NULL);
    assert_int_equal(headers.count, 2);
    assert_string_equal(headers.items[0].name, "a");
    assert_string_equal(headers.items[0].value, "3");
    assert_string_equal(headers_get(&headers, "b"), "2");
}

static void a_value_may_be_set_to_itself(void **state)
{
    (void)state;
    AUTO(headers) struct headers headers = {0};
    headers_add(&headers, "a", "1");
    headers_set(&headers, "a", headers_get(&headers, "a"));
    assert_string_equal(headers_get(&headers, "a"), "1");
}

static void lists_of_any_length_are_joined(void **state)
{
    (void)state;
    AUTO(headers) struct headers some = {0};
    AUTO(headers) struct headers all = {0};
    for (int i = 0; i < 100; i++) {
        char name[24];
        (void)snprintf(name, sizeof(name), "name-%d", i);
        headers_add(&some, name, name + 5);
        headers_add_all(&all, &some);
        assert_int_equal(all.count, (i + 1) * (i + 2) / 2);
        assert_string_equal(headers_get(&all, name), name + 5);
    }
    headers_clear(&all);
    assert_int_equal(all.count, 0);
    assert_null(headers_get(&all, "name-1"));
    headers_add(&all, "again", "1");
    assert_int_equal(all.count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_list_keeps_order_and_copies),
        cmocka_unit_test(names_are_found_in_any_case_the_first_wins),
        cmocka_unit_test(setting_replaces_in_place_or_adds),
        cmocka_unit_test(a_value_may_be_set_to_itself),
        cmocka_unit_test(lists_of_any_length_are_joined),
    };
    return cmocka_run_group_tests_name("headers", tests, NULL, NULL);
}
