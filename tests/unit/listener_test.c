#include "workers/common/http/listener.h"

#include "tests/support/http_script.h"
#include "tests/support/moved_clock.h"
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
    size_t header_count;
    char joined[64];
    char peer[ADDRESS_TEXT_SIZE];
    unsigned refusals;
    unsigned refused_status;
    char refused_reason[128];
};

static void on_refused(void *context, unsigned status, const char *reason, const struct address *client)
{
    struct desk *desk = context;
    desk->refusals++;
    desk->refused_status = status;
    (void)snprintf(desk->refused_reason, sizeof(desk->refused_reason), "%s", reason);
}

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
    (void)snprintf(desk->method, sizeof(desk->method), "%s", listener_method(request));
    (void)snprintf(desk->path, sizeof(desk->path), "%s", listener_path(request));
    (void)snprintf(desk->body, sizeof(desk->body), "%.*s", (int)body.len, body.ptr);
    (void)snprintf(desk->header, sizeof(desk->header), "%s", header != NULL ? header : "none");
    desk->header_count = listener_header_count(request, "x-test");
    AUTO(buffer) struct buffer joined;
    buffer_init(&joined, sizeof(desk->joined) - 1);
    listener_header_join(request, "x-test", &joined);
    (void)snprintf(desk->joined, sizeof(desk->joined), "%s", joined.ptr);
    address_format(listener_peer(request), desk->peer);
    if (desk->is_late) {
        desk->kept = request;
        desk->has_kept = true;
    } else {
        answer(request);
    }
}

enum { CONNECTIONS_MAXIMUM = 10, TIMEOUT_S = 30 };

static void desk_open(struct desk *desk)
{
    struct listener_settings settings = {
        .address = "127.0.0.1:0",
        .body_maximum_bytes = BODY_MAXIMUM,
        .connections_maximum = CONNECTIONS_MAXIMUM,
        .head_maximum_bytes = 32 * 1024,
        .timeout_s = TIMEOUT_S,
        .on_request = on_request,
        .on_refused = on_refused,
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
    assert_string_equal(desk.path, "/hooks/a%20b");
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

static int client_connect(const struct desk *desk)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)listener_port(desk->listener)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(descriptor, (struct sockaddr *)&address, sizeof(address)), 0);
    return descriptor;
}

/* Sends bytes as they are and gives back what comes within the patience, as soon as there is a line. */
static void raw(struct desk *desk, const char *bytes, char *ret_text, size_t size)
{
    int descriptor = client_connect(desk);
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

static void what_is_refused_without_being_handed_over_is_told(void **state)
{
    (void)state;
    char long_header[34 * 1024] = "POST / HTTP/1.1\r\nHost: h\r\nX-Long: ";
    memset(long_header + strlen(long_header), 'x', sizeof(long_header) - 1 - strlen(long_header));
    char many_headers[20000] = "POST / HTTP/1.1\r\nHost: h\r\n";
    for (int i = 0; i < 200; i++) {
        (void)snprintf(many_headers + strlen(many_headers), 32, "X-%d: 1\r\n", i);
    }
    (void)snprintf(many_headers + strlen(many_headers), 32, "\r\n");
    const struct {
        const char *bytes;
        unsigned status;
        const char *reason;
        const char *other_reason; /* of a libmicrohttpd that refuses it by itself, as 1.0 does */
    } rows[] = {
        {long_header, 431, "not a request"},
        {many_headers, 431, "too many headers"},
        {"POST / HTTP/1.1\r\n\r\n", 400, "not a request"},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400,
         "more than once", "not a request"},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400, "more than once",
         "not a request"},
        {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n", 413, "too large"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct desk desk;
        char text[1000];
        char expected[16];
        desk_open(&desk);
        raw(&desk, rows[i].bytes, text, sizeof(text));
        (void)snprintf(expected, sizeof(expected), rows[i].status > 0 ? " %u " : "", rows[i].status);
        if (strstr(text, expected) == NULL) {
            fail_msg("%.40s: %.60s (%u %s)", rows[i].bytes, text, desk.refused_status, desk.refused_reason);
        }
        for (int turns = 0; turns < 20; turns++) {
            loop_turn(desk.loop, 10);
        }
        assert_int_equal(desk.requests, 0);
        if (desk.refusals != 1) {
            fail_msg("%.40s: %u refusals, %u %s", rows[i].bytes, desk.refusals, desk.refused_status,
                     desk.refused_reason);
        }
        assert_int_equal(desk.refused_status, rows[i].status);
        if (strstr(desk.refused_reason, rows[i].reason) == NULL) {
            assert_non_null(rows[i].other_reason);
            assert_non_null(strstr(desk.refused_reason, rows[i].other_reason));
        }
        desk_close(&desk);
    }
}

static void headers_are_counted_and_joined_in_their_order(void **state)
{
    (void)state;
    struct desk desk;
    char text[1000];
    desk_open(&desk);
    raw(&desk, "POST /a%00b HTTP/1.0\r\nX-Test: a\r\nOther: x\r\nx-tEST: b, c\r\n\r\n", text, sizeof(text));
    assert_non_null(strstr(text, " 202 "));
    assert_int_equal(desk.header_count, 2);
    assert_string_equal(desk.header, "a");
    assert_string_equal(desk.joined, "a,b, c");
    assert_string_equal(desk.peer, "127.0.0.1");
    assert_string_equal(desk.path, "/a%00b");
    desk_close(&desk);
}

static bool is_closed(int descriptor)
{
    char byte;
    return recv(descriptor, &byte, 1, MSG_DONTWAIT) == 0;
}

static void whoever_dawdles_is_cut_off_in_time(void **state)
{
    (void)state;
    static const char *const beginnings[] = {"", "POST / HT", "POST / HTTP/1.1\r\nHost: h\r\nX-A: ",
                                             "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n12"};
    struct desk desk;
    moved_clock_stand(); /* none of them has waited longer than the test says */
    desk_open(&desk);
    int descriptors[4];
    for (size_t i = 0; i < 4; i++) {
        descriptors[i] = client_connect(&desk);
        assert_int_equal(send(descriptors[i], beginnings[i], strlen(beginnings[i]), MSG_NOSIGNAL),
                         strlen(beginnings[i]));
        for (int turns = 0; turns < 5; turns++) {
            loop_turn(desk.loop, 20);
        }
    }
    moved_clock_by(1000LL * TIMEOUT_S - 2000);
    for (int i = 0; i < 4; i++) {
        loop_turn(desk.loop, 20);
        /* A byte now and then does not buy time. */
        (void)send(descriptors[1], "T", 1, MSG_NOSIGNAL);
        assert_false(is_closed(descriptors[i]));
    }
    moved_clock_by(3000);
    for (int turns = 0; turns < 2000 && desk.refusals < 4; turns++) {
        loop_turn(desk.loop, 10);
    }
    assert_int_equal(desk.refusals, 4);
    assert_non_null(strstr(desk.refused_reason, "within the time-out"));
    for (int i = 0; i < 4; i++) {
        for (int turns = 0; turns < 100 && !is_closed(descriptors[i]); turns++) {
            loop_turn(desk.loop, 10);
        }
        assert_true(is_closed(descriptors[i]));
        close(descriptors[i]);
    }
    moved_clock_reset();
    desk_close(&desk);
}

static void those_who_wait_longest_make_room_for_others(void **state)
{
    (void)state;
    struct desk desk;
    int idle[CONNECTIONS_MAXIMUM];
    char text[1000];
    desk_open(&desk);
    for (int i = 0; i < CONNECTIONS_MAXIMUM; i++) {
        idle[i] = client_connect(&desk);
        loop_turn(desk.loop, 20);
    }
    raw(&desk, "POST / HTTP/1.1\r\nHost: h\r\n\r\n", text, sizeof(text));
    assert_non_null(strstr(text, " 202 "));
    assert_int_equal(desk.refusals, 1);
    loop_turn(desk.loop, 20);
    assert_true(is_closed(idle[0]));
    for (int i = 0; i < CONNECTIONS_MAXIMUM; i++) {
        assert_true(i == 0 || !is_closed(idle[i]));
        close(idle[i]);
    }
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
        cmocka_unit_test(what_is_refused_without_being_handed_over_is_told),
        cmocka_unit_test(headers_are_counted_and_joined_in_their_order),
        cmocka_unit_test(whoever_dawdles_is_cut_off_in_time),
        cmocka_unit_test(those_who_wait_longest_make_room_for_others),
        cmocka_unit_test(a_listener_may_close_with_a_request_unanswered),
        cmocka_unit_test(an_address_that_cannot_be_one_is_refused_in_words),
    };
    return cmocka_run_group_tests_name("listener", tests, NULL, NULL);
}
