#include "workers/common/aws/uri.h"

#include "tests/support/fixtures.h"
#include "tests/support/unit.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAXIMUM = 10000 };

static char *encoded(struct slice text, bool is_path)
{
    AUTO(buffer) struct buffer buffer;
    buffer_init(&buffer, MAXIMUM);
    if (is_path) {
        uri_encode_path(&buffer, text);
    } else {
        uri_encode(&buffer, text);
    }
    return slice_copy(buffer_slice(&buffer));
}

static void everything_but_the_unreserved_characters_is_encoded(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *encoded;
        const char *encoded_path;
    } cases[] = {
        {"", "", ""},
        {"abcXYZ019-._~", "abcXYZ019-._~", "abcXYZ019-._~"},
        {"a b+c", "a%20b%2Bc", "a%20b%2Bc"},
        {"/a//b/", "%2Fa%2F%2Fb%2F", "/a//b/"},
        {"100%", "100%25", "100%25"},
        {"%2F", "%252F", "%252F"},
        {"a=b&c", "a%3Db%26c", "a%3Db%26c"},
        {"!*'()", "%21%2A%27%28%29", "%21%2A%27%28%29"},
        {"\xc3\xa9\xf0\x9f\x98\x80", "%C3%A9%F0%9F%98%80", "%C3%A9%F0%9F%98%80"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO(text) char *whole = encoded(slice_of(cases[i].text), false);
        AUTO(text) char *path = encoded(slice_of(cases[i].text), true);
        assert_string_equal(whole, cases[i].encoded);
        assert_string_equal(path, cases[i].encoded_path);
    }
}

static void each_byte_is_itself_or_three_characters_in_upper_case(void **state)
{
    (void)state;
    for (int byte = 0; byte < 256; byte++) {
        char character = (char)byte;
        char expected[4];
        bool is_plain = byte < 128 && (isalnum(byte) || (byte != 0 && strchr("-._~", byte) != NULL));
        (void)snprintf(expected, sizeof(expected), is_plain ? "%c" : "%%%02X", byte);
        AUTO(text) char *text = encoded(slice_from(&character, 1), false);
        assert_string_equal(text, expected);
    }
}

static void decoding_gives_back_every_text_that_was_encoded(void **state)
{
    (void)state;
    unsigned seed = 5;
    for (int round = 0; round < 2000; round++) {
        char text[64];
        size_t length = (size_t)rand_r(&seed) % sizeof(text);
        for (size_t i = 0; i < length; i++) {
            text[i] = (char)(rand_r(&seed) >> 4);
        }
        AUTO(text) char *whole = encoded(slice_from(text, length), round % 2 == 0);
        AUTO(buffer) struct buffer again;
        buffer_init(&again, MAXIMUM);
        uri_decode(&again, slice_of(whole));
        assert_true(slice_equal(buffer_slice(&again), slice_from(text, length)));
    }
}

static void what_is_no_encoding_is_left_as_it_is(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *decoded;
    } cases[] = {
        {"a%2", "a%2"},     {"%", "%"},     {"%%41", "%A"},   {"%4", "%4"},         {"%zz", "%zz"},
        {"%4g%41", "%4gA"}, {"a+b", "a+b"}, {"%2b%2B", "++"}, {"%25%34%31", "%41"}, {"%e2%82%ac", "\xe2\x82\xac"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO(buffer) struct buffer text;
        buffer_init(&text, MAXIMUM);
        uri_decode(&text, slice_of(cases[i].text));
        assert_string_equal(text.ptr, cases[i].decoded);
    }
}

static void parameters_are_encoded_and_joined(void **state)
{
    (void)state;
    AUTO(buffer) struct buffer query;
    buffer_init(&query, MAXIMUM);
    uri_add_parameter(&query, "list-type", "2");
    uri_add_parameter(&query, "prefix", "a b/c&d");
    uri_add_parameter(&query, "e=f", "");
    assert_string_equal(query.ptr, "list-type=2&prefix=a%20b%2Fc%26d&e%3Df=");
}

static void a_buffer_that_is_full_is_marked_and_not_overrun(void **state)
{
    (void)state;
    AUTO(buffer) struct buffer text;
    buffer_init(&text, 4);
    uri_encode(&text, slice_of("a  "));
    assert_true(text.is_overflowed);
    assert_string_equal(text.ptr, "a%20");
}

static void the_encoder_agrees_with_the_endpoint_rules_of_the_fixtures(void **state)
{
    (void)state;
    if (!fixture_is_here("s3-endpoints/functions/uri-encode.json", "endpoint rules, 7 cases of uriEncode")) {
        skip();
    }
    cJSON *json = fixture_json("s3-endpoints/functions/uri-encode.json");
    const cJSON *test;
    size_t count = 0;
    cJSON_ArrayForEach(test, cJSON_GetObjectItem(json, "testCases"))
    {
        const char *input = cJSON_GetStringValue(cJSON_GetObjectItem(cJSON_GetObjectItem(test, "params"), "Input"));
        const char *expected = cJSON_GetStringValue(cJSON_GetObjectItem(cJSON_GetObjectItem(test, "expect"), "error"));
        AUTO(text) char *text = encoded(slice_of(input), false);
        AUTO(text) char *told = text_format("The value is: `%s`", text);
        assert_string_equal(told, expected);
        count++;
    }
    assert_int_equal(count, 7);
    cJSON_Delete(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_but_the_unreserved_characters_is_encoded),
        cmocka_unit_test(each_byte_is_itself_or_three_characters_in_upper_case),
        cmocka_unit_test(decoding_gives_back_every_text_that_was_encoded),
        cmocka_unit_test(what_is_no_encoding_is_left_as_it_is),
        cmocka_unit_test(parameters_are_encoded_and_joined),
        cmocka_unit_test(a_buffer_that_is_full_is_marked_and_not_overrun),
        cmocka_unit_test(the_encoder_agrees_with_the_endpoint_rules_of_the_fixtures),
    };
    return cmocka_run_group_tests_name("uri", tests, NULL, NULL);
}
