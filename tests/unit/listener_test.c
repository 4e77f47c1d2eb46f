#include "workers/common/http/listener.h"

#include "tests/support/http_script.h"
#include "tests/support/unit.h"
#include "workers/common/base/buffer.h"

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum { BODY_MAXIMUM = 100 };

/* The server's side. */
struct desk {
    struct loop *loop;
    struct listener *listener;
    bool is_late; /* requests are kept instead of answered */
    struct listener_request *kept;
    bool has_kept;
    unsigned requests;
    char method[16];
    char path[64];
    char body[BODY_MAXIMUM + 1];
    char header[64];
};

static void answer(struct listener_request *request)
{
    struct listener_answer answered = {
        .status = 202,
        .content_type = "text/plain",
        .body = slice_of("accepted"),
        .retry_after_s = 7,
        .allow = "POST",
    };
    listener_answer(request, &answered);
}

static void on_request(void *context, struct listener_request *request)
{
    struct desk *desk = context;
    const char *header = listener_header(request, "X-Test");
    struct slice body = listener_body(request);
    desk->requests++;
    assert_int_equal(listener_header_count(request, "X-TEST"), 2);
    assert_int_equal(listener_header_count(request, "X-Absent"), 0);
    (void)snprintf(desk->method, sizeof(desk->method), "%s", listener_method(request));
    (void)snprintf(desk->path, sizeof(desk->path), "%s", listener_path(request));
    (void)snprintf(desk->body, sizeof(desk->body), "%.*s", (int)body.len, body.ptr);
    (void)snprintf(desk->header, sizeof(desk->header), "%s", header != NULL ? header : "none");
    if (desk->is_late) {
        desk->kept = request;
        desk->has_kept = true;
    } else {
        answer(request);
    }
}

static void desk_open(struct desk *desk)
{
    struct listener_settings settings = {
        .address = "127.0.0.1:0",
        .body_maximum_bytes = BODY_MAXIMUM,
        .connections_maximum = 10,
        .idle_timeout_s = 30,
        .on_request = on_request,
        .context = desk,
    };
    struct error err;
    memset(desk, 0, sizeof(*desk));
    setenv("no_proxy", "127.0.0.1", 1);
    desk->loop = loop_new(NULL);
    if (!listener_open(desk->loop, &settings, &desk->listener, &err)) {
        fail_msg("%s", err.text);
    }
    assert_true(listener_port(desk->listener) > 0);
}

static void desk_close(struct desk *desk)
{
    listener_close(desk->listener);
    loop_free(desk->loop);
}

/* The client's side. */
struct ending {
    bool is_done;
    int status;
    char body[256];
    char retry_after[16];
    char allow[16];
};

static void header_copy(const struct http_answer *answered, const char *name, char *ret_text, size_t size)
{
    struct slice value = http_answer_header(answered, name);
    (void)snprintf(ret_text, size, "%.*s", (int)value.len, value.ptr != NULL ? value.ptr : "");
}

static void on_done(void *context, const struct http_answer *answered)
{
    struct ending *ending = context;
    ending->is_done = true;
    ending->status = answered->status;
    (void)snprintf(ending->body, sizeof(ending->body), "%.*s", (int)answered->body.len, answered->body.ptr);
    header_copy(answered, "Retry-After", ending->retry_after, sizeof(ending->retry_after));
    header_copy(answered, "Allow", ending->allow, sizeof(ending->allow));
}

static void post(struct desk *desk, const char *body, struct ending *ending)
{
    static const char *const headers[] = {"X-Test: one", "x-test: two", "X-Test-2: three"};
    AUTO(text) char *url = text_format("http://127.0.0.1:%u/hooks/a%%20b?x=1", listener_port(desk->listener));
    struct http_request request = {
        .method = "POST",
        .url = url,
        .headers = headers,
        .header_count = 3,
        .body = slice_of(body),
        .timeout_ms = 20000,
        .answer_maximum_bytes = 1000,
    };
    (void)http_start(loop_http(desk->loop), &request, on_done, ending);
}

static void a_request_is_handed_over_whole_and_its_answer_sent(void **state)
{
    (void)state;
    struct desk desk;
    struct ending ending = {0};
    desk_open(&desk);
    post(&desk, "the body", &ending);
    loop_until(desk.loop, &ending.is_done);
    assert_int_equal(desk.requests, 1);
    assert_string_equal(desk.method, "POST");
    assert_string_equal(desk.path, "/hooks/a b");
    assert_string_equal(desk.body, "the body");
    assert_string_equal(desk.header, "one");
    assert_int_equal(ending.status, 202);
    assert_string_equal(ending.body, "accepted");
    assert_string_equal(ending.retry_after, "7");
    assert_string_equal(ending.allow, "POST");
    desk_close(&desk);
}

static void an_answer_may_come_later_and_others_need_not_wait(void **state)
{
    (void)state;
    struct desk desk;
    struct ending late = {0};
    struct ending quick = {0};
    desk_open(&desk);
    desk.is_late = true;
    post(&desk, "1", &late);
    loop_until(desk.loop, &desk.has_kept);
    desk.is_late = false;
    post(&desk, "2", &quick);
    loop_until(desk.loop, &quick.is_done);
    assert_false(late.is_done);
    answer(desk.kept);
    loop_until(desk.loop, &late.is_done);
    assert_int_equal(late.status, 202);
    desk_close(&desk);
}

static void a_body_of_the_maximum_is_taken_and_a_longer_one_refused(void **state)
{
    (void)state;
    struct desk desk;
    char body[BODY_MAXIMUM + 2];
    memset(body, 'x', sizeof(body));
    for (int extra = 0; extra < 2; extra++) {
        struct ending ending = {0};
        desk_open(&desk);
        body[BODY_MAXIMUM + extra] = '\0';
        post(&desk, body, &ending);
        loop_until(desk.loop, &ending.is_done);
        assert_int_equal(ending.status, extra == 0 ? 202 : 413);
        assert_int_equal(desk.requests, extra == 0);
        desk_close(&desk);
        body[BODY_MAXIMUM + extra] = 'x';
    }
}

/* Sends bytes as they are and gives back what comes within the patience, as soon as there is a line. */
static void raw(struct desk *desk, const char *bytes, char *ret_text, size_t size)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)listener_port(desk->listener)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(descriptor, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(send(descriptor, bytes, strlen(bytes), MSG_NOSIGNAL), strlen(bytes));
    size_t length = 0;
    ret_text[0] = '\0';
    for (int i = 0; i < 2000 && strchr(ret_text, '\n') == NULL; i++) {
        loop_turn(desk->loop, 1);
        struct pollfd polled = {.fd = descriptor, .events = POLLIN};
        if (poll(&polled, 1, 5) > 0) {
            ssize_t count = recv(descriptor, ret_text + length, size - 1 - length, 0);
            if (count <= 0) {
                break;
            }
            length += (size_t)count;
            ret_text[length] = '\0';
        }
    }
    close(descriptor);
}

static void a_body_without_a_length_is_bounded_all_the_same(void **state)
{
    (void)state;
    struct desk desk;
    char text[1000];
    AUTO(buffer) struct buffer request;
    desk_open(&desk);
    buffer_init(&request, 10000);
    buffer_append_text(&request, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 20; i++) {
        buffer_append_text(&request, "a\r\n0123456789\r\n");
    }
    buffer_append_text(&request, "0\r\n\r\n");
    raw(&desk, request.ptr, text, sizeof(text));
    assert_non_null(strstr(text, " 413 "));
    assert_int_equal(desk.requests, 0);
    desk_close(&desk);
}

static void what_is_not_http_reaches_nobody(void **state)
{
    (void)state;
    static const char *const texts[] = {"\x16\x03\x01 hello\r\n\r\n", "GET\r\n\r\n",
                                        "POST / HTTP/1.1\r\n no: host\r\n\r\n"};
    struct desk desk;
    char text[1000];
    desk_open(&desk);
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        raw(&desk, texts[i], text, sizeof(text));
    }
    assert_int_equal(desk.requests, 0);
    desk_close(&desk);
}

static void a_listener_may_close_with_a_request_unanswered(void **state)
{
    (void)state;
    struct desk desk;
    struct ending ending = {0};
    desk_open(&desk);
    desk.is_late = true;
    post(&desk, "1", &ending);
    loop_until(desk.loop, &desk.has_kept);
    listener_close(desk.listener);
    listener_close(NULL);
    desk.listener = NULL;
    loop_until(desk.loop, &ending.is_done);
    assert_int_equal(ending.status, 0);
    desk_close(&desk);
}

static void an_address_that_cannot_be_one_is_refused_in_words(void **state)
{
    (void)state;
    static const struct {
        const char *address;
        const char *text;
    } cases[] = {
        {"8080", "must be host:port"},
        {":8080", "must be host:port"},
        {"", "must be host:port"},
        {"127.0.0.1:http-like", "listen address \"127.0.0.1:http-like\": "},
    };
    struct loop *loop = loop_new(NULL);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct listener_settings settings = {.address = cases[i].address, .on_request = on_request};
        struct listener *listener = NULL;
        struct error err;
        assert_false(listener_open(loop, &settings, &listener, &err));
        assert_int_equal(err.action, ERROR_FATAL);
        assert_non_null(strstr(err.text, cases[i].text));
        assert_null(listener);
    }
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_handed_over_whole_and_its_answer_sent),
        cmocka_unit_test(an_answer_may_come_later_and_others_need_not_wait),
        cmocka_unit_test(a_body_of_the_maximum_is_taken_and_a_longer_one_refused),
        cmocka_unit_test(a_body_without_a_length_is_bounded_all_the_same),
        cmocka_unit_test(what_is_not_http_reaches_nobody),
        cmocka_unit_test(a_listener_may_close_with_a_request_unanswered),
        cmocka_unit_test(an_address_that_cannot_be_one_is_refused_in_words),
    };
    return cmocka_run_group_tests_name("listener", tests, NULL, NULL);
}
