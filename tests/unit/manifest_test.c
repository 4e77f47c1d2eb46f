#include "schemas/manifest.h"

#include "tests/support/unit.h"

#include <string.h>

#define SUM "E3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static void objects_are_found_by_key_with_what_is_said_of_them(void **state)
{
    (void)state;
    struct error err;
    AUTO(manifest) struct manifest *manifest = NULL;
    assert_true(manifest_parse(slice_of("{\"made_by\":\"x\",\"objects\":[{\"key\":\"b\"},"
                                        "{\"key\":\"a/\xc3\xa9\",\"size\":7,\"sha256\":\"" SUM "\",\"more\":[]}]}"),
                               &manifest, &err));
    assert_int_equal(manifest->count, 2);
    const struct manifest_object *found = manifest_find(manifest, "a/\xc3\xa9");
    assert_int_equal(found->size_bytes, 7);
    assert_string_equal(found->sha256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    found = manifest_find(manifest, "b");
    assert_int_equal(found->size_bytes, -1);
    assert_null(found->sha256);
    assert_null(manifest_find(manifest, "c"));
}

static void an_empty_list_names_nothing(void **state)
{
    (void)state;
    struct error err;
    AUTO(manifest) struct manifest *manifest = NULL;
    assert_true(manifest_parse(slice_of("{\"objects\":[]}"), &manifest, &err));
    assert_null(manifest_find(manifest, "a"));
}

static void what_is_wrong_is_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        const char *text;
    } rows[] = {
        {"", "manifest: "},
        {"[]", "\"objects\" is missing or not a list"},
        {"{\"objects\":{}}", "\"objects\" is missing or not a list"},
        {"{\"objects\":[1]}", "object 1 has no key"},
        {"{\"objects\":[{\"key\":\"a\"},{\"key\":\"\"}]}", "object 2 has no key"},
        {"{\"objects\":[{\"key\":\"a\",\"size\":-1}]}", "size of \"a\" is not a number of bytes"},
        {"{\"objects\":[{\"key\":\"a\",\"size\":1.5}]}", "size of \"a\" is not a number of bytes"},
        {"{\"objects\":[{\"key\":\"a\",\"size\":\"1\"}]}", "size of \"a\" is not a number of bytes"},
        {"{\"objects\":[{\"key\":\"a\",\"sha256\":\"abc\"}]}", "sha256 of \"a\" is not 64 hexadecimal digits"},
        {"{\"objects\":[{\"key\":\"a\",\"sha256\":5}]}", "sha256 of \"a\" is not 64 hexadecimal digits"},
        {"{\"objects\":[{\"key\":\"a\"},{\"key\":\"b\"},{\"key\":\"a\"}]}", "\"a\" is there twice"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct error err;
        struct manifest *manifest = NULL;
        assert_false(manifest_parse(slice_of(rows[i].body), &manifest, &err));
        assert_int_equal(err.action, ERROR_REJECT);
        assert_null(manifest);
        if (strstr(err.text, rows[i].text) == NULL) {
            fail_msg("%s: %s", rows[i].body, err.text);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_are_found_by_key_with_what_is_said_of_them),
        cmocka_unit_test(an_empty_list_names_nothing),
        cmocka_unit_test(what_is_wrong_is_refused_by_name),
    };
    return cmocka_run_group_tests_name("manifest", tests, NULL, NULL);
}
