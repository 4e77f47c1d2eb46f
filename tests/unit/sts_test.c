#include "workers/common/aws/sts.h"

#include "tests/support/moved_clock.h"
#include "tests/support/scripted_aws.h"
#include "tests/support/unit.h"
#include "workers/common/base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROLE "arn:aws:iam::123456789012:role/deployer"
#define ASSUMED(key, secret, token, expiration)                                                                        \
    "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>" key      \
        secret token expiration "</Credentials><AssumedRoleUser><Arn>x</Arn></AssumedRoleUser></AssumeRoleResult>"     \
    "<ResponseMetadata><RequestId>R1</RequestId></ResponseMetadata></AssumeRoleResponse>"
#define KEY "<AccessKeyId>ASIA1</AccessKeyId>"
#define SECRET "<SecretAccessKey>s/1+</SecretAccessKey>"
#define TOKEN "<SessionToken>t/1==</SessionToken>"
#define EXPIRATION "<Expiration>2026-01-02T03:04:05Z</Expiration>"

struct ending {
    bool is_done;
    struct error err;
    struct failure failure;
    unsigned attempts;
    struct credentials *credentials;
};

static void on_done(void *context, struct sts_result *result)
{
    struct ending *ending = context;
    ending->is_done = true;
    ending->err = result->result->err;
    ending->failure = result->result->failure;
    ending->attempts = result->result->attempts;
    ending->credentials = TAKE(result->credentials);
}

static bool on_turn_ignored(void *context, int64_t waited_ms)
{
    (void)context;
    (void)waited_ms;
    return true;
}

static struct sts_assume_role_request request_of(const struct scripted_aws *aws)
{
    return (struct sts_assume_role_request){
        .region = "eu-west-1",
        .role_arn = ROLE,
        .session_name = "tagfleet copier/1",
        .caller = aws->key,
        .deadline_ms = scripted_deadline_ms(),
    };
}

static struct ending assume(struct scripted_aws *aws, const struct sts_assume_role_request *request)
{
    struct ending ending = {0};
    (void)sts_assume_role(aws->client, request, on_done, &ending);
    assert_false(ending.is_done);
    loop_until(aws->loop, &ending.is_done);
    return ending;
}

static void a_role_is_asked_for_by_a_signed_form(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {
        {.status = 200, .body = ASSUMED(KEY, SECRET, TOKEN, EXPIRATION)},
        {.status = 200, .body = ASSUMED(KEY, SECRET, TOKEN, EXPIRATION)},
    };
    struct scripted_aws aws;
    scripted_aws_start(&aws, answers, 2);
    struct sts_assume_role_request request = request_of(&aws);
    struct ending ending = assume(&aws, &request);
    assert_int_equal(ending.err.action, ERROR_NONE);
    assert_string_equal(ending.credentials->access_key, "ASIA1");
    assert_string_equal(ending.credentials->secret_key, "s/1+");
    assert_string_equal(ending.credentials->session_token, "t/1==");
    assert_string_equal(ending.credentials->origin, ROLE);
    assert_int_equal(ending.credentials->expires_wall_ms, 1767323045000);
    credentials_free(ending.credentials);
    assert_string_equal(http_script_method(aws.script, 0), "POST");
    assert_string_equal(http_script_target(aws.script, 0), "/");
    assert_string_equal(
        http_script_body(aws.script, 0),
        "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fdeployer"
        "&RoleSessionName=tagfleet-copier-1&DurationSeconds=3600");
    AUTO(text) char *type = http_script_header(aws.script, 0, "Content-Type");
    AUTO(text) char *authorization = http_script_header(aws.script, 0, "Authorization");
    assert_string_equal(type, "application/x-www-form-urlencoded; charset=utf-8");
    assert_non_null(strstr(authorization, "/eu-west-1/sts/aws4_request, SignedHeaders=content-type;host;x-amz-date;"));
    request.external_id = "id&=1";
    request.session_policy = "{\"Version\":\"2012-10-17\"}";
    request.duration_seconds = STS_DURATION_MINIMUM_S;
    ending = assume(&aws, &request);
    credentials_free(ending.credentials);
    assert_non_null(strstr(http_script_body(aws.script, 1), "&DurationSeconds=900&ExternalId=id%26%3D1"
                                                            "&Policy=%7B%22Version%22%3A%222012-10-17%22%7D"));
    scripted_aws_stop(&aws);
}

static void an_answer_without_a_whole_key_is_asked_for_again(void **state)
{
    (void)state;
    static const struct http_script_answer damaged[] = {
        {.status = 200, .body = ASSUMED("", SECRET, TOKEN, EXPIRATION)},
        {.status = 200, .body = ASSUMED(KEY, "<SecretAccessKey/>", TOKEN, EXPIRATION)},
        {.status = 200, .body = ASSUMED(KEY, SECRET, "", EXPIRATION)},
        {.status = 200, .body = ASSUMED(KEY, SECRET, TOKEN, "")},
        {.status = 200, .body = ASSUMED(KEY, SECRET, TOKEN, "<Expiration>soon</Expiration>")},
        {.status = 200, .body = "<html/>"},
        {.status = 200},
    };
    for (size_t i = 0; i < sizeof(damaged) / sizeof(damaged[0]); i++) {
        const struct http_script_answer answers[] = {damaged[i],
                                                     {.status = 200, .body = ASSUMED(KEY, SECRET, TOKEN, EXPIRATION)}};
        struct scripted_aws aws;
        scripted_aws_start(&aws, answers, 2);
        struct sts_assume_role_request request = request_of(&aws);
        struct ending ending = assume(&aws, &request);
        assert_int_equal(ending.err.action, ERROR_NONE);
        assert_int_equal(ending.attempts, 2);
        assert_non_null(ending.credentials);
        credentials_free(ending.credentials);
        scripted_aws_stop(&aws);
    }
}

static void a_role_that_may_not_be_assumed_is_refused_at_once(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {
        {.status = 403,
         .body = "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>Not you</Message></Error>"
                 "<RequestId>R9</RequestId></ErrorResponse>"}};
    struct scripted_aws aws;
    scripted_aws_start(&aws, answers, 1);
    struct sts_assume_role_request request = request_of(&aws);
    struct ending ending = assume(&aws, &request);
    assert_int_equal(ending.failure.kind, FAILURE_ACCESS_DENIED);
    assert_int_equal(ending.err.action, ERROR_REJECT);
    assert_null(ending.credentials);
    assert_string_equal(ending.err.text, "AssumeRole " ROLE ": access denied for script "
                                         "(403 AccessDenied: Not you; request R9)");
    scripted_aws_stop(&aws);
}

static void a_cancelled_question_is_not_answered(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {{.is_silent = true}};
    struct scripted_aws aws;
    struct ending ending = {0};
    scripted_aws_start(&aws, answers, 1);
    struct sts_assume_role_request request = request_of(&aws);
    struct sts_call *call = sts_assume_role(aws.client, &request, on_done, &ending);
    loop_until_requests(aws.loop, aws.script, 1);
    sts_cancel(call);
    sts_cancel(NULL);
    loop_for(aws.loop, 20);
    assert_false(ending.is_done);
    scripted_aws_stop(&aws);
}

static void a_session_name_is_made_of_what_is_allowed(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *name;
    } cases[] = {
        {"tagfleet", "tagfleet"},
        {"A-z_0=1,2.3@4", "A-z_0=1,2.3@4"},
        {"a b/c:d", "a-b-c-d"},
        {"\xc3\xa9", "--"},
        {"", "--"},
        {"x", "x-"},
        {"0123456789012345678901234567890123456789012345678901234567890123456789",
         "0123456789012345678901234567890123456789012345678901234567890123"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO(buffer) struct buffer name;
        buffer_init(&name, 100);
        sts_session_name(cases[i].text, &name);
        assert_string_equal(name.ptr, cases[i].name);
    }
}

static void a_web_identity_is_sent_unsigned(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {
        {.status = 503},
        {.status = 200,
         .body = "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>" KEY SECRET TOKEN
             EXPIRATION "</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"},
        {.status = 400,
         .body =
             "<ErrorResponse><Error><Code>InvalidIdentityToken</Code><Message>No</Message></Error></ErrorResponse>"},
    };
    struct scripted_aws aws;
    scripted_aws_start(&aws, answers, 3);
    struct sts_web_identity_request request = {.region = "eu-west-1",
                                               .role_arn = ROLE,
                                               .session_name = "pod/1",
                                               .token = "a.b+c=",
                                               .duration_seconds = 900,
                                               .deadline_ms = scripted_deadline_ms()};
    for (size_t i = 1; i < 3; i++) {
        struct ending ending = {0};
        (void)sts_assume_role_with_web_identity(aws.client, &request, on_done, &ending);
        assert_false(ending.is_done);
        loop_until(aws.loop, &ending.is_done);
        assert_int_equal(ending.credentials != NULL, i == 1);
        assert_null(http_script_header(aws.script, i, "Authorization"));
        assert_null(http_script_header(aws.script, i, "x-amz-date"));
        assert_null(http_script_header(aws.script, i, "x-amz-security-token"));
        assert_string_equal(http_script_body(aws.script, i),
                            "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A"
                            "123456789012%3Arole%2Fdeployer&RoleSessionName=pod-1&DurationSeconds=900&"
                            "WebIdentityToken=a.b%2Bc%3D");
        if (ending.credentials == NULL) {
            assert_non_null(strstr(ending.err.text, "AssumeRoleWithWebIdentity " ROLE ": "));
            assert_null(strstr(ending.err.text, "a.b+c"));
        } else {
            assert_string_equal(ending.credentials->access_key, "ASIA1");
            assert_string_equal(ending.credentials->origin, ROLE);
        }
        credentials_free(ending.credentials);
    }
    scripted_aws_stop(&aws);
}

static void every_attempt_takes_its_turn_and_the_wait_does_not_use_up_the_deadline(void **state)
{
    (void)state;
    enum { CALLS = 10 };
    static const struct http_script_answer answers[] = {
        {.status = 503}, {.status = 200, .body = ASSUMED(KEY, SECRET, TOKEN, EXPIRATION)}};
    struct scripted_aws aws;
    struct ending endings[CALLS] = {{0}};
    scripted_aws_start(&aws, answers, 2);
    moved_clock_stand();
    struct limiter *limiter = limiter_new(aws.loop, 1);
    struct sts_assume_role_request request = request_of(&aws);
    request.limiter = limiter;
    request.deadline_ms = clock_monotonic_ms() + 5000;
    (void)sts_assume_role(aws.client, &request, on_done, &endings[0]);
    loop_until_requests(aws.loop, aws.script, 1);
    moved_clock_by(999);
    loop_for(aws.loop, 20);
    assert_int_equal(http_script_count(aws.script), 1);
    moved_clock_by(6);
    loop_until(aws.loop, &endings[0].is_done);
    assert_int_equal(endings[0].attempts, 2);
    credentials_free(endings[0].credentials);
    /* A turn after 20 s is in time for a call of 5 s; one after 70 s is not. */
    for (size_t i = 0; i < 20; i++) {
        (void)limiter_wait(limiter, on_turn_ignored, NULL);
    }
    struct sts_call *in_time = sts_assume_role(aws.client, &request, on_done, &endings[1]);
    struct sts_call *cancelled = sts_assume_role(aws.client, &request, on_done, &endings[2]);
    (void)sts_assume_role(aws.client, &request, on_done, &endings[3]);
    sts_cancel(cancelled);
    for (int i = 0; i < 21; i++) {
        moved_clock_by(1000);
        loop_turn(aws.loop, 0);
    }
    loop_until_requests(aws.loop, aws.script, 3);
    moved_clock_by(70000);
    loop_until(aws.loop, &endings[3].is_done);
    assert_int_equal(endings[3].err.action, ERROR_RETRY);
    assert_int_equal(endings[3].failure.kind, FAILURE_THROTTLED);
    assert_string_equal(endings[3].err.text, "AssumeRole " ROLE ": too many calls wait for their turn");
    assert_false(endings[2].is_done);
    assert_int_equal(http_script_count(aws.script), 3);
    sts_cancel(endings[1].is_done ? NULL : in_time);
    limiter_free(limiter);
    moved_clock_reset();
    scripted_aws_stop(&aws);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_role_is_asked_for_by_a_signed_form),
        cmocka_unit_test(an_answer_without_a_whole_key_is_asked_for_again),
        cmocka_unit_test(a_role_that_may_not_be_assumed_is_refused_at_once),
        cmocka_unit_test(a_cancelled_question_is_not_answered),
        cmocka_unit_test(a_session_name_is_made_of_what_is_allowed),
        cmocka_unit_test(a_web_identity_is_sent_unsigned),
        cmocka_unit_test(every_attempt_takes_its_turn_and_the_wait_does_not_use_up_the_deadline),
    };
    return cmocka_run_group_tests_name("sts", tests, NULL, NULL);
}
