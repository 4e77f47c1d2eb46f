#include "workers/common/aws/chain.h"

#include "tests/support/fixtures.h"
#include "tests/support/scratch.h"
#include "tests/support/unit.h"
#include "workers/common/base/buffer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROLE_CASES = 28, ROLE_CASES_OF_SSO = 2, LOCATION_CASES = 9, LOCATION_CASES_OF_WINDOWS = 5 };

/* The chain of a config file and an environment, or NULL with err. */
static struct chain *plan(const struct environment *environment, const char *config, const char *profile,
                          struct error *err)
{
    struct profiles *profiles = profiles_new();
    struct chain *chain = NULL;
    if (!profiles_add(profiles, PROFILE_CONFIG_FILE, "config", slice_of(config), err)) {
        fail_msg("%s", err->text);
    }
    *err = (struct error){0};
    bool is_planned = chain_plan(environment, profiles, "the files", profile, &chain, err);
    assert_int_equal(is_planned, chain != NULL);
    assert_int_equal(chain == NULL, err->action != ERROR_NONE);
    profiles_free(profiles);
    return chain;
}

/* "key AKID;role ARN": what the steps are, for comparison. */
static char *chain_text(const struct chain *chain)
{
    char *text = text_copy("");
    for (size_t i = 0; i < chain->count; i++) {
        const struct chain_step *step = &chain->steps[i];
        const char *before = text;
        const char *names[] = {"key", "web identity", "process", "container", "instance", "role"};
        const char *details[] = {step->key != NULL ? step->key->access_key : "",
                                 step->token_file,
                                 step->command,
                                 step->url,
                                 step->url,
                                 step->role_arn};
        text = text_format("%s%s%s %s", before, i > 0 ? "; " : "", names[step->kind], details[step->kind]);
        free((char *)before);
    }
    return text;
}

#define KEY "aws_access_key_id=AKID\naws_secret_access_key=s\n"
#define DEFAULT "[default]\n" KEY
#define LOOKED_IN                                                                                                      \
    "the environment has no AWS_ACCESS_KEY_ID, no profile \"default\" with credentials is in the files, and there is " \
    "no web identity and no container"

static void the_first_way_that_is_set_up_is_taken(void **state)
{
    (void)state;
    static const struct {
        const char *config;
        struct environment environment;
        const char *profile;
        const char *expected; /* steps, or the text of the error */
    } cases[] = {
        {DEFAULT, {.access_key = "AKENV", .secret_key = "s"}, NULL, "key AKENV"},
        {DEFAULT "[profile acme]\naws_access_key_id=AKACME\naws_secret_access_key=s\n",
         {.access_key = "AKENV", .secret_key = "s"},
         "acme",
         "key AKACME"},
        {DEFAULT "[profile acme]\naws_access_key_id=AKACME\naws_secret_access_key=s\n",
         {.access_key = "AKENV", .secret_key = "s", .profile = "acme"},
         NULL,
         "key AKACME"},
        {DEFAULT, {.access_key = "AKENV", .secret_key = "s", .profile = "acme"}, "default", "key AKID"},
        {DEFAULT, {.web_identity_token_file = "/token", .role_arn = "r"}, NULL, "key AKID"},
        {"[default]\nregion=eu-west-1\n",
         {.web_identity_token_file = "/token", .role_arn = "r", .container_relative_uri = "/c"},
         NULL,
         "web identity /token"},
        {"", {.container_relative_uri = "/c"}, NULL, "container http://169.254.170.2/c"},
        {"", {.container_full_uri = "http://localhost:1/c"}, NULL, "container http://localhost:1/c"},
        {"", {0}, NULL, "instance http://169.254.169.254"},
        {"", {.metadata_disabled = "false"}, NULL, "instance http://169.254.169.254"},
        {"", {.metadata_endpoint = "http://127.0.0.1:7/"}, NULL, "instance http://127.0.0.1:7"},
        {"[default]\nec2_metadata_service_endpoint_mode=IPv6\n", {0}, NULL, "instance http://[fd00:ec2::254]"},
        {"[default]\ncredential_process=tool --key\n", {0}, NULL, "process tool --key"},
        {"[default]\ncredential_process=tool\n" KEY, {0}, NULL, "process tool"},
        /* What is half there is a mistake, whatever would come behind it. */
        {DEFAULT, {.access_key = "AKENV"}, NULL, "the environment has no AWS_SECRET_ACCESS_KEY"},
        {DEFAULT, {.secret_key = "hidden"}, NULL, "the environment has no AWS_ACCESS_KEY_ID"},
        {"[default]\naws_access_key_id=AKID\n",
         {.container_relative_uri = "/c"},
         NULL,
         "profile \"default\" has no aws_secret_access_key (in the files)"},
        {"", {.web_identity_token_file = "/token"}, NULL, "AWS_WEB_IDENTITY_TOKEN_FILE needs AWS_ROLE_ARN"},
        {"", {.container_relative_uri = "c"}, NULL, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI does not begin with /"},
        {"", {.metadata_disabled = "True"}, NULL, LOOKED_IN ": AWS_EC2_METADATA_DISABLED forbids to ask the instance"},
        /* A profile that was named is used alone. */
        {DEFAULT, {.access_key = "AKENV", .secret_key = "s"}, "absent", "no profile \"absent\" in the files"},
        {DEFAULT "[profile empty]\nregion=x\n",
         {.access_key = "AKENV", .secret_key = "s", .profile = "empty"},
         NULL,
         "profile \"empty\" has no credentials (in the files)"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct error err;
        struct chain *chain = plan(&cases[i].environment, cases[i].config, cases[i].profile, &err);
        AUTO(text) char *found = chain != NULL ? chain_text(chain) : text_copy(err.text);
        if (strcmp(found, cases[i].expected) != 0) {
            fail_msg("case %zu: %s", i, found);
        }
        assert_true(chain != NULL || err.action == ERROR_REJECT);
        /* Only the last resort says what was not there. */
        bool is_resort = chain != NULL && chain->steps[0].kind == CHAIN_INSTANCE;
        assert_int_equal(is_resort, chain != NULL && chain->looked_in != NULL);
        chain_free(chain);
    }
}

static void roles_of_profiles_lead_to_the_key_they_are_assumed_with(void **state)
{
    (void)state;
    static const struct environment container = {
        .container_relative_uri = "/c", .access_key = "AKENV", .secret_key = "s"};
    static const struct {
        const char *config;
        const char *expected;
    } cases[] = {
        {"[profile p]\nrole_arn=r1\nsource_profile=q\n[profile q]\nrole_arn=r2\nsource_profile=default\n" DEFAULT,
         "key AKID; role r2; role r1"},
        {"[profile p]\nrole_arn=r1\ncredential_source=environment\n", "key AKENV; role r1"},
        {"[profile p]\nrole_arn=r1\ncredential_source=EcsContainer\n", "container http://169.254.170.2/c; role r1"},
        {"[profile p]\nrole_arn=r1\ncredential_source=Ec2InstanceMetadata\n",
         "instance http://169.254.169.254; role r1"},
        {"[profile p]\nrole_arn=r1\nsource_profile=q\n[profile q]\ncredential_process=tool\n", "process tool; role r1"},
        {"[profile p]\nrole_arn=r1\nsource_profile=q\n[profile q]\ncredential_process=tool\n" KEY, "key AKID; role r1"},
        {"[profile p]\nrole_arn=r1\nsource_profile=p\n" KEY, "key AKID; role r1"},
        {"[profile p]\nrole_arn=r1\nsource_profile=p\n", "profile \"p\" has no credentials (in the files)"},
        {"[profile p]\nrole_arn=r1\ncredential_source=Moon\n",
         "profile \"p\": credential_source is Environment, Ec2InstanceMetadata or EcsContainer, not \"Moon\""},
        {"[profile p]\nrole_arn=r1\n", "profile \"p\": role_arn needs one of source_profile and credential_source"},
        {"[profile p]\nrole_arn=r1\ncredential_source=Environment\nsource_profile=q\n",
         "profile \"p\": role_arn needs one of source_profile and credential_source"},
        {"[profile p]\nrole_arn=r1\nsource_profile=q\n", "no profile \"q\", the source_profile of \"p\", in the files"},
        {"[profile p]\nrole_arn=r1\nsource_profile=q\n[profile q]\nrole_arn=r2\nsource_profile=s\n"
         "[profile s]\nrole_arn=r3\nsource_profile=q\n",
         "profile \"q\" leads back to itself by source_profile"},
        {"[profile p]\nrole_arn=r1\nsource_profile=p\nmfa_serial=m\n",
         "profile \"p\": mfa_serial needs a person, who is not here"},
        {"[profile p]\nrole_arn=r1\nsource_profile=p\nduration_seconds=899\n",
         "profile \"p\": duration_seconds must be 900 to 43200"},
        {"[profile p]\nrole_arn=r1\nsource_profile=p\nduration_seconds=1h\n",
         "profile \"p\": duration_seconds must be 900 to 43200"},
        {"[profile p]\nweb_identity_token_file=/t\n", "profile \"p\": web_identity_token_file needs role_arn"},
        {"[profile p]\nsso_session=x\n" KEY, "profile \"p\": IAM Identity Center (sso) needs a person's login"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct error err;
        struct chain *chain = plan(&container, cases[i].config, "p", &err);
        AUTO(text) char *found = chain != NULL ? chain_text(chain) : text_copy(err.text);
        if (strcmp(found, cases[i].expected) != 0) {
            fail_msg("case %zu: %s", i, found);
        }
        chain_free(chain);
    }
}

static void steps_and_region_carry_what_the_profile_says(void **state)
{
    (void)state;
    static const struct environment nothing = {0};
    static const struct environment region = {.region = "eu-central-1"};
    static const char config[] = "[profile p]\nrole_arn=r1\nsource_profile=q\nexternal_id=e\nrole_session_name=n\n"
                                 "duration_seconds=900\nregion=eu-west-1\n"
                                 "[profile q]\naws_session_token=t\nregion=eu-west-2\n" KEY;
    struct error err;
    struct chain *chain = plan(&nothing, config, "p", &err);
    assert_string_equal(chain->region, "eu-west-1");
    assert_string_equal(chain->steps[0].key->session_token, "t");
    assert_string_equal(chain->steps[0].key->origin, "profile q");
    assert_string_equal(chain->steps[1].external_id, "e");
    assert_string_equal(chain->steps[1].session_name, "n");
    assert_int_equal(chain->steps[1].duration_seconds, 900);
    chain_free(chain);
    chain = plan(&region, config, "q", &err);
    assert_string_equal(chain->region, "eu-central-1");
    chain_free(chain);
    chain = plan(&nothing, "", NULL, &err);
    assert_null(chain->region);
    chain_free(chain);
    chain_free(NULL);
}

/* A thousand profiles, each the source of the one before. */
static void a_long_chain_is_walked_to_its_end(void **state)
{
    (void)state;
    enum { PROFILES = 1000 };
    static const struct environment nothing = {0};
    AUTO(buffer) struct buffer config;
    buffer_init(&config, 1 << 20);
    for (int i = 0; i < PROFILES; i++) {
        buffer_append_format(&config, "[profile p%d]\nrole_arn=r%d\nsource_profile=p%d\n", i, i, i + 1);
    }
    buffer_append_format(&config, "[profile p%d]\n" KEY, PROFILES);
    struct error err;
    struct chain *chain = plan(&nothing, config.ptr, "p0", &err);
    assert_int_equal(chain->count, PROFILES + 1);
    assert_int_equal(chain->steps[0].kind, CHAIN_KEY);
    assert_string_equal(chain->steps[PROFILES].role_arn, "r0");
    chain_free(chain);
}

/* ---- the process's own environment and files ---- */

static void what_is_found_comes_from_the_files_that_the_environment_names(void **state)
{
    (void)state;
    struct scratch credentials_file;
    struct scratch config_file;
    struct profile_files *files = profile_files_new();
    struct chain *chain = NULL;
    struct error err;
    assert_true(scratch_make(&credentials_file) && scratch_make(&config_file));
    setenv("AWS_SHARED_CREDENTIALS_FILE", credentials_file.path, 1);
    setenv("AWS_CONFIG_FILE", config_file.path, 1);
    setenv("AWS_ACCESS_KEY_ID", "  ", 1); /* blank: not set */
    unsetenv("AWS_SECRET_ACCESS_KEY");
    unsetenv("AWS_PROFILE");
    scratch_write(&credentials_file, "[p]\nAWS_ACCESS_KEY_ID=AKID1\n");
    scratch_write(&config_file, "[profile p]\naws_access_key_id=AKID2\naws_secret_access_key=s\n");
    setenv("AWS_PROFILE", "p", 1);
    assert_true(chain_find(files, NULL, &chain, &err));
    assert_string_equal(chain->steps[0].key->access_key, "AKID1");
    chain_free(chain);
    chain = NULL;
    assert_false(chain_find(files, "absent", &chain, &err));
    AUTO(text) char *absent = text_format("no profile \"absent\" in %s or %s", credentials_file.path, config_file.path);
    assert_string_equal(err.text, absent);
    scratch_write(&credentials_file, "[p]\nsecret without a name\n");
    assert_false(chain_find(files, NULL, &chain, &err));
    AUTO(text) char *broken = text_format("%s:2: expected [section] or name = value", credentials_file.path);
    assert_string_equal(err.text, broken);
    unsetenv("AWS_PROFILE");
    unsetenv("AWS_ACCESS_KEY_ID");
    profile_files_free(files);
    assert_int_equal(scratch_remove(&credentials_file) + scratch_remove(&config_file), 0);
}

/* ---- the cases of the SDKs ---- */

static const char *member(const cJSON *object, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItem(object, name));
}

static void expect_member(const char *name, const cJSON *expected, const char *key, const char *actual)
{
    const char *text = member(expected, key);
    if (strcmp(text != NULL ? text : "", actual != NULL ? actual : "") != 0) {
        fail_msg("%s: %s is \"%s\"", name, key, actual);
    }
}

static void expect_step(const char *name, const cJSON *expected, const struct chain_step *step)
{
    const cJSON *value = expected->child;
    static const char *const kinds[] = {[CHAIN_KEY] = "AccessKey",
                                        [CHAIN_WEB_IDENTITY] = "WebIdentityToken",
                                        [CHAIN_INSTANCE] = "NamedSource",
                                        [CHAIN_ROLE] = "AssumeRole"};
    assert_string_equal(value->string, kinds[step->kind]);
    if (step->kind == CHAIN_INSTANCE) {
        assert_string_equal(value->valuestring, "Ec2InstanceMetadata");
        return;
    }
    expect_member(name, value, "access_key_id", step->key != NULL ? step->key->access_key : NULL);
    expect_member(name, value, "secret_access_key", step->key != NULL ? step->key->secret_key : NULL);
    expect_member(name, value, "role_arn", step->role_arn);
    expect_member(name, value, "external_id", step->external_id);
    expect_member(name, value, "role_session_name", step->session_name);
    expect_member(name, value, "web_identity_token_file", step->token_file);
}

static void case_check_chain(const cJSON *test)
{
    static const struct environment nothing = {0};
    const char *name = member(test, "docs");
    const cJSON *input = cJSON_GetObjectItem(test, "input");
    const cJSON *expected = cJSON_GetObjectItem(cJSON_GetObjectItem(test, "output"), "ProfileChain");
    const cJSON *profile;
    AUTO(buffer) struct buffer config;
    buffer_init(&config, 1 << 16);
    cJSON_ArrayForEach(profile, cJSON_GetObjectItem(input, "profiles"))
    {
        const cJSON *property;
        buffer_append_format(&config, "[profile %s]\n", profile->string);
        cJSON_ArrayForEach(property, profile)
        {
            buffer_append_format(&config, "%s = %s\n", property->string, property->valuestring);
        }
    }
    struct error err;
    struct chain *chain = plan(&nothing, config.ptr, member(input, "selected_profile"), &err);
    if ((chain != NULL) != (expected != NULL)) {
        fail_msg("%s: %s", name, chain != NULL ? "a way was found" : err.text);
    }
    assert_int_equal(chain != NULL ? (int)chain->count : 0, cJSON_GetArraySize(expected));
    for (size_t i = 0; chain != NULL && i < chain->count; i++) {
        expect_step(name, cJSON_GetArrayItem(expected, (int)i), &chain->steps[i]);
    }
    chain_free(chain);
}

/* Those of IAM Identity Center that end in a key: it is not supported. Those that end in an error do so here, too. */
static bool is_sso_chain(const cJSON *test)
{
    const cJSON *chain = cJSON_GetObjectItem(cJSON_GetObjectItem(test, "output"), "ProfileChain");
    return cJSON_GetObjectItem(cJSON_GetArrayItem(chain, 0), "Sso") != NULL;
}

static void the_role_cases_of_the_sdks_come_out(void **state)
{
    (void)state;
    static const char file[] = "credentials/assume-role-tests.json";
    if (!fixture_is_here(file, "role chain fixtures, 28 cases")) {
        skip();
    }
    cJSON *json = fixture_json(file);
    const cJSON *test;
    int run = 0;
    int skipped = 0;
    cJSON_ArrayForEach(test, json)
    {
        if (is_sso_chain(test)) {
            (void)printf("skipped: role case \"%s\" (IAM Identity Center is not supported)\n", member(test, "docs"));
            skipped++;
        } else {
            case_check_chain(test);
            run++;
        }
    }
    (void)printf("role chain fixtures: %d cases run, %d skipped\n", run, skipped);
    assert_int_equal(run + skipped, ROLE_CASES);
    assert_int_equal(skipped, ROLE_CASES_OF_SSO);
    cJSON_Delete(json);
}

static void case_check_location(const cJSON *test)
{
    const cJSON *given = cJSON_GetObjectItem(test, "environment");
    struct environment environment = {.home = member(given, "HOME"),
                                      .profile = member(given, "AWS_PROFILE"),
                                      .config_file = member(given, "AWS_CONFIG_FILE"),
                                      .credentials_file = member(given, "AWS_SHARED_CREDENTIALS_FILE")};
    AUTO(text) char *config_path = environment_config_path(&environment);
    AUTO(text) char *credentials_path = environment_credentials_path(&environment);
    assert_string_equal(config_path, member(test, "configLocation"));
    assert_string_equal(credentials_path, member(test, "credentialsLocation"));
    const char *profile = member(test, "profile");
    if (profile != NULL) {
        assert_string_equal(environment.profile != NULL ? environment.profile : "default", profile);
    }
}

static void the_file_location_cases_of_the_sdks_come_out(void **state)
{
    (void)state;
    static const char file[] = "credentials/config-files/file-location-tests.json";
    if (!fixture_is_here(file, "file location fixtures, 9 cases")) {
        skip();
    }
    cJSON *json = fixture_json(file);
    const cJSON *test;
    int run = 0;
    int skipped = 0;
    cJSON_ArrayForEach(test, cJSON_GetObjectItem(json, "tests"))
    {
        if (strcmp(member(test, "platform"), "windows") == 0) {
            (void)printf("skipped: location case \"%s\" (Windows)\n", member(test, "name"));
            skipped++;
        } else {
            case_check_location(test);
            run++;
        }
    }
    (void)printf("file location fixtures: %d cases run, %d skipped\n", run, skipped);
    assert_int_equal(run + skipped, LOCATION_CASES);
    assert_int_equal(skipped, LOCATION_CASES_OF_WINDOWS);
    cJSON_Delete(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_way_that_is_set_up_is_taken),
        cmocka_unit_test(roles_of_profiles_lead_to_the_key_they_are_assumed_with),
        cmocka_unit_test(steps_and_region_carry_what_the_profile_says),
        cmocka_unit_test(a_long_chain_is_walked_to_its_end),
        cmocka_unit_test(what_is_found_comes_from_the_files_that_the_environment_names),
        cmocka_unit_test(the_role_cases_of_the_sdks_come_out),
        cmocka_unit_test(the_file_location_cases_of_the_sdks_come_out),
    };
    return cmocka_run_group_tests_name("chain", tests, NULL, NULL);
}
