#include "workers/common/base/log.h"

#include "tests/support/capture.h"
#include "tests/support/unit.h"
#include "workers/common/base/clock.h"

#include <cjson/cJSON.h>

#include <stdlib.h>
#include <string.h>

static char *logged(bool is_json, const char *message, const char *value)
{
    struct capture capture;
    log_setup(LOG_INFO, is_json, "tester");
    capture_start(&capture, 2);
    log_event(LOG_WARNING, message, "value", value, "last", "end", NULL);
    return capture_end(&capture);
}

static size_t count_of(const char *text, char wanted)
{
    size_t count = 0;
    for (; *text != '\0'; text++) {
        count += *text == wanted;
    }
    return count;
}

static void a_line_holds_time_level_role_message_and_pairs(void **state)
{
    (void)state;
    AUTO(text) char *line = logged(false, "it happened", "42");
    int64_t wall_ms;
    assert_memory_equal(line, "time=", 5);
    char time[CLOCK_TEXT_SIZE] = "";
    memcpy(time, line + 5, CLOCK_TEXT_SIZE - 1);
    assert_true(clock_parse(time, &wall_ms));
    assert_string_equal(line + 5 + CLOCK_TEXT_SIZE - 1,
                        " level=warning role=tester msg=\"it happened\" value=42 last=end\n");
}

static void a_value_is_quoted_when_it_could_be_misread(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        const char *written;
    } cases[] = {
        {"plain", "plain"},
        {"a/b:c,d", "a/b:c,d"},
        {"", "\"\""},
        {"two words", "\"two words\""},
        {"a=b", "\"a=b\""},
        {"say \"no\"", "\"say \\\"no\\\"\""},
        {"back\\slash", "\"back\\\\slash\""},
        {"line\nforged=1", "\"line\\nforged=1\""},
        {"\r", "\"\\u000d\""},
        {"\x1b[31m", "\"\\u001b[31m\""},
        {"\x7f", "\"\\u007f\""},
        {"tab\there", "\"tab\\u0009here\""},
        {"r\xc3\xa9gion", "r\xc3\xa9gion"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO(text) char *line = logged(false, "m", cases[i].value);
        AUTO(text) char *expected = text_format(" value=%s last=end\n", cases[i].written);
        const char *pairs = strstr(line, " value=");
        assert_non_null(pairs);
        assert_string_equal(pairs, expected);
    }
}

static void no_byte_in_message_or_value_makes_a_second_line_or_a_control_character(void **state)
{
    (void)state;
    for (int byte = 1; byte < 256; byte++) {
        char text[] = {'a', (char)byte, 'b', '\0'};
        for (int is_json = 0; is_json < 2; is_json++) {
            AUTO(text) char *line = logged(is_json, text, text);
            assert_int_equal(count_of(line, '\n'), 1);
            assert_int_equal(line[strlen(line) - 1], '\n');
            for (const char *at = line; at[1] != '\0'; at++) {
                assert_true((unsigned char)*at >= 0x20 && *at != 0x7f);
            }
        }
    }
}

static void as_json_every_value_comes_back_as_it_was(void **state)
{
    (void)state;
    static const char *const values[] = {
        "plain", "", "\"", "\\", "a\nb", "\t\r\x01\x1f\x7f", "{\"a\":1}", "r\xc3\xa9gion \xf0\x9f\x98\x80",
    };
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        AUTO(text) char *line = logged(true, "json message", values[i]);
        cJSON *json = cJSON_Parse(line);
        assert_non_null(json);
        assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(json, "value")), values[i]);
        assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(json, "msg")), "json message");
        assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(json, "level")), "warning");
        assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(json, "role")), "tester");
        assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(json, "last")), "end");
        cJSON_Delete(json);
    }
}

/* Is all of it UTF-8, as JSON must be? */
static bool is_utf8(const char *text)
{
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0';) {
        size_t more = *at < 0x80                  ? 0
                      : *at >= 0xc2 && *at < 0xe0 ? 1
                      : *at >= 0xe0 && *at < 0xf0 ? 2
                      : *at >= 0xf0 && *at < 0xf5 ? 3
                                                  : 9;
        for (at++; more > 0; more--, at++) {
            if ((*at & 0xc0) != 0x80) {
                return false;
            }
        }
    }
    return true;
}

static void as_json_bytes_that_are_no_text_are_replaced(void **state)
{
    (void)state;
    static const char *const values[] = {"\xff", "a\x80z", "cut \xc3", "\xe2\x82", "\xc0\xaf", "\xf0\x9f\x98"};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        AUTO(text) char *line = logged(true, "m", values[i]);
        assert_true(is_utf8(line));
        cJSON *json = cJSON_Parse(line);
        assert_non_null(json);
        assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(json, "last")), "end");
        cJSON_Delete(json);
    }
}

static void a_value_that_is_far_too_long_is_cut_and_the_line_stays_whole(void **state)
{
    (void)state;
    enum { LONG = 100000 };
    AUTO(text) char *value = memory_zeroed(LONG + 1, 1);
    static const char fillers[] = {'x', '\n', '"'};
    for (size_t i = 0; i < sizeof(fillers); i++) {
        memset(value, fillers[i], LONG);
        AUTO(text) char *line = logged(false, "m", value);
        assert_true(strlen(line) < 20000);
        assert_int_equal(count_of(line, '\n'), 1);
        assert_non_null(strstr(line, " last=end\n"));
        AUTO(text) char *json_line = logged(true, "m", value);
        cJSON *json = cJSON_Parse(json_line);
        assert_non_null(json);
        assert_true(strlen(cJSON_GetStringValue(cJSON_GetObjectItem(json, "value"))) > 1000);
        assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(json, "last")), "end");
        cJSON_Delete(json);
    }
}

static void many_long_values_still_make_one_whole_line(void **state)
{
    (void)state;
    char value[5000];
    struct capture capture;
    memset(value, 'x', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    log_setup(LOG_INFO, true, "");
    capture_start(&capture, 2);
    log_event(LOG_INFO, "m", "a", value, "b", value, "c", value, "d", value, "e", value, "f", value, NULL);
    AUTO(text) char *line = capture_end(&capture);
    cJSON *json = cJSON_Parse(line);
    assert_non_null(json);
    assert_non_null(cJSON_GetObjectItem(json, "a"));
    cJSON_Delete(json);
    assert_int_equal(count_of(line, '\n'), 1);
}

static void a_pair_without_value_is_left_out(void **state)
{
    (void)state;
    AUTO(text) char *line = logged(false, "m", NULL);
    assert_null(strstr(line, "value"));
    assert_non_null(strstr(line, " last=end\n"));
}

static void nothing_above_the_level_is_written(void **state)
{
    (void)state;
    static const enum log_level levels[] = {LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
    for (size_t highest = 0; highest < 4; highest++) {
        for (size_t level = 0; level < 4; level++) {
            struct capture capture;
            log_setup(levels[highest], false, "");
            capture_start(&capture, 2);
            log_event(levels[level], "m", NULL);
            AUTO(text) char *line = capture_end(&capture);
            assert_int_equal(line[0] != '\0', level <= highest);
            assert_int_equal(log_is_enabled(levels[level]), level <= highest);
        }
    }
}

static void without_a_role_the_line_has_none(void **state)
{
    (void)state;
    struct capture capture;
    log_setup(LOG_INFO, false, "");
    capture_start(&capture, 2);
    log_event(LOG_ERROR, "m", NULL);
    AUTO(text) char *line = capture_end(&capture);
    assert_null(strstr(line, "role="));
    assert_non_null(strstr(line, " level=error msg=m\n"));
}

static void eight_numbers_can_be_in_one_line(void **state)
{
    (void)state;
    const char *numbers[8];
    for (long long i = 0; i < 8; i++) {
        numbers[i] = log_number(i * 1000000000000);
    }
    assert_string_equal(numbers[0], "0");
    assert_string_equal(numbers[7], "7000000000000");
    assert_string_equal(log_number(INT64_MIN), "-9223372036854775808");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_holds_time_level_role_message_and_pairs),
        cmocka_unit_test(a_value_is_quoted_when_it_could_be_misread),
        cmocka_unit_test(no_byte_in_message_or_value_makes_a_second_line_or_a_control_character),
        cmocka_unit_test(as_json_every_value_comes_back_as_it_was),
        cmocka_unit_test(as_json_bytes_that_are_no_text_are_replaced),
        cmocka_unit_test(a_value_that_is_far_too_long_is_cut_and_the_line_stays_whole),
        cmocka_unit_test(many_long_values_still_make_one_whole_line),
        cmocka_unit_test(a_pair_without_value_is_left_out),
        cmocka_unit_test(nothing_above_the_level_is_written),
        cmocka_unit_test(without_a_role_the_line_has_none),
        cmocka_unit_test(eight_numbers_can_be_in_one_line),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
