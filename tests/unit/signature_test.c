#include "producer/hosts/signature.h"

#include "tests/support/hook.h"
#include "tests/support/scratch.h"

#include <string.h>

/* The vector that GitHub's documentation publishes. */
static const char published_secret[] = "It's a Secret to Everybody";
static const char published_body[] = "Hello, World!";
static const char published[] = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

static void the_published_vector_is_genuine(void **state)
{
    (void)state;
    AUTO(secrets) struct secrets secrets = {0};
    secrets_add(&secrets, slice_of(published_secret));
    assert_true(signature_check_hub(&secrets, slice_of(published_body), published));
}

static void anything_else_is_refused(void **state)
{
    (void)state;
    AUTO(secrets) struct secrets secrets = {0};
    secrets_add(&secrets, slice_of(published_secret));
    static const char *const forged[] = {
        NULL,
        "",
        "sha256=",
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e18",
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e1",
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e1700",
        "sha256=757107EA0EB2509FC211221CCE984B8A37570B6D7586C22C46F4379C8B043E17",
        "sha1=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        "SHA256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        " sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17, sha256=00",
    };
    for (size_t i = 0; i < sizeof(forged) / sizeof(forged[0]); i++) {
        if (signature_check_hub(&secrets, slice_of(published_body), forged[i])) {
            fail_msg("taken for genuine: %s", forged[i]);
        }
    }
    assert_false(signature_check_hub(&secrets, slice_of("Hello, World! "), published));
    assert_false(signature_check_hub(&secrets, slice_of(""), published));
}

static void both_secrets_are_good_while_one_replaces_the_other(void **state)
{
    (void)state;
    AUTO(secrets) struct secrets secrets = {0};
    secrets_add(&secrets, slice_of("the new one"));
    assert_false(signature_check_hub(&secrets, slice_of(published_body), published));
    secrets_add(&secrets, slice_of(published_secret));
    assert_true(signature_check_hub(&secrets, slice_of(published_body), published));
}

static void without_a_secret_nothing_is_genuine(void **state)
{
    (void)state;
    AUTO(secrets) struct secrets secrets = {0};
    secrets_add(&secrets, slice_of(""));
    assert_int_equal(secrets.count, 0);
    assert_false(signature_check_hub(&secrets, slice_of(published_body), published));
}

static void a_secret_file_holds_one_secret_a_line(void **state)
{
    (void)state;
    struct error err;
    struct scratch scratch;
    assert_true(scratch_make(&scratch));
    scratch_write(&scratch, "first\r\n\nsecond\nthird\n");
    AUTO(secrets) struct secrets secrets = {0};
    assert_true(secrets_read_file(scratch.path, &secrets, &err));
    assert_int_equal(secrets.count, 2);
    assert_string_equal(secrets.items[0], "first");
    assert_string_equal(secrets.items[1], "second");
    scratch_write(&scratch, "\n");
    AUTO(secrets) struct secrets none = {0};
    assert_false(secrets_read_file(scratch.path, &none, &err));
    assert_non_null(strstr(err.text, "holds no secret"));
    assert_int_equal(scratch_remove(&scratch), 0);
    assert_false(secrets_read_file(scratch.path, &none, &err));
    assert_int_equal(err.action, ERROR_FATAL);
    assert_non_null(strstr(err.text, scratch.path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_vector_is_genuine),
        cmocka_unit_test(anything_else_is_refused),
        cmocka_unit_test(both_secrets_are_good_while_one_replaces_the_other),
        cmocka_unit_test(without_a_secret_nothing_is_genuine),
        cmocka_unit_test(a_secret_file_holds_one_secret_a_line),
    };
    return cmocka_run_group_tests_name("signature", tests, NULL, NULL);
}
