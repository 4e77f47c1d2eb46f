/*
 * The recorded cases of the SDKs for the default chain and for profiles: an environment, files, the answers of the
 * services, and the credentials or the error that must come out. The whole product runs, from roles_get down to real
 * HTTP; two things stand between it and the world, at link time: files are read from the case's folder, and requests
 * are compared with the recorded ones (method, address, form) and then sent to a scripted server of ours with their
 * paths. So addresses that nobody can redirect by a setting (169.254.170.2) need no door in the product.
 */
#include "tests/support/fixtures.h"
#include "tests/support/http_script.h"
#include "tests/support/moved_clock.h"
#include "tests/support/unit.h"
#include "workers/common/aws/role.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/file.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* How many there are is asserted, so that none is left out silently. */
enum { EVENTS_MAXIMUM = 16, HOUR_MS = 3600 * 1000, DEFAULT_CHAIN_CASES = 29, PROFILE_CASES = 18 };

struct named_case {
    const char *name;
    const char *error;   /* a part of ours, where theirs is an error, too */
    const char *skipped; /* why; NULL: it is run */
};

#define SSO "IAM Identity Center is not supported"
#define ENDPOINTS "endpoints are set by the options, which AWS_ENDPOINT_URL_STS is one of"

static const struct named_case default_chain[] = {
    {"e2e_fips_and_dual_stack_sso", .skipped = SSO},
    {"ecs_assume_role"},
    {"ecs_credentials"},
    {"ecs_credentials_invalid_profile"},
    {"eks_pod_identity_credentials"},
    {"eks_pod_identity_no_token_file", "/token.jwt: cannot be read: No such file"},
    {"environment_variables"},
    {"environment_variables_blank"},
    {"imds_assume_role"},
    {"imds_config_with_no_creds"},
    {"imds_default_chain_error", "the instance has no role"},
    {"imds_default_chain_retries"},
    {"imds_default_chain_success"},
    {"imds_disabled", "AWS_EC2_METADATA_DISABLED forbids"},
    {"imds_no_iam_role", "the instance has no role"},
    {"imds_token_fail", "the token is forbidden"},
    {"prefer_environment"},
    {"profile_name"},
    {"profile_overrides_web_identity", "profile \"A\": the environment has no AWS_ACCESS_KEY_ID"},
    {"profile_static_keys"},
    {"profile_static_keys_case_insensitive"},
    {"sso_assume_role", .skipped = SSO},
    {"sso_no_token_file", .skipped = SSO},
    {"sso_server_error", .skipped = SSO},
    {"web_identity_source_profile_no_env", "profile \"B\": web_identity_token_file needs role_arn"},
    {"web_identity_token_env"},
    {"web_identity_token_invalid_jwt", "InvalidIdentityToken: No OpenIDConnect provider found in your account"},
    {"web_identity_token_profile"},
    {"web_identity_token_source_profile"},
};

static const struct named_case profile_provider[] = {
    {"assume_role_override_global_env_url", .skipped = ENDPOINTS},
    {"assume_role_override_global_profile_url", .skipped = ENDPOINTS},
    {"assume_role_override_service_env_url"},
    {"assume_role_override_service_profile_url", .skipped = ENDPOINTS},
    {"credential_process"},
    {"credential_process_account_id_fallback"},
    {"credential_process_failure", "exit status 1"},
    {"credential_process_invalid", "the answer is not a JSON object"},
    {"e2e_assume_role"},
    {"e2e_fips_and_dual_stack_sts", .skipped = "the endpoints of this project know no FIPS and no dual stack"},
    {"empty_config", "no profile \"default\" in"},
    {"invalid_config", "/home/.aws/config:2: expected [section] or name = value"},
    {"invalid_sso_credentials_config", "IAM Identity Center (sso) needs a person"},
    {"region_override"},
    {"retry_on_error"},
    {"sso_credentials", .skipped = SSO},
    {"sso_override_global_env_url", .skipped = SSO},
    {"sso_token", "IAM Identity Center (sso) needs a person"},
};

/* What the case that runs has recorded. */
static struct {
    char *folder; /* NULL: none runs */
    cJSON *traffic;
    const cJSON *requests[EVENTS_MAXIMUM];
    const cJSON *forms[EVENTS_MAXIMUM];
    struct http_script_answer answers[EVENTS_MAXIMUM];
    size_t count;
    size_t sent;
    struct http_script *script;
} recorded;

static const char *member(const cJSON *object, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItem(object, name));
}

/* ---- between the product and the world ---- */

bool __real_file_read(const char *path, struct buffer *buffer, struct error *err);
bool __wrap_file_read(const char *path, struct buffer *buffer, struct error *err);

bool __wrap_file_read(const char *path, struct buffer *buffer, struct error *err)
{
    AUTO(text) char *inside = recorded.folder != NULL ? text_format("%s/fs%s", recorded.folder, path) : NULL;
    return __real_file_read(inside != NULL ? inside : path, buffer, err);
}

/* The value of a parameter of a form, or "". The caller frees it. */
static char *form_value(const char *form, const char *name)
{
    AUTO(text) char *with_equals = text_format("&%s=", name);
    AUTO(text) char *whole = text_format("&%s", form);
    const char *at = strstr(whole, with_equals);
    return at != NULL ? slice_copy(slice_from(at + strlen(with_equals), strcspn(at + strlen(with_equals), "&")))
                      : text_copy("");
}

/* Some recordings of web identities have another role and token than their own files; session names are generated. */
static void expect_form(const struct http_request *request, const cJSON *form)
{
    AUTO(text) char *sent = slice_copy(request->body);
    static const char *const parameters[] = {"Action", "Version", "RoleArn"};
    size_t count = strstr(sent, "WebIdentityToken=") != NULL ? 2 : 3;
    for (size_t i = 0; form != NULL && i < count; i++) {
        AUTO(text) char *actual = form_value(sent, parameters[i]);
        AUTO(text) char *expected = form_value(form->valuestring, parameters[i]);
        assert_string_equal(actual, expected);
    }
    assert_int_equal(form != NULL, request->body.len > 0);
}

static const char *header_of(const struct http_request *request, const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < request->header_count; i++) {
        if (strncasecmp(request->headers[i], name, length) == 0 && request->headers[i][length] == ':') {
            return request->headers[i] + length + 2;
        }
    }
    return NULL;
}

/* The token of the caller and that of the instance go along as recorded. */
static void expect_headers(const struct http_request *request, const cJSON *expected)
{
    static const char *const names[] = {"x-amz-security-token", "x-aws-ec2-metadata-token",
                                        "x-aws-ec2-metadata-token-ttl-seconds"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const cJSON *header = cJSON_GetObjectItem(cJSON_GetObjectItem(expected, "headers"), names[i]);
        const char *actual = header_of(request, names[i]);
        assert_int_equal(header != NULL, actual != NULL);
        if (strcmp(names[i], "x-amz-security-token") != 0 && header != NULL) {
            assert_string_equal(actual, cJSON_GetArrayItem(header, 0)->valuestring);
        }
    }
}

static void expect_recorded(const struct http_request *request)
{
    if (recorded.sent >= recorded.count) {
        fail_msg("%s: a request too many: %s %s", recorded.folder, request->method, request->url);
    }
    const cJSON *expected = recorded.requests[recorded.sent];
    AUTO(text) char *url = text_copy(member(expected, "uri"));
    /* A recorded "http://host" is our "http://host/". */
    size_t length = strlen(url);
    bool is_same = strncmp(request->url, url, length) == 0 &&
                   (request->url[length] == '\0' || strcmp(request->url + length, "/") == 0);
    if (!is_same || strcmp(request->method, member(expected, "method")) != 0) {
        fail_msg("%s: %s %s in place of %s %s", recorded.folder, request->method, request->url,
                 member(expected, "method"), url);
    }
    expect_form(request, recorded.forms[recorded.sent]);
    expect_headers(request, expected);
    recorded.sent++;
}

struct http_transfer *__real_http_start(struct http *http, const struct http_request *request,
                                        void (*on_done)(void *context, const struct http_answer *answer),
                                        void *context);
struct http_transfer *__wrap_http_start(struct http *http, const struct http_request *request,
                                        void (*on_done)(void *context, const struct http_answer *answer),
                                        void *context);

struct http_transfer *__wrap_http_start(struct http *http, const struct http_request *request,
                                        void (*on_done)(void *context, const struct http_answer *answer), void *context)
{
    struct http_request sent = *request;
    expect_recorded(request);
    AUTO(text)
    char *url = text_format("%s%s", http_script_url(recorded.script), strchr(strstr(request->url, "://") + 3, '/'));
    sent.url = url;
    return __real_http_start(http, &sent, on_done, context);
}

/* ---- a case ---- */

static const char *data_text(const cJSON *event)
{
    return member(cJSON_GetObjectItem(cJSON_GetObjectItem(event, "Data"), "data"), "Utf8");
}

/* Requests are in the order of their connections, and so are their answers: each connection has one of each. */
static void traffic_read(void)
{
    const cJSON *event;
    cJSON_ArrayForEach(event, cJSON_GetObjectItem(recorded.traffic, "events"))
    {
        const cJSON *action = cJSON_GetObjectItem(event, "action");
        size_t at = (size_t)cJSON_GetObjectItem(event, "connection_id")->valueint;
        const cJSON *request = cJSON_GetObjectItem(cJSON_GetObjectItem(action, "Request"), "request");
        const cJSON *response = cJSON_GetObjectItem(cJSON_GetObjectItem(action, "Response"), "response");
        const char *text = data_text(action);
        assert_true(at < EVENTS_MAXIMUM);
        recorded.count = at + 1 > recorded.count ? at + 1 : recorded.count;
        if (request != NULL) {
            recorded.requests[at] = request;
        } else if (response != NULL) {
            recorded.answers[at].status = cJSON_GetObjectItem(cJSON_GetObjectItem(response, "Ok"), "status")->valueint;
        } else if (text != NULL && strcmp(member(cJSON_GetObjectItem(action, "Data"), "direction"), "Request") == 0) {
            recorded.forms[at] =
                cJSON_GetObjectItem(cJSON_GetObjectItem(cJSON_GetObjectItem(action, "Data"), "data"), "Utf8");
        } else if (text != NULL) {
            recorded.answers[at].body = text;
        }
    }
}

static void surroundings_set(const cJSON *environment)
{
    static const char *const names[] = {"AWS_ACCESS_KEY_ID",
                                        "AWS_SECRET_ACCESS_KEY",
                                        "AWS_SESSION_TOKEN",
                                        "AWS_PROFILE",
                                        "AWS_REGION",
                                        "AWS_DEFAULT_REGION",
                                        "AWS_ROLE_ARN",
                                        "AWS_ROLE_SESSION_NAME",
                                        "AWS_WEB_IDENTITY_TOKEN_FILE",
                                        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                                        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                                        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
                                        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
                                        "AWS_EC2_METADATA_DISABLED",
                                        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
                                        "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
                                        "AWS_SHARED_CREDENTIALS_FILE",
                                        "AWS_CONFIG_FILE",
                                        "HOME"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const char *value = member(environment, names[i]);
        if (value != NULL) {
            setenv(names[i], value, 1);
        } else {
            unsetenv(names[i]);
        }
    }
}

struct ending {
    bool is_done;
    struct credentials *key;
    struct error err;
};

static void on_answer(void *context, const struct role_answer *answer)
{
    struct ending *ending = context;
    ending->is_done = true;
    ending->err = answer->err;
    ending->key = answer->credentials != NULL ? credentials_copy(answer->credentials) : NULL;
}

/* Asks for the main credentials, as a program with these surroundings would. */
static struct ending run(const char *profile, const char *sts_url)
{
    struct aws_client_settings settings = {
        .endpoints.sts_url = sts_url,
        .retry = {.attempts_maximum = 3, .base_ms = 1, .throttled_base_ms = 1, .maximum_ms = 5}};
    struct roles_settings role_settings = {.main_profile = profile, .region = "us-east-1"};
    static const struct role_request main_credentials = {0};
    struct loop *loop = loop_new(NULL);
    struct aws_client *client = aws_client_new(loop, &settings);
    struct roles *roles = roles_new(client, &role_settings);
    struct ending ending = {0};
    (void)roles_get(roles, &main_credentials, on_answer, &ending);
    loop_until(loop, &ending.is_done);
    roles_free(roles);
    aws_client_free(client);
    loop_free(loop);
    return ending;
}

static void expect_key(const char *name, const struct ending *ending, const cJSON *expected)
{
    if (ending->key == NULL) {
        fail_msg("%s: %s", name, ending->err.text);
        return;
    }
    const cJSON *expiry = cJSON_GetObjectItem(expected, "expiry");
    assert_string_equal(ending->key->access_key, member(expected, "access_key_id"));
    assert_string_equal(ending->key->secret_key, member(expected, "secret_access_key"));
    const char *token = member(expected, "session_token");
    assert_string_equal(ending->key->session_token != NULL ? ending->key->session_token : "",
                        token != NULL ? token : "");
    assert_int_equal(ending->key->expires_wall_ms, expiry != NULL ? (int64_t)expiry->valuedouble * 1000 : 0);
}

static void expect_error(const struct named_case *test, const struct ending *ending)
{
    if (ending->key != NULL || test->error == NULL || strstr(ending->err.text, test->error) == NULL) {
        fail_msg("%s: %s", test->name, ending->key != NULL ? "a key was found" : ending->err.text);
    }
    static const char *const secrets[] = {"sometoken", "shouldnotbeused", "eyJ", "FAKE", "faketoken"};
    for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++) {
        assert_null(strstr(ending->err.text, secrets[i]));
    }
}

static void case_run(const char *folder, const struct named_case *named, const char *profile)
{
    const char *name = named->name;
    AUTO(text) char *path = text_format("credentials/%s/%s", folder, name);
    AUTO(text) char *traffic_path = text_format("%s/http-traffic.json", path);
    AUTO(text) char *environment_path = text_format("%s/env.json", path);
    AUTO(text) char *case_path = text_format("%s/test-case.json", path);
    memset(&recorded, 0, sizeof(recorded));
    cJSON *environment = fixture_json(environment_path);
    cJSON *test = fixture_json(case_path);
    const cJSON *result = cJSON_GetObjectItem(test, "result");
    const cJSON *expected = cJSON_GetObjectItem(result, "Ok");
    const cJSON *expiry = cJSON_GetObjectItem(expected, "expiry");
    recorded.traffic = fixture_json(traffic_path);
    recorded.folder = fixture_path(path);
    traffic_read();
    recorded.script = http_script_start(recorded.answers, recorded.count);
    surroundings_set(environment);
    if (expiry != NULL) {
        moved_clock_set_wall((int64_t)expiry->valuedouble * 1000 - HOUR_MS);
    }
    struct ending ending = run(profile, member(environment, "AWS_ENDPOINT_URL_STS"));
    if (expected != NULL) {
        expect_key(name, &ending, expected);
    } else {
        expect_error(named, &ending);
    }
    assert_int_equal(recorded.sent, recorded.count);
    moved_clock_reset();
    credentials_free(ending.key);
    http_script_stop(recorded.script);
    free(recorded.folder);
    recorded.folder = NULL;
    cJSON_Delete(recorded.traffic);
    cJSON_Delete(environment);
    cJSON_Delete(test);
}

static size_t folder_count(const char *folder)
{
    AUTO(text) char *path = text_format("credentials/%s", folder);
    AUTO(text) char *whole_path = fixture_path(path);
    DIR *directory = opendir(whole_path);
    size_t count = 0;
    assert_non_null(directory);
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        count += entry->d_name[0] != '.';
    }
    closedir(directory);
    return count;
}

static void cases_run(const char *folder, const struct named_case *cases, size_t count, const char *profile)
{
    size_t run_count = 0;
    assert_int_equal(folder_count(folder), count);
    for (size_t i = 0; i < count; i++) {
        if (cases[i].skipped != NULL) {
            (void)printf("skipped: case %s/%s (%s)\n", folder, cases[i].name, cases[i].skipped);
            continue;
        }
        case_run(folder, &cases[i], profile);
        run_count++;
    }
    (void)printf("%s fixtures: %zu cases run, %zu skipped\n", folder, run_count, count - run_count);
}

static void the_default_chain_cases_of_the_sdks_come_out(void **state)
{
    (void)state;
    if (!fixture_is_here("credentials/default-chain", "default chain fixtures, 29 cases")) {
        skip();
    }
    assert_int_equal(sizeof(default_chain) / sizeof(default_chain[0]), DEFAULT_CHAIN_CASES);
    cases_run("default-chain", default_chain, DEFAULT_CHAIN_CASES, NULL);
}

static void the_profile_cases_of_the_sdks_come_out(void **state)
{
    (void)state;
    if (!fixture_is_here("credentials/profile-provider", "profile fixtures, 18 cases")) {
        skip();
    }
    assert_int_equal(sizeof(profile_provider) / sizeof(profile_provider[0]), PROFILE_CASES);
    /* Recorded from the provider of profiles alone: the environment has keys that do not count. */
    cases_run("profile-provider", profile_provider, PROFILE_CASES, "default");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_default_chain_cases_of_the_sdks_come_out),
        cmocka_unit_test(the_profile_cases_of_the_sdks_come_out),
    };
    return cmocka_run_group_tests_name("credential_cases", tests, NULL, NULL);
}
