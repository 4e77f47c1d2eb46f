#include "workers/common/aws/instance.h"

#include "workers/common/aws/fetch.h"
#include "workers/common/aws/key_document.h"
#include "workers/common/base/clock.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TOKEN_HEADER "X-aws-ec2-metadata-token"
#define ROLE_PATH "/latest/meta-data/iam/security-credentials/"

enum {
    TOKENS_MAXIMUM = 2, /* a second one when the first is refused */
    LINE_MAXIMUM_BYTES = 2048,
    STALE_MS = 60000,
    STALE_PUT_OFF_MS = 300000,
};

struct instance_call {
    struct loop *loop;
    char *url;
    char *token;
    char *role;
    unsigned tokens;
    struct fetch *fetch;
    void (*on_done)(void *context, struct credentials *credentials, const struct error *err);
    void *context;
};

static bool endpoint_is_valid(const char *url)
{
    const char *host = text_starts_with(url, "http://")    ? url + strlen("http://")
                       : text_starts_with(url, "https://") ? url + strlen("https://")
                                                           : "";
    bool is_plain = slice_is_visible(slice_of(host)) && strpbrk(host, "@?#\\") == NULL;
    return is_plain && host[0] != '\0' && host[0] != '/';
}

static bool endpoint_of_mode(const char *mode, char **ret_url, struct error *err)
{
    if (mode == NULL || strcasecmp(mode, "IPv4") == 0) {
        *ret_url = text_copy("http://169.254.169.254");
        return true;
    }
    if (strcasecmp(mode, "IPv6") == 0) {
        *ret_url = text_copy("http://[fd00:ec2::254]");
        return true;
    }
    return error_set(err, ERROR_REJECT, "the mode of the instance metadata is IPv4 or IPv6, not \"%.40s\"", mode);
}

bool instance_url(const struct environment *environment, const char *profile_endpoint, const char *profile_mode,
                  char **ret_url, struct error *err)
{
    const char *endpoint = environment->metadata_endpoint != NULL ? environment->metadata_endpoint : profile_endpoint;
    const char *mode = environment->metadata_endpoint_mode != NULL ? environment->metadata_endpoint_mode : profile_mode;
    if (endpoint == NULL) {
        return endpoint_of_mode(mode, ret_url, err);
    }
    if (!endpoint_is_valid(endpoint)) {
        return error_set(err, ERROR_REJECT, "\"%.100s\" is no address of an instance metadata service", endpoint);
    }
    size_t length = strlen(endpoint);
    *ret_url = slice_copy(slice_from(endpoint, length - (endpoint[length - 1] == '/')));
    return true;
}

static void call_free(struct instance_call *call)
{
    free(call->url);
    secret_free(call->token);
    free(call->role);
    free(call);
}

static void call_end(struct instance_call *call, struct credentials *credentials, struct error *err)
{
    void (*on_done)(void *context, struct credentials *credentials, const struct error *err) = call->on_done;
    void *context = call->context;
    if (credentials == NULL) {
        (void)error_prefix(err, "instance metadata at %.100s", call->url);
    }
    call_free(call);
    on_done(context, credentials, err);
}

/* Ends the call for an answer that is no 200. */
static void call_end_refused(struct instance_call *call, const struct http_answer *answer, const char *what)
{
    struct error err = answer->err;
    bool is_passing = answer->status == 401 || answer->status == 429 || answer->status >= 500;
    if (answer->status == 0) {
        (void)error_prefix(&err, "%s", what);
    } else if (answer->status == 403) {
        (void)error_set(&err, ERROR_REJECT, "%s is forbidden: the service is switched off (HTTP 403)", what);
    } else {
        (void)error_set(&err, is_passing ? ERROR_RETRY : ERROR_REJECT, "%s: HTTP %d", what, answer->status);
    }
    call_end(call, NULL, &err);
}

static void call_ask_token(struct instance_call *call);

static void call_get(struct instance_call *call, const char *name,
                     void (*on_done)(void *context, const struct http_answer *answer))
{
    AUTO(text) char *url = text_format("%s" ROLE_PATH "%s", call->url, name);
    AUTO(secret) char *header = text_format(TOKEN_HEADER ": %s", call->token);
    struct fetch_request request = {.method = "GET", .url = url, .header = header, .is_silence_repeated = true};
    call->fetch = fetch_start(call->loop, &request, on_done, call);
}

/* One line of few bytes, or NULL. */
static char *answer_line(const struct http_answer *answer)
{
    struct slice line = slice_trim(answer->body);
    return line.len > 0 && line.len <= LINE_MAXIMUM_BYTES && slice_is_visible(line) ? slice_copy(line) : NULL;
}

static bool call_begins_anew(struct instance_call *call, const struct http_answer *answer)
{
    if (answer->status != 401 || call->tokens >= TOKENS_MAXIMUM) {
        return false;
    }
    call_ask_token(call);
    return true;
}

static void key_put_off(struct credentials *key)
{
    int64_t now_ms = clock_wall_ms();
    if (key->expires_wall_ms - now_ms < STALE_MS) {
        key->expires_wall_ms = now_ms + STALE_PUT_OFF_MS + backoff_ms(0, STALE_PUT_OFF_MS, STALE_PUT_OFF_MS);
    }
}

static void key_answered(void *context, const struct http_answer *answer)
{
    struct instance_call *call = context;
    struct credentials *key = NULL;
    struct error err;
    call->fetch = NULL;
    if (call_begins_anew(call, answer)) {
        return;
    }
    if (answer->status != 200) {
        call_end_refused(call, answer, "the role's key");
        return;
    }
    AUTO(text) char *origin = text_format("instance role %s", call->role);
    if (key_document_read(answer->body, KEY_GIVER_SERVICE, origin, &key, &err)) {
        key_put_off(key);
    }
    call_end(call, key, &err);
}

static void role_answered(void *context, const struct http_answer *answer)
{
    struct instance_call *call = context;
    struct error err;
    call->fetch = NULL;
    if (call_begins_anew(call, answer)) {
        return;
    }
    if (answer->status == 404) {
        (void)error_set(&err, ERROR_REJECT, "the instance has no role (HTTP 404)");
        call_end(call, NULL, &err);
        return;
    }
    if (answer->status != 200) {
        call_end_refused(call, answer, "the role's name");
        return;
    }
    free(call->role);
    call->role = answer_line(answer);
    if (call->role == NULL || strpbrk(call->role, "/?#%\\<>") != NULL) {
        (void)error_set(&err, ERROR_RETRY, "the answer is no name of a role");
        call_end(call, NULL, &err);
        return;
    }
    call_get(call, call->role, key_answered);
}

static void token_answered(void *context, const struct http_answer *answer)
{
    struct instance_call *call = context;
    struct error err;
    call->fetch = NULL;
    if (answer->status != 200) {
        call_end_refused(call, answer, "the token");
        return;
    }
    secret_free(call->token);
    call->token = answer_line(answer);
    if (call->token == NULL) {
        (void)error_set(&err, ERROR_RETRY, "the answer is no token");
        call_end(call, NULL, &err);
        return;
    }
    call_get(call, "", role_answered);
}

static void call_ask_token(struct instance_call *call)
{
    AUTO(text) char *url = text_format("%s/latest/api/token", call->url);
    struct fetch_request request = {
        .method = "PUT", .url = url, .header = "X-aws-ec2-metadata-token-ttl-seconds: 21600"};
    call->tokens++;
    call->fetch = fetch_start(call->loop, &request, token_answered, call);
}

struct instance_call *
instance_ask(struct loop *loop, const char *url,
             void (*on_done)(void *context, struct credentials *credentials, const struct error *err), void *context)
{
    struct instance_call *call = memory_zeroed(1, sizeof(*call));
    call->loop = loop;
    call->url = text_copy(url);
    call->on_done = on_done;
    call->context = context;
    call_ask_token(call);
    return call;
}

void instance_cancel(struct instance_call *call)
{
    if (call != NULL) {
        fetch_cancel(call->fetch);
        call_free(call);
    }
}
