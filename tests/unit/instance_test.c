#include "workers/common/aws/instance.h"

#include "tests/support/fixtures.h"
#include "tests/support/http_script.h"
#include "tests/support/key_ending.h"
#include "tests/support/moved_clock.h"
#include "tests/support/unit.h"
#include "workers/common/aws/profile.h"
#include "workers/common/base/clock.h"

#include <stdio.h>
#include <string.h>

enum { ADDRESS_CASES = 14, EXPIRATION_S = 1767323045 };

#define KEY(expiration)                                                                                                \
    "{\"Code\":\"Success\",\"AccessKeyId\":\"ASIAI\",\"SecretAccessKey\":\"s\",\"Token\":\"t\",\"Expiration\":"        \
    "\"" expiration "\"}"
#define TOKEN                                                                                                          \
    {                                                                                                                  \
        .status = 200, .body = "token=="                                                                               \
    }
#define ROLE                                                                                                           \
    {                                                                                                                  \
        .status = 200, .body = "deployer\n"                                                                            \
    }
#define GIVEN                                                                                                          \
    {                                                                                                                  \
        .status = 200, .body = KEY("2999-01-01T00:00:00Z")                                                             \
    }

static struct key_ending ask_at(const char *url)
{
    struct loop *loop = loop_new(NULL);
    struct key_ending ending = {0};
    (void)instance_ask(loop, url, key_ended, &ending);
    assert_false(ending.is_done);
    loop_until(loop, &ending.is_done);
    loop_free(loop);
    return ending;
}

static void the_key_is_got_with_a_token_and_the_roles_name(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {TOKEN, ROLE, GIVEN};
    struct http_script *script = http_script_start(answers, 3);
    struct key_ending ending = ask_at(http_script_url(script));
    assert_string_equal(ending.key->access_key, "ASIAI");
    assert_string_equal(ending.key->origin, "instance role deployer");
    assert_int_equal(ending.key->expires_wall_ms, 32472144000000);
    credentials_free(ending.key);
    assert_string_equal(http_script_method(script, 0), "PUT");
    assert_string_equal(http_script_target(script, 0), "/latest/api/token");
    AUTO(text) char *ttl = http_script_header(script, 0, "x-aws-ec2-metadata-token-ttl-seconds");
    assert_string_equal(ttl, "21600");
    assert_string_equal(http_script_method(script, 1), "GET");
    assert_string_equal(http_script_target(script, 1), "/latest/meta-data/iam/security-credentials/");
    assert_string_equal(http_script_target(script, 2), "/latest/meta-data/iam/security-credentials/deployer");
    for (size_t i = 1; i < 3; i++) {
        AUTO(text) char *token = http_script_header(script, i, "x-aws-ec2-metadata-token");
        assert_string_equal(token, "token==");
    }
    http_script_stop(script);
}

static void a_refused_token_is_replaced_once(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {TOKEN, ROLE, {.status = 401}, {.status = 200, .body = "second"},
                                                        ROLE,  GIVEN};
    struct http_script *script = http_script_start(answers, 6);
    struct key_ending ending = ask_at(http_script_url(script));
    assert_non_null(ending.key);
    credentials_free(ending.key);
    AUTO(text) char *token = http_script_header(script, 5, "x-aws-ec2-metadata-token");
    assert_string_equal(token, "second");
    http_script_stop(script);
    static const struct http_script_answer refusals[] = {TOKEN, {.status = 401}, TOKEN, {.status = 401}};
    script = http_script_start(refusals, 4);
    ending = ask_at(http_script_url(script));
    assert_non_null(strstr(ending.err.text, ": the role's name: HTTP 401"));
    assert_int_equal(ending.err.action, ERROR_RETRY);
    assert_int_equal(http_script_count(script), 4);
    http_script_stop(script);
}

static void what_goes_wrong_is_told_without_a_secret(void **state)
{
    (void)state;
    static char huge[100001];
    static char long_line[3001];
    memset(huge, 'x', sizeof(huge) - 1);
    memset(long_line, 'x', sizeof(long_line) - 1);
    const struct {
        struct http_script_answer answers[5];
        size_t requests;
        enum error_action action;
        const char *text;
    } cases[] = {
        {{{.status = 403}}, 1, ERROR_REJECT, "the token is forbidden: the service is switched off (HTTP 403)"},
        {{{.status = 404}}, 1, ERROR_REJECT, "the token: HTTP 404"},
        {{{.status = 400}}, 1, ERROR_REJECT, "the token: HTTP 400"},
        {{{.status = 500}, {.status = 500}, {.status = 500}}, 3, ERROR_RETRY, "the token: HTTP 500"},
        {{{.status = 200, .body = "hid den"}}, 1, ERROR_RETRY, "the answer is no token"},
        {{{.status = 200, .body = ""}}, 1, ERROR_RETRY, "the answer is no token"},
        {{{.status = 200, .body = long_line}}, 1, ERROR_RETRY, "the answer is no token"},
        {{{.status = 200, .body = huge}}, 1, ERROR_REJECT, "the token: answer is longer than 65536 bytes"},
        {{TOKEN, {.status = 404}}, 2, ERROR_REJECT, "the instance has no role (HTTP 404)"},
        {{TOKEN, {.status = 403}},
         2,
         ERROR_REJECT,
         "the role's name is forbidden: the service is switched off (HTTP 403)"},
        {{TOKEN, {.status = 200, .body = "../../latest/user-data"}}, 2, ERROR_RETRY, "the answer is no name of a role"},
        {{TOKEN, {.status = 200, .body = "<html>hidden</html>"}}, 2, ERROR_RETRY, "the answer is no name of a role"},
        {{TOKEN, {.status = 200, .body = "one\ntwo"}}, 2, ERROR_RETRY, "the answer is no name of a role"},
        {{TOKEN, ROLE, {.status = 404}}, 3, ERROR_REJECT, "the role's key: HTTP 404"},
        {{TOKEN, ROLE, {.status = 503}, {.status = 503}, {.status = 503}}, 5, ERROR_RETRY, "the role's key: HTTP 503"},
        {{TOKEN, ROLE, {.status = 200, .body = "{\"AccessKeyId\":\"hidden\"}"}},
         3,
         ERROR_RETRY,
         "the answer has no SecretAccessKey"},
        {{TOKEN, ROLE, {.status = 200, .body = "{\"Code\":\"Failed\",\"Message\":\"no trust\"}"}},
         3,
         ERROR_REJECT,
         "no key was given: Failed: no trust"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http_script *script = http_script_start(cases[i].answers, 5);
        struct key_ending ending = ask_at(http_script_url(script));
        AUTO(text) char *expected = text_format("instance metadata at %s: %s", http_script_url(script), cases[i].text);
        assert_null(ending.key);
        assert_string_equal(ending.err.text, expected);
        assert_int_equal(ending.err.action, cases[i].action);
        assert_int_equal(http_script_count(script), cases[i].requests);
        http_script_stop(script);
    }
}

/* Elsewhere than on an instance a question costs one attempt. */
static void a_service_that_is_not_there_is_asked_once(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {{.is_silent = true}};
    struct http_script *script = http_script_start(answers, 1);
    struct key_ending ending = ask_at(http_script_url(script));
    assert_int_equal(ending.err.action, ERROR_RETRY);
    assert_non_null(strstr(ending.err.text, ": the token: "));
    assert_int_equal(http_script_count(script), 1);
    AUTO(text) char *url = text_copy(http_script_url(script));
    http_script_stop(script);
    ending = ask_at(url); /* nobody listens there any more */
    assert_int_equal(ending.err.action, ERROR_RETRY);
}

static void an_expired_key_that_is_still_served_is_used_for_minutes(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {
        TOKEN, ROLE, {.status = 200, .body = KEY("2026-01-02T03:04:05Z")}};
    static const int64_t seconds_after[] = {-59, 0, 3600};
    for (size_t i = 0; i < sizeof(seconds_after) / sizeof(seconds_after[0]); i++) {
        struct http_script *script = http_script_start(answers, 3);
        moved_clock_stand();
        moved_clock_set_wall((EXPIRATION_S + seconds_after[i]) * (int64_t)1000);
        struct key_ending ending = ask_at(http_script_url(script));
        int64_t left_ms = ending.key->expires_wall_ms - clock_wall_ms();
        assert_true(left_ms > 300000 && left_ms <= 600000);
        credentials_free(ending.key);
        moved_clock_reset();
        http_script_stop(script);
    }
}

static void who_cancels_is_not_called(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {TOKEN, {.is_silent = true}};
    struct loop *loop = loop_new(NULL);
    struct http_script *script = http_script_start(answers, 2);
    struct key_ending ending = {0};
    struct instance_call *call = instance_ask(loop, http_script_url(script), key_ended, &ending);
    loop_until_requests(loop, script, 2);
    instance_cancel(call);
    instance_cancel(NULL);
    loop_for(loop, 20);
    assert_false(ending.is_done);
    http_script_stop(script);
    loop_free(loop);
}

/* ---- the cases of the SDKs ---- */

static const char *member(const cJSON *object, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItem(object, name));
}

/* What a program can override in the SDKs is a variable here: nothing but the environment goes before the profile. */
static void case_check_address(const cJSON *test)
{
    const cJSON *given = cJSON_GetObjectItem(test, "env");
    const char *endpoint = member(given, "AWS_EC2_METADATA_SERVICE_ENDPOINT");
    const char *mode = member(given, "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
    const char *config = member(cJSON_GetObjectItem(test, "fs"), "config");
    struct environment environment = {.metadata_endpoint =
                                          endpoint != NULL ? endpoint : member(test, "endpoint_override"),
                                      .metadata_endpoint_mode = mode != NULL ? mode : member(test, "mode_override")};
    struct profiles *profiles = profiles_new();
    struct error err = {0};
    AUTO(text) char *url = NULL;
    assert_true(profiles_add(profiles, PROFILE_CONFIG_FILE, "config", slice_of(config != NULL ? config : ""), &err));
    bool is_fine = instance_url(&environment, profiles_get(profiles, "default", "ec2_metadata_service_endpoint"),
                                profiles_get(profiles, "default", "ec2_metadata_service_endpoint_mode"), &url, &err);
    const char *expected = member(cJSON_GetObjectItem(test, "result"), "Ok");
    AUTO(text) char *token_url = is_fine ? text_format("%s/latest/api/token", url) : text_copy("");
    if (is_fine != (expected != NULL) || (is_fine && strcmp(token_url, expected) != 0)) {
        fail_msg("%s: %s", member(test, "docs"), is_fine ? url : err.text);
    }
    profiles_free(profiles);
}

static void the_address_cases_of_the_sdks_come_out(void **state)
{
    (void)state;
    static const char file[] = "credentials/imds-config/imds-endpoint-tests.json";
    if (!fixture_is_here(file, "instance address fixtures, 14 cases")) {
        skip();
    }
    cJSON *json = fixture_json(file);
    const cJSON *test;
    int run = 0;
    cJSON_ArrayForEach(test, cJSON_GetObjectItem(json, "tests"))
    {
        case_check_address(test);
        run++;
    }
    (void)printf("instance address fixtures: %d cases run\n", run);
    assert_int_equal(run, ADDRESS_CASES);
    cJSON_Delete(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_key_is_got_with_a_token_and_the_roles_name),
        cmocka_unit_test(a_refused_token_is_replaced_once),
        cmocka_unit_test(what_goes_wrong_is_told_without_a_secret),
        cmocka_unit_test(a_service_that_is_not_there_is_asked_once),
        cmocka_unit_test(an_expired_key_that_is_still_served_is_used_for_minutes),
        cmocka_unit_test(who_cancels_is_not_called),
        cmocka_unit_test(the_address_cases_of_the_sdks_come_out),
    };
    return cmocka_run_group_tests_name("instance", tests, NULL, NULL);
}
