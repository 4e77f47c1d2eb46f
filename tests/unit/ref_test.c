#include "schemas/ref.h"

#include "tests/support/unit.h"

#include <string.h>

static void every_form_of_a_ref_has_one_full_name(void **state)
{
    (void)state;
    static const char *const forms[][2] = {
        {"branch/a", "refs/heads/a"}, {"heads/a", "refs/heads/a"}, {"refs/heads/a", "refs/heads/a"},
        {"tag/a", "refs/tags/a"},     {"tags/a", "refs/tags/a"},   {"refs/tags/a/b", "refs/tags/a/b"},
    };
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        AUTO(text) char *full = ref_full_name(forms[i][0]);
        assert_non_null(full);
        assert_string_equal(full, forms[i][1]);
    }
}

static void a_bare_name_is_no_ref(void **state)
{
    (void)state;
    static const char *const others[] = {"", "a", "main", "branch", "refs/pull/1", "refs/notes/commits", "Branch/a"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        assert_null(ref_full_name(others[i]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_of_a_ref_has_one_full_name),
        cmocka_unit_test(a_bare_name_is_no_ref),
    };
    return cmocka_run_group_tests_name("ref", tests, NULL, NULL);
}
