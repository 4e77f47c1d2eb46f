#include "workers/common/aws/sts.h"

#include "workers/common/aws/uri.h"
#include "workers/common/aws/xml.h"
#include "workers/common/base/clock.h"

#include <ctype.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FORM_MAXIMUM = 64 * 1024, ANSWER_MAXIMUM = 256 * 1024, ATTEMPT_TIMEOUT_MS = 10000, NAME_MAXIMUM = 64 };

struct sts_call {
    struct aws_call *call;
    struct buffer form;
    const char *action; /* "AssumeRole" */
    char *role_arn;
    struct credentials *credentials;
    void (*on_done)(void *context, struct sts_result *result);
    void *context;
};

static void sts_call_free(struct sts_call *call)
{
    OPENSSL_cleanse(call->form.ptr, call->form.len); /* it may hold a token */
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

static bool result_text(const struct sts_call *call, struct slice body, const char *name, struct buffer *text,
                        struct error *err)
{
    AUTO(text) char *path = text_format("%sResponse/%sResult/Credentials/%s", call->action, call->action, name);
    return (xml_text_at(body, path, text) && text->len > 0) ||
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
    if (!result_text(call, answer->body, "AccessKeyId", &key, err) ||
        !result_text(call, answer->body, "SecretAccessKey", &secret, err) ||
        !result_text(call, answer->body, "SessionToken", &token, err) ||
        !result_text(call, answer->body, "Expiration", &expiration, err)) {
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

static void form_begin(struct buffer *form, const char *action, const char *role_arn, const char *session_name,
                       int64_t duration_seconds)
{
    char duration[24];
    int64_t seconds = duration_seconds > 0 ? duration_seconds : STS_DURATION_DEFAULT_S;
    (void)snprintf(duration, sizeof(duration), "%lld", (long long)seconds);
    AUTO(buffer) struct buffer name;
    buffer_init(&name, NAME_MAXIMUM + 1);
    sts_session_name(session_name, &name);
    uri_add_parameter(form, "Action", action);
    uri_add_parameter(form, "Version", "2011-06-15");
    uri_add_parameter(form, "RoleArn", role_arn);
    uri_add_parameter(form, "RoleSessionName", name.ptr);
    uri_add_parameter(form, "DurationSeconds", duration);
}

static struct sts_call *call_new(const char *action, const char *role_arn,
                                 void (*on_done)(void *context, struct sts_result *result), void *context)
{
    struct sts_call *call = memory_zeroed(1, sizeof(*call));
    buffer_init(&call->form, FORM_MAXIMUM);
    call->action = action;
    call->role_arn = text_copy(role_arn);
    call->on_done = on_done;
    call->context = context;
    return call;
}

/* Sends the form; aws says by whom, where and until when. */
static void call_start(struct sts_call *call, struct aws_client *client, const struct aws_request *from)
{
    static const struct sigv4_header headers[] = {{"content-type", "application/x-www-form-urlencoded; charset=utf-8"}};
    AUTO(text) char *operation = text_format("%s %s", call->action, call->role_arn);
    struct aws_request aws = *from;
    aws.service = AWS_STS;
    aws.method = "POST";
    aws.path = "/";
    aws.headers = headers;
    aws.header_count = 1;
    aws.body = buffer_slice(&call->form);
    aws.attempt_timeout_ms = ATTEMPT_TIMEOUT_MS;
    aws.answer_maximum_bytes = ANSWER_MAXIMUM;
    aws.operation = operation;
    aws.quota_key = call->role_arn;
    aws.accept = assume_role_accept;
    aws.accept_context = call;
    call->call = aws_call_start(client, &aws, assume_role_done, call);
}

struct sts_call *sts_assume_role(struct aws_client *client, const struct sts_assume_role_request *request,
                                 void (*on_done)(void *context, struct sts_result *result), void *context)
{
    struct sts_call *call = call_new("AssumeRole", request->role_arn, on_done, context);
    form_begin(&call->form, call->action, request->role_arn, request->session_name, request->duration_seconds);
    if (request->external_id != NULL) {
        uri_add_parameter(&call->form, "ExternalId", request->external_id);
    }
    if (request->session_policy != NULL) {
        uri_add_parameter(&call->form, "Policy", request->session_policy);
    }
    struct aws_request aws = {.region = request->region,
                              .credentials = request->caller,
                              .limiter = request->limiter,
                              .deadline_ms = request->deadline_ms};
    call_start(call, client, &aws);
    return call;
}

struct sts_call *sts_assume_role_with_web_identity(struct aws_client *client,
                                                   const struct sts_web_identity_request *request,
                                                   void (*on_done)(void *context, struct sts_result *result),
                                                   void *context)
{
    struct sts_call *call = call_new("AssumeRoleWithWebIdentity", request->role_arn, on_done, context);
    form_begin(&call->form, call->action, request->role_arn, request->session_name, request->duration_seconds);
    uri_add_parameter(&call->form, "WebIdentityToken", request->token);
    struct aws_request aws = {
        .region = request->region, .limiter = request->limiter, .deadline_ms = request->deadline_ms};
    call_start(call, client, &aws);
    return call;
}

void sts_cancel(struct sts_call *call)
{
    if (call != NULL) {
        aws_call_cancel(call->call);
        sts_call_free(call);
    }
}
