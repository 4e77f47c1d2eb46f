#include "workers/common/aws/profile.h"

#include "tests/support/fixtures.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
        AUTO(text) char *content = text_format("# first\n; second\n\n[p] ; third\n%s\n  nested = x\n", cases[i].line);
        struct profiles *profiles = read_files(content, NULL);
        const char *value = profiles_get(profiles, "p", "k");
        if (cases[i].value == NULL) {
            assert_null(value);
        } else {
            assert_non_null(value);
            assert_string_equal(value, cases[i].value);
        }
        assert_null(profiles_get(profiles, "p", "nested"));
        profiles_free(profiles);
    }
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

/* What ours does otherwise, and why that is no harm where only keys are read. */
static const struct {
    const char *name;
    const char *reason;
} deviations[] = {
    {"Default profile with profile prefix overrides default profile without prefix when profile prefix is first.",
     "both are read"},
    {"Default profile with profile prefix overrides default profile without prefix when profile prefix is last.",
     "both are read"},
    {"Default profiles with mixed prefixes in the config file ignore the one without prefix when merging.",
     "both are read"},
    {"Default profiles with mixed prefixes merge with credentials", "both are read"},
    {"Profile names support alphanumeric characters and - / . % @ _ : +", "names are taken as they are"},
    {"Invalid profile names are ignored.", "names are taken as they are"},
    {"properties from an invalid profile name are ignored", "names are taken as they are"},
    {"Property values can be continued on the next line.", "nested lines are left out"},
    {"Property values can be continued with multiple lines.", "nested lines are left out"},
    {"Continuations are trimmed.", "nested lines are left out"},
    {"Continuation values include pound comments.", "nested lines are left out"},
    {"Continuation values include semicolon comments.", "nested lines are left out"},
    {"Continuations cannot be used outside of a property.", "nested lines are left out"},
    {"Continuations reset with profile definitions.", "nested lines are left out"},
    {"Invalid continuation", "nested lines are left out"},
    {"Properties can have sub-properties.", "nested lines are left out"},
    {"Invalid sub-property definitions cause an error.", "nested lines are left out"},
    {"Sub-property definitions can have an empty value.", "nested lines are left out"},
    {"Sub-property definitions cannot have an empty name.", "nested lines are left out"},
    {"Sub-property definitions can have an invalid name.", "nested lines are left out"},
    {"Sub-properties can have blank lines that are ignored", "nested lines are left out"},
};

static const char *deviation_of(const char *name)
{
    for (size_t i = 0; i < sizeof(deviations) / sizeof(deviations[0]); i++) {
        if (strcmp(deviations[i].name, name) == 0) {
            return deviations[i].reason;
        }
    }
    return NULL;
}

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
    size_t run = 0;
    size_t skipped = 0;
    cJSON_ArrayForEach(test, cJSON_GetObjectItem(json, "tests"))
    {
        const char *name = member(test, "name");
        const cJSON *input = cJSON_GetObjectItem(test, "input");
        const cJSON *output = cJSON_GetObjectItem(test, "output");
        const char *credentials = member(input, "credentialsFile");
        const char *config = member(input, "configFile");
        const char *deviation = deviation_of(name);
        if (deviation != NULL) {
            (void)printf("skipped: parser case \"%s\" (%s)\n", name, deviation);
            skipped++;
            continue;
        }
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
    (void)printf("profile parser fixtures: %zu cases run, %zu skipped\n", run, skipped);
    assert_int_equal(run + skipped, cJSON_GetArraySize(cJSON_GetObjectItem(json, "tests")));
    assert_int_equal(skipped, sizeof(deviations) / sizeof(deviations[0]));
    cJSON_Delete(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(profiles_are_named_as_their_file_names_them),
        cmocka_unit_test(the_last_value_wins_and_the_credentials_file_over_the_config_file),
        cmocka_unit_test(values_lose_their_blanks_and_comments_only),
        cmocka_unit_test(a_line_that_makes_no_sense_is_told_with_its_number_but_without_its_content),
        cmocka_unit_test(what_was_read_before_a_mistake_stays),
        cmocka_unit_test(a_slash_in_a_name_does_not_lead_into_another_profile),
        cmocka_unit_test(the_parser_cases_of_the_sdks_come_out),
    };
    return cmocka_run_group_tests_name("profile", tests, NULL, NULL);
}
