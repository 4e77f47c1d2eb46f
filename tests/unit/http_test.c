#include "workers/common/http/http.h"

#include "tests/support/http_script.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM = 1 << 20, TIMEOUT_MS = 20000 };

/* How a request ended. */
struct ending {
    bool is_done;
    unsigned calls;
    int status;
    char body[256];
    char etag[64];
    struct error err;
    bool is_timed_out;
    int64_t sent_wall_ms;
    int64_t received_wall_ms;
    struct http *http;              /* with cancelled: */
    struct http_transfer **cancels; /* what the callback cancels */
};

static void on_done(void *context, const struct http_answer *answer)
{
    struct ending *ending = context;
    ending->is_done = true;
    ending->calls++;
    ending->status = answer->status;
    ending->err = answer->err;
    ending->is_timed_out = answer->is_timed_out;
    ending->sent_wall_ms = answer->sent_wall_ms;
    ending->received_wall_ms = answer->received_wall_ms;
    (void)snprintf(ending->body, sizeof(ending->body), "%.*s", (int)answer->body.len, answer->body.ptr);
    assert_int_equal(answer->body.ptr[answer->body.len], '\0');
    struct slice etag = http_answer_header(answer, "ETag");
    (void)snprintf(ending->etag, sizeof(ending->etag), "%.*s", (int)etag.len, etag.ptr != NULL ? etag.ptr : "");
    if (ending->cancels != NULL && *ending->cancels != NULL) {
        http_cancel(ending->http, *ending->cancels);
        *ending->cancels = NULL;
    }
}

static struct http_transfer *get(struct loop *loop, const char *url, struct ending *ending)
{
    struct http_request request = {.method = "GET", .url = url, .timeout_ms = TIMEOUT_MS, .answer_maximum_bytes = ROOM};
    return http_start(loop_http(loop), &request, on_done, ending);
}

static void a_request_is_sent_exactly_as_it_was_given(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {{.status = 200}};
    static const char *const headers[] = {"x-one: 1", "X-Two: two words", "x-empty;"};
    struct http_script *script = http_script_start(answers, 1);
    struct loop *loop = loop_new(NULL);
    struct ending ending = {0};
    AUTO(text) char *url = text_format("%s/a/../b//c/./%%2F%%20?x=1&y=%%26", http_script_url(script));
    char body[] = "the body";
    struct http_request request = {
        .method = "PUT",
        .url = url,
        .headers = headers,
        .header_count = 3,
        .body = slice_of(body),
        .timeout_ms = TIMEOUT_MS,
        .answer_maximum_bytes = ROOM,
    };
    (void)http_start(loop_http(loop), &request, on_done, &ending);
    assert_false(ending.is_done);
    loop_until(loop, &ending.is_done);
    assert_string_equal(http_script_method(script, 0), "PUT");
    assert_string_equal(http_script_target(script, 0), "/a/../b//c/./%2F%20?x=1&y=%26");
    assert_string_equal(http_script_body(script, 0), "the body");
    static const struct {
        const char *name;
        const char *value; /* NULL: not sent */
    } sent[] = {
        {"x-one", "1"},          {"x-two", "two words"},    {"x-empty", ""},
        {"Content-Length", "8"}, {"Expect", NULL},          {"Accept", NULL},
        {"Content-Type", NULL},  {"Accept-Encoding", NULL}, {"Transfer-Encoding", NULL},
    };
    for (size_t i = 0; i < sizeof(sent) / sizeof(sent[0]); i++) {
        AUTO(text) char *value = http_script_header(script, 0, sent[i].name);
        if (sent[i].value == NULL) {
            assert_null(value);
        } else {
            assert_non_null(value);
            assert_string_equal(value, sent[i].value);
        }
    }
    loop_free(loop);
    http_script_stop(script);
}

static void each_method_sends_what_belongs_to_it(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {
        {.status = 200, .body = "one"},
        {.status = 200, .headers = "Content-Length: 1000\r\nETag: \"e\"\r\n"},
        {.status = 204},
        {.status = 200, .body = "post"},
        {.status = 200, .body = "put"},
    };
    static const char *const methods[] = {"GET", "HEAD", "DELETE", "POST", "PUT"};
    static const char *const bodies[] = {"one", "", "", "post", "put"};
    struct http_script *script = http_script_start(answers, 5);
    struct loop *loop = loop_new(NULL);
    for (size_t i = 0; i < 5; i++) {
        struct ending ending = {0};
        struct http_request request = {.method = methods[i],
                                       .url = http_script_url(script),
                                       .timeout_ms = TIMEOUT_MS,
                                       .answer_maximum_bytes = ROOM};
        (void)http_start(loop_http(loop), &request, on_done, &ending);
        loop_until(loop, &ending.is_done);
        assert_int_equal(ending.status, answers[i].status);
        assert_string_equal(ending.body, bodies[i]);
        assert_string_equal(http_script_method(script, i), methods[i]);
        AUTO(text) char *length = http_script_header(script, i, "Content-Length");
        bool has_body = i >= 3;
        assert_int_equal(length != NULL, has_body);
        if (i == 1) {
            assert_string_equal(ending.etag, "\"e\"");
        }
        assert_true(ending.sent_wall_ms > 0 && ending.received_wall_ms >= ending.sent_wall_ms);
    }
    struct http_statistics statistics;
    http_statistics_read(loop_http(loop), &statistics);
    assert_int_equal(statistics.requests, 5);
    assert_int_equal(statistics.connections, 1); /* kept from one request to the next */
    assert_int_equal(statistics.failures, 0);
    assert_int_equal(statistics.active + statistics.queued, 0);
    loop_free(loop);
    http_script_stop(script);
}

static void what_is_direct_goes_past_the_proxy(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {{.status = 200}, {.status = 502}};
    struct http_script *script = http_script_start(answers, 2);
    struct http_script *proxy = http_script_start(&answers[1], 1);
    struct loop *loop = loop_new(NULL);
    unsetenv("no_proxy");
    setenv("http_proxy", http_script_url(proxy), 1);
    for (int i = 0; i < 2; i++) {
        struct ending ending = {0};
        struct http_request request = {.method = "GET",
                                       .url = http_script_url(script),
                                       .timeout_ms = TIMEOUT_MS,
                                       .answer_maximum_bytes = ROOM,
                                       .is_direct = i == 0};
        (void)http_start(loop_http(loop), &request, on_done, &ending);
        loop_until(loop, &ending.is_done);
        assert_int_equal(ending.status, i == 0 ? 200 : 502);
    }
    unsetenv("http_proxy");
    assert_int_equal(http_script_count(script), 1);
    assert_int_equal(http_script_count(proxy), 1);
    loop_free(loop);
    http_script_stop(proxy);
    http_script_stop(script);
}

static void whatever_came_before_a_request_is_its_own(void **state)
{
    (void)state;
    static const struct {
        const char *method;
        const char *body; /* NULL: none */
        const char *header;
    } requests[] = {
        {"PUT", "first", "x-first: 1"},
        {"HEAD", NULL, NULL},
        {"PUT", NULL, NULL},
        {"HEAD", NULL, "x-second: 2"},
        {"GET", NULL, NULL},
        {"POST", "p", NULL},
        {"DELETE", NULL, "x-third;"},
        {"HEAD", NULL, NULL},
        {"POST", NULL, NULL},
        {"GET", NULL, NULL},
    };
    enum { COUNT = sizeof(requests) / sizeof(requests[0]) };
    static const char *const names[] = {"x-first", "x-second", "x-third"};
    struct http_script_answer answers[COUNT];
    for (size_t i = 0; i < COUNT; i++) {
        answers[i] = (struct http_script_answer){.status = 200};
    }
    struct http_script *script = http_script_start(answers, COUNT);
    struct loop *loop = loop_new(NULL);
    for (size_t i = 0; i < COUNT; i++) {
        struct ending ending = {0};
        struct http_request request = {.method = requests[i].method,
                                       .url = http_script_url(script),
                                       .headers = &requests[i].header,
                                       .header_count = requests[i].header != NULL,
                                       .body = slice_of(requests[i].body),
                                       .timeout_ms = TIMEOUT_MS,
                                       .answer_maximum_bytes = ROOM};
        (void)http_start(loop_http(loop), &request, on_done, &ending);
        loop_until(loop, &ending.is_done);
        assert_int_equal(ending.status, 200);
        assert_string_equal(http_script_method(script, i), requests[i].method);
        assert_string_equal(http_script_body(script, i), requests[i].body != NULL ? requests[i].body : "");
        for (size_t name = 0; name < 3; name++) {
            AUTO(text) char *value = http_script_header(script, i, names[name]);
            bool is_expected = requests[i].header != NULL && text_starts_with(requests[i].header, names[name]);
            assert_int_equal(value != NULL, is_expected);
        }
    }
    loop_free(loop);
    http_script_stop(script);
}

static void the_number_of_transfers_at_once_may_be_set_later(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {{.is_silent = true}, {.is_silent = true}, {.is_silent = true}};
    struct http_script *script = http_script_start(answers, 3);
    struct loop *loop = loop_new(NULL);
    struct ending endings[3] = {{0}};
    struct http_statistics statistics;
    http_set_transfers_maximum(loop_http(loop), 2);
    for (size_t i = 0; i < 3; i++) {
        (void)get(loop, http_script_url(script), &endings[i]);
    }
    http_statistics_read(loop_http(loop), &statistics);
    assert_int_equal(statistics.active, 2);
    assert_int_equal(statistics.queued, 1);
    loop_free(loop);
    http_script_stop(script);
}

static void no_redirect_is_followed(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {{.status = 307, .headers = "Location: /elsewhere\r\n"}};
    struct http_script *script = http_script_start(answers, 1);
    struct loop *loop = loop_new(NULL);
    struct ending ending = {0};
    (void)get(loop, http_script_url(script), &ending);
    loop_until(loop, &ending.is_done);
    assert_int_equal(ending.status, 307);
    assert_int_equal(http_script_count(script), 1);
    loop_free(loop);
    http_script_stop(script);
}

static void what_goes_wrong_below_http_is_an_error_with_an_action(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {
        {.status = 0},
        {.status = 200, .body = "cut short", .is_cut = true},
        {.status = 200, .body = "12345"},
    };
    struct http_script *script = http_script_start(answers, 3);
    struct loop *loop = loop_new(NULL);
    AUTO(text) char *url = text_copy(http_script_url(script));
    static const struct {
        const char *url; /* NULL: the script's */
        size_t maximum;
        enum error_action action;
        const char *text;
    } cases[] = {
        {NULL, ROOM, ERROR_RETRY, "connection closed without an answer"},
        {NULL, ROOM, ERROR_RETRY, "answer cut short"},
        {NULL, 4, ERROR_REJECT, "answer is longer than 4 bytes"},
        {"http://127.0.0.1:1/", ROOM, ERROR_RETRY, "could not connect"},
        {"http://", ROOM, ERROR_REJECT, "not a usable URL"},
        {"http://[x/", ROOM, ERROR_REJECT, "not a usable URL"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct ending ending = {0};
        struct http_request request = {.method = "GET",
                                       .url = cases[i].url != NULL ? cases[i].url : url,
                                       .timeout_ms = TIMEOUT_MS,
                                       .answer_maximum_bytes = cases[i].maximum};
        (void)http_start(loop_http(loop), &request, on_done, &ending);
        loop_until(loop, &ending.is_done);
        assert_int_equal(ending.status, 0);
        if (ending.err.action != cases[i].action || strstr(ending.err.text, cases[i].text) == NULL) {
            fail_msg("case %zu: %s: %s", i, error_action_name(ending.err.action), ending.err.text);
        }
        assert_false(ending.is_timed_out);
    }
    struct http_statistics statistics;
    http_statistics_read(loop_http(loop), &statistics);
    assert_int_equal(statistics.failures, sizeof(cases) / sizeof(cases[0]));
    loop_free(loop);
    http_script_stop(script);
}

static void an_answer_of_exactly_the_maximum_is_whole(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {{.status = 200, .body = "12345"}};
    struct http_script *script = http_script_start(answers, 1);
    struct loop *loop = loop_new(NULL);
    struct ending ending = {0};
    struct http_request request = {
        .method = "GET", .url = http_script_url(script), .timeout_ms = TIMEOUT_MS, .answer_maximum_bytes = 5};
    (void)http_start(loop_http(loop), &request, on_done, &ending);
    loop_until(loop, &ending.is_done);
    assert_int_equal(ending.status, 200);
    assert_string_equal(ending.body, "12345");
    loop_free(loop);
    http_script_stop(script);
}

static void a_request_without_an_answer_times_out(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {{.is_silent = true}};
    struct http_script *script = http_script_start(answers, 1);
    struct loop *loop = loop_new(NULL);
    struct ending ending = {0};
    struct http_request request = {
        .method = "GET", .url = http_script_url(script), .timeout_ms = 200, .answer_maximum_bytes = ROOM};
    (void)http_start(loop_http(loop), &request, on_done, &ending);
    loop_until(loop, &ending.is_done);
    assert_int_equal(ending.status, 0);
    assert_true(ending.is_timed_out);
    assert_int_equal(ending.err.action, ERROR_RETRY);
    assert_int_equal(ending.received_wall_ms, 0);
    loop_free(loop);
    http_script_stop(script);
}

static void a_kept_connection_that_died_costs_no_failure(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {{.status = 200}, {.status = 0}, {.status = 200, .body = "ok"}};
    struct http_script *script = http_script_start(answers, 3);
    struct loop *loop = loop_new(NULL);
    struct ending first = {0};
    struct ending second = {0};
    (void)get(loop, http_script_url(script), &first);
    loop_until(loop, &first.is_done);
    (void)get(loop, http_script_url(script), &second);
    loop_until(loop, &second.is_done);
    assert_int_equal(second.status, 200);
    assert_string_equal(second.body, "ok");
    loop_free(loop);
    http_script_stop(script);
}

static void what_exceeds_the_transfers_at_once_waits_its_turn(void **state)
{
    (void)state;
    enum { REQUESTS = 5 };
    static const struct http_script_answer answers[] = {
        {.is_silent = true}, {.status = 200, .body = "1"}, {.status = 200, .body = "2"}, {.status = 200, .body = "3"}};
    static const struct http_settings settings = {.transfers_maximum = 1};
    struct http_script *script = http_script_start(answers, 4);
    struct loop *loop = loop_new(&settings);
    struct ending endings[REQUESTS] = {{0}};
    struct http_transfer *transfers[REQUESTS];
    struct http_statistics statistics;
    for (size_t i = 0; i < REQUESTS; i++) {
        AUTO(text) char *url = text_format("%s/%zu", http_script_url(script), i);
        transfers[i] = get(loop, url, &endings[i]);
    }
    loop_until_requests(loop, script, 1);
    http_statistics_read(loop_http(loop), &statistics);
    assert_int_equal(statistics.active, 1);
    assert_int_equal(statistics.queued, REQUESTS - 1);
    http_cancel(loop_http(loop), transfers[2]); /* in the queue */
    http_cancel(loop_http(loop), transfers[0]); /* in flight */
    http_cancel(loop_http(loop), NULL);
    loop_until(loop, &endings[4].is_done);
    assert_false(endings[0].is_done || endings[2].is_done);
    assert_string_equal(endings[1].body, "1");
    assert_string_equal(endings[3].body, "2");
    assert_string_equal(endings[4].body, "3");
    assert_string_equal(http_script_target(script, 1), "/1");
    assert_string_equal(http_script_target(script, 2), "/3");
    assert_int_equal(http_script_count(script), 4);
    loop_free(loop);
    http_script_stop(script);
}

static void what_a_callback_cancels_is_not_called_even_when_its_answer_is_there(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {{.status = 200}, {.status = 200}};
    struct http_script *script = http_script_start(answers, 2);
    struct loop *loop = loop_new(NULL);
    struct ending first = {.http = loop_http(loop)};
    struct ending second = {.http = loop_http(loop)};
    struct http_transfer *transfers[2];
    transfers[0] = get(loop, http_script_url(script), &first);
    transfers[1] = get(loop, http_script_url(script), &second);
    first.cancels = &transfers[1];
    second.cancels = &transfers[0];
    for (int i = 0; i < 200 && !first.is_done && !second.is_done; i++) {
        loop_turn(loop, 100);
        usleep(20000); /* both answers have time to arrive between two turns */
    }
    loop_for(loop, 50);
    assert_int_equal(first.calls + second.calls, 1);
    loop_free(loop);
    http_script_stop(script);
}

static void a_loop_that_goes_calls_nobody(void **state)
{
    (void)state;
    static const struct http_script_answer answers[] = {{.is_silent = true}, {.status = 200}};
    static const struct http_settings settings = {.transfers_maximum = 2};
    struct http_script *script = http_script_start(answers, 2);
    struct loop *loop = loop_new(&settings);
    struct ending endings[3] = {{0}};
    for (size_t i = 0; i < 3; i++) {
        (void)get(loop, http_script_url(script), &endings[i]);
    }
    loop_wait(loop, 50);
    loop_free(loop);
    assert_false(endings[0].is_done || endings[1].is_done || endings[2].is_done);
    http_script_stop(script);
}

static void a_header_is_found_by_its_name_in_any_case(void **state)
{
    (void)state;
    static const char lines[] = "HTTP/1.1 200 OK\r\n"
                                "ETag: \"one\"\r\n"
                                "x-amz-request-id:\t R1 \t\r\n"
                                "x-empty:\r\n"
                                "ETag: \"two\"\r\n"
                                "x-last: end";
    static const struct {
        const char *name;
        const char *value; /* NULL: absent */
    } cases[] = {
        {"etag", "\"one\""}, {"ETAG", "\"one\""}, {"X-Amz-Request-Id", "R1"}, {"x-empty", ""},
        {"x-last", "end"},   {"x", NULL},         {"x-amz-request", NULL},    {"etag:", NULL},
        {"HTTP/1.1", NULL},  {"OK", NULL},
    };
    struct http_answer answer = {.header_lines = slice_of(lines)};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct slice value = http_answer_header(&answer, cases[i].name);
        assert_int_equal(value.ptr != NULL, cases[i].value != NULL);
        assert_true(cases[i].value == NULL || slice_equal_text(value, cases[i].value));
    }
    struct http_answer none = {.header_lines = slice_of("")};
    assert_null(http_answer_header(&none, "etag").ptr);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_sent_exactly_as_it_was_given),
        cmocka_unit_test(each_method_sends_what_belongs_to_it),
        cmocka_unit_test(what_is_direct_goes_past_the_proxy),
        cmocka_unit_test(whatever_came_before_a_request_is_its_own),
        cmocka_unit_test(the_number_of_transfers_at_once_may_be_set_later),
        cmocka_unit_test(no_redirect_is_followed),
        cmocka_unit_test(what_goes_wrong_below_http_is_an_error_with_an_action),
        cmocka_unit_test(an_answer_of_exactly_the_maximum_is_whole),
        cmocka_unit_test(a_request_without_an_answer_times_out),
        cmocka_unit_test(a_kept_connection_that_died_costs_no_failure),
        cmocka_unit_test(what_exceeds_the_transfers_at_once_waits_its_turn),
        cmocka_unit_test(what_a_callback_cancels_is_not_called_even_when_its_answer_is_there),
        cmocka_unit_test(a_loop_that_goes_calls_nobody),
        cmocka_unit_test(a_header_is_found_by_its_name_in_any_case),
    };
    return cmocka_run_group_tests_name("http", tests, NULL, NULL);
}
