#include "producer/api/api.h"

#include "producer/api/api_host.h"
#include "producer/api/token.h"
#include "producer/api/verdict.h"
#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"

#include <stdlib.h>
#include <strings.h>

enum { HEADERS_MAXIMUM = 8, HEADER_MAXIMUM_BYTES = 16 * 1024, URL_MAXIMUM_BYTES = 8 * 1024 };

struct api {
    struct loop *loop;
    const struct api_host *host;
    char *url;        /* without a slash at its end */
    char *token_file; /* NULL: none */
    int64_t limited_until_ms;
    struct api_call *calls;
};

struct api_call {
    struct api *api;
    struct api_call *previous;
    struct api_call *next;
    char *body;
    struct http_transfer *transfer; /* NULL: it ends by the timer */
    struct loop_timer *timer;
    enum api_outcome outcome; /* of one that was never sent */
    struct error err;
    void (*on_done)(void *context, const struct api_answer *answer);
    void *context;
};

/* --- settings --- */

static bool is_url(const char *url)
{
    size_t scheme = text_starts_with(url, "https://") ? 8 : text_starts_with(url, "http://") ? 7 : 0;
    size_t host = strcspn(url + scheme, "/");
    return scheme > 0 && host > 0 && strlen(url) < URL_MAXIMUM_BYTES / 2 && slice_is_visible(slice_of(url)) &&
           strpbrk(url, "?#@\\") == NULL;
}

char *api_mistake(const struct api_settings *settings)
{
    const struct api_host *host = api_host_named(settings->provider);
    if (host == NULL) {
        return text_format("provider %s is not known; known are %s", settings->provider, api_host_names());
    }
    if (settings->api_url == NULL && host->public_url == NULL) {
        return text_format("api_url is needed: the address of your %s, such as https://git.example.com",
                           host->provider);
    }
    if (settings->api_url != NULL && !is_url(settings->api_url)) {
        /* What stands there may hold a password: it is not repeated. */
        return text_copy("api_url must be https://host, perhaps with a port and a path, and without user, query and "
                         "fragment");
    }
    return NULL;
}

static char *url_trimmed(const char *url)
{
    size_t length = strlen(url);
    while (length > 0 && url[length - 1] == '/') {
        length--;
    }
    return slice_copy(slice_from(url, length));
}

static const char *url_of(const struct api_settings *settings, const struct api_host *host)
{
    return settings->api_url != NULL ? settings->api_url : host->public_url;
}

bool api_open(struct loop *loop, const struct api_settings *settings, struct api **ret_api, struct error *err)
{
    AUTO(text) char *mistake = api_mistake(settings);
    if (mistake != NULL) {
        return error_set(err, ERROR_FATAL, "%s", mistake);
    }
    struct api *api = memory_zeroed(1, sizeof(*api));
    api->loop = loop;
    api->host = api_host_named(settings->provider);
    api->url = url_trimmed(url_of(settings, api->host));
    api->token_file = settings->token_file != NULL ? text_copy(settings->token_file) : NULL;
    *ret_api = api;
    return true;
}

void api_close(struct api *api)
{
    if (api == NULL) {
        return;
    }
    while (api->calls != NULL) {
        api_cancel(api->calls); // NOLINT(clang-analyzer-unix.Malloc): unlinked before it is freed
    }
    free(api->url);
    free(api->token_file);
    free(api);
}

const char *api_provider(const struct api *api)
{
    return api->host->provider;
}

static bool is_same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

bool api_has_settings(const struct api *api, const struct api_settings *settings)
{
    if (strcmp(api->host->provider, settings->provider) != 0 || !is_same_text(api->token_file, settings->token_file)) {
        return false;
    }
    AUTO(text) char *url = url_trimmed(url_of(settings, api->host));
    return strcmp(api->url, url) == 0;
}

int64_t api_limited_ms(const struct api *api)
{
    int64_t left_ms = api->limited_until_ms - clock_monotonic_ms();
    return left_ms > 0 ? left_ms : 0;
}

/* --- calls --- */

static void call_link(struct api_call *call)
{
    call->next = call->api->calls;
    if (call->next != NULL) {
        call->next->previous = call;
    }
    call->api->calls = call;
}

static void call_free(struct api_call *call)
{
    if (call->previous != NULL) {
        call->previous->next = call->next;
    } else {
        call->api->calls = call->next;
    }
    if (call->next != NULL) {
        call->next->previous = call->previous;
    }
    free(call->body);
    free(call);
}

void api_cancel(struct api_call *call)
{
    if (call == NULL) {
        return;
    }
    http_cancel(loop_http(call->api->loop), call->transfer);
    loop_timer_cancel(call->api->loop, call->timer);
    call_free(call);
}

static void call_end(struct api_call *call, const struct api_answer *answer)
{
    void (*on_done)(void *context, const struct api_answer *answer) = call->on_done;
    void *context = call->context;
    call_free(call);
    on_done(context, answer);
}

static void call_unsent(void *context)
{
    struct api_call *call = context;
    struct api_answer answer = {.outcome = call->outcome, .err = call->err};
    answer.again_ms = answer.outcome == API_LIMITED ? api_limited_ms(call->api) : 0;
    call_end(call, &answer);
}

static void call_answered(void *context, const struct http_answer *http)
{
    struct api_call *call = context;
    struct api *api = call->api;
    struct verdict verdict = verdict_of(http, clock_wall_ms());
    struct api_answer answer = {.outcome = verdict.outcome, .status = http->status, .http = http};
    verdict_explain(&verdict, http, &answer.err);
    if (verdict.limited_ms > 0) {
        int64_t until_ms = clock_monotonic_ms() + verdict.limited_ms;
        api->limited_until_ms = until_ms > api->limited_until_ms ? until_ms : api->limited_until_ms;
    }
    answer.again_ms = verdict.outcome == API_LIMITED ? verdict.limited_ms : 0;
    call_end(call, &answer);
}

/* The length of "scheme://host:port". */
static size_t origin_length(const char *url)
{
    size_t scheme = (size_t)(strstr(url, "://") - url) + 3;
    return scheme + strcspn(url + scheme, "/");
}

/* The whole address of a target; NULL when it leads to another origin, which must not see the token. */
static char *target_url(const struct api *api, const char *target)
{
    if (!slice_is_visible(slice_of(target)) || strlen(target) >= URL_MAXIMUM_BYTES / 2) {
        return NULL;
    }
    if (target[0] == '/') {
        return text_format("%s%s", api->url, target);
    }
    size_t length = origin_length(api->url);
    bool is_ours = strncasecmp(api->url, target, length) == 0 && target[length] == '/' && strchr(target, '\\') == NULL;
    return is_ours ? text_copy(target) : NULL;
}

/* Headers but the token's, which is the last and wiped. */
static size_t headers_fill(const struct api *api, const struct api_request *request, const char *etag_line,
                           const char *token_line, const char *ret_headers[HEADERS_MAXIMUM])
{
    size_t count = 0;
    for (const char *const *header = api->host->headers; *header != NULL; header++) {
        ret_headers[count++] = *header;
    }
    if (request->body.len > 0) {
        ret_headers[count++] = "Content-Type: application/json";
    }
    if (etag_line != NULL) {
        ret_headers[count++] = etag_line;
    }
    if (token_line[0] != '\0') {
        ret_headers[count++] = token_line;
    }
    return count;
}

static void call_send(struct api_call *call, const struct api_request *request, const char *url, const char *token_line)
{
    const char *headers[HEADERS_MAXIMUM];
    AUTO(text) char *etag = request->etag != NULL ? text_format("If-None-Match: %s", request->etag) : NULL;
    call->body = request->body.len > 0 ? slice_copy(request->body) : NULL;
    struct http_request http = {
        .method = request->method,
        .url = url,
        .headers = headers,
        .header_count = headers_fill(call->api, request, etag, token_line, headers),
        .body = slice_from(call->body, request->body.len),
        .timeout_ms = API_TIMEOUT_MS,
        .answer_maximum_bytes = request->answer_bytes > 0 ? request->answer_bytes : API_ANSWER_MAXIMUM_BYTES,
    };
    call->transfer = http_start(loop_http(call->api->loop), &http, call_answered, call);
}

/* False: it is not sent; outcome and error say why. */
static bool call_try(struct api_call *call, const struct api_request *request)
{
    struct api *api = call->api;
    if (api_limited_ms(api) > 0) {
        call->outcome = API_LIMITED;
        return error_set(&call->err, ERROR_RETRY, "the host wants no requests for another %lld s",
                         (long long)(api_limited_ms(api) + 999) / 1000);
    }
    AUTO(text) char *url = target_url(api, request->target);
    if (url == NULL) {
        call->outcome = API_WRONG;
        return error_set(&call->err, ERROR_REJECT,
                         "the host leads to an address of another origin than %.200s, which is not asked: is api_url "
                         "the host's own address?",
                         api->url);
    }
    struct buffer token;
    buffer_init(&token, HEADER_MAXIMUM_BYTES);
    buffer_expect(&token, HEADER_MAXIMUM_BYTES);
    bool has_token = token_append_header(api->token_file, api->host->token_header, &token, &call->err);
    if (has_token) {
        call_send(call, request, url, token.ptr);
    } else {
        call->outcome = API_REFUSED;
    }
    token_wipe(&token);
    return has_token;
}

struct api_call *api_start(struct api *api, const struct api_request *request,
                           void (*on_done)(void *context, const struct api_answer *answer), void *context)
{
    struct api_call *call = memory_zeroed(1, sizeof(*call));
    call->api = api;
    call->on_done = on_done;
    call->context = context;
    call_link(call);
    if (!call_try(call, request)) {
        call->timer = loop_after(api->loop, 0, call_unsent, call);
    }
    return call;
}
