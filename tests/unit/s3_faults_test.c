/*
 * Every call meets every fault: each ends once, with the right failure, after as many attempts as it is worth, within
 * its deadline, and leaves no descriptor behind.
 */
#include "tests/support/s3_calls.h"
#include "tests/support/unit.h"
#include "workers/common/base/clock.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHORT_MS = 24, LONGEST_MS = 20000, HEADER_BYTES = 200 << 10, HEADERS_COUNT = 3000, DOCUMENT_BYTES = 9 << 20 };

/* Gives the first answers by a fault, and the good one behind them. */
struct player {
    const struct http_script_answer *fault;
    const struct http_script_answer *good;
    size_t faults;
};

static void play_fault(void *context, const struct http_script_request *request, struct buffer *scratch,
                       struct http_script_answer *ret_answer)
{
    (void)scratch;
    const struct player *player = context;
    *ret_answer = request->position < player->faults ? *player->fault : *player->good;
}

static struct s3_ending play(const struct s3_call_kind *kind, const struct http_script_answer *fault, size_t faults,
                             int64_t deadline_ms)
{
    struct player player = {fault, &kind->good, faults};
    struct scripted_aws aws;
    size_t descriptors = descriptors_open();
    scripted_aws_start_choosing(&aws, play_fault, &player);
    struct s3_call_case call = {.aws = &aws, .deadline_ms = deadline_ms};
    s3_call_play(kind, &call);
    scripted_aws_stop(&aws);
    if (descriptors_open() != descriptors) {
        fail_msg("%s has left a descriptor open", kind->name);
    }
    return call.ending;
}

/* Until a short deadline. A machine that is busy may not even have begun by then: it gets more time. */
static struct s3_ending play_late(const struct s3_call_kind *kind, const struct http_script_answer *fault)
{
    struct s3_ending ending = {0};
    for (int64_t in_ms = SHORT_MS; ending.attempts == 0 && in_ms < LONGEST_MS; in_ms *= 4) {
        ending = play(kind, fault, SIZE_MAX, clock_monotonic_ms() + in_ms);
    }
    return ending;
}

struct outcome {
    enum failure_kind kind;
    bool is_uncertain;
    bool is_final; /* another attempt would be in vain */
};

enum scope {
    EVERY_CALL,
    NOT_HEADS, /* the fault is in the body, whatever it should be */
    DOCUMENTS, /* the fault is in what is read */
};

struct fault {
    const char *name;
    struct http_script_answer answer;
    struct outcome outcome;
    struct outcome of_head; /* that has no body to tell more; kind FAILURE_NONE: the same */
    enum scope scope;
};

#define ERROR_OF(code) "<?xml version=\"1.0\"?>\n<Error><Code>" code "</Code><Message>words</Message></Error>"
#define ERROR_RESPONSE_OF(code)                                                                                        \
    "<ErrorResponse xmlns=\"x\"><Error><Type>Sender</Type><Code>" code "</Code></Error><RequestId>R</RequestId>"       \
    "</ErrorResponse>"
#define BOMB                                                                                                           \
    "<!DOCTYPE a [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\"><!ENTITY c \"&b;&b;&b;&b;&b;\">]>"
#define TWENTY(text) text text text text text text text text text text text text text text text text text text text text

#define GONE                                                                                                           \
    {                                                                                                                  \
        FAILURE_UNREACHABLE, .is_uncertain = true                                                                      \
    }
#define TROUBLE                                                                                                        \
    {                                                                                                                  \
        FAILURE_TRANSIENT, .is_uncertain = true                                                                        \
    }
#define DAMAGED                                                                                                        \
    {                                                                                                                  \
        FAILURE_TRANSIENT, .is_uncertain = true                                                                        \
    }
#define THROTTLE                                                                                                       \
    {                                                                                                                  \
        FAILURE_THROTTLED                                                                                              \
    }
#define FINAL(kind)                                                                                                    \
    {                                                                                                                  \
        kind, .is_final = true                                                                                         \
    }

static const struct fault faults[] = {
    /* no answer, or a part of one */
    {"closed at once", {.status = 0}, GONE},
    {"cut in the status line", {.raw = "HTTP/1.1 20", .is_closed = true}, GONE},
    {"cut in the head", {.raw = "HTTP/1.1 200 OK\r\nETag: \"e\"\r\n", .is_closed = true}, GONE},
    {"cut in the body",
     {.raw = "HTTP/1.1 200 OK\r\nETag: \"e\"\r\nContent-Length: 50\r\n\r\n<Copy", .is_closed = true},
     GONE,
     .scope = NOT_HEADS},
    {"cut in a chunk",
     {.raw = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\n<Copy", .is_closed = true},
     GONE,
     .scope = NOT_HEADS},
    {"cut before the last chunk",
     {.raw = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n<Copy\r\n", .is_closed = true},
     GONE,
     .scope = NOT_HEADS},
    {"not HTTP", {.raw = "SSH-2.0-OpenSSH_9.2\r\n", .is_closed = true}, GONE},
    {"a length that is none", {.raw = "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", .is_closed = true}, GONE},
    {"a length below zero", {.raw = "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", .is_closed = true}, GONE},
    {"a chunk size that is none",
     {.raw = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n<Copy", .is_closed = true},
     GONE,
     .scope = NOT_HEADS},
    /* a success that is none */
    {"200 with InternalError",
     {.status = 200, .body = ERROR_OF("InternalError")},
     {FAILURE_TRANSIENT},
     .scope = NOT_HEADS},
    {"200 with SlowDown", {.status = 200, .body = ERROR_OF("SlowDown")}, THROTTLE, .scope = NOT_HEADS},
    {"200 with AccessDenied",
     {.status = 200, .body = "\n \n" ERROR_OF("AccessDenied")},
     FINAL(FAILURE_ACCESS_DENIED),
     .scope = NOT_HEADS},
    {"200 with ExpiredToken",
     {.status = 200, .body = ERROR_OF("ExpiredToken")},
     FINAL(FAILURE_EXPIRED_TOKEN),
     .scope = NOT_HEADS},
    {"200 with an unknown error",
     {.status = 200, .body = ERROR_OF("Strange")},
     {FAILURE_TRANSIENT},
     .scope = NOT_HEADS},
    {"200 with an ErrorResponse",
     {.status = 200, .body = ERROR_RESPONSE_OF("AccessDenied")},
     FINAL(FAILURE_ACCESS_DENIED),
     .scope = NOT_HEADS},
    {"200 with an error without a code", {.status = 200, .body = "<Error/>"}, DAMAGED, .scope = NOT_HEADS},
    {"200 with nothing", {.status = 200}, DAMAGED, .scope = DOCUMENTS},
    {"200 with blanks", {.status = 200, .body = " \n \n "}, DAMAGED, .scope = DOCUMENTS},
    {"200 with a page", {.status = 200, .body = "<html><body>It works!</body></html>"}, DAMAGED, .scope = DOCUMENTS},
    {"200 with JSON", {.status = 200, .body = "{\"ETag\": \"e\"}"}, DAMAGED, .scope = DOCUMENTS},
    {"200 with another document",
     {.status = 200, .body = "<Other><ETag>\"e\"</ETag></Other>"},
     DAMAGED,
     .scope = DOCUMENTS},
    {"200 with bytes", {.status = 200, .body = "\x01\xff<\x02\xfe", .body_length = 5}, DAMAGED, .scope = DOCUMENTS},
    {"200 with an entity bomb",
     {.status = 200, .body = BOMB "<CopyObjectResult><ETag>&c;</ETag></CopyObjectResult>"},
     DAMAGED,
     .scope = DOCUMENTS},
    {"200 with an entity from outside",
     {.status = 200, .body = "<!DOCTYPE a [<!ENTITY e SYSTEM \"file:///etc/passwd\">]><Error><Code>&e;</Code></Error>"},
     DAMAGED,
     .scope = DOCUMENTS},
    {"200 too deep", {.status = 200, .body = TWENTY("<a>") TWENTY("</a>")}, DAMAGED, .scope = DOCUMENTS},
    /* errors of the server's own */
    {"500", {.status = 500, .body = ERROR_OF("InternalError")}, TROUBLE},
    {"502 of a gateway", {.status = 502, .body = "<html>Bad Gateway</html>"}, TROUBLE},
    {"503 with nothing", {.status = 503}, TROUBLE},
    {"503 ServiceUnavailable", {.status = 503, .body = ERROR_OF("ServiceUnavailable")}, TROUBLE},
    {"504", {.status = 504}, TROUBLE},
    {"507, which nobody knows", {.status = 507, .body = ERROR_OF("Full")}, TROUBLE},
    {"503 with an entity bomb", {.status = 503, .body = BOMB "<Error><Code>&c;</Code></Error>"}, TROUBLE},
    {"503 SlowDown", {.status = 503, .body = ERROR_OF("SlowDown")}, THROTTLE, .of_head = TROUBLE},
    {"503 SlowDown that tells when",
     {.status = 503, .headers = "Retry-After: 0\r\nx-amz-retry-after: 1\r\n", .body = ERROR_OF("SlowDown")},
     THROTTLE,
     .of_head = TROUBLE},
    {"503 with a Retry-After that is none",
     {.status = 503, .headers = "Retry-After: soon\r\nx-amz-retry-after: -1\r\n", .body = ERROR_OF("SlowDown")},
     THROTTLE,
     .of_head = TROUBLE},
    {"429", {.status = 429}, THROTTLE},
    {"400 Throttling",
     {.status = 400, .body = ERROR_RESPONSE_OF("Throttling")},
     THROTTLE,
     .of_head = FINAL(FAILURE_EXPIRED_TOKEN)},
    {"408", {.status = 408}, {FAILURE_TRANSIENT}},
    {"400 RequestTimeout",
     {.status = 400, .body = ERROR_OF("RequestTimeout")},
     {FAILURE_TRANSIENT},
     .of_head = FINAL(FAILURE_EXPIRED_TOKEN)},
    {"409 that passes",
     {.status = 409, .body = ERROR_OF("ConditionalRequestConflict")},
     {FAILURE_TRANSIENT},
     .of_head = FINAL(FAILURE_INVALID)},
    {"403 RequestTimeTooSkewed",
     {.status = 403, .body = ERROR_OF("RequestTimeTooSkewed")},
     {FAILURE_CLOCK_SKEW},
     .of_head = FINAL(FAILURE_ACCESS_DENIED)},
    /* errors that stay */
    {"400 ExpiredToken", {.status = 400, .body = ERROR_OF("ExpiredToken")}, FINAL(FAILURE_EXPIRED_TOKEN)},
    {"403 of STS ExpiredToken",
     {.status = 403, .body = ERROR_RESPONSE_OF("ExpiredToken")},
     FINAL(FAILURE_EXPIRED_TOKEN),
     .of_head = FINAL(FAILURE_ACCESS_DENIED)},
    {"403 AccessDenied", {.status = 403, .body = ERROR_OF("AccessDenied")}, FINAL(FAILURE_ACCESS_DENIED)},
    {"403 with nothing", {.status = 403}, FINAL(FAILURE_ACCESS_DENIED)},
    {"403 InvalidAccessKeyId",
     {.status = 403, .body = ERROR_OF("InvalidAccessKeyId")},
     FINAL(FAILURE_BAD_CREDENTIALS),
     .of_head = FINAL(FAILURE_ACCESS_DENIED)},
    {"403 SignatureDoesNotMatch",
     {.status = 403, .body = ERROR_OF("SignatureDoesNotMatch")},
     FINAL(FAILURE_BAD_CREDENTIALS),
     .of_head = FINAL(FAILURE_ACCESS_DENIED)},
    {"404 NoSuchBucket",
     {.status = 404, .body = ERROR_OF("NoSuchBucket")},
     FINAL(FAILURE_NO_BUCKET),
     .of_head = FINAL(FAILURE_NO_KEY)},
    {"404 NoSuchKey", {.status = 404, .body = ERROR_OF("NoSuchKey")}, FINAL(FAILURE_NO_KEY)},
    {"404 NoSuchUpload",
     {.status = 404, .body = ERROR_OF("NoSuchUpload")},
     FINAL(FAILURE_NO_UPLOAD),
     .of_head = FINAL(FAILURE_NO_KEY)},
    {"412", {.status = 412, .body = ERROR_OF("PreconditionFailed")}, FINAL(FAILURE_PRECONDITION)},
    {"400 InvalidRequest",
     {.status = 400, .body = ERROR_OF("InvalidRequest")},
     FINAL(FAILURE_INVALID),
     .of_head = FINAL(FAILURE_EXPIRED_TOKEN)},
    {"400 with garbage",
     {.status = 400, .body = "\x01<<<&&&"},
     FINAL(FAILURE_INVALID),
     .of_head = FINAL(FAILURE_EXPIRED_TOKEN)},
    {"405", {.status = 405, .body = ERROR_OF("MethodNotAllowed")}, FINAL(FAILURE_INVALID)},
    /* Of a head it is asked again without what may not be known, by the caller's next call. */
    {"501 NotImplemented",
     {.status = 501, .body = ERROR_OF("NotImplemented")},
     FINAL(FAILURE_INVALID),
     .of_head = FINAL(FAILURE_TRANSIENT)},
    {"501 with nothing", {.status = 501}, FINAL(FAILURE_INVALID), .of_head = FINAL(FAILURE_TRANSIENT)},
    {"301 that does not tell where",
     {.status = 301, .headers = "Location: http://127.0.0.1:1/\r\n", .body = ERROR_OF("PermanentRedirect")},
     FINAL(FAILURE_WRONG_REGION)},
    {"307 that does not tell where",
     {.status = 307, .headers = "Location: http://127.0.0.1:1/\r\n", .body = ERROR_OF("TemporaryRedirect")},
     {FAILURE_TRANSIENT}},
    {"302 to somewhere", {.status = 302, .headers = "Location: http://127.0.0.1:1/\r\n"}, FINAL(FAILURE_INVALID)},
    {"304", {.status = 304, .headers = "ETag: \"e\"\r\n"}, FINAL(FAILURE_INVALID)},
};

enum { FAULTS = sizeof(faults) / sizeof(faults[0]) };

static bool fault_concerns(const struct fault *fault, const struct s3_call_kind *kind)
{
    switch (fault->scope) {
    case EVERY_CALL:
        return true;
    case NOT_HEADS:
        return !kind->is_head;
    case DOCUMENTS:
        return kind->is_document;
    }
    return false;
}

/* What is content is not looked into: it is of the wrong length. */
static struct outcome fault_outcome(const struct fault *fault, const struct s3_call_kind *kind)
{
    bool is_seen_as_content = kind->is_opaque && fault->answer.status == 200;
    return is_seen_as_content                                     ? (struct outcome)DAMAGED
           : kind->is_head && fault->of_head.kind != FAILURE_NONE ? fault->of_head
                                                                  : fault->outcome;
}

static void expect(const struct s3_call_kind *kind, const char *fault, const struct s3_ending *ending,
                   struct outcome outcome, unsigned attempts)
{
    if (ending->failure.kind != outcome.kind || ending->err.action != failure_action(outcome.kind) ||
        ending->failure.is_uncertain != outcome.is_uncertain || ending->attempts != attempts) {
        fail_msg("%s, %s: %s%s after %u attempts, where %s%s after %u was expected (%s)", kind->name, fault,
                 failure_kind_name(ending->failure.kind), ending->failure.is_uncertain ? " (uncertain)" : "",
                 ending->attempts, failure_kind_name(outcome.kind), outcome.is_uncertain ? " (uncertain)" : "",
                 attempts, ending->err.text);
    }
}

static void a_fault_that_stays_ends_each_call_as_it_should(void **state)
{
    (void)state;
    size_t count = 0;
    for (size_t i = 0; i < s3_call_kind_count; i++) {
        const struct s3_call_kind *kind = &s3_call_kinds[i];
        for (size_t k = 0; k < FAULTS; k++) {
            if (fault_concerns(&faults[k], kind)) {
                struct outcome outcome = fault_outcome(&faults[k], kind);
                struct s3_ending ending = play(kind, &faults[k].answer, SIZE_MAX, scripted_deadline_ms());
                expect(kind, faults[k].name, &ending, outcome, outcome.is_final ? 1 : kind->attempts);
                count++;
            }
        }
    }
    assert_true(count > 700);
}

static void a_fault_that_passes_is_survived_unless_another_attempt_is_in_vain(void **state)
{
    (void)state;
    for (size_t i = 0; i < s3_call_kind_count; i++) {
        const struct s3_call_kind *kind = &s3_call_kinds[i];
        for (size_t k = 0; k < FAULTS; k++) {
            if (fault_concerns(&faults[k], kind)) {
                struct outcome outcome = fault_outcome(&faults[k], kind);
                struct s3_ending ending = play(kind, &faults[k].answer, 1, scripted_deadline_ms());
                expect(kind, faults[k].name, &ending, outcome.is_final ? outcome : (struct outcome){FAILURE_NONE},
                       outcome.is_final ? 1 : 2);
            }
        }
    }
}

/* --- time --- */

static void a_call_ends_at_its_deadline_whatever_the_server_does(void **state)
{
    (void)state;
    static const struct fault slow[] = {
        {"silence", {.is_silent = true}, GONE},
        {"stalled in the head", {.status = 200, .cut_after = 12, .is_stalled = true}, GONE},
        {"stalled before the body", {.raw = "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n"}, GONE, .scope = NOT_HEADS},
        {"stalled in the body",
         {.raw = "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n<Copy"},
         GONE,
         .scope = NOT_HEADS},
        {"a chunk that does not end",
         {.raw = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\n<"},
         GONE,
         .scope = NOT_HEADS},
        {"100 Continue and nothing more", {.raw = "HTTP/1.1 100 Continue\r\n\r\n"}, GONE},
        {"a slow drip", {.status = 503, .drip_ms = SHORT_MS / 8}, GONE},
    };
    for (size_t k = 0; k < sizeof(slow) / sizeof(slow[0]); k++) {
        for (size_t i = 0; i < s3_call_kind_count; i++) {
            const struct s3_call_kind *kind = &s3_call_kinds[i];
            if (fault_concerns(&slow[k], kind)) {
                struct s3_ending ending = play_late(kind, &slow[k].answer);
                expect(kind, slow[k].name, &ending, slow[k].outcome, 1);
            }
        }
    }
}

static void a_pause_that_would_end_behind_the_deadline_is_not_begun(void **state)
{
    (void)state;
    static const struct http_script_answer later = {
        .status = 503, .headers = "Retry-After: 3600\r\n", .body = ERROR_OF("ServiceUnavailable")};
    for (size_t i = 0; i < s3_call_kind_count; i++) {
        struct s3_ending ending = play(&s3_call_kinds[i], &later, SIZE_MAX, scripted_deadline_ms());
        expect(&s3_call_kinds[i], "Retry-After: 3600", &ending, (struct outcome)TROUBLE, 1);
    }
}

/* --- every byte --- */

/* Answers with one byte more each time. */
struct cutter {
    const struct http_script_answer *good;
    bool is_whole;
};

static void play_cut(void *context, const struct http_script_request *request, struct buffer *scratch,
                     struct http_script_answer *ret_answer)
{
    (void)scratch;
    const struct cutter *cutter = context;
    *ret_answer = *cutter->good;
    ret_answer->cut_after = request->position + 1;
    ret_answer->is_closed = true;
}

static void an_answer_cut_after_any_byte_is_none(void **state)
{
    (void)state;
    for (size_t i = 0; i < s3_call_kind_count; i++) {
        const struct s3_call_kind *kind = &s3_call_kinds[i];
        struct cutter cutter = {&kind->good};
        struct scripted_aws aws;
        scripted_aws_start_choosing(&aws, play_cut, &cutter);
        struct s3_call_case call = {.aws = &aws};
        size_t shortest = strlen("HTTP/1.1 200 Scripted\r\n");
        do {
            call.deadline_ms = scripted_deadline_ms(); /* hundreds of calls, and none is cut by time */
            s3_call_play(kind, &call);
            if (call.ending.err.action != ERROR_NONE) {
                assert_int_equal(call.ending.failure.kind, FAILURE_UNREACHABLE);
                assert_true(call.ending.failure.is_uncertain);
            }
        } while (call.ending.err.action != ERROR_NONE);
        /* The first that was taken for an answer is the whole one. */
        struct http_script_answer whole = kind->good;
        size_t length = shortest + (whole.headers != NULL ? strlen(whole.headers) : 0) +
                        (whole.headers == NULL || strstr(whole.headers, "Content-Length") == NULL
                             ? strlen("Content-Length: \r\n") +
                                   (size_t)snprintf(NULL, 0, "%zu", whole.body != NULL ? strlen(whole.body) : 0)
                             : 0) +
                        strlen("Connection: close\r\n\r\n") + (whole.body != NULL ? strlen(whole.body) : 0);
        if (http_script_count(aws.script) != length) {
            fail_msg("%s took %zu of %zu bytes for a whole answer", kind->name, http_script_count(aws.script), length);
        }
        scripted_aws_stop(&aws);
    }
}

/* --- size --- */

static char *repeated(const char *head, const char *text, size_t count, const char *tail)
{
    AUTO(buffer) struct buffer all;
    buffer_init(&all, 64 << 20);
    buffer_append_text(&all, head);
    for (size_t i = 0; i < count; i++) {
        buffer_append_text(&all, text);
    }
    buffer_append_text(&all, tail);
    return slice_copy(buffer_slice(&all));
}

static void no_size_of_an_answer_ends_more_than_the_call(void **state)
{
    (void)state;
    AUTO(text) char *line = repeated("x-long: ", "0123456789abcdef", HEADER_BYTES / 16, "\r\n");
    AUTO(text) char *lines = repeated("", "x-many: 0123456789abcdef\r\n", HEADERS_COUNT, "");
    AUTO(text) char *document = repeated("<Tagging><!--", "0123456789abcdef", DOCUMENT_BYTES / 16, "--></Tagging>");
    AUTO(text)
    char *trailer =
        repeated("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n \r\n0\r\nx-trailer: ", "0123456789abcdef",
                 HEADER_BYTES / 16, "\r\n\r\n");
    const struct {
        const char *name;
        struct http_script_answer answer;
        struct outcome outcome;
        enum scope scope;
    } cases[] = {
        {"a long header", {.status = 200, .headers = line}, GONE},
        {"a long trailer", {.raw = trailer}, GONE, NOT_HEADS},
        {"many headers", {.status = 200, .headers = lines}, {FAILURE_INVALID, true, true}},
        {"a huge document", {.status = 200, .body = document}, {FAILURE_INVALID, true, true}, DOCUMENTS},
        {"a huge error", {.status = 503, .body = document}, {FAILURE_INVALID, true, true}, DOCUMENTS},
    };
    for (size_t i = 0; i < s3_call_kind_count; i++) {
        const struct s3_call_kind *kind = &s3_call_kinds[i];
        for (size_t k = 0; k < sizeof(cases) / sizeof(cases[0]); k++) {
            if (fault_concerns(&(struct fault){.scope = cases[k].scope}, kind)) {
                struct s3_ending ending = play(kind, &cases[k].answer, SIZE_MAX, scripted_deadline_ms());
                expect(kind, cases[k].name, &ending, cases[k].outcome, cases[k].outcome.is_final ? 1 : kind->attempts);
            }
        }
    }
}

/* --- regions --- */

static const struct {
    const char *name;
    struct http_script_answer answer;
    bool is_for_heads;     /* it tells enough without its body */
    bool is_of_heads_only; /* of others it means nothing */
} elsewhere[] = {
    {"301 by header", {.status = 301, .headers = "x-amz-bucket-region: eu-west-1\r\n"}, true},
    {"301 by body", {.status = 301, .body = "<Error><Code>PermanentRedirect</Code><Region>eu-west-1</Region></Error>"}},
    {"307 by header",
     {.status = 307, .headers = "X-Amz-Bucket-Region: eu-west-1\r\nLocation: http://127.0.0.1:1/\r\n"},
     true},
    {"400 by body",
     {.status = 400, .body = "<Error><Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region></Error>"}},
    {"400 by header",
     {.status = 400,
      .headers = "x-amz-bucket-region: eu-west-1\r\n",
      .body = "<Error><Code>IllegalLocationConstraintException</Code></Error>"},
     true},
    {"400 without a body", {.status = 400, .headers = "x-amz-bucket-region: eu-west-1\r\n"}, true, true},
};

static void a_bucket_elsewhere_is_followed_by_every_call(void **state)
{
    (void)state;
    for (size_t i = 0; i < s3_call_kind_count; i++) {
        const struct s3_call_kind *kind = &s3_call_kinds[i];
        for (size_t k = 0; kind->has_region && k < sizeof(elsewhere) / sizeof(elsewhere[0]); k++) {
            if (kind->is_head ? elsewhere[k].is_for_heads : !elsewhere[k].is_of_heads_only) {
                struct s3_ending ending = play(kind, &elsewhere[k].answer, 1, scripted_deadline_ms());
                expect(kind, elsewhere[k].name, &ending, (struct outcome){FAILURE_NONE}, 1);
                assert_string_equal(ending.region, "eu-west-1");
            }
        }
    }
}

static void a_bucket_that_is_nowhere_is_given_up(void **state)
{
    (void)state;
    for (size_t i = 0; i < s3_call_kind_count; i++) {
        const struct s3_call_kind *kind = &s3_call_kinds[i];
        if (kind->has_region) {
            struct s3_ending ending = play(kind, &elsewhere[0].answer, SIZE_MAX, scripted_deadline_ms());
            expect(kind, "301 again and again", &ending, (struct outcome)FINAL(FAILURE_WRONG_REGION), 1);
        }
    }
}

static void a_region_that_is_fixed_is_not_left(void **state)
{
    (void)state;
    for (size_t i = 0; i < s3_call_kind_count; i++) {
        const struct s3_call_kind *kind = &s3_call_kinds[i];
        if (kind->has_region) {
            struct scripted_aws aws;
            scripted_aws_start(&aws, &elsewhere[0].answer, 1);
            struct s3_call_case call = {.aws = &aws, .deadline_ms = scripted_deadline_ms(), .is_region_fixed = true};
            s3_call_play(kind, &call);
            expect(kind, "301", &call.ending, (struct outcome)FINAL(FAILURE_WRONG_REGION), 1);
            assert_string_equal(call.ending.failure.region, "eu-west-1");
            scripted_aws_stop(&aws);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fault_that_stays_ends_each_call_as_it_should),
        cmocka_unit_test(a_fault_that_passes_is_survived_unless_another_attempt_is_in_vain),
        cmocka_unit_test(a_call_ends_at_its_deadline_whatever_the_server_does),
        cmocka_unit_test(a_pause_that_would_end_behind_the_deadline_is_not_begun),
        cmocka_unit_test(an_answer_cut_after_any_byte_is_none),
        cmocka_unit_test(no_size_of_an_answer_ends_more_than_the_call),
        cmocka_unit_test(a_bucket_elsewhere_is_followed_by_every_call),
        cmocka_unit_test(a_bucket_that_is_nowhere_is_given_up),
        cmocka_unit_test(a_region_that_is_fixed_is_not_left),
    };
    return cmocka_run_group_tests_name("s3_faults", tests, NULL, NULL);
}
