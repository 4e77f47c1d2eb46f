/*
 * The only file that sees libcurl. A transfer is in one of three lists: queued, active (its easy handle is in the
 * multi handle) or done (waiting for its callback), so cancelling is unlinking. Easy handles are pooled, and what is
 * the same for all transfers is set once; connections live in the multi handle, TLS sessions in a share object (else a
 * new easy handle would never resume one).
 */
#include "workers/common/http/http.h"

#include "workers/common/base/buffer.h"
#include "workers/common/base/clock.h"

#include <curl/curl.h>

#include <assert.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    HEADERS_MAXIMUM_BYTES = 64 << 10,
    CONNECTION_MAXIMUM_AGE_S = 10, /* idle; S3 closes idle connections after 5 to 20 s by various reports */
    CONNECTIONS_SPARE = 32,        /* kept beside one per transfer, so that a dip does not close warm ones */
};

enum transfer_state { TRANSFER_QUEUED, TRANSFER_ACTIVE, TRANSFER_DONE };

struct transfer_list {
    struct http_transfer *first;
    struct http_transfer *last;
    size_t count;
};

struct http_transfer {
    struct http *http;
    enum transfer_state state;
    struct http_transfer *previous;
    struct http_transfer *next;

    char *texts; /* method, URL and header lines */
    size_t texts_size;
    const char *method;
    const char *url;
    struct curl_slist *headers; /* an array, linked: libcurl only reads it */
    struct slice body;
    int64_t timeout_ms;
    size_t answer_expected_bytes;
    bool is_direct;
    void (*on_done)(void *context, const struct http_answer *answer);
    void *context;

    CURL *easy; /* while active */
    char curl_text[CURL_ERROR_SIZE];
    struct buffer answer_body;
    struct buffer answer_headers;
    bool is_head_whole; /* the empty line behind it has come */
    struct http_answer answer;
};

struct http {
    CURLM *multi;
    CURLSH *share;
    size_t transfers_maximum;
    int64_t connect_timeout_ms;
    char *ca_file;
    bool (*may_send)(void *context);
    void *gate_context;

    struct transfer_list queued;
    struct transfer_list active;
    struct transfer_list done;

    CURL **idle; /* easy handles */
    size_t idle_count;

    struct curl_waitfd *wait_descriptors;
    size_t wait_capacity;

    struct http_statistics statistics;
};

static struct transfer_list *list_of(struct http *http, enum transfer_state state)
{
    switch (state) {
    case TRANSFER_QUEUED:
        return &http->queued;
    case TRANSFER_ACTIVE:
        return &http->active;
    case TRANSFER_DONE:
        break;
    }
    return &http->done;
}

static void transfer_link(struct http_transfer *transfer, enum transfer_state state)
{
    struct transfer_list *list = list_of(transfer->http, state);
    transfer->state = state;
    transfer->previous = list->last;
    transfer->next = NULL;
    if (list->last != NULL) {
        list->last->next = transfer;
    } else {
        list->first = transfer;
    }
    list->last = transfer;
    list->count++;
}

static void transfer_unlink(struct http_transfer *transfer)
{
    struct transfer_list *list = list_of(transfer->http, transfer->state);
    if (transfer->previous != NULL) {
        transfer->previous->next = transfer->next;
    } else {
        list->first = transfer->next;
    }
    if (transfer->next != NULL) {
        transfer->next->previous = transfer->previous;
    } else {
        list->last = transfer->previous;
    }
    list->count--;
}

static void transfer_free(struct http_transfer *transfer)
{
    explicit_bzero(transfer->texts, transfer->texts_size); /* a session's token is among them */
    free(transfer->headers);
    free(transfer->texts);
    buffer_done(&transfer->answer_body);
    buffer_done(&transfer->answer_headers);
    free(transfer);
}

static void curl_start_once(void)
{
    static bool is_started;
    if (!is_started) {
        if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
            error_out_of_memory();
        }
        is_started = true;
    }
}

struct http *http_new(const struct http_settings *settings)
{
    static const struct http_settings defaults;
    if (settings == NULL) {
        settings = &defaults;
    }
    curl_start_once();
    struct http *http = memory_zeroed(1, sizeof(*http));
    http->transfers_maximum =
        settings->transfers_maximum > 0 ? settings->transfers_maximum : HTTP_TRANSFERS_MAXIMUM_DEFAULT;
    http->connect_timeout_ms =
        settings->connect_timeout_ms > 0 ? settings->connect_timeout_ms : HTTP_CONNECT_TIMEOUT_DEFAULT_MS;
    http->ca_file = settings->ca_file != NULL ? text_copy(settings->ca_file) : NULL;
    http->idle = memory_zeroed(http->transfers_maximum, sizeof(CURL *));
    http->multi = curl_multi_init();
    http->share = curl_share_init();
    if (http->multi == NULL || http->share == NULL) {
        error_out_of_memory();
    }
    (void)curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, (long)(http->transfers_maximum + CONNECTIONS_SPARE));
    (void)curl_multi_setopt(http->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
    (void)curl_share_setopt(http->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    return http;
}

/* Options that refuse their value would mean that libcurl is not the one we were built with. */
#define EASY_SET(easy, option, value)                                                                                  \
    do {                                                                                                               \
        CURLcode code_ = curl_easy_setopt(easy, option, value);                                                        \
        if (code_ == CURLE_OUT_OF_MEMORY) {                                                                            \
            error_out_of_memory();                                                                                     \
        }                                                                                                              \
        assert(code_ == CURLE_OK);                                                                                     \
        (void)code_;                                                                                                   \
    } while (0)

/* Takes the easy handle away from a transfer and keeps it for the next one, unless it cannot be trusted any more. */
static void transfer_release_easy(struct http_transfer *transfer, bool is_poisoned)
{
    struct http *http = transfer->http;
    (void)curl_multi_remove_handle(http->multi, transfer->easy);
    if (is_poisoned || http->idle_count == http->transfers_maximum) {
        curl_easy_cleanup(transfer->easy);
    } else {
        EASY_SET(transfer->easy, CURLOPT_ERRORBUFFER, NULL);
        http->idle[http->idle_count++] = transfer->easy;
    }
    transfer->easy = NULL;
}

static void transfer_drop(struct http_transfer *transfer)
{
    transfer_unlink(transfer);
    if (transfer->easy != NULL) {
        transfer_release_easy(transfer, false);
    }
    transfer_free(transfer);
}

void http_free(struct http *http)
{
    if (http == NULL) {
        return;
    }
    struct transfer_list *lists[] = {&http->queued, &http->active, &http->done};
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        while (lists[i]->first != NULL) {
            transfer_drop(lists[i]->first); // NOLINT(clang-analyzer-unix.Malloc): unlinked before it is freed
        }
    }
    for (size_t i = 0; i < http->idle_count; i++) {
        curl_easy_cleanup(http->idle[i]);
    }
    (void)curl_multi_cleanup(http->multi);
    (void)curl_share_cleanup(http->share);
    free(http->idle);
    free(http->wait_descriptors);
    free(http->ca_file);
    free(http);
}

static size_t on_body(char *bytes, size_t size, size_t count, void *context)
{
    struct http_transfer *transfer = context;
    if (transfer->answer_body.len == 0) {
        buffer_expect(&transfer->answer_body, transfer->answer_expected_bytes);
    }
    buffer_append(&transfer->answer_body, slice_from(bytes, size * count));
    return transfer->answer_body.is_overflowed ? 0 : size * count;
}

static size_t on_header(char *bytes, size_t size, size_t count, void *context)
{
    struct http_transfer *transfer = context;
    struct slice line = slice_from(bytes, size * count);
    if (line.len >= 5 && memcmp(line.ptr, "HTTP/", 5) == 0) {
        buffer_clear(&transfer->answer_headers); /* those before were of a 1xx */
        transfer->answer.received_wall_ms = clock_wall_ms();
        transfer->is_head_whole = false;
    }
    transfer->is_head_whole = transfer->is_head_whole || line.ptr[0] == '\r' || line.ptr[0] == '\n';
    buffer_append(&transfer->answer_headers, line);
    return transfer->answer_headers.is_overflowed ? 0 : line.len;
}

static int on_before_request(void *context, char *remote_ip, char *local_ip, int remote_port, int local_port)
{
    (void)remote_ip;
    (void)local_ip;
    (void)remote_port;
    (void)local_port;
    const struct http *http = ((const struct http_transfer *)context)->http;
    bool may_send = http->may_send == NULL || http->may_send(http->gate_context);
    return may_send ? CURL_PREREQFUNC_OK : CURL_PREREQFUNC_ABORT;
}

/* What all transfers have in common. */
static CURL *easy_new(const struct http *http)
{
    CURL *easy = curl_easy_init();
    if (easy == NULL) {
        error_out_of_memory();
    }
    EASY_SET(easy, CURLOPT_NOSIGNAL, 1L);
    EASY_SET(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    EASY_SET(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    EASY_SET(easy, CURLOPT_FOLLOWLOCATION, 0L);
    EASY_SET(easy, CURLOPT_PATH_AS_IS, 1L);
    EASY_SET(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    EASY_SET(easy, CURLOPT_MAXAGE_CONN, (long)CONNECTION_MAXIMUM_AGE_S);
    EASY_SET(easy, CURLOPT_DNS_SHUFFLE_ADDRESSES, 1L);
    EASY_SET(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)http->connect_timeout_ms);
    EASY_SET(easy, CURLOPT_SSL_VERIFYPEER, 1L);
    EASY_SET(easy, CURLOPT_SSL_VERIFYHOST, 2L);
    EASY_SET(easy, CURLOPT_SHARE, http->share);
    EASY_SET(easy, CURLOPT_USERAGENT, "tagfleet");
    EASY_SET(easy, CURLOPT_PREREQFUNCTION, on_before_request);
    EASY_SET(easy, CURLOPT_WRITEFUNCTION, on_body);
    EASY_SET(easy, CURLOPT_HEADERFUNCTION, on_header);
    if (http->ca_file != NULL) {
        EASY_SET(easy, CURLOPT_CAINFO, http->ca_file);
    }
    return easy;
}

/* Says everything about the method, since the handle may come from a transfer with another one. */
static void easy_set_method(const struct http_transfer *transfer, CURL *easy)
{
    const char *method = transfer->method;
    bool is_head = strcmp(method, "HEAD") == 0;
    EASY_SET(easy, CURLOPT_NOBODY, is_head ? 1L : 0L);
    EASY_SET(easy, CURLOPT_CUSTOMREQUEST, is_head ? NULL : method);
    if (is_head) {
        return;
    }
    if (transfer->body.len > 0 || strcmp(method, "PUT") == 0 || strcmp(method, "POST") == 0) {
        /* A PUT as a custom POST: libcurl then reads the body from memory and can send it again by itself. */
        EASY_SET(easy, CURLOPT_POST, 1L);
        EASY_SET(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)transfer->body.len);
        EASY_SET(easy, CURLOPT_POSTFIELDS, transfer->body.len > 0 ? transfer->body.ptr : "");
    } else {
        EASY_SET(easy, CURLOPT_HTTPGET, 1L);
    }
}

static void easy_set_request(struct http_transfer *transfer, CURL *easy)
{
    EASY_SET(easy, CURLOPT_URL, transfer->url);
    EASY_SET(easy, CURLOPT_HTTPHEADER, transfer->headers);
    EASY_SET(easy, CURLOPT_TIMEOUT_MS, (long)transfer->timeout_ms);
    EASY_SET(easy, CURLOPT_ERRORBUFFER, transfer->curl_text);
    EASY_SET(easy, CURLOPT_PRIVATE, (void *)transfer);
    EASY_SET(easy, CURLOPT_PREREQDATA, (void *)transfer);
    EASY_SET(easy, CURLOPT_WRITEDATA, (void *)transfer);
    EASY_SET(easy, CURLOPT_HEADERDATA, (void *)transfer);
    EASY_SET(easy, CURLOPT_PROXY, transfer->is_direct ? "" : NULL);
    easy_set_method(transfer, easy);
}

static void transfer_begin(struct http_transfer *transfer)
{
    struct http *http = transfer->http;
    CURL *easy = http->idle_count > 0 ? http->idle[--http->idle_count] : easy_new(http);
    transfer->easy = easy;
    easy_set_request(transfer, easy);
    transfer->answer.sent_wall_ms = clock_wall_ms();
    http->statistics.requests++;
    CURLMcode code = curl_multi_add_handle(http->multi, easy);
    if (code == CURLM_OUT_OF_MEMORY) {
        error_out_of_memory();
    }
    assert(code == CURLM_OK);
    transfer_link(transfer, TRANSFER_ACTIVE);
}

static void queue_advance(struct http *http)
{
    while (http->queued.first != NULL && http->active.count < http->transfers_maximum) {
        struct http_transfer *transfer = http->queued.first;
        transfer_unlink(transfer);
        transfer_begin(transfer);
    }
}

static char *keep(char **at, const char *text)
{
    size_t size = strlen(text) + 1;
    char *kept = memcpy(*at, text, size);
    *at += size;
    return kept;
}

/* Copies the request's texts into one block. What libcurl would add by itself is taken out by headers without a value;
 * an Expect would cost up to a second where the server ignores it. */
static void transfer_keep(struct http_transfer *transfer, const struct http_request *request)
{
    static const char *const unwanted[] = {"Expect:", "Accept:", "Content-Type:"};
    size_t size = strlen(request->method) + strlen(request->url) + 2;
    size_t unwanted_count = sizeof(unwanted) / sizeof(unwanted[0]);
    for (size_t i = 0; i < request->header_count; i++) {
        if (strncasecmp(request->headers[i], "content-type:", 13) == 0) {
            unwanted_count = 2;
        }
        size += strlen(request->headers[i]) + 1;
    }
    size_t count = request->header_count + unwanted_count;
    transfer->texts_size = size;
    transfer->texts = memory_zeroed(size, 1);
    transfer->headers = memory_zeroed(count, sizeof(*transfer->headers));
    char *at = transfer->texts;
    transfer->method = keep(&at, request->method);
    transfer->url = keep(&at, request->url);
    for (size_t i = 0; i < count; i++) {
        struct curl_slist *header = &transfer->headers[i];
        header->data = i < request->header_count ? keep(&at, request->headers[i])
                                                 : (char *)(uintptr_t)unwanted[i - request->header_count];
        header->next = i + 1 < count ? header + 1 : NULL;
    }
}

struct http_transfer *http_start(struct http *http, const struct http_request *request,
                                 void (*on_done)(void *context, const struct http_answer *answer), void *context)
{
    assert(request->timeout_ms > 0);
    struct http_transfer *transfer = memory_zeroed(1, sizeof(*transfer));
    transfer->http = http;
    transfer_keep(transfer, request);
    transfer->body = request->body;
    transfer->is_direct = request->is_direct;
    transfer->answer_expected_bytes = request->answer_expected_bytes;
    transfer->timeout_ms = request->timeout_ms < LONG_MAX / 2 ? request->timeout_ms : LONG_MAX / 2;
    transfer->on_done = on_done;
    transfer->context = context;
    buffer_init(&transfer->answer_body, request->answer_maximum_bytes);
    buffer_init(&transfer->answer_headers, HEADERS_MAXIMUM_BYTES);

    transfer_link(transfer, TRANSFER_QUEUED);
    queue_advance(http);
    return transfer;
}

void http_cancel(struct http *http, struct http_transfer *transfer)
{
    if (transfer != NULL) {
        assert(transfer->http == http);
        transfer_drop(transfer);
        queue_advance(http);
    }
}

void http_wait(struct http *http, struct http_descriptor *descriptors, size_t descriptor_count, int64_t at_most_ms)
{
    if (descriptor_count > http->wait_capacity) {
        http->wait_capacity = descriptor_count * 2;
        http->wait_descriptors =
            memory_resized(http->wait_descriptors, http->wait_capacity * sizeof(struct curl_waitfd));
    }
    for (size_t i = 0; i < descriptor_count; i++) {
        http->wait_descriptors[i] = (struct curl_waitfd){.fd = descriptors[i].descriptor, .events = CURL_WAIT_POLLIN};
        descriptors[i].is_ready = false;
    }
    if (http->done.first != NULL) {
        at_most_ms = 0;
    }
    int timeout_ms = at_most_ms < INT_MAX ? (int)at_most_ms : INT_MAX;
    /* A signal ends the poll early; nothing is ready then, and the loop comes back. */
    (void)curl_multi_poll(http->multi, http->wait_descriptors, (unsigned)descriptor_count, timeout_ms, NULL);
    for (size_t i = 0; i < descriptor_count; i++) {
        descriptors[i].is_ready = http->wait_descriptors[i].revents != 0;
    }
}

/* What each outcome below HTTP means. The rest of libcurl's codes cannot happen to these requests, or are passing. */
static const struct trouble {
    CURLcode code;
    enum error_action action;
    const char *text;
} troubles[] = {
    {CURLE_ABORTED_BY_CALLBACK, ERROR_RETRY, "held back: this process may have been replaced"},
    {CURLE_COULDNT_RESOLVE_HOST, ERROR_RETRY, "host name not found"},
    {CURLE_COULDNT_RESOLVE_PROXY, ERROR_RETRY, "host name of the proxy not found"},
    {CURLE_COULDNT_CONNECT, ERROR_RETRY, "could not connect"},
    {CURLE_OPERATION_TIMEDOUT, ERROR_RETRY, "timed out"},
    {CURLE_GOT_NOTHING, ERROR_RETRY, "connection closed without an answer"},
    {CURLE_SEND_ERROR, ERROR_RETRY, "connection lost while sending"},
    {CURLE_RECV_ERROR, ERROR_RETRY, "connection lost while receiving"},
    {CURLE_PARTIAL_FILE, ERROR_RETRY, "answer cut short"},
    {CURLE_UNSUPPORTED_PROTOCOL, ERROR_RETRY, "not an HTTP answer"},
    {CURLE_WEIRD_SERVER_REPLY, ERROR_RETRY, "not an HTTP answer"},
    /* What libcurl calls a line of the head, or a trailer, that is longer than it takes: no reason to die. */
    {CURLE_OUT_OF_MEMORY, ERROR_RETRY, "a header of the answer is too long, or memory is short"},
    {CURLE_SSL_CONNECT_ERROR, ERROR_RETRY, "TLS handshake failed"},
    {CURLE_URL_MALFORMAT, ERROR_REJECT, "not a usable URL"},
    {CURLE_PEER_FAILED_VERIFICATION, ERROR_REJECT, "the server's TLS certificate is not trusted"},
    {CURLE_SSL_CACERT_BADFILE, ERROR_REJECT, "the file of trusted certificates cannot be read"},
};

static const struct trouble *trouble_of(CURLcode code)
{
    static const struct trouble other = {CURLE_OK, ERROR_RETRY, "transfer failed"};
    for (size_t i = 0; i < sizeof(troubles) / sizeof(troubles[0]); i++) {
        if (troubles[i].code == code) {
            return &troubles[i];
        }
    }
    return &other;
}

static void transfer_fail(struct http_transfer *transfer, CURLcode code, bool is_connection_reused)
{
    struct http_answer *answer = &transfer->answer;
    const char *detail = transfer->curl_text[0] != '\0' ? transfer->curl_text : curl_easy_strerror(code);
    if (code == CURLE_WRITE_ERROR && transfer->answer_body.is_overflowed) {
        (void)error_set(&answer->err, ERROR_REJECT, "answer is longer than %zu bytes", transfer->answer_body.maximum);
    } else if (code == CURLE_WRITE_ERROR && transfer->answer_headers.is_overflowed) {
        (void)error_set(&answer->err, ERROR_REJECT, "headers of the answer are longer than %d bytes",
                        HEADERS_MAXIMUM_BYTES);
    } else {
        const struct trouble *trouble = trouble_of(code);
        (void)error_set(&answer->err, trouble->action, "%s (%s)", trouble->text, detail);
    }
    answer->status = 0;
    answer->is_timed_out = code == CURLE_OPERATION_TIMEDOUT;
    answer->is_connection_stale = is_connection_reused && transfer->answer_headers.len == 0 &&
                                  (code == CURLE_GOT_NOTHING || code == CURLE_SEND_ERROR || code == CURLE_RECV_ERROR);
    transfer->http->statistics.failures++;
}

static void transfer_finish(struct http_transfer *transfer, CURLcode code)
{
    struct http *http = transfer->http;
    struct http_answer *answer = &transfer->answer;
    long status = 0;
    long connections = 0;
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_NUM_CONNECTS, &connections);
    http->statistics.connections += (uint64_t)connections;
    /* libcurl takes a head that was cut between two lines for a whole one. */
    if (code == CURLE_OK && !transfer->is_head_whole) {
        code = CURLE_PARTIAL_FILE;
    }
    if (code != CURLE_OK) {
        transfer_fail(transfer, code, connections == 0);
    } else {
        answer->status = (int)status;
    }
    answer->body = buffer_slice(&transfer->answer_body);
    answer->header_lines = buffer_slice(&transfer->answer_headers);
    transfer_unlink(transfer);
    /* A handle that failed to rewind its body stays broken (curl #17139). */
    transfer_release_easy(transfer, code == CURLE_SEND_FAIL_REWIND);
    transfer_link(transfer, TRANSFER_DONE);
}

void http_dispatch(struct http *http)
{
    int running = 0;
    if (curl_multi_perform(http->multi, &running) == CURLM_OUT_OF_MEMORY) {
        error_out_of_memory();
    }
    int left = 0;
    CURLMsg *message = NULL;
    while ((message = curl_multi_info_read(http->multi, &left)) != NULL) {
        if (message->msg == CURLMSG_DONE) {
            char *transfer = NULL;
            CURLcode code = message->data.result;
            (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
            transfer_finish((struct http_transfer *)(void *)transfer, code);
        }
    }
    queue_advance(http);
    while (http->done.first != NULL) {
        struct http_transfer *transfer = http->done.first;
        transfer_unlink(transfer); // NOLINT(clang-analyzer-unix.Malloc): the list has moved on
        transfer->on_done(transfer->context, &transfer->answer);
        transfer_free(transfer);
    }
}

struct slice http_answer_header(const struct http_answer *answer, const char *name)
{
    const char *at = answer->header_lines.ptr;
    const char *end = at + answer->header_lines.len;
    size_t name_len = strlen(name);
    while (at < end) {
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        line_end = line_end != NULL ? line_end : end;
        if ((size_t)(line_end - at) > name_len && at[name_len] == ':' && strncasecmp(at, name, name_len) == 0) {
            const char *value = at + name_len + 1;
            const char *value_end = line_end;
            while (value < value_end && (*value == ' ' || *value == '\t')) {
                value++;
            }
            while (value_end > value && (value_end[-1] == ' ' || value_end[-1] == '\t' || value_end[-1] == '\r')) {
                value_end--;
            }
            return slice_from(value, (size_t)(value_end - value));
        }
        at = line_end + 1;
    }
    return slice_from(NULL, 0);
}

void http_set_transfers_maximum(struct http *http, size_t maximum)
{
    assert(maximum > 0 && http->active.count == 0);
    while (http->idle_count > maximum) {
        curl_easy_cleanup(http->idle[--http->idle_count]);
    }
    http->transfers_maximum = maximum;
    http->idle = memory_resized(http->idle, maximum * sizeof(CURL *));
    (void)curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, (long)(maximum + CONNECTIONS_SPARE));
}

void http_set_gate(struct http *http, bool (*may_send)(void *context), void *context)
{
    http->may_send = may_send;
    http->gate_context = context;
}

void http_statistics_read(const struct http *http, struct http_statistics *ret_statistics)
{
    *ret_statistics = http->statistics;
    ret_statistics->active = http->active.count;
    ret_statistics->queued = http->queued.count;
}
