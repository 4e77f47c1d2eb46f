#include "workers/common/aws/key_document.h"

#include "tests/support/unit.h"

#include <string.h>

#define KEY "\"AccessKeyId\":\"ASIA1\",\"SecretAccessKey\":\"s/1+\""
#define EXPIRATION "\"Expiration\":\"2026-01-02T03:04:05Z\""

static void documents_of_services_and_processes_are_read(void **state)
{
    (void)state;
    static const struct {
        enum key_giver giver;
        const char *text;
        const char *token;
        int64_t expires_wall_ms;
    } cases[] = {
        {KEY_GIVER_SERVICE, "{" KEY ",\"Token\":\"t==\"," EXPIRATION "}", "t==", 1767323045000},
        {KEY_GIVER_SERVICE,
         " {\"Code\":\"Success\",\"Type\":\"AWS-HMAC\"," KEY ",\"token\":\"t\"," EXPIRATION ",\"RoleArn\":null}\n", "t",
         1767323045000},
        {KEY_GIVER_PROCESS, "{\"Version\":1," KEY "}", NULL, 0},
        {KEY_GIVER_PROCESS,
         "{\"Version\":1," KEY ",\"SessionToken\":\"t\",\"Expiration\":\"2026-01-02T03:04:05+00:00\"}", "t",
         1767323045000},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO(credentials) struct credentials *key = NULL;
        struct error err = {0};
        if (!key_document_read(slice_of(cases[i].text), cases[i].giver, "test", &key, &err)) {
            fail_msg("case %zu: %s", i, err.text);
        }
        assert_string_equal(key->access_key, "ASIA1");
        assert_string_equal(key->secret_key, "s/1+");
        assert_string_equal(key->session_token != NULL ? key->session_token : "",
                            cases[i].token != NULL ? cases[i].token : "");
        assert_int_equal(key->expires_wall_ms, cases[i].expires_wall_ms);
        assert_string_equal(key->origin, "test");
    }
}

static void what_is_no_document_is_told_without_a_value(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum error_action action;
        const char *expected;
    } cases[] = {
        {"", ERROR_RETRY, "the answer is not a JSON object"},
        {"hidden", ERROR_RETRY, "the answer is not a JSON object"},
        {"[1]", ERROR_RETRY, "the answer is not a JSON object"},
        {"{\"AccessKeyId\":\"hidden\"", ERROR_RETRY, "the answer is not a JSON object"},
        {"{}", ERROR_RETRY, "the answer has no AccessKeyId"},
        {"{\"AccessKeyId\":17}", ERROR_RETRY, "the answer has no AccessKeyId"},
        {"{\"AccessKeyId\":\"hidden\"}", ERROR_RETRY, "the answer has no SecretAccessKey"},
        {"{" KEY "," EXPIRATION "}", ERROR_RETRY, "the answer has no Token"},
        {"{" KEY ",\"Token\":\"\"," EXPIRATION "}", ERROR_RETRY, "the answer has no Token"},
        {"{" KEY ",\"Token\":\"hidden\\r\\nX: y\"," EXPIRATION "}", ERROR_RETRY,
         "the answer's Token has odd characters"},
        {"{" KEY ",\"Token\":\"t\"}", ERROR_RETRY, "the answer has no Expiration"},
        {"{" KEY ",\"Token\":\"t\",\"Expiration\":\"hidden\"}", ERROR_RETRY, "the answer's Expiration is no time"},
        {"{\"Code\":\"AssumeRoleUnauthorizedAccess\",\"Message\":\"EC2 cannot\\nassume\"," KEY "}", ERROR_REJECT,
         "no key was given: AssumeRoleUnauthorizedAccess: EC2 cannot?assume"},
        {"{\"code\":\"Failed\"}", ERROR_REJECT, "no key was given: Failed: "},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct credentials *key = NULL;
        struct error err = {0};
        assert_false(key_document_read(slice_of(cases[i].text), KEY_GIVER_SERVICE, "test", &key, &err));
        assert_null(key);
        assert_string_equal(err.text, cases[i].expected);
        assert_int_equal(err.action, cases[i].action);
    }
}

static void a_process_must_say_its_version_and_is_not_tried_again(void **state)
{
    (void)state;
    static const char *const texts[] = {"{" KEY "}", "{\"Version\":2," KEY "}", "{\"Version\":\"1\"," KEY "}"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct credentials *key = NULL;
        struct error err = {0};
        assert_false(key_document_read(slice_of(texts[i]), KEY_GIVER_PROCESS, "test", &key, &err));
        assert_string_equal(err.text, "the answer's Version is not 1");
        assert_int_equal(err.action, ERROR_REJECT);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_of_services_and_processes_are_read),
        cmocka_unit_test(what_is_no_document_is_told_without_a_value),
        cmocka_unit_test(a_process_must_say_its_version_and_is_not_tried_again),
    };
    return cmocka_run_group_tests_name("key_document", tests, NULL, NULL);
}
