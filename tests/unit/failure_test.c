#include "workers/common/aws/failure.h"

#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct http_answer answer_of(int status, const char *body, const char *header_lines)
{
    return (struct http_answer){.status = status, .body = slice_of(body), .header_lines = slice_of(header_lines)};
}

static struct failure read_answer(int status, const char *body)
{
    struct http_answer answer = answer_of(status, body, "");
    struct failure failure;
    failure_read(&answer, false, &failure);
    return failure;
}

static void status_and_code_decide_the_kind_and_the_kind_what_to_do(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *code; /* NULL: an answer without a body */
        enum failure_kind kind;
        enum error_action action;
        const char *name;
    } cases[] = {
        {503, "SlowDown", FAILURE_THROTTLED, ERROR_RETRY, "throttled"},
        {400, "Throttling", FAILURE_THROTTLED, ERROR_RETRY, "throttled"},
        {400, "ThrottlingException", FAILURE_THROTTLED, ERROR_RETRY, "throttled"},
        {400, "RequestLimitExceeded", FAILURE_THROTTLED, ERROR_RETRY, "throttled"},
        {429, NULL, FAILURE_THROTTLED, ERROR_RETRY, "throttled"},
        {429, "Unheard", FAILURE_THROTTLED, ERROR_RETRY, "throttled"},
        {500, "InternalError", FAILURE_TRANSIENT, ERROR_RETRY, "transient"},
        {503, "ServiceUnavailable", FAILURE_TRANSIENT, ERROR_RETRY, "transient"},
        {500, NULL, FAILURE_TRANSIENT, ERROR_RETRY, "transient"},
        {502, NULL, FAILURE_TRANSIENT, ERROR_RETRY, "transient"},
        {503, NULL, FAILURE_TRANSIENT, ERROR_RETRY, "transient"},
        {504, NULL, FAILURE_TRANSIENT, ERROR_RETRY, "transient"},
        {599, NULL, FAILURE_TRANSIENT, ERROR_RETRY, "transient"},
        {408, NULL, FAILURE_TRANSIENT, ERROR_RETRY, "transient"},
        {400, "RequestTimeout", FAILURE_TRANSIENT, ERROR_RETRY, "transient"},
        {409, "OperationAborted", FAILURE_TRANSIENT, ERROR_RETRY, "transient"},
        {409, "ConditionalRequestConflict", FAILURE_TRANSIENT, ERROR_RETRY, "transient"},
        {403, "RequestTimeTooSkewed", FAILURE_CLOCK_SKEW, ERROR_RETRY, "clock_skew"},
        {400, "ExpiredToken", FAILURE_EXPIRED_TOKEN, ERROR_RETRY, "expired_token"},
        {403, "ExpiredTokenException", FAILURE_EXPIRED_TOKEN, ERROR_RETRY, "expired_token"},
        {301, "PermanentRedirect", FAILURE_WRONG_REGION, ERROR_REJECT, "wrong_region"},
        {307, "TemporaryRedirect", FAILURE_TRANSIENT, ERROR_RETRY, "transient"}, /* says no region */
        {501, "NotImplemented", FAILURE_INVALID, ERROR_REJECT, "invalid"},
        {301, NULL, FAILURE_WRONG_REGION, ERROR_REJECT, "wrong_region"},
        {403, "AccessDenied", FAILURE_ACCESS_DENIED, ERROR_REJECT, "access_denied"},
        {403, NULL, FAILURE_ACCESS_DENIED, ERROR_REJECT, "access_denied"},
        {403, "AllAccessDisabled", FAILURE_ACCESS_DENIED, ERROR_REJECT, "access_denied"},
        {403, "InvalidAccessKeyId", FAILURE_BAD_CREDENTIALS, ERROR_REJECT, "bad_credentials"},
        {403, "SignatureDoesNotMatch", FAILURE_BAD_CREDENTIALS, ERROR_REJECT, "bad_credentials"},
        {403, "InvalidClientTokenId", FAILURE_BAD_CREDENTIALS, ERROR_REJECT, "bad_credentials"},
        {404, "NoSuchBucket", FAILURE_NO_BUCKET, ERROR_REJECT, "no_bucket"},
        {404, "NoSuchKey", FAILURE_NO_KEY, ERROR_REJECT, "no_key"},
        {404, NULL, FAILURE_NO_KEY, ERROR_REJECT, "no_key"},
        {412, "PreconditionFailed", FAILURE_PRECONDITION, ERROR_REJECT, "precondition"},
        {412, NULL, FAILURE_PRECONDITION, ERROR_REJECT, "precondition"},
        {400, "EntityTooLarge", FAILURE_INVALID, ERROR_REJECT, "invalid"},
        {400, NULL, FAILURE_INVALID, ERROR_REJECT, "invalid"},
        {405, "MethodNotAllowed", FAILURE_INVALID, ERROR_REJECT, "invalid"},
        {400, "AuthorizationHeaderMalformed", FAILURE_INVALID, ERROR_REJECT, "invalid"}, /* says no region */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO(text)
        char *body = cases[i].code != NULL
                         ? text_format("<?xml version=\"1.0\"?><Error><Code>%s</Code></Error>", cases[i].code)
                         : text_copy("");
        struct failure failure = read_answer(cases[i].status, body);
        if (failure.kind != cases[i].kind) {
            fail_msg("%d %s is %s", cases[i].status, cases[i].code, failure_kind_name(failure.kind));
        }
        assert_int_equal(failure_action(failure.kind), cases[i].action);
        assert_string_equal(failure_kind_name(failure.kind), cases[i].name);
        assert_int_equal(failure.status, cases[i].status);
        assert_string_equal(failure.code, cases[i].code != NULL ? cases[i].code : "");
    }
    assert_int_equal(failure_action(FAILURE_NONE), ERROR_NONE);
    assert_int_equal(failure_action(FAILURE_UNREACHABLE), ERROR_RETRY);
}

static void both_forms_of_error_documents_are_read(void **state)
{
    (void)state;
    struct failure s3 = read_answer(403, "<Error><Code>AccessDenied</Code><Message>No &amp; no</Message>"
                                         "<RequestId>R1</RequestId><HostId>H</HostId></Error>");
    assert_string_equal(s3.code, "AccessDenied");
    assert_string_equal(s3.message, "No & no");
    assert_string_equal(s3.request_id, "R1");
    struct failure sts = read_answer(403, "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error>"
                                          "<Type>Sender</Type><Code>AccessDenied</Code><Message>Not you</Message>"
                                          "</Error><RequestId>R2</RequestId></ErrorResponse>");
    assert_string_equal(sts.code, "AccessDenied");
    assert_string_equal(sts.message, "Not you");
    assert_string_equal(sts.request_id, "R2");
}

static void a_redirect_tells_the_region_in_body_or_header(void **state)
{
    (void)state;
    struct failure failure;
    struct http_answer in_header = answer_of(301, "<Error><Code>PermanentRedirect</Code></Error>",
                                             "HTTP/1.1 301 x\r\nX-Amz-Bucket-Region: eu-west-1\r\n"
                                             "x-amz-request-id: R3\r\n\r\n");
    failure_read(&in_header, false, &failure);
    assert_string_equal(failure.region, "eu-west-1");
    assert_string_equal(failure.request_id, "R3");
    struct http_answer in_body =
        answer_of(400, "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-2</Region></Error>", "");
    failure_read(&in_body, false, &failure);
    assert_int_equal(failure.kind, FAILURE_WRONG_REGION);
    assert_string_equal(failure.region, "eu-west-2");
}

static void an_error_in_the_body_of_a_success_is_found(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        bool is_error;
    } cases[] = {
        {"<Error><Code>InternalError</Code></Error>", true},
        {"  \n<?xml version=\"1.0\"?><Error><Code>InternalError</Code></Error>", true},
        {"<ErrorResponse><Error><Code>x</Code></Error></ErrorResponse>", true},
        {"<Error><Code>InternalError</Code>", true}, /* cut short */
        {"<CopyObjectResult><ETag>x</ETag></CopyObjectResult>", false},
        {"<ListBucketResult><Contents><Key>Error</Key></Contents></ListBucketResult>", false},
        {"<Result><Error/></Result>", false},
        {"", false},
        {"Error", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(failure_is_in_body(slice_of(cases[i].body)), cases[i].is_error);
    }
}

static void a_broken_success_is_what_its_code_says_or_passing_trouble(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        enum failure_kind kind;
        bool is_uncertain;
    } cases[] = {
        {"<Error><Code>InternalError</Code></Error>", FAILURE_TRANSIENT, false},
        {"<Error><Code>SlowDown</Code></Error>", FAILURE_THROTTLED, false},
        {"<Error><Code>AccessDenied</Code></Error>", FAILURE_ACCESS_DENIED, false},
        {"<Error><Code>NoSuchKey</Code></Error>", FAILURE_NO_KEY, false},
        {"<Error><Code>Unheard</Code></Error>", FAILURE_TRANSIENT, false},
        {"<Error/>", FAILURE_TRANSIENT, true},
        {"", FAILURE_TRANSIENT, true},
        {"<CopyObjectResult>", FAILURE_TRANSIENT, true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct http_answer answer = answer_of(200, cases[i].body, "");
        struct failure failure;
        failure_read(&answer, true, &failure);
        assert_int_equal(failure.kind, cases[i].kind);
        assert_int_equal(failure.is_uncertain, cases[i].is_uncertain);
        assert_int_equal(failure.status, 200);
    }
}

static void without_an_answer_it_is_unreachable_and_perhaps_done(void **state)
{
    (void)state;
    struct http_answer answer = {.is_timed_out = true, .header_lines = slice_of("")};
    struct failure failure;
    (void)error_set(&answer.err, ERROR_RETRY, "timed out");
    failure_read(&answer, false, &failure);
    assert_int_equal(failure.kind, FAILURE_UNREACHABLE);
    assert_true(failure.is_uncertain);
    assert_int_equal(failure.status, 0);
    assert_string_equal(failure.message, "timed out");
    answer.is_timed_out = false;
    (void)error_set(&answer.err, ERROR_REJECT, "not a usable URL");
    failure_read(&answer, false, &failure);
    assert_int_equal(failure.kind, FAILURE_INVALID);
    assert_false(failure.is_uncertain);
}

static void only_server_trouble_leaves_it_open_whether_it_was_done(void **state)
{
    (void)state;
    assert_true(read_answer(500, "").is_uncertain);
    assert_true(read_answer(503, "<Error><Code>ServiceUnavailable</Code></Error>").is_uncertain);
    assert_false(read_answer(503, "<Error><Code>SlowDown</Code></Error>").is_uncertain);
    assert_false(read_answer(403, "").is_uncertain);
    assert_false(read_answer(409, "<Error><Code>OperationAborted</Code></Error>").is_uncertain);
}

static void texts_of_any_length_are_cut_to_their_room(void **state)
{
    (void)state;
    AUTO(text) char *name = memory_zeroed(1001, 1);
    memset(name, 'A', 1000);
    AUTO(text)
    char *body = text_format("<Error><Code>%s</Code><Message>%s</Message><RequestId>%s</RequestId><Region>%s</Region>"
                             "</Error>",
                             name, name, name, name);
    struct failure failure = read_answer(403, body);
    assert_int_equal(strlen(failure.code), sizeof(failure.code) - 1);
    assert_int_equal(strlen(failure.message), sizeof(failure.message) - 1);
    assert_int_equal(strlen(failure.request_id), sizeof(failure.request_id) - 1);
    assert_int_equal(strlen(failure.region), sizeof(failure.region) - 1);
    struct error err;
    assert_false(failure_describe(&failure, name, name, &err));
    assert_int_equal(err.action, ERROR_REJECT);
}

static void the_text_for_people_says_what_who_and_why(void **state)
{
    (void)state;
    struct error err;
    struct failure denied = read_answer(403, "<Error><Code>AccessDenied</Code><Message>Not you</Message>"
                                             "<RequestId>R1</RequestId></Error>");
    assert_false(failure_describe(&denied, "CopyObject s3://a/b to s3://c/d", "arn:aws:iam::1:role/r", &err));
    assert_int_equal(err.action, ERROR_REJECT);
    assert_string_equal(err.text, "CopyObject s3://a/b to s3://c/d: access denied for arn:aws:iam::1:role/r "
                                  "(403 AccessDenied: Not you; request R1)");
    struct failure gone = read_answer(404, "");
    assert_false(failure_describe(&gone, "HeadObject s3://a/b", "environment", &err));
    assert_string_equal(err.text, "HeadObject s3://a/b: the object does not exist (404)");
    struct http_answer silence = {.header_lines = slice_of("")};
    struct failure unreachable;
    (void)error_set(&silence.err, ERROR_RETRY, "could not connect");
    failure_read(&silence, false, &unreachable);
    assert_false(failure_describe(&unreachable, "AssumeRole x", NULL, &err));
    assert_int_equal(err.action, ERROR_RETRY);
    assert_string_equal(err.text, "AssumeRole x: no answer (could not connect)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_and_code_decide_the_kind_and_the_kind_what_to_do),
        cmocka_unit_test(both_forms_of_error_documents_are_read),
        cmocka_unit_test(a_redirect_tells_the_region_in_body_or_header),
        cmocka_unit_test(an_error_in_the_body_of_a_success_is_found),
        cmocka_unit_test(a_broken_success_is_what_its_code_says_or_passing_trouble),
        cmocka_unit_test(without_an_answer_it_is_unreachable_and_perhaps_done),
        cmocka_unit_test(only_server_trouble_leaves_it_open_whether_it_was_done),
        cmocka_unit_test(texts_of_any_length_are_cut_to_their_room),
        cmocka_unit_test(the_text_for_people_says_what_who_and_why),
    };
    return cmocka_run_group_tests_name("failure", tests, NULL, NULL);
}
