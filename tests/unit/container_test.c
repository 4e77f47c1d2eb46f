#include "workers/common/aws/container.h"

#include "tests/support/fixtures.h"
#include "tests/support/http_script.h"
#include "tests/support/key_ending.h"
#include "tests/support/scratch.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <string.h>

enum { CONTAINER_CASES = 11 };

#define GIVEN                                                                                                          \
    "{\"AccessKeyId\":\"ASIAC\",\"SecretAccessKey\":\"s\",\"Token\":\"t\",\"Expiration\":\"2999-01-01T00:00:00Z\"}"

static struct key_ending ask(const struct http_script_answer *answers, size_t count, struct container_request request,
                             struct http_script **ret_script)
{
    struct loop *loop = loop_new(NULL);
    struct http_script *script = http_script_start(answers, count);
    AUTO(text) char *url = text_format("%s/v1/credentials?a=1", http_script_url(script));
    struct key_ending ending = {0};
    request.url = url;
    (void)container_ask(loop, &request, key_ended, &ending);
    assert_false(ending.is_done);
    loop_until(loop, &ending.is_done);
    loop_free(loop);
    if (ret_script != NULL) {
        *ret_script = script;
    } else {
        http_script_stop(script);
    }
    return ending;
}

static void addresses_must_be_safe_for_a_key(void **state)
{
    (void)state;
    static const struct {
        const char *relative;
        const char *full;
        const char *url; /* NULL: refused */
    } cases[] = {
        {"/c?a=1", NULL, "http://169.254.170.2/c?a=1"},
        {"/c", "http://localhost/x", "http://169.254.170.2/c"},
        {"c", NULL, NULL},
        {"@evil.example/c", NULL, NULL},
        {"/c\r\nX: y", NULL, NULL},
        {NULL, "https://example.org:8080/c", "https://example.org:8080/c"},
        {NULL, "http://localhost", "http://localhost"},
        {NULL, "http://127.0.0.1:8080/c", "http://127.0.0.1:8080/c"},
        {NULL, "http://127.1.2.3/c", "http://127.1.2.3/c"},
        {NULL, "http://[::1]:80/c", "http://[::1]:80/c"},
        {NULL, "http://[0:0:0:0:0:0:0:1]/c", "http://[0:0:0:0:0:0:0:1]/c"},
        {NULL, "http://169.254.170.2/c", "http://169.254.170.2/c"},
        {NULL, "http://169.254.170.23/v1/credentials", "http://169.254.170.23/v1/credentials"},
        {NULL, "http://[fd00:ec2::23]/v1/credentials", "http://[fd00:ec2::23]/v1/credentials"},
        {NULL, "http://example.org/c", NULL},
        {NULL, "http://169.254.169.254/c", NULL},
        {NULL, "http://128.0.0.1/c", NULL},
        {NULL, "http://[fd00:ec2::24]/c", NULL},
        {NULL, "http://[::1/c", NULL},
        {NULL, "http://[::1]evil.example/c", NULL},
        {NULL, "http://localhost.evil.example/c", NULL},
        {NULL, "http://localhost@evil.example/c", NULL},
        {NULL, "https://user@example.org/c", NULL},
        {NULL, "http://localhost:8080@evil.example/c", NULL},
        {NULL, "http://localhost\\@evil.example/c", NULL},
        {NULL, "http://localhost:evil/c", NULL},
        {NULL, "http://?localhost", NULL},
        {NULL, "http:///c", NULL},
        {NULL, "ftp://localhost/c", NULL},
        {NULL, "/c", NULL},
        {NULL, "http://localhost/ c", NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO(text) char *url = NULL;
        struct error err = {0};
        if (container_url(cases[i].relative, cases[i].full, &url, &err) != (cases[i].url != NULL)) {
            fail_msg("case %zu: %s", i, url != NULL ? url : err.text);
        }
        if (url != NULL) {
            assert_string_equal(url, cases[i].url);
        } else {
            assert_int_equal(err.action, ERROR_REJECT);
        }
    }
}

static void the_key_is_got_with_the_token_that_the_environment_has(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {{.status = 200, .body = GIVEN}};
    struct http_script *script;
    struct scratch scratch;
    assert_true(scratch_make(&scratch));
    scratch_write(&scratch, "Bearer-of-file\n");
    struct key_ending ending = ask(answers, 1, (struct container_request){0}, &script);
    assert_string_equal(ending.key->access_key, "ASIAC");
    assert_string_equal(ending.key->origin, "container");
    assert_string_equal(http_script_method(script, 0), "GET");
    assert_string_equal(http_script_target(script, 0), "/v1/credentials?a=1");
    assert_null(http_script_header(script, 0, "Authorization"));
    http_script_stop(script);
    credentials_free(ending.key);
    static const struct {
        const char *token;
        bool has_file;
        const char *header;
    } cases[] = {{"Basic dG9r", false, "Basic dG9r"}, {"Basic dG9r", true, "Bearer-of-file"}};
    for (size_t i = 0; i < 2; i++) {
        struct container_request request = {.token = cases[i].token,
                                            .token_file = cases[i].has_file ? scratch.path : NULL};
        ending = ask(answers, 1, request, &script);
        AUTO(text) char *header = http_script_header(script, 0, "Authorization");
        assert_string_equal(header, cases[i].header);
        credentials_free(ending.key);
        http_script_stop(script);
    }
    assert_int_equal(scratch_remove(&scratch), 0);
}

static void trouble_that_passes_is_tried_again(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {{.status = 503}, {.status = 0}, {.status = 200, .body = GIVEN}};
    struct key_ending ending = ask(answers, 3, (struct container_request){0}, NULL);
    assert_non_null(ending.key);
    credentials_free(ending.key);
}

static void what_goes_wrong_is_told_without_a_secret(void **state)
{
    (void)state;
    static char huge[100001];
    memset(huge, ' ', sizeof(huge) - 1);
    const struct {
        struct http_script_answer answer;
        size_t requests;
        enum error_action action;
        const char *text;
    } cases[] = {
        {{.status = 500, .body = "hidden"}, 3, ERROR_RETRY, "HTTP 500"},
        {{.status = 429, .body = "hidden"}, 3, ERROR_RETRY, "HTTP 429"},
        {{.status = 403, .body = "hidden"}, 1, ERROR_REJECT, "HTTP 403"},
        {{.status = 302, .headers = "Location: http://evil.example/\r\n"}, 1, ERROR_REJECT, "HTTP 302"},
        {{.status = 200, .body = "hidden"}, 1, ERROR_RETRY, "the answer is not a JSON object"},
        {{.status = 200, .body = "{\"AccessKeyId\":\"hidden\"}"}, 1, ERROR_RETRY, "the answer has no SecretAccessKey"},
        {{.status = 200, .body = "{\"code\":\"NoTask\",\"message\":\"gone\"}"},
         1,
         ERROR_REJECT,
         "no key was given: NoTask: gone"},
        {{.status = 200, .body = huge}, 1, ERROR_REJECT, "answer is longer than 65536 bytes"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct http_script_answer answers[] = {cases[i].answer, cases[i].answer, cases[i].answer};
        struct http_script *script;
        struct key_ending ending = ask(answers, 3, (struct container_request){.token = "hidden"}, &script);
        assert_null(ending.key);
        AUTO(text) char *expected = text_format("the container's credentials: %s", cases[i].text);
        assert_string_equal(ending.err.text, expected);
        assert_int_equal(ending.err.action, cases[i].action);
        assert_int_equal(http_script_count(script), cases[i].requests);
        http_script_stop(script);
    }
}

static void a_token_that_cannot_be_sent_is_not(void **state)
{
    (void)state;
    struct http_script *script;
    struct key_ending ending = ask(NULL, 0, (struct container_request){.token_file = "/nowhere/token"}, &script);
    assert_string_equal(ending.err.text, "the container's credentials: /nowhere/token: cannot be read: No such file or "
                                         "directory");
    assert_int_equal(http_script_count(script), 0);
    http_script_stop(script);
    ending = ask(NULL, 0, (struct container_request){.token = "hidden\r\nX: y"}, &script);
    assert_string_equal(ending.err.text,
                        "the container's credentials: AWS_CONTAINER_AUTHORIZATION_TOKEN is not one line");
    assert_int_equal(http_script_count(script), 0);
    http_script_stop(script);
}

static void who_cancels_is_not_called(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {{.is_silent = true}};
    struct loop *loop = loop_new(NULL);
    struct http_script *script = http_script_start(answers, 1);
    struct key_ending ending = {0};
    struct container_request request = {.url = http_script_url(script)};
    struct container_call *call = container_ask(loop, &request, key_ended, &ending);
    loop_until_requests(loop, script, 1);
    container_cancel(call);
    container_cancel(container_ask(loop, &(struct container_request){.url = "http://localhost", .token_file = "/no"},
                                   key_ended, &ending));
    container_cancel(NULL);
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

static void the_address_cases_of_the_sdks_come_out(void **state)
{
    (void)state;
    static const char file[] = "credentials/ecs-tests.json";
    if (!fixture_is_here(file, "container address fixtures, 11 cases")) {
        skip();
    }
    cJSON *json = fixture_json(file);
    const cJSON *test;
    int run = 0;
    cJSON_ArrayForEach(test, cJSON_GetObjectItem(json, "tests"))
    {
        const cJSON *environment = cJSON_GetObjectItem(test, "env");
        const char *relative = member(environment, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
        const char *full = member(environment, "AWS_CONTAINER_CREDENTIALS_FULL_URI");
        const char *expected = member(cJSON_GetObjectItem(test, "result"), "Ok");
        AUTO(text) char *url = NULL;
        struct error err;
        run++;
        /* Nothing set is not asked: aws/chain.h looks for the container only when something is. */
        bool is_allowed = (relative != NULL || full != NULL) && container_url(relative, full, &url, &err);
        if (is_allowed != (expected != NULL) || (is_allowed && strcmp(url, expected) != 0)) {
            fail_msg("%s: %s", member(test, "docs"), is_allowed ? url : err.text);
        }
    }
    (void)printf("container address fixtures: %d cases run\n", run);
    assert_int_equal(run, CONTAINER_CASES);
    cJSON_Delete(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses_must_be_safe_for_a_key),
        cmocka_unit_test(the_key_is_got_with_the_token_that_the_environment_has),
        cmocka_unit_test(trouble_that_passes_is_tried_again),
        cmocka_unit_test(what_goes_wrong_is_told_without_a_secret),
        cmocka_unit_test(a_token_that_cannot_be_sent_is_not),
        cmocka_unit_test(who_cancels_is_not_called),
        cmocka_unit_test(the_address_cases_of_the_sdks_come_out),
    };
    return cmocka_run_group_tests_name("container", tests, NULL, NULL);
}
