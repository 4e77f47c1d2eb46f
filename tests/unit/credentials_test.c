#include "workers/common/aws/credentials.h"

#include "tests/support/scratch.h"
#include "tests/support/unit.h"

#include <stdlib.h>
#include <string.h>

static void a_copy_lives_as_long_as_its_last_holder(void **state)
{
    (void)state;
    struct credentials *key = credentials_new("key", "secret", "token", 17, "test");
    struct credentials *copy = credentials_copy(key);
    credentials_free(key);
    assert_string_equal(copy->access_key, "key");
    assert_string_equal(copy->secret_key, "secret");
    assert_string_equal(copy->session_token, "token");
    assert_int_equal(copy->expires_wall_ms, 17);
    assert_string_equal(copy->origin, "test");
    credentials_free(copy);
    credentials_free(NULL);
    AUTO(credentials) struct credentials *plain = credentials_new("key", "secret", "", 0, "test");
    assert_null(plain->session_token);
}

static void a_token_file_holds_one_visible_line(void **state)
{
    (void)state;
    static const struct {
        const char *content;
        const char *secret; /* NULL: refused */
    } cases[] = {
        {"token", "token"},
        {" a.b-c_d==\r\n", "a.b-c_d=="},
        {"", NULL},
        {"\n", NULL},
        {"to ken\n", NULL},
        {"one\ntwo\n", NULL},
        {"hidden\x7f\n", NULL},
        {"hidden\xc3\xa9\n", NULL},
    };
    struct scratch scratch;
    assert_true(scratch_make(&scratch));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO(secret) char *secret = NULL;
        struct error err = {0};
        scratch_write(&scratch, cases[i].content);
        if (secret_read(scratch.path, &secret, &err) != (cases[i].secret != NULL)) {
            fail_msg("case %zu: %s", i, secret != NULL ? secret : err.text);
        }
        if (secret != NULL) {
            assert_string_equal(secret, cases[i].secret);
            continue;
        }
        AUTO(text) char *expected = text_format("%s: is not one line of visible ASCII", scratch.path);
        assert_string_equal(err.text, expected);
        assert_int_equal(err.action, ERROR_REJECT);
    }
    assert_int_equal(scratch_remove(&scratch), 0);
    secret_free(NULL);
}

static void a_token_file_that_is_absent_or_huge_is_named(void **state)
{
    (void)state;
    char *secret = NULL;
    struct error err;
    assert_false(secret_read("/nowhere/token", &secret, &err));
    assert_string_equal(err.text, "/nowhere/token: cannot be read: No such file or directory");
    struct scratch scratch;
    char *huge = memory_zeroed(20001, 1);
    memset(huge, 'x', 20000);
    assert_true(scratch_make(&scratch));
    scratch_write(&scratch, huge);
    assert_false(secret_read(scratch.path, &secret, &err));
    assert_non_null(strstr(err.text, ": is larger than 16384 bytes"));
    assert_null(secret);
    assert_int_equal(scratch_remove(&scratch), 0);
    free(huge);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_lives_as_long_as_its_last_holder),
        cmocka_unit_test(a_token_file_holds_one_visible_line),
        cmocka_unit_test(a_token_file_that_is_absent_or_huge_is_named),
    };
    return cmocka_run_group_tests_name("credentials", tests, NULL, NULL);
}
