/*
 * Other servers say the same in other forms: each call understands each of them, and asks for nothing that only one
 * server knows.
 */
#include "tests/support/s3_calls.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* How a server says an answer. */
struct shape {
    const char *name;
    void (*write)(const struct s3_call_kind *kind, struct buffer *text);
    bool is_closed;
};

static struct slice body_of(const struct s3_call_kind *kind)
{
    return slice_of(kind->good.body != NULL ? kind->good.body : "");
}

static void write_body(const struct s3_call_kind *kind, struct buffer *text)
{
    if (!kind->is_head) {
        buffer_append(text, body_of(kind));
    }
}

/* The headers of the good answer, each through a function of its own, without the length of a body. */
static void write_headers(const struct s3_call_kind *kind, const char *separator, const char *end,
                          int (*change)(int character), struct buffer *text)
{
    for (const char *at = kind->good.headers; at != NULL && *at != '\0'; at = strchr(at, '\n') + 1) {
        size_t length = strcspn(at, ":");
        for (size_t i = 0; i < length; i++) {
            buffer_append_char(text, (char)change(at[i]));
        }
        buffer_append_format(text, "%s%.*s%s", separator, (int)strcspn(at + length + 2, "\r"), at + length + 2, end);
    }
}

static int unchanged(int character)
{
    return character;
}

static int upper(int character)
{
    return character >= 'a' && character <= 'z' ? character - 'a' + 'A' : character;
}

static int lower(int character)
{
    return character >= 'A' && character <= 'Z' ? character - 'A' + 'a' : character;
}

static void write_length(const struct s3_call_kind *kind, const char *name, const char *end, struct buffer *text)
{
    if (!kind->is_head && kind->good.status != 204) {
        buffer_append_format(text, "%s: %zu%s", name, body_of(kind).len, end);
    }
}

static void write_loud(const struct s3_call_kind *kind, struct buffer *text)
{
    buffer_append_format(text, "HTTP/1.1 %d OK\r\nX-AMZ-REQUEST-ID: R\r\n", kind->good.status);
    write_length(kind, "CONTENT-LENGTH", "\r\n", text);
    write_headers(kind, ":", "\r\n", upper, text);
    buffer_append_text(text, "\r\n");
    write_body(kind, text);
}

static void write_quiet(const struct s3_call_kind *kind, struct buffer *text)
{
    buffer_append_format(text, "HTTP/1.1 %d\r\n", kind->good.status);
    write_headers(kind, ": \t ", " \t \r\n", lower, text);
    write_length(kind, "content-length", "\r\n", text);
    buffer_append_text(text, "x-unknown: \r\nx-amz-id-2: a=b\r\nserver: other\r\n\r\n");
    write_body(kind, text);
}

static void write_bare_newlines(const struct s3_call_kind *kind, struct buffer *text)
{
    buffer_append_format(text, "HTTP/1.1 %d OK\n", kind->good.status);
    write_headers(kind, ": ", "\n", unchanged, text);
    write_length(kind, "Content-Length", "\n", text);
    buffer_append_text(text, "\n");
    write_body(kind, text);
}

static void write_until_closed(const struct s3_call_kind *kind, struct buffer *text)
{
    buffer_append_format(text, "HTTP/1.0 %d OK\r\n", kind->good.status);
    write_headers(kind, ": ", "\r\n", unchanged, text);
    buffer_append_text(text, "\r\n");
    write_body(kind, text);
}

static void write_chunk(struct buffer *text, struct slice bytes)
{
    buffer_append_format(text, "%zX;name=value\r\n", bytes.len);
    buffer_append(text, bytes);
    buffer_append_text(text, "\r\n");
}

/* With an extension and a trailer, which nobody needs. */
static void write_chunks(const struct s3_call_kind *kind, struct buffer *text)
{
    buffer_append_format(text, "HTTP/1.1 %d OK\r\n", kind->good.status);
    write_headers(kind, ": ", "\r\n", unchanged, text);
    struct slice body = body_of(kind);
    if (!kind->is_head && kind->good.status != 204) {
        buffer_append_text(text, "Transfer-Encoding: chunked\r\n\r\n");
        for (size_t i = 0; i < body.len; i++) {
            write_chunk(text, slice_from(body.ptr + i, 1));
        }
        buffer_append_text(text, "0\r\nETag: \"trailer\"\r\n\r\n");
    } else {
        buffer_append_text(text, "\r\n");
    }
}

static void write_continued(const struct s3_call_kind *kind, struct buffer *text)
{
    buffer_append_text(text, "HTTP/1.1 100 Continue\r\nETag: \"continue\"\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
    write_quiet(kind, text);
}

/* Blanks keep a connection alive while a copy takes long. */
static void write_blanks_first(const struct s3_call_kind *kind, struct buffer *text)
{
    static const char blanks[] = "  \n \r\n ";
    const char *body = body_of(kind).ptr;
    if (!kind->is_document) {
        write_quiet(kind, text);
        return;
    }
    /* A declaration is one only at the beginning, and goes when something stands before it. */
    const char *root = strchr(body, '\n') + 1;
    buffer_append_format(text, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s%s", strlen(blanks) + strlen(root),
                         blanks, root);
}

/* As S3 really does: the declaration, then blanks. */
static void write_blanks_within(const struct s3_call_kind *kind, struct buffer *text)
{
    if (!kind->is_document) {
        write_quiet(kind, text);
        return;
    }
    const char *body = body_of(kind).ptr;
    const char *root = strchr(body, '\n') + 1;
    buffer_append_format(text, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n%.*s\n   \n%s", (int)(root - body), body,
                         root);
}

static const struct shape shapes[] = {
    {"in capitals", write_loud},
    {"in small letters, with blanks", write_quiet},
    {"with bare newlines", write_bare_newlines},
    {"of HTTP/1.0, ended by closing", write_until_closed, .is_closed = true},
    {"in chunks", write_chunks},
    {"after 100 Continue", write_continued},
    {"after blanks", write_blanks_first},
    {"with blanks behind the declaration", write_blanks_within, .is_closed = true},
    {"closed after every answer", write_loud, .is_closed = true},
};

struct speaker {
    const struct shape *shape;
    const struct s3_call_kind *kind;
};

static void speak(void *context, const struct http_script_request *request, struct buffer *scratch,
                  struct http_script_answer *ret_answer)
{
    (void)request;
    const struct speaker *speaker = context;
    speaker->shape->write(speaker->kind, scratch);
    *ret_answer = (struct http_script_answer){.raw = scratch->ptr, .is_closed = speaker->shape->is_closed};
}

static void an_answer_is_understood_in_every_form(void **state)
{
    (void)state;
    for (size_t i = 0; i < s3_call_kind_count; i++) {
        for (size_t k = 0; k < sizeof(shapes) / sizeof(shapes[0]); k++) {
            const struct s3_call_kind *kind = &s3_call_kinds[i];
            struct speaker speaker = {&shapes[k], kind};
            struct scripted_aws aws;
            scripted_aws_start_choosing(&aws, speak, &speaker);
            struct s3_call_case call = {.aws = &aws, .deadline_ms = scripted_deadline_ms()};
            /* Twice, so that the second goes over what the first has left of the connection. */
            for (unsigned round = 0; round < 2; round++) {
                s3_call_play(kind, &call);
                if (call.ending.err.action != ERROR_NONE || call.ending.attempts != 1) {
                    fail_msg("%s %s, round %u: %s", kind->name, shapes[k].name, round, call.ending.err.text);
                }
                bool has_etag = strstr(kind->good.headers != NULL ? kind->good.headers : "", "ETag") != NULL;
                if (has_etag) {
                    assert_string_equal(call.ending.etag, "\"e1\"");
                }
            }
            scripted_aws_stop(&aws);
        }
    }
}

/* --- requests --- */

/* What every S3 that calls itself compatible knows. */
static const char *const known_headers[] = {
    "host",
    "user-agent",
    "authorization",
    "content-length",
    "content-type",
    "x-amz-date",
    "x-amz-content-sha256",
    "x-amz-copy-source",
    "x-amz-copy-source-if-match",
    "x-amz-copy-source-range",
    "range",
    "if-match",
    "content-md5",
    "x-amz-checksum-mode",
    "x-amz-security-token",
};

static bool header_is_known(const char *line)
{
    for (size_t i = 0; i < sizeof(known_headers) / sizeof(known_headers[0]); i++) {
        size_t length = strlen(known_headers[i]);
        if (strncasecmp(line, known_headers[i], length) == 0 && line[length] == ':') {
            return true;
        }
    }
    return false;
}

static void answer_strictly(void *context, const struct http_script_request *request, struct buffer *scratch,
                            struct http_script_answer *ret_answer)
{
    const struct s3_call_kind *kind = context;
    *ret_answer = kind->good;
    for (const char *line = request->headers; *line != '\0' && *line != '\r'; line = strchr(line, '\n') + 1) {
        if (!header_is_known(line)) {
            buffer_append_format(scratch, "<Error><Code>NotImplemented</Code><Message>%.*s</Message></Error>",
                                 (int)strcspn(line, "\r\n"), line);
            *ret_answer = (struct http_script_answer){.status = 501, .body = scratch->ptr};
            return;
        }
    }
}

static void no_call_sends_what_a_strict_server_refuses(void **state)
{
    (void)state;
    for (size_t i = 0; i < s3_call_kind_count; i++) {
        struct scripted_aws aws;
        scripted_aws_start_choosing(&aws, answer_strictly, (void *)&s3_call_kinds[i]);
        struct s3_call_case call = {.aws = &aws, .deadline_ms = scripted_deadline_ms()};
        s3_call_play(&s3_call_kinds[i], &call);
        if (call.ending.err.action != ERROR_NONE) {
            fail_msg("%s", call.ending.err.text);
        }
        scripted_aws_stop(&aws);
    }
}

static void a_bucket_of_a_tenant_is_addressed_by_its_whole_name(void **state)
{
    (void)state;
    for (size_t i = 0; i < s3_call_kind_count; i++) {
        const struct s3_call_kind *kind = &s3_call_kinds[i];
        if (kind->has_region) {
            struct scripted_aws aws;
            scripted_aws_start(&aws, &kind->good, 1);
            struct s3_call_case call = {.aws = &aws, .bucket = "tenant:bucket", .deadline_ms = scripted_deadline_ms()};
            s3_call_play(kind, &call);
            assert_int_equal(call.ending.err.action, ERROR_NONE);
            assert_ptr_equal(strstr(http_script_target(aws.script, 0), "/tenant%3Abucket"),
                             http_script_target(aws.script, 0));
            scripted_aws_stop(&aws);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_is_understood_in_every_form),
        cmocka_unit_test(no_call_sends_what_a_strict_server_refuses),
        cmocka_unit_test(a_bucket_of_a_tenant_is_addressed_by_its_whole_name),
    };
    return cmocka_run_group_tests_name("s3_servers", tests, NULL, NULL);
}
