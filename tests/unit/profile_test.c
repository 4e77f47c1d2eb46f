#include "workers/common/aws/profile.h"

#include "tests/support/fixtures.h"
#include "tests/support/scratch.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PARSER_CASES = 65 };

static struct profiles *read_files(const char *credentials, const char *config)
{
    struct profiles *profiles = profiles_new();
    struct error err;
    if ((credentials != NULL &&
         !profiles_add(profiles, PROFILE_CREDENTIALS_FILE, "credentials", slice_of(credentials), &err)) ||
        (config != NULL && !profiles_add(profiles, PROFILE_CONFIG_FILE, "config", slice_of(config), &err))) {
        fail_msg("%s", err.text);
    }
    return profiles;
}

static void profiles_are_named_as_their_file_names_them(void **state)
{
    (void)state;
    struct profiles *profiles = read_files("[default]\na=1\n[one]\na=2\n[profile no]\na=3\n",
                                           "[default]\nb=4\n[profile two]\na=5\n[three]\na=6\n[sso-session x]\na=7\n");
    assert_true(profiles_has(profiles, "default"));
    assert_true(profiles_has(profiles, "one"));
    assert_true(profiles_has(profiles, "two"));
    assert_false(profiles_has(profiles, "no"));
    assert_false(profiles_has(profiles, "profile no"));
    assert_false(profiles_has(profiles, "three"));
    assert_false(profiles_has(profiles, "x"));
    assert_false(profiles_has(profiles, ""));
    assert_string_equal(profiles_get(profiles, "default", "a"), "1");
    assert_string_equal(profiles_get(profiles, "default", "b"), "4");
    assert_string_equal(profiles_get(profiles, "two", "a"), "5");
    assert_null(profiles_get(profiles, "one", "b"));
    assert_null(profiles_get(profiles, "nobody", "a"));
    profiles_free(profiles);
    profiles_free(NULL);
}

static void the_last_value_wins_and_the_credentials_file_over_the_config_file(void **state)
{
    (void)state;
    struct profiles *profiles = read_files("[p]\na=1\na=2\n[q]\n[p]\nA=3\nempty=\n", "[profile p]\na=4\nempty=5\n");
    assert_string_equal(profiles_get(profiles, "p", "a"), "3");
    /* An empty value is none. */
    assert_string_equal(profiles_get(profiles, "p", "empty"), "5");
    profiles_free(profiles);
}

static void values_lose_their_blanks_and_comments_only(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        const char *value;
    } cases[] = {
        {"k=v", "v"},
        {"k =  v \t", "v"},
        {"k=v\r", "v"},
        {"K=V", "V"},
        {"k=a=b==", "a=b=="},
        {"k=v # comment", "v"},
        {"k=v\t;comment", "v"},
        {"k=v#no;comment", "v#no;comment"},
        {"k=two words", "two words"},
        {"k= # comment", NULL},
        {"k=", NULL},
        {"k=\xc3\xa9", "\xc3\xa9"},
        {"k=[x]", "[x]"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO(text) char *content = text_format("# first\n; second\n\n[p] ; third\n%s\n", cases[i].line);
        struct profiles *profiles = read_files(content, NULL);
        const char *value = profiles_get(profiles, "p", "k");
        if (cases[i].value == NULL) {
            assert_null(value);
        } else {
            assert_non_null(value);
            assert_string_equal(value, cases[i].value);
        }
        profiles_free(profiles);
    }
}

static void indented_lines_belong_to_the_value_above(void **state)
{
    (void)state;
    struct profiles *profiles = read_files("[p]\nk = v # comment\n\t more # text \r\n\n # comment\n last\nn = 1\n"
                                           "K =\n",
                                           "[services s]\nsts =\n endpoint_url = x\n"
                                           "[profile p]\nt =\n a = 1\n b =\n[profile q]\nu=2\n");
    assert_null(profiles_get(profiles, "p", "k"));
    assert_string_equal(profiles_get(profiles, "p", "n"), "1");
    assert_string_equal(profiles_get(profiles, "p", "t"), "\na = 1\nb =");
    assert_null(profiles_get(profiles, "p", "a"));
    assert_string_equal(profiles_get(profiles, "q", "u"), "2");
    profiles_free(profiles);
    profiles = read_files("[p]\nk = v # comment\n\t more # text \r\n\n # comment\n last\n", NULL);
    assert_string_equal(profiles_get(profiles, "p", "k"), "v\nmore # text\nlast");
    profiles_free(profiles);
}

static void the_default_profile_with_a_prefix_hides_the_one_without(void **state)
{
    (void)state;
    struct profiles *profiles =
        read_files("[default]\na=1\n", "[default]\nb=2\n[profile default]\nc=3\n[default]\nd=4\n");
    assert_string_equal(profiles_get(profiles, "default", "a"), "1");
    assert_null(profiles_get(profiles, "default", "b"));
    assert_string_equal(profiles_get(profiles, "default", "c"), "3");
    assert_null(profiles_get(profiles, "default", "d"));
    profiles_free(profiles);
}

static void files_that_are_absent_hold_nothing_and_those_that_are_wrong_are_named(void **state)
{
    (void)state;
    struct profiles *profiles = NULL;
    struct error err;
    assert_true(profiles_read("/nowhere/credentials", "/nowhere/config", &profiles, &err));
    assert_false(profiles_has(profiles, "default"));
    profiles_free(profiles);
    struct scratch scratch;
    assert_true(scratch_make(&scratch));
    scratch_write(&scratch, "[p]\nsecret\n");
    assert_false(profiles_read("/nowhere/credentials", scratch.path, &profiles, &err));
    AUTO(text) char *expected = text_format("%s:2: expected [section] or name = value", scratch.path);
    assert_string_equal(err.text, expected);
    assert_int_equal(scratch_remove(&scratch), 0);
}

static void a_line_that_makes_no_sense_is_told_with_its_number_but_without_its_content(void **state)
{
    (void)state;
    static const struct {
        struct slice content;
        const char *text;
    } cases[] = {
        {{"[p\n", 3}, "file:1: a section needs a closing bracket"},
        {{"a=1\n", 4}, "file:1: expected [section] or name = value"},
        {{"[p]\n\n=secret", 12}, "file:3: expected [section] or name = value"},
        {{"[p]\nsecret\n", 11}, "file:2: expected [section] or name = value"},
        {{"[p]\n a=1", 8}, "file:2: an indented line needs a value to belong to"},
        {{"[p]\nk=\n secret", 14}, "file:3: expected name = value below an empty value"},
        {{"[p]\nk=\n =secret", 15}, "file:3: expected name = value below an empty value"},
        {{" a=1", 4}, "file:1: expected [section] or name = value"},
        {{"[p]\na\0b=secret\n", 15}, "file:2: a NUL byte"},
        {{"[p\0q]\n", 6}, "file:1: a NUL byte"},
        {{"[p]\na=\0secret", 13}, "file:2: a NUL byte"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct profiles *profiles = profiles_new();
        struct error err = {0};
        if (profiles_add(profiles, PROFILE_CREDENTIALS_FILE, "file", cases[i].content, &err)) {
            fail_msg("case %zu was read", i);
        }
        assert_int_equal(err.action, ERROR_REJECT);
        assert_string_equal(err.text, cases[i].text);
        profiles_free(profiles);
    }
}

static void what_was_read_before_a_mistake_stays(void **state)
{
    (void)state;
    struct profiles *profiles = profiles_new();
    struct error err;
    assert_false(profiles_add(profiles, PROFILE_CREDENTIALS_FILE, "f", slice_of("[p]\na=1\nnonsense\nb=2\n"), &err));
    assert_string_equal(profiles_get(profiles, "p", "a"), "1");
    assert_null(profiles_get(profiles, "p", "b"));
    profiles_free(profiles);
}

static void a_slash_in_a_name_does_not_lead_into_another_profile(void **state)
{
    (void)state;
    struct profiles *profiles = read_files("[a]\nb/c=1\n[a/b]\nd=2\n", NULL);
    assert_null(profiles_get(profiles, "a/b", "c"));
    assert_string_equal(profiles_get(profiles, "a/b", "d"), "2");
    assert_string_equal(profiles_get(profiles, "a", "b/c"), "1");
    assert_null(profiles_get(profiles, "a", "b/d"));
    profiles_free(profiles);
}

/* ---- the parser cases of the SDKs ---- */

static const char *member(const cJSON *object, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItem(object, name));
}

static void case_check_profiles(const char *name, const struct profiles *profiles, const cJSON *expected)
{
    const cJSON *profile;
    cJSON_ArrayForEach(profile, expected)
    {
        const cJSON *property;
        if (!profiles_has(profiles, profile->string)) {
            fail_msg("%s: no profile %s", name, profile->string);
        }
        cJSON_ArrayForEach(property, profile)
        {
            const char *value = profiles_get(profiles, profile->string, property->string);
            if (strcmp(value != NULL ? value : "", property->valuestring) != 0) {
                fail_msg("%s: %s.%s is not \"%s\"", name, profile->string, property->string, property->valuestring);
            }
        }
        if (cJSON_GetObjectItem(profile, "name2") == NULL && profiles_get(profiles, profile->string, "name2") != NULL) {
            fail_msg("%s: %s.name2 is there", name, profile->string);
        }
    }
    static const char *const others[] = {"foo", "bar", "default", "in valid", "in valid 2", "foo!bar", "profilefoo"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (profiles_has(profiles, others[i]) && cJSON_GetObjectItemCaseSensitive(expected, others[i]) == NULL) {
            fail_msg("%s: profile %s is there", name, others[i]);
        }
    }
}

static void the_parser_cases_of_the_sdks_come_out(void **state)
{
    (void)state;
    static const char file[] = "credentials/config-files/profile-parser-tests.json";
    if (!fixture_is_here(file, "profile parser fixtures, 65 cases")) {
        skip();
    }
    cJSON *json = fixture_json(file);
    const cJSON *test;
    int run = 0;
    cJSON_ArrayForEach(test, cJSON_GetObjectItem(json, "tests"))
    {
        const char *name = member(test, "name");
        const cJSON *input = cJSON_GetObjectItem(test, "input");
        const cJSON *output = cJSON_GetObjectItem(test, "output");
        const char *credentials = member(input, "credentialsFile");
        const char *config = member(input, "configFile");
        struct profiles *profiles = profiles_new();
        struct error err = {0};
        bool is_read =
            (credentials == NULL ||
             profiles_add(profiles, PROFILE_CREDENTIALS_FILE, "credentials", slice_of(credentials), &err)) &&
            (config == NULL || profiles_add(profiles, PROFILE_CONFIG_FILE, "config", slice_of(config), &err));
        if (is_read != (member(output, "errorContaining") == NULL)) {
            fail_msg("%s: %s", name, is_read ? "it was read" : err.text);
        }
        if (is_read) {
            case_check_profiles(name, profiles, cJSON_GetObjectItem(cJSON_GetObjectItem(output, "config"), "profiles"));
        }
        profiles_free(profiles);
        run++;
    }
    (void)printf("profile parser fixtures: %d cases run\n", run);
    assert_int_equal(run, PARSER_CASES);
    cJSON_Delete(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(profiles_are_named_as_their_file_names_them),
        cmocka_unit_test(the_last_value_wins_and_the_credentials_file_over_the_config_file),
        cmocka_unit_test(values_lose_their_blanks_and_comments_only),
        cmocka_unit_test(indented_lines_belong_to_the_value_above),
        cmocka_unit_test(the_default_profile_with_a_prefix_hides_the_one_without),
        cmocka_unit_test(files_that_are_absent_hold_nothing_and_those_that_are_wrong_are_named),
        cmocka_unit_test(a_line_that_makes_no_sense_is_told_with_its_number_but_without_its_content),
        cmocka_unit_test(what_was_read_before_a_mistake_stays),
        cmocka_unit_test(a_slash_in_a_name_does_not_lead_into_another_profile),
        cmocka_unit_test(the_parser_cases_of_the_sdks_come_out),
    };
    return cmocka_run_group_tests_name("profile", tests, NULL, NULL);
}
