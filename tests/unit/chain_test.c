#include "workers/common/aws/credentials.h"

#include "tests/support/scratch.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct scratch credentials_file;
static struct scratch config_file;

static int files_make(void **state)
{
    (void)state;
    return scratch_make(&credentials_file) && scratch_make(&config_file) ? 0 : -1;
}

static int files_remove(void **state)
{
    (void)state;
    return scratch_remove(&credentials_file) + scratch_remove(&config_file);
}

static int surroundings_clear(void **state)
{
    (void)state;
    unsetenv("AWS_ACCESS_KEY_ID");
    unsetenv("AWS_SECRET_ACCESS_KEY");
    unsetenv("AWS_SESSION_TOKEN");
    unsetenv("AWS_PROFILE");
    setenv("AWS_SHARED_CREDENTIALS_FILE", credentials_file.path, 1);
    setenv("AWS_CONFIG_FILE", config_file.path, 1);
    scratch_write(&credentials_file, "");
    scratch_write(&config_file, "");
    return 0;
}

static void expect_found(const char *profile, const char *access_key, const char *token, const char *origin)
{
    struct credentials *found = NULL;
    struct error err;
    if (!credentials_find(profile, &found, &err)) {
        fail_msg("%s", err.text);
        return;
    }
    assert_string_equal(found->access_key, access_key);
    if (token == NULL) {
        assert_null(found->session_token);
    } else {
        assert_string_equal(found->session_token, token);
    }
    assert_string_equal(found->origin, origin);
    assert_int_equal(found->expires_wall_ms, 0);
    credentials_free(found);
}

static void a_copy_shares_nothing(void **state)
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

static void the_environment_must_have_both_halves(void **state)
{
    (void)state;
    struct credentials *found = NULL;
    struct error err;
    assert_false(credentials_from_environment(&found, &err));
    assert_string_equal(err.text, "the environment has no AWS_ACCESS_KEY_ID");
    assert_int_equal(err.action, ERROR_REJECT);
    setenv("AWS_ACCESS_KEY_ID", "AKIDENV", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "", 1);
    assert_false(credentials_from_environment(&found, &err));
    assert_string_equal(err.text, "the environment has no AWS_SECRET_ACCESS_KEY");
    setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
    expect_found(NULL, "AKIDENV", NULL, "environment");
    setenv("AWS_SESSION_TOKEN", "token", 1);
    expect_found(NULL, "AKIDENV", "token", "environment");
}

static void a_named_profile_goes_before_the_environment_and_that_before_the_default(void **state)
{
    (void)state;
    scratch_write(&credentials_file,
                  "[default]\naws_access_key_id=AKIDDEFAULT\naws_secret_access_key=s\n"
                  "[acme]\nAWS_ACCESS_KEY_ID=AKIDACME\naws_secret_access_key=s\naws_session_token=t\n");
    expect_found(NULL, "AKIDDEFAULT", NULL, "profile default");
    setenv("AWS_ACCESS_KEY_ID", "AKIDENV", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "secret", 1);
    expect_found(NULL, "AKIDENV", NULL, "environment");
    expect_found("acme", "AKIDACME", "t", "profile acme");
    setenv("AWS_PROFILE", "acme", 1);
    expect_found(NULL, "AKIDACME", "t", "profile acme");
    expect_found("default", "AKIDDEFAULT", NULL, "profile default");
    setenv("AWS_PROFILE", "", 1);
    expect_found(NULL, "AKIDENV", NULL, "environment");
}

static void a_profile_may_be_in_either_file(void **state)
{
    (void)state;
    scratch_write(&credentials_file, "[one]\naws_access_key_id=AKID1\n");
    scratch_write(&config_file, "[profile one]\naws_access_key_id=AKID2\naws_secret_access_key=s\n"
                                "[profile two]\naws_access_key_id=AKID3\naws_secret_access_key=s\n");
    expect_found("one", "AKID1", NULL, "profile one");
    expect_found("two", "AKID3", NULL, "profile two");
}

static void what_is_missing_is_told_with_the_files_that_were_looked_at(void **state)
{
    (void)state;
    struct credentials *found = NULL;
    struct error err;
    scratch_write(&credentials_file, "[half]\naws_access_key_id=AKIDHALF\n[other]\naws_secret_access_key=hidden\n");
    assert_false(credentials_from_profile("absent", &found, &err));
    AUTO(text) char *absent = text_format("no profile \"absent\" in %s or %s", credentials_file.path, config_file.path);
    assert_string_equal(err.text, absent);
    assert_false(credentials_from_profile("half", &found, &err));
    assert_non_null(strstr(err.text, "profile \"half\" has no aws_secret_access_key"));
    assert_false(credentials_from_profile("other", &found, &err));
    assert_non_null(strstr(err.text, "profile \"other\" has no aws_access_key_id"));
    assert_null(strstr(err.text, "hidden"));
    assert_false(credentials_find(NULL, &found, &err));
    assert_non_null(strstr(err.text, "the environment has no AWS_ACCESS_KEY_ID, and no profile \"default\" in "));
    assert_null(found);
}

static void a_file_that_cannot_be_understood_is_a_mistake_and_one_that_is_absent_is_none(void **state)
{
    (void)state;
    struct credentials *found = NULL;
    struct error err;
    scratch_write(&config_file, "[profile p]\naws_access_key_id=AKIDP\naws_secret_access_key=s\n");
    setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere/credentials", 1);
    expect_found("p", "AKIDP", NULL, "profile p");
    scratch_write(&credentials_file, "[p]\nsecret without a name\n");
    setenv("AWS_SHARED_CREDENTIALS_FILE", credentials_file.path, 1);
    assert_false(credentials_from_profile("p", &found, &err));
    AUTO(text) char *expected = text_format("%s:2: expected [section] or name = value", credentials_file.path);
    assert_string_equal(err.text, expected);
}

static void without_variables_the_files_are_in_the_home_folder(void **state)
{
    (void)state;
    struct credentials *found = NULL;
    struct error err;
    unsetenv("AWS_SHARED_CREDENTIALS_FILE");
    unsetenv("AWS_CONFIG_FILE");
    AUTO(text) char *home = text_copy(getenv("HOME") != NULL ? getenv("HOME") : "");
    setenv("HOME", "/nowhere/home", 1);
    assert_false(credentials_from_profile("p", &found, &err));
    assert_string_equal(err.text, "no profile \"p\" in /nowhere/home/.aws/credentials or /nowhere/home/.aws/config");
    setenv("HOME", home, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_copy_shares_nothing),
        cmocka_unit_test_setup(the_environment_must_have_both_halves, surroundings_clear),
        cmocka_unit_test_setup(a_named_profile_goes_before_the_environment_and_that_before_the_default,
                               surroundings_clear),
        cmocka_unit_test_setup(a_profile_may_be_in_either_file, surroundings_clear),
        cmocka_unit_test_setup(what_is_missing_is_told_with_the_files_that_were_looked_at, surroundings_clear),
        cmocka_unit_test_setup(a_file_that_cannot_be_understood_is_a_mistake_and_one_that_is_absent_is_none,
                               surroundings_clear),
        cmocka_unit_test_setup(without_variables_the_files_are_in_the_home_folder, surroundings_clear),
    };
    return cmocka_run_group_tests_name("credentials", tests, files_make, files_remove);
}
