#include "tests/support/http_script.h"

#include "tests/support/unit.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS_MAXIMUM = 64, REQUESTS_MAXIMUM = 2048, REQUEST_MAXIMUM_BYTES = 32 << 20 };
enum { REMEMBERED_MAXIMUM_BYTES = 64 << 10, ANSWER_MAXIMUM_BYTES = 64 << 20, CHUNK_BYTES = 7, PATIENCE_MS = 120000 };

struct seen {
    char *method;
    char *target;
    char *headers;
    char *body;
};

struct connection {
    int descriptor; /* -1: free */
    struct buffer input;
};

struct http_script {
    const struct http_script_answer *answers;
    size_t answer_count;
    http_script_choose *choose;
    void *context;
    char url[64];
    int listening;
    int stopping;
    pthread_t thread;
    struct connection connections[CONNECTIONS_MAXIMUM];
    pthread_mutex_t lock; /* of what follows */
    struct seen seen[REQUESTS_MAXIMUM];
    size_t seen_count;
};

static void connection_close(struct connection *connection)
{
    close(connection->descriptor);
    connection->descriptor = -1;
    buffer_done(&connection->input);
}

static bool send_all(int descriptor, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t sent = send(descriptor, bytes, len, MSG_NOSIGNAL);
        if (sent <= 0) {
            return false;
        }
        bytes += sent;
        len -= (size_t)sent;
    }
    return true;
}

/* Byte by byte, until the reader has gone or the server is stopped. */
static void send_dripping(const struct http_script *script, int descriptor, struct slice bytes, unsigned pause_ms)
{
    struct pollfd stopping = {.fd = script->stopping, .events = POLLIN};
    for (size_t i = 0; i < bytes.len && send_all(descriptor, bytes.ptr + i, 1); i++) {
        if (poll(&stopping, 1, (int)pause_ms) != 0) {
            return;
        }
    }
}

static void append_body(struct buffer *text, const struct http_script_answer *answer, struct slice body)
{
    while (answer->is_chunked && body.len > 0) {
        size_t count = body.len < CHUNK_BYTES ? body.len : CHUNK_BYTES;
        buffer_append_format(text, "%zx\r\n", count);
        buffer_append(text, slice_from(body.ptr, count));
        buffer_append_text(text, "\r\n");
        body = slice_from(body.ptr + count, body.len - count);
    }
    if (answer->is_chunked) {
        buffer_append_text(text, "0\r\n\r\n");
    } else {
        buffer_append(text, body);
    }
}

static void answer_write(const struct http_script_answer *answer, bool is_head, struct buffer *text)
{
    const char *headers = answer->headers != NULL ? answer->headers : "";
    const char *bytes = answer->body != NULL ? answer->body : "";
    struct slice body = slice_from(bytes, answer->body_length > 0 ? answer->body_length : strlen(bytes));
    if (answer->raw != NULL) {
        buffer_append(text,
                      answer->raw_length > 0 ? slice_from(answer->raw, answer->raw_length) : slice_of(answer->raw));
        return;
    }
    if (answer->is_continued) {
        buffer_append_text(text, "HTTP/1.1 100 Continue\r\n\r\n");
    }
    buffer_append_format(text, "HTTP/1.1 %d Scripted\r\n", answer->status);
    buffer_append_text(text, headers);
    if (answer->is_chunked) {
        buffer_append_text(text, "Transfer-Encoding: chunked\r\n");
    } else if (strcasestr(headers, "Content-Length:") == NULL) {
        buffer_append_format(text, "Content-Length: %zu\r\n", body.len);
    }
    buffer_append_text(text, answer->is_closed ? "Connection: close\r\n\r\n" : "\r\n");
    if (!is_head) {
        append_body(text, answer, body);
    }
}

/* Returns false when the connection is over. */
static bool answer_send(const struct http_script *script, const struct http_script_answer *answer, int descriptor,
                        bool is_head)
{
    if (answer->is_silent) {
        return true;
    }
    if (answer->status == 0 && answer->raw == NULL) {
        return false;
    }
    AUTO(buffer) struct buffer text;
    buffer_init(&text, ANSWER_MAXIMUM_BYTES);
    answer_write(answer, is_head, &text);
    bool is_cut = answer->is_cut || (answer->cut_after > 0 && answer->cut_after < text.len);
    size_t length = !is_cut ? text.len : answer->is_cut ? text.len - 1 : answer->cut_after;
    if (answer->drip_ms > 0) {
        send_dripping(script, descriptor, slice_from(text.ptr, length), answer->drip_ms);
    } else {
        (void)send_all(descriptor, text.ptr, length);
    }
    return is_cut ? answer->is_stalled : !answer->is_closed;
}

static const char *header_value(const char *headers, const char *name)
{
    size_t len = strlen(name);
    for (const char *line = headers; line != NULL && *line != '\0'; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncasecmp(line, name, len) == 0 && line[len] == ':') {
            return line + len + 1 + strspn(line + len + 1, " ");
        }
    }
    return NULL;
}

/* A request at the beginning of the input. */
struct request {
    struct seen seen;
    struct slice body; /* in the input */
    size_t taken;      /* bytes of the input */
};

/* Returns false when there is no whole request yet. */
static bool request_read(const struct buffer *input, struct request *ret_request)
{
    const char *end = input->len > 0 ? memmem(input->ptr, input->len, "\r\n\r\n", 4) : NULL;
    if (end == NULL) {
        return false;
    }
    size_t head_len = (size_t)(end - input->ptr) + 4;
    AUTO(text) char *head = slice_copy(slice_from(input->ptr, head_len));
    const char *length = header_value(head, "Content-Length");
    size_t body_len = length != NULL ? strtoul(length, NULL, 10) : 0;
    if (input->len < head_len + body_len) {
        return false;
    }
    size_t method_len = strcspn(head, " ");
    size_t target_len = strcspn(head + method_len + 1, " ");
    struct slice body = slice_from(input->ptr + head_len, body_len);
    *ret_request = (struct request){
        .seen =
            {
                .method = slice_copy(slice_from(head, method_len)),
                .target = slice_copy(slice_from(head + method_len + 1, target_len)),
                .headers = text_copy(strchr(head, '\n') + 1),
                .body = body_len <= REMEMBERED_MAXIMUM_BYTES ? slice_copy(body) : text_copy(""),
            },
        .body = body,
        .taken = head_len + body_len,
    };
    return true;
}

static void request_drop(struct buffer *input, size_t taken)
{
    memmove(input->ptr, input->ptr + taken, input->len - taken);
    input->len -= taken;
    input->ptr[input->len] = '\0';
}

static void request_remember(struct http_script *script, const struct seen *seen)
{
    pthread_mutex_lock(&script->lock);
    if (script->seen_count == REQUESTS_MAXIMUM) {
        abort();
    }
    script->seen[script->seen_count++] = *seen;
    pthread_mutex_unlock(&script->lock);
}

/* Returns false when the connection is over. */
static bool request_answer(struct http_script *script, const struct request *request, int descriptor)
{
    const struct seen *seen = &request->seen;
    struct http_script_answer answer = {.status = 599, .body = "the script is at its end"};
    AUTO(buffer) struct buffer scratch;
    buffer_init(&scratch, ANSWER_MAXIMUM_BYTES);
    size_t position = script->seen_count; /* this thread alone changes it */
    if (script->choose != NULL) {
        struct http_script_request arrived = {position, seen->method, seen->target, seen->headers, request->body};
        script->choose(script->context, &arrived, &scratch, &answer);
    } else if (position < script->answer_count) {
        answer = script->answers[position];
    }
    /* Whoever waits until it is counted finds what the choice has done. */
    request_remember(script, seen);
    return answer_send(script, &answer, descriptor, strcmp(seen->method, "HEAD") == 0);
}

static void connection_read(struct http_script *script, struct connection *connection)
{
    char block[65536];
    ssize_t count = recv(connection->descriptor, block, sizeof(block), 0);
    if (count <= 0) {
        connection_close(connection);
        return;
    }
    buffer_append(&connection->input, slice_from(block, (size_t)count));
    for (struct request request; request_read(&connection->input, &request);) {
        if (!request_answer(script, &request, connection->descriptor)) {
            connection_close(connection);
            return;
        }
        request_drop(&connection->input, request.taken);
    }
}

static void connection_accept(struct http_script *script)
{
    int descriptor = accept4(script->listening, NULL, NULL, SOCK_CLOEXEC);
    for (size_t i = 0; i < CONNECTIONS_MAXIMUM && descriptor >= 0; i++) {
        if (script->connections[i].descriptor < 0) {
            script->connections[i].descriptor = descriptor;
            buffer_init(&script->connections[i].input, REQUEST_MAXIMUM_BYTES);
            return;
        }
    }
    if (descriptor >= 0) {
        close(descriptor);
    }
}

static void *serve(void *context)
{
    struct http_script *script = context;
    for (;;) {
        struct pollfd polled[CONNECTIONS_MAXIMUM + 2] = {
            {.fd = script->stopping, .events = POLLIN},
            {.fd = script->listening, .events = POLLIN},
        };
        for (size_t i = 0; i < CONNECTIONS_MAXIMUM; i++) {
            polled[i + 2] = (struct pollfd){.fd = script->connections[i].descriptor, .events = POLLIN};
        }
        (void)poll(polled, CONNECTIONS_MAXIMUM + 2, -1);
        if (polled[0].revents != 0) {
            return NULL;
        }
        for (size_t i = 0; i < CONNECTIONS_MAXIMUM; i++) {
            if (polled[i + 2].fd >= 0 && polled[i + 2].revents != 0) {
                connection_read(script, &script->connections[i]);
            }
        }
        if (polled[1].revents != 0) {
            connection_accept(script);
        }
    }
}

static void script_start(struct http_script *script)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    /* A proxy of the surroundings must not come between. */
    setenv("no_proxy", "127.0.0.1", 1);
    script->listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    script->stopping = eventfd(0, EFD_CLOEXEC);
    assert_true(script->listening >= 0 && script->stopping >= 0);
    assert_int_equal(bind(script->listening, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(script->listening, CONNECTIONS_MAXIMUM), 0);
    assert_int_equal(getsockname(script->listening, (struct sockaddr *)&address, &size), 0);
    (void)snprintf(script->url, sizeof(script->url), "http://127.0.0.1:%d", ntohs(address.sin_port));
    for (size_t i = 0; i < CONNECTIONS_MAXIMUM; i++) {
        script->connections[i].descriptor = -1;
    }
    assert_int_equal(pthread_mutex_init(&script->lock, NULL), 0);
    assert_int_equal(pthread_create(&script->thread, NULL, serve, script), 0);
}

struct http_script *http_script_start(const struct http_script_answer *answers, size_t count)
{
    struct http_script *script = memory_zeroed(1, sizeof(*script));
    script->answers = answers;
    script->answer_count = count;
    script_start(script);
    return script;
}

struct http_script *http_script_start_choosing(http_script_choose *choose, void *context)
{
    struct http_script *script = memory_zeroed(1, sizeof(*script));
    script->choose = choose;
    script->context = context;
    script_start(script);
    return script;
}

void http_script_stop(struct http_script *script)
{
    uint64_t one = 1;
    assert_int_equal(write(script->stopping, &one, sizeof(one)), sizeof(one));
    assert_int_equal(pthread_join(script->thread, NULL), 0);
    for (size_t i = 0; i < CONNECTIONS_MAXIMUM; i++) {
        if (script->connections[i].descriptor >= 0) {
            connection_close(&script->connections[i]);
        }
    }
    for (size_t i = 0; i < script->seen_count; i++) {
        free(script->seen[i].method);
        free(script->seen[i].target);
        free(script->seen[i].headers);
        free(script->seen[i].body);
    }
    close(script->listening);
    close(script->stopping);
    pthread_mutex_destroy(&script->lock);
    free(script);
}

const char *http_script_url(const struct http_script *script)
{
    return script->url;
}

size_t http_script_count(struct http_script *script)
{
    pthread_mutex_lock(&script->lock);
    size_t count = script->seen_count;
    pthread_mutex_unlock(&script->lock);
    return count;
}

static struct seen seen_at(struct http_script *script, size_t position)
{
    pthread_mutex_lock(&script->lock);
    bool is_there = position < script->seen_count;
    struct seen seen = is_there ? script->seen[position] : (struct seen){0};
    pthread_mutex_unlock(&script->lock);
    if (!is_there) {
        fail_msg("there was no request %zu", position);
    }
    return seen;
}

const char *http_script_method(struct http_script *script, size_t position)
{
    return seen_at(script, position).method;
}

const char *http_script_target(struct http_script *script, size_t position)
{
    return seen_at(script, position).target;
}

const char *http_script_body(struct http_script *script, size_t position)
{
    return seen_at(script, position).body;
}

char *http_script_header(struct http_script *script, size_t position, const char *name)
{
    const char *value = header_value(seen_at(script, position).headers, name);
    return value != NULL ? slice_copy(slice_from(value, strcspn(value, "\r\n"))) : NULL;
}

char *http_script_request_header(const struct http_script_request *request, const char *name)
{
    const char *value = header_value(request->headers, name);
    return value != NULL ? slice_copy(slice_from(value, strcspn(value, "\r\n"))) : NULL;
}

/* Patience is real, wherever a test has moved the clock to. */
static int64_t real_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void loop_until(struct loop *loop, const bool *flag)
{
    for (int64_t until_ms = real_ms() + PATIENCE_MS; !*flag;) {
        if (real_ms() >= until_ms) {
            fail_msg("it has not happened within %d ms", PATIENCE_MS);
        }
        loop_turn(loop, 100);
    }
}

void loop_until_requests(struct loop *loop, struct http_script *script, size_t count)
{
    for (int64_t until_ms = real_ms() + PATIENCE_MS; http_script_count(script) < count;) {
        if (real_ms() >= until_ms) {
            fail_msg("only %zu of %zu requests came within %d ms", http_script_count(script), count, PATIENCE_MS);
        }
        loop_turn(loop, 10);
    }
}

void loop_for(struct loop *loop, int64_t duration_ms)
{
    for (int64_t until_ms = real_ms() + duration_ms; real_ms() < until_ms;) {
        loop_turn(loop, 5);
    }
}
