#include "workers/common/aws/container.h"

#include "workers/common/aws/fetch.h"
#include "workers/common/aws/key_document.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define ECS_URL "http://169.254.170.2"

struct container_call {
    struct loop *loop;
    struct fetch *fetch;
    struct loop_timer *timer;
    struct error err; /* of a question that cannot be asked */
    void (*on_done)(void *context, struct credentials *credentials, const struct error *err);
    void *context;
};

static bool is_near_v4(const char *host)
{
    struct in_addr address;
    return inet_pton(AF_INET, host, &address) == 1 &&
           ((ntohl(address.s_addr) >> 24) == 127 || strcmp(host, "169.254.170.2") == 0 ||
            strcmp(host, "169.254.170.23") == 0);
}

static bool is_near_v6(const char *host)
{
    struct in6_addr address;
    struct in6_addr eks;
    return inet_pton(AF_INET6, host, &address) == 1 && inet_pton(AF_INET6, "fd00:ec2::23", &eks) == 1 &&
           (IN6_IS_ADDR_LOOPBACK(&address) || IN6_ARE_ADDR_EQUAL(&address, &eks));
}

/* The authority of an http URL: host, perhaps a port, no user. */
static bool is_near(struct slice authority)
{
    bool is_v6 = authority.len > 0 && authority.ptr[0] == '[';
    const char *end = memchr(authority.ptr, is_v6 ? ']' : ':', authority.len);
    size_t length = end != NULL ? (size_t)(end - authority.ptr) : authority.len;
    if (is_v6 && end == NULL) {
        return false;
    }
    struct slice rest = slice_from(authority.ptr + length + is_v6, authority.len - length - is_v6);
    for (size_t i = 0; i < rest.len; i++) {
        if (i == 0 ? rest.ptr[i] != ':' : !isdigit((unsigned char)rest.ptr[i])) {
            return false;
        }
    }
    AUTO(text) char *host = slice_copy(slice_from(authority.ptr + is_v6, length - is_v6));
    return is_v6 ? is_near_v6(host) : is_near_v4(host) || strcmp(host, "localhost") == 0;
}

static bool full_uri_check(const char *uri, struct error *err)
{
    bool is_secure = text_starts_with(uri, "https://");
    if ((!is_secure && !text_starts_with(uri, "http://")) || !slice_is_visible(slice_of(uri))) {
        return error_set(err, ERROR_REJECT, "AWS_CONTAINER_CREDENTIALS_FULL_URI is no http or https address");
    }
    const char *authority = strstr(uri, "://") + 3;
    size_t length = strcspn(authority, "/?#");
    if (length == 0 || memchr(authority, '@', length) != NULL || memchr(authority, '\\', length) != NULL) {
        return error_set(err, ERROR_REJECT, "AWS_CONTAINER_CREDENTIALS_FULL_URI has no plain host");
    }
    return is_secure || is_near(slice_from(authority, length)) ||
           error_set(err, ERROR_REJECT,
                     "AWS_CONTAINER_CREDENTIALS_FULL_URI must be https, this machine, or the address of ECS or EKS, "
                     "not %.100s",
                     uri);
}

bool container_url(const char *relative_uri, const char *full_uri, char **ret_url, struct error *err)
{
    if (relative_uri == NULL) {
        if (!full_uri_check(full_uri, err)) {
            return false;
        }
        *ret_url = text_copy(full_uri);
        return true;
    }
    if (relative_uri[0] != '/' || !slice_is_visible(slice_of(relative_uri))) {
        return error_set(err, ERROR_REJECT, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI does not begin with /");
    }
    *ret_url = text_format(ECS_URL "%s", relative_uri);
    return true;
}

static void call_end(struct container_call *call, struct credentials *credentials, const struct error *err)
{
    struct container_call ended = *call;
    free(call);
    ended.on_done(ended.context, credentials, err);
}

static void call_unsent(void *context)
{
    struct container_call *call = context;
    struct error err = call->err;
    call_end(call, NULL, &err);
}

static bool answer_read(const struct http_answer *answer, struct credentials **ret_credentials, struct error *err)
{
    bool is_passing = answer->status == 429 || answer->status >= 500;
    if (answer->status == 0) {
        *err = answer->err;
        return false;
    }
    if (answer->status != 200) {
        return error_set(err, is_passing ? ERROR_RETRY : ERROR_REJECT, "HTTP %d", answer->status);
    }
    return key_document_read(answer->body, KEY_GIVER_SERVICE, "container", ret_credentials, err);
}

static void call_answered(void *context, const struct http_answer *answer)
{
    struct container_call *call = context;
    struct credentials *credentials = NULL;
    struct error err;
    if (!answer_read(answer, &credentials, &err)) {
        (void)error_prefix(&err, "the container's credentials");
    }
    call->fetch = NULL;
    call_end(call, credentials, &err);
}

static void call_fail(struct container_call *call)
{
    (void)error_prefix(&call->err, "the container's credentials");
    call->timer = loop_after(call->loop, 0, call_unsent, call);
}

struct container_call *
container_ask(struct loop *loop, const struct container_request *request,
              void (*on_done)(void *context, struct credentials *credentials, const struct error *err), void *context)
{
    struct container_call *call = memory_zeroed(1, sizeof(*call));
    AUTO(secret) char *token = text_copy_or_null(request->token_file == NULL ? request->token : NULL);
    *call = (struct container_call){.loop = loop, .on_done = on_done, .context = context};
    if (request->token_file != NULL && !secret_read(request->token_file, &token, &call->err)) {
        call_fail(call);
        return call;
    }
    if (token != NULL && strpbrk(token, "\r\n") != NULL) {
        (void)error_set(&call->err, ERROR_REJECT, "AWS_CONTAINER_AUTHORIZATION_TOKEN is not one line");
        call_fail(call);
        return call;
    }
    AUTO(secret) char *header = token != NULL ? text_format("Authorization: %s", token) : NULL;
    struct fetch_request fetch = {.method = "GET", .url = request->url, .header = header, .is_silence_repeated = true};
    call->fetch = fetch_start(loop, &fetch, call_answered, call);
    return call;
}

void container_cancel(struct container_call *call)
{
    if (call != NULL) {
        fetch_cancel(call->fetch);
        loop_timer_cancel(call->loop, call->timer);
        free(call);
    }
}
