#include "workers/common/base/utf8.h"

#include "tests/support/unit.h"

#include <string.h>

static void a_character_has_the_length_that_its_bytes_say(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t length;
    } rows[] = {
        {"a", 1},
        {"\x7f", 1},
        {"\xc2\x80", 2},
        {"\xdf\xbf", 2},
        {"\xe0\xa0\x80", 3},
        {"\xed\x9f\xbf", 3},
        {"\xee\x80\x80", 3},
        {"\xf0\x90\x80\x80", 4},
        {"\xf4\x8f\xbf\xbf", 4},
        {"", 0},
        {"\x80", 0},
        {"\xc1\xbf", 0},
        {"\xc2\x41", 0},
        {"\xe0\x9f\xbf", 0},
        {"\xed\xa0\x80", 0},
        {"\xf0\x8f\xbf\xbf", 0},
        {"\xf4\x90\x80\x80", 0},
        {"\xf5\x80\x80\x80", 0},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(utf8_length(rows[i].text, strlen(rows[i].text)), rows[i].length);
    }
}

static void a_character_that_is_cut_is_none(void **state)
{
    (void)state;
    static const char *const whole[] = {"\xc2\x80", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++) {
        size_t length = strlen(whole[i]);
        assert_int_equal(utf8_length(whole[i], length), length);
        for (size_t left = 0; left < length; left++) {
            assert_int_equal(utf8_length(whole[i], left), 0);
        }
    }
    assert_int_equal(utf8_length("\0a", 2), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_character_has_the_length_that_its_bytes_say),
        cmocka_unit_test(a_character_that_is_cut_is_none),
    };
    return cmocka_run_group_tests_name("utf8", tests, NULL, NULL);
}
