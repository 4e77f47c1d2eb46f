#include "workers/common/aws/sts.h"

#include "workers/common/aws/uri.h"
#include "workers/common/aws/xml.h"
#include "workers/common/base/clock.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FORM_MAXIMUM = 64 * 1024, ANSWER_MAXIMUM = 256 * 1024, ATTEMPT_TIMEOUT_MS = 10000, NAME_MAXIMUM = 64 };

struct sts_call {
    struct aws_call *call;
    struct buffer form;
    char *role_arn;
    struct credentials *credentials;
    void (*on_done)(void *context, struct sts_result *result);
    void *context;
};

static void sts_call_free(struct sts_call *call)
{
    buffer_done(&call->form);
    free(call->role_arn);
    credentials_free(call->credentials);
    free(call);
}

void sts_session_name(const char *text, struct buffer *buffer)
{
    size_t length = 0;
    for (const char *at = text; *at != '\0' && length < NAME_MAXIMUM; at++, length++) {
        bool is_allowed = isalnum((unsigned char)*at) || strchr("_=,.@-+", *at) != NULL;
        buffer_append_char(buffer, is_allowed ? *at : '-');
    }
    for (; length < 2; length++) {
        buffer_append_char(buffer, '-');
    }
}

static bool result_text(const struct http_answer *answer, const char *name, struct buffer *text, struct error *err)
{
    AUTO(text) char *path = text_format("AssumeRoleResponse/AssumeRoleResult/Credentials/%s", name);
    return (xml_text_at(answer->body, path, text) && text->len > 0) ||
           error_set(err, ERROR_RETRY, "the answer has no %s", name);
}

static bool assume_role_accept(void *context, const struct http_answer *answer, struct error *err)
{
    struct sts_call *call = context;
    AUTO(buffer) struct buffer key;
    AUTO(buffer) struct buffer secret;
    AUTO(buffer) struct buffer token;
    AUTO(buffer) struct buffer expiration;
    buffer_init(&key, ANSWER_MAXIMUM);
    buffer_init(&secret, ANSWER_MAXIMUM);
    buffer_init(&token, ANSWER_MAXIMUM);
    buffer_init(&expiration, ANSWER_MAXIMUM);
    int64_t expires_ms;
    if (!result_text(answer, "AccessKeyId", &key, err) || !result_text(answer, "SecretAccessKey", &secret, err) ||
        !result_text(answer, "SessionToken", &token, err) || !result_text(answer, "Expiration", &expiration, err)) {
        return false;
    }
    if (!clock_parse(expiration.ptr, &expires_ms)) {
        return error_set(err, ERROR_RETRY, "the answer's expiration is no time");
    }
    credentials_free(call->credentials);
    call->credentials = credentials_new(key.ptr, secret.ptr, token.ptr, expires_ms, call->role_arn);
    return true;
}

static void assume_role_done(void *context, const struct aws_result *result)
{
    struct sts_call *call = context;
    struct sts_result sts = {.result = result, .credentials = TAKE(call->credentials)};
    void (*on_done)(void *context, struct sts_result *result) = call->on_done;
    void *on_done_context = call->context;
    if (result->err.action != ERROR_NONE) {
        credentials_free(sts.credentials);
        sts.credentials = NULL;
    }
    sts_call_free(call);
    on_done(on_done_context, &sts);
    credentials_free(sts.credentials);
}

static void form_fill(const struct sts_assume_role_request *request, struct buffer *form)
{
    char duration[24];
    int64_t seconds = request->duration_seconds > 0 ? request->duration_seconds : STS_DURATION_DEFAULT_S;
    (void)snprintf(duration, sizeof(duration), "%lld", (long long)seconds);
    AUTO(buffer) struct buffer name;
    buffer_init(&name, NAME_MAXIMUM + 1);
    sts_session_name(request->session_name, &name);
    uri_add_parameter(form, "Action", "AssumeRole");
    uri_add_parameter(form, "Version", "2011-06-15");
    uri_add_parameter(form, "RoleArn", request->role_arn);
    uri_add_parameter(form, "RoleSessionName", name.ptr);
    uri_add_parameter(form, "DurationSeconds", duration);
    if (request->external_id != NULL) {
        uri_add_parameter(form, "ExternalId", request->external_id);
    }
    if (request->session_policy != NULL) {
        uri_add_parameter(form, "Policy", request->session_policy);
    }
}

struct sts_call *sts_assume_role(struct aws_client *client, const struct sts_assume_role_request *request,
                                 void (*on_done)(void *context, struct sts_result *result), void *context)
{
    static const struct sigv4_header headers[] = {{"content-type", "application/x-www-form-urlencoded; charset=utf-8"}};
    struct sts_call *call = memory_zeroed(1, sizeof(*call));
    buffer_init(&call->form, FORM_MAXIMUM);
    form_fill(request, &call->form);
    call->role_arn = text_copy(request->role_arn);
    call->on_done = on_done;
    call->context = context;
    AUTO(text) char *operation = text_format("AssumeRole %s", request->role_arn);
    struct aws_request aws = {
        .service = AWS_STS,
        .region = request->region,
        .method = "POST",
        .path = "/",
        .headers = headers,
        .header_count = 1,
        .body = buffer_slice(&call->form),
        .credentials = request->caller,
        .attempt_timeout_ms = ATTEMPT_TIMEOUT_MS,
        .deadline_ms = request->deadline_ms,
        .answer_maximum_bytes = ANSWER_MAXIMUM,
        .operation = operation,
        .quota_key = request->role_arn,
        .accept = assume_role_accept,
        .accept_context = call,
    };
    call->call = aws_call_start(client, &aws, assume_role_done, call);
    return call;
}

void sts_cancel(struct sts_call *call)
{
    if (call != NULL) {
        aws_call_cancel(call->call);
        sts_call_free(call);
    }
}
