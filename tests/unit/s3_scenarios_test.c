/*
 * The fault scenarios of another S3 client's mock server (fixtures/s3-faults), each played to the call of ours that it
 * is about, with an outcome that is said here by name. What the scenarios leave out is in s3_faults_test.c.
 */
#include "tests/support/fixtures.h"
#include "tests/support/s3_calls.h"
#include "tests/support/unit.h"
#include "workers/common/aws/s3.h"
#include "workers/common/base/clock.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RANGE_BYTES = 65536, SCENARIOS = 38, SHORT_MS = 40, LONGEST_MS = 20000 };

struct outcome {
    enum failure_kind kind;
    unsigned attempts;
    bool is_uncertain;
};

struct scenario {
    const char *name; /* of the file, without .json */
    const char *call;
    struct outcome outcome;
    const char *skipped; /* why */
};

#define GET "GetObject of a range"
#define SUCCESS                                                                                                        \
    {                                                                                                                  \
        FAILURE_NONE, 1                                                                                                \
    }
#define DAMAGED                                                                                                        \
    {                                                                                                                  \
        FAILURE_TRANSIENT, SCRIPTED_ATTEMPTS, true                                                                     \
    }

static const struct scenario scenarios[] = {
    {"AbortMultipartUpload/default", "AbortMultipartUpload", SUCCESS},
    {"CompleteMultipartUpload/async_access_denied_error", "CompleteMultipartUpload", {FAILURE_ACCESS_DENIED, 1}},
    {"CompleteMultipartUpload/async_internal_error", "CompleteMultipartUpload", {FAILURE_TRANSIENT, 8}},
    {"CompleteMultipartUpload/default", "CompleteMultipartUpload", SUCCESS},
    {"CompleteMultipartUpload/sse_kms", "CompleteMultipartUpload", SUCCESS},
    {"CreateMultipartUpload/default", "CreateMultipartUpload", SUCCESS},
    {"CreateMultipartUpload/request_time_too_skewed", "CreateMultipartUpload", {FAILURE_CLOCK_SKEW, SCRIPTED_ATTEMPTS}},
    {"CreateMultipartUpload/request_timeout", "CreateMultipartUpload", {FAILURE_TRANSIENT, SCRIPTED_ATTEMPTS}},
    {"CreateSession/default", .skipped = "directory buckets are not copied to"},
    {"CreateSession/sse_kms", .skipped = "directory buckets are not copied to"},
    {"GetObject/default", GET, {FAILURE_NO_KEY, 1}},
    {"GetObject/get_object_checksum_combine_head", "HeadObject", SUCCESS},
    {"GetObject/get_object_checksum_combine_part", GET, SUCCESS},
    {"GetObject/get_object_checksum_combine_slow_part", GET, SUCCESS},
    {"GetObject/get_object_checksum_retry", GET, DAMAGED},
    {"GetObject/get_object_checksum_single_part", GET, SUCCESS},
    {"GetObject/get_object_checksum_single_part_head", "HeadObject", SUCCESS},
    {"GetObject/get_object_delay_60s", GET, {FAILURE_UNREACHABLE, 1, true}},
    {"GetObject/get_object_error_part", GET, {FAILURE_ACCESS_DENIED, 1}},
    {"GetObject/get_object_invalid_response_missing_content_range", GET, DAMAGED},
    {"GetObject/get_object_invalid_response_missing_etags", GET, SUCCESS},
    {"GetObject/get_object_long_error", GET, {FAILURE_NO_KEY, 1}},
    {"GetObject/get_object_modified_failure", GET, {FAILURE_INVALID, 1}},
    {"GetObject/get_object_modified_first_part", GET, SUCCESS},
    {"GetObject/get_object_modified_success", GET, {FAILURE_PRECONDITION, 1}},
    {"GetObject/get_object_opaque_etag", GET, SUCCESS},
    {"GetObject/get_object_pause_delayed_part", GET, SUCCESS},
    {"GetObject/get_object_pause_normal_part", GET, SUCCESS},
    {"GetObject/get_object_unmatch_checksum_crc32",
     .skipped = "CRC32 is not compared: what is relayed is compared by CRC64NVME (relay_test.c)"},
    {"ListParts/default", .skipped = "no upload is taken up again: what a dead process left is aborted"},
    {"ListParts/multiple_list_parts_1", .skipped = "no upload is taken up again: what a dead process left is aborted"},
    {"ListParts/multiple_list_parts_2", .skipped = "no upload is taken up again: what a dead process left is aborted"},
    {"ListParts/resume_first_part_not_completed",
     .skipped = "no upload is taken up again: what a dead process left is aborted"},
    {"UploadPart/default", "UploadPart", SUCCESS},
    {"UploadPart/missing_etag", "UploadPart", {FAILURE_TRANSIENT, 8, true}},
    {"UploadPart/throttle", "UploadPart", {FAILURE_THROTTLED, 8}},
    {"UploadPart/throttle_before_finish", "UploadPart", {FAILURE_THROTTLED, 8}},
    {"UploadPart/upload_part_error", "UploadPart", {FAILURE_ACCESS_DENIED, 1}},
};

/* --- playing --- */

/* "<data-to-send>" are bytes of the range, "<request-range>" is the range itself. */
static void append_line(struct buffer *body, const char *line)
{
    if (strcmp(line, "<data-to-send>") != 0) {
        buffer_append_text(body, line);
        return;
    }
    for (size_t i = 0; i < RANGE_BYTES; i++) {
        buffer_append_char(body, 'a');
    }
}

static void append_header(struct buffer *head, const cJSON *header)
{
    static const char placeholder[] = "<request-range>";
    const char *value = header->valuestring;
    buffer_append_format(head, "%s: ", header->string);
    if (text_starts_with(value, placeholder)) {
        buffer_append_format(head, "bytes 0-%d", RANGE_BYTES - 1);
        value += strlen(placeholder);
    }
    buffer_append_format(head, "%s\r\n", value);
}

static void play(void *context, const struct http_script_request *request, struct buffer *scratch,
                 struct http_script_answer *ret_answer)
{
    (void)request;
    const cJSON *scenario = context;
    AUTO(buffer) struct buffer body;
    buffer_init(&body, 16 << 20);
    const cJSON *item;
    bool has_length = false;
    cJSON_ArrayForEach(item, cJSON_GetObjectItem(scenario, "body"))
    {
        buffer_append_text(&body, body.len > 0 ? "\n" : "");
        append_line(&body, item->valuestring);
    }
    buffer_append_format(scratch, "HTTP/1.1 %d Scripted\r\n", cJSON_GetObjectItem(scenario, "status")->valueint);
    cJSON_ArrayForEach(item, cJSON_GetObjectItem(scenario, "headers"))
    {
        append_header(scratch, item);
        has_length = has_length || strcmp(item->string, "Content-Length") == 0;
    }
    if (!has_length) {
        buffer_append_format(scratch, "Content-Length: %zu\r\n", body.len);
    }
    buffer_append_text(scratch, "\r\n");
    bool is_head = strcmp(request->method, "HEAD") == 0;
    if (!is_head) {
        buffer_append(scratch, buffer_slice(&body));
    }
    *ret_answer = (struct http_script_answer){.raw = scratch->ptr};
}

static void play_never(void *context, const struct http_script_request *request, struct buffer *scratch,
                       struct http_script_answer *ret_answer)
{
    (void)context;
    (void)request;
    (void)scratch;
    *ret_answer = (struct http_script_answer){.is_silent = true};
}

static void get_ended(void *context, struct s3_answer *answer)
{
    struct s3_ending *ending = context;
    ending->is_done = true;
    ending->err = answer->result->err;
    ending->failure = answer->result->failure;
    ending->attempts = answer->result->attempts;
    assert_int_equal(answer->body.len, answer->etag != NULL ? RANGE_BYTES : 0);
}

/* The scenarios' range is longer than that of the table of calls. */
static void get_range(struct s3_call_case *call)
{
    struct s3_subject subject = {
        .bucket = {.name = "default", .region = "us-east-1"},
        .key = "default",
        .credentials = call->aws->key,
        .deadline_ms = call->deadline_ms,
    };
    (void)s3_get_object(call->aws->client, &subject, NULL, 0, RANGE_BYTES, get_ended, &call->ending);
    loop_until(call->aws->loop, &call->ending.is_done);
}

static void run_call(const struct scenario *scenario, struct s3_call_case *call)
{
    if (strcmp(scenario->call, GET) == 0) {
        get_range(call);
        return;
    }
    for (size_t i = 0; i < s3_call_kind_count; i++) {
        if (strcmp(s3_call_kinds[i].name, scenario->call) == 0) {
            s3_call_play(&s3_call_kinds[i], call);
            return;
        }
    }
    fail_msg("no call is named %s", scenario->call);
}

/* A delay beyond every budget is a server that never answers; those within are not waited for. */
static void run_scenario(const struct scenario *scenario)
{
    AUTO(text) char *path = text_format("s3-faults/%s.json", scenario->name);
    cJSON *json = fixture_json(path);
    if (json == NULL) {
        fail_msg("%s is missing", path);
        return;
    }
    bool is_late = scenario->outcome.kind == FAILURE_UNREACHABLE;
    struct scripted_aws aws;
    scripted_aws_start_choosing(&aws, is_late ? play_never : play, json);
    struct s3_call_case call = {.aws = &aws, .deadline_ms = scripted_deadline_ms()};
    /* A machine that is busy may not even have begun by a short deadline: it gets more time. */
    for (int64_t in_ms = SHORT_MS; is_late && call.ending.attempts == 0 && in_ms < LONGEST_MS; in_ms *= 4) {
        call = (struct s3_call_case){.aws = &aws, .deadline_ms = clock_monotonic_ms() + in_ms};
        run_call(scenario, &call);
    }
    if (!is_late) {
        run_call(scenario, &call);
    }
    if (call.ending.failure.kind != scenario->outcome.kind || call.ending.attempts != scenario->outcome.attempts ||
        call.ending.failure.is_uncertain != scenario->outcome.is_uncertain) {
        fail_msg("%s: %s after %u attempts%s, where %s after %u was expected (%s)", scenario->name,
                 failure_kind_name(call.ending.failure.kind), call.ending.attempts,
                 call.ending.failure.is_uncertain ? " (uncertain)" : "", failure_kind_name(scenario->outcome.kind),
                 scenario->outcome.attempts, call.ending.err.text);
    }
    scripted_aws_stop(&aws);
    cJSON_Delete(json);
}

static size_t files_below(const char *folder)
{
    AUTO(text) char *path = fixture_path(folder);
    struct dirent **names;
    size_t files = 0;
    int count = scandir(path, &names, NULL, NULL);
    for (int i = 0; i < count; i++) {
        AUTO(text) char *below = text_format("%s/%s", folder, names[i]->d_name);
        const char *end = strrchr(names[i]->d_name, '.');
        if (names[i]->d_name[0] != '.') {
            files += end != NULL && strcmp(end, ".json") == 0 ? 1 : files_below(below);
        }
        free(names[i]);
    }
    if (count >= 0) {
        free(names);
    }
    return files;
}

static void every_scenario_ends_as_it_is_said_here(void **state)
{
    (void)state;
    if (!fixture_is_here("s3-faults", "38 scenarios of faults")) {
        skip();
    }
    size_t count = sizeof(scenarios) / sizeof(scenarios[0]);
    size_t skipped = 0;
    assert_int_equal(count, SCENARIOS);
    assert_int_equal(files_below("s3-faults"), SCENARIOS);
    for (size_t i = 0; i < count; i++) {
        if (scenarios[i].skipped != NULL) {
            (void)printf("skipped: %s (%s)\n", scenarios[i].name, scenarios[i].skipped);
            skipped++;
        } else {
            run_scenario(&scenarios[i]);
        }
    }
    assert_int_equal(skipped, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_scenario_ends_as_it_is_said_here),
    };
    return cmocka_run_group_tests_name("s3_scenarios", tests, NULL, NULL);
}
