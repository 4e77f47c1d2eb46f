#include "schemas/account.h"
#include "schemas/build.h"
#include "schemas/commit_status.h"
#include "schemas/dead_letter.h"
#include "schemas/deployment.h"
#include "schemas/event.h"
#include "schemas/identity.h"
#include "schemas/job.h"
#include "schemas/json.h"
#include "schemas/map_entry.h"
#include "schemas/map_file.h"
#include "schemas/ref_state.h"
#include "schemas/report_line.h"
#include "schemas/result.h"
#include "schemas/unreadable.h"
#include "tests/support/unit.h"
#include "workers/common/base/file.h"

#include <glob.h>
#include <openssl/evp.h>
#include <stdio.h>

#define COMMIT "4f2d6a1c9be07835d1a2f06c7e5b9348ac10de77"
#define ZEROS "0000000000000000000000000000000000000000"

static const struct {
    const char *name;
    const struct codec *codec;
} codecs[] = {
    {"account", &account_codec},
    {"build", &build_codec},
    {"commit_status", &commit_status_codec},
    {"dead_letter", &dead_letter_codec},
    {"deployment", &deployment_codec},
    {"event", &event_codec},
    {"job", &job_codec},
    {"map_entry", &map_entry_codec},
    {"ref_state", &ref_state_codec},
    {"result", &result_codec},
};
enum { CODEC_COUNT = sizeof(codecs) / sizeof(codecs[0]) };

struct message {
    const struct codec *codec;
    void *content;
};

static void message_auto(struct message *message)
{
    message_free(message->codec, message->content);
}

#define AUTO_MESSAGE __attribute__((cleanup(message_auto))) struct message
#define AUTO_BUFFER AUTO(buffer) struct buffer

/* schemas/examples/<name>[.<variant>].json */
static size_t codec_of_file(const char *path)
{
    const char *file = strrchr(path, '/') + 1;
    for (size_t i = 0; i < CODEC_COUNT; i++) {
        if (strlen(codecs[i].name) == strcspn(file, ".") && text_starts_with(file, codecs[i].name)) {
            return i;
        }
    }
    fail_msg("%s belongs to no codec", path);
    return 0;
}

static void each_example(void (*run)(size_t codec, const char *path, struct slice body))
{
    glob_t found;
    assert_int_equal(glob("schemas/examples/*.json", 0, NULL, &found), 0);
    bool is_seen[CODEC_COUNT] = {false};
    for (size_t i = 0; i < found.gl_pathc; i++) {
        struct error err;
        AUTO_BUFFER body;
        buffer_init(&body, MESSAGE_MAXIMUM_BYTES);
        assert_true(file_read(found.gl_pathv[i], &body, &err));
        size_t codec = codec_of_file(found.gl_pathv[i]);
        is_seen[codec] = true;
        run(codec, found.gl_pathv[i], buffer_slice(&body));
    }
    globfree(&found);
    for (size_t i = 0; i < CODEC_COUNT; i++) {
        assert_true(is_seen[i]);
    }
}

static void must_parse(struct slice body, struct message *message, const char *what)
{
    struct error err;
    if (!message_parse(message->codec, body, &message->content, &err)) {
        fail_msg("%s: %s", what, err.text);
    }
}

static void must_refuse(const struct codec *codec, struct slice body, const char *reason)
{
    struct error err = {0};
    AUTO_MESSAGE message = {codec, NULL};
    if (message_parse(codec, body, &message.content, &err)) {
        fail_msg("accepted, though: %s", reason);
    }
    assert_null(message.content);
    assert_int_equal(err.action, ERROR_REJECT);
    if (strstr(err.text, reason) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", err.text, reason);
    }
}

/* Nothing of the example is lost, and what was written once is written the same again. */
static void example_round_trips(size_t codec, const char *path, struct slice body)
{
    struct error err;
    AUTO_MESSAGE first = {codecs[codec].codec, NULL};
    AUTO_MESSAGE second = {codecs[codec].codec, NULL};
    AUTO_BUFFER once;
    AUTO_BUFFER twice;
    buffer_init(&once, MESSAGE_MAXIMUM_BYTES);
    buffer_init(&twice, MESSAGE_MAXIMUM_BYTES);
    must_parse(body, &first, path);
    message_format(first.codec, first.content, &once);
    must_parse(buffer_slice(&once), &second, path);
    message_format(second.codec, second.content, &twice);
    assert_string_equal(once.ptr, twice.ptr);
    assert_null(strchr(once.ptr, '\n'));

    AUTO(json) cJSON *example = NULL;
    AUTO(json) cJSON *written = NULL;
    assert_true(json_parse(body, MESSAGE_MAXIMUM_BYTES, &example, &err));
    assert_true(json_parse(buffer_slice(&once), MESSAGE_MAXIMUM_BYTES, &written, &err));
    if (!cJSON_Compare(example, written, true)) {
        fail_msg("%s became %s", path, once.ptr);
    }
    AUTO_BUFFER data;
    buffer_init(&data, MESSAGE_MAXIMUM_BYTES);
    message_format_data(first.codec, first.content, &data);
    assert_non_null(strstr(once.ptr, data.ptr));
    AUTO(text) char *type = message_type(body);
    assert_string_equal(type, first.codec->type);
}

static void every_example_survives_reading_and_writing(void **state)
{
    (void)state;
    each_example(example_round_trips);
}

/* Reading is the judge: what message_check says of a message is what reading says of its bytes. */
static void check_agrees_with_reading(const struct codec *codec, const void *message)
{
    AUTO_BUFFER body;
    buffer_init(&body, MESSAGE_MAXIMUM_BYTES);
    message_format(codec, message, &body);
    void *again = NULL;
    struct error read_err = {0};
    struct error check_err = {0};
    bool is_read = message_parse(codec, buffer_slice(&body), &again, &read_err);
    if (message_check(codec, message, &check_err) != is_read || strcmp(check_err.text, read_err.text) != 0) {
        fail_msg("%s: reading says \"%s\", checking \"%s\"", body.ptr, read_err.text, check_err.text);
    }
    message_free(codec, again);
}

static void example_is_checked_as_it_is_read(size_t codec, const char *path, struct slice body)
{
    (void)path;
    static const char *const texts[] = {"", "A B", "x\n", "refs/heads/a..b", "0000000", NULL};
    const struct codec *type = codecs[codec].codec;
    void *message = NULL;
    struct error err;
    assert_true(message_parse(type, body, &message, &err));
    check_agrees_with_reading(type, message);
    for (const struct field *field = type->fields; field->name != NULL; field++) {
        for (size_t i = 0; field->kind == FIELD_TEXT && i < sizeof(texts) / sizeof(texts[0]); i++) {
            char **member = (char **)((char *)message + field->offset);
            char *kept = *member;
            *member = (char *)(uintptr_t)texts[i];
            check_agrees_with_reading(type, message);
            *member = kept;
        }
    }
    message_free(type, message);
}

static void a_message_is_checked_as_it_would_be_read(void **state)
{
    (void)state;
    each_example(example_is_checked_as_it_is_read);
}

static void refuse_without(const struct codec *codec, const cJSON *root, cJSON *object, const char *name)
{
    cJSON *taken = cJSON_DetachItemFromObjectCaseSensitive(object, name);
    assert_non_null(taken);
    AUTO_BUFFER body;
    buffer_init(&body, MESSAGE_MAXIMUM_BYTES);
    json_append(root, &body);
    AUTO(text) char *reason = text_format("%s is missing", name);
    must_refuse(codec, buffer_slice(&body), reason);
    cJSON_AddItemToObject(object, name, taken);
}

// NOLINTNEXTLINE(misc-no-recursion): groups nest one level deep.
static void refuse_without_each(const struct codec *codec, const struct field *fields, const cJSON *root, cJSON *object)
{
    for (const struct field *field = fields; field->name != NULL; field++) {
        if (field->presence == REQUIRED) {
            refuse_without(codec, root, object, field->name);
        }
        cJSON *list = cJSON_GetObjectItemCaseSensitive(object, field->name);
        if (field->kind == FIELD_GROUPS && list != NULL && list->child != NULL) {
            refuse_without_each(codec, field->group, root, list->child);
        }
    }
}

static void example_needs_its_fields(size_t codec, const char *path, struct slice body)
{
    (void)path;
    static const char *const attributes[] = {"id", "source", "time"};
    struct error err;
    AUTO(json) cJSON *root = NULL;
    assert_true(json_parse(body, MESSAGE_MAXIMUM_BYTES, &root, &err));
    for (size_t i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++) {
        refuse_without(codecs[codec].codec, root, root, attributes[i]);
    }
    refuse_without_each(codecs[codec].codec, codecs[codec].codec->fields, root,
                        cJSON_GetObjectItemCaseSensitive(root, "data"));
}

static void every_missing_field_is_refused_by_its_name(void **state)
{
    (void)state;
    each_example(example_needs_its_fields);
}

#define EVENT(data)                                                                                                    \
    "{\"specversion\":\"1.0\",\"type\":\"tagfleet.event.v1\",\"id\":\"1\",\"source\":\"tests\","                       \
    "\"time\":\"2026-01-02T03:04:05.678Z\",\"data\":{" data "}}"
#define PLACE "\"origin\":\"webhook\",\"repository\":\"acme/app\",\"ref\":\"refs/heads/main\""
#define PUSHED "\"kind\":\"branch_updated\"," PLACE ",\"after\":\"" COMMIT "\""

static void what_contradicts_itself_is_refused(void **state)
{
    (void)state;
    must_refuse(&event_codec, slice_of(EVENT("\"kind\":\"branch_updated\"," PLACE)), "after is missing");
    must_refuse(&event_codec, slice_of(EVENT("\"kind\":\"ref_deleted\"," PLACE ",\"after\":\"" COMMIT "\"")),
                "after must be absent");
    must_refuse(&event_codec, slice_of(EVENT("\"kind\":\"build_published\"," PLACE ",\"after\":\"" COMMIT "\"")),
                "build is missing");
    must_refuse(&event_codec, slice_of(EVENT(PUSHED ",\"before\":\"" ZEROS "\"")), "before \"" ZEROS "\" is all zeros");
    must_refuse(&event_codec, slice_of(EVENT("\"kind\":\"pushed\"," PLACE)),
                "kind must be one of branch_updated, tag_created, tag_moved, ref_deleted, build_published");
    must_refuse(&event_codec, slice_of(EVENT(PUSHED ",\"forced\":1")), "forced must be true or false");
    must_refuse(&event_codec, slice_of(EVENT(PUSHED ",\"actor\":7")), "actor must be a text");
    must_refuse(&event_codec, slice_of(EVENT(PUSHED ",\"committed\":\"2026-02-30T00:00:00Z\"")),
                "committed must be a time");
}

struct variation {
    const struct codec *codec;
    const char *example;
    const char *field; /* of data */
    const char *value; /* JSON; NULL: taken out */
    const char *reason;
};

static void each_variation_is_refused(const struct variation *variations, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct variation *one = &variations[i];
        struct error err;
        AUTO(text) char *path = text_format("schemas/examples/%s.json", one->example);
        AUTO_BUFFER body;
        buffer_init(&body, MESSAGE_MAXIMUM_BYTES);
        assert_true(file_read(path, &body, &err));
        AUTO(json) cJSON *root = NULL;
        assert_true(json_parse(buffer_slice(&body), MESSAGE_MAXIMUM_BYTES, &root, &err));
        cJSON *data = cJSON_GetObjectItemCaseSensitive(root, "data");
        cJSON_DeleteItemFromObjectCaseSensitive(data, one->field);
        if (one->value != NULL) {
            cJSON_AddItemToObject(data, one->field, cJSON_CreateRaw(one->value));
        }
        buffer_clear(&body);
        json_append(root, &body);
        must_refuse(one->codec, buffer_slice(&body), one->reason);
    }
}

static void rules_over_several_fields_hold(void **state)
{
    (void)state;
    static const struct variation variations[] = {
        {&deployment_codec, "deployment.accepted", "accounts", NULL, "accounts must not be empty"},
        {&deployment_codec, "deployment.accepted", "accounts", "[\"222222222222\",\"333333333333\",\"222222222222\"]",
         "accounts must not contain an account twice"},
        {&deployment_codec, "deployment.dropped", "reason", NULL, "reason is missing"},
        {&deployment_codec, "deployment.rejected", "reason", NULL, "reason is missing"},
        {&deployment_codec, "deployment.noted", "reason", NULL, "reason is missing"},
        {&deployment_codec, "deployment.superseded", "reason", NULL, "reason is missing"},
        {&deployment_codec, "deployment.ignored", "reason", NULL, "reason is missing"},
        {&job_codec, "job.assume_role", "role", NULL, "role is missing"},
        {&job_codec, "job.profile", "profile", NULL, "profile is missing"},
        {&job_codec, "job", "copies", "[]", "copies must not be empty"},
        {&job_codec, "job", "copies", "[7]", "copies must hold objects"},
        {&job_codec, "job", "copies", "[{\"source_bucket\":\"\"}]", "copies[0]: source_bucket \"\" must not be empty"},
        {&job_codec, "job", "attempt", "0", "attempt counts from 1"},
        {&result_codec, "result.failed", "reason", NULL, "reason is missing"},
        {&result_codec, "result.superseded", "reason", NULL, "reason is missing"},
        {&result_codec, "result.timed_out", "reason", NULL, "reason is missing"},
        {&result_codec, "result.skipped", "reason", NULL, "reason is missing"},
        {&result_codec, "result", "bytes", "9007199254740992", "bytes must be a whole number"},
        {&result_codec, "result", "bytes", "9007199254740993", "bytes must be a whole number"},
        {&result_codec, "result", "bytes", "1e300", "bytes must be a whole number"},
        {&result_codec, "result", "bytes", "-1", "bytes must be a whole number"},
        {&result_codec, "result", "bytes", "0.5", "bytes must be a whole number"},
        {&map_entry_codec, "map_entry", "accounts", "[\"222222222222\",\"222222222222\"]", "an account twice"},
        {&map_entry_codec, "map_entry", "accounts", "[222222222222]", "accounts must be a text"},
        {&map_entry_codec, "map_entry", "accounts", "\"222222222222\"", "accounts must be a list of texts"},
    };
    each_variation_is_refused(variations, sizeof(variations) / sizeof(variations[0]));
}

static void a_body_that_readers_could_take_differently_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text; /* an actor */
        const char *reason;
    } bodies[] = {
        {"\xff", "not valid UTF-8"},
        {"\xc0\x80", "not valid UTF-8"},
        {"\xe2\x82", "not valid UTF-8"},
        {"\xed\xa0\x80", "not valid UTF-8"},
        {"\xf4\x90\x80\x80", "not valid UTF-8"},
        {"\xe0\x80\x80", "not valid UTF-8"},
        {"\xf0\x80\x80\x80", "not valid UTF-8"},
        {"a\\u0000b", "contains the character NUL"},
        {"\\\\\\u0000", "contains the character NUL"},
        {"\",\"actor\":\"other", "the key \"actor\" occurs twice"},
        {"\",\"extra\":{\"a\":1,\"b\":2,\"a\":3},\"x\":\"", "the key \"a\" occurs twice"},
        {"\\ud800", "not JSON"},
        {"\\x", "not JSON"},
        {"\",", "not JSON"},
    };
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        AUTO(text) char *body = text_format(EVENT(PUSHED ",\"actor\":\"%s\""), bodies[i].text);
        must_refuse(&event_codec, slice_of(body), bodies[i].reason);
    }
    must_refuse(&event_codec, slice_of(""), "not JSON");
    must_refuse(&event_codec, slice_from(NULL, 0), "not JSON");
    must_refuse(&event_codec, slice_of(EVENT(PUSHED) " {}"), "more text follows");
    must_refuse(&event_codec, slice_from(EVENT(PUSHED), sizeof(EVENT(PUSHED))), "not valid UTF-8 (or NUL)");
    must_refuse(&event_codec, slice_of("[]"), "not a CloudEvent");
    must_refuse(&event_codec, slice_of("null"), "not a CloudEvent");
}

static void a_body_that_only_looks_odd_is_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *actor;
    } bodies[] = {
        {"\\\\u0000", "\\u0000"},
        {"\\ud83d\\ude80", "\xf0\x9f\x9a\x80"},
        {"\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf", "\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf"},
        {"a\\u0001\\n", "a\x01\n"},
        {"x\",\"unknown\":[{\"a\":1},{\"a\":1}],\"y\":\"", "x"},
    };
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        AUTO(text) char *body = text_format(EVENT(PUSHED ",\"actor\":\"%s\"") " \n", bodies[i].text);
        AUTO_MESSAGE message = {&event_codec, NULL};
        must_parse(slice_of(body), &message, body);
        assert_string_equal(((struct event *)message.content)->actor, bodies[i].actor);
    }
}

static void a_body_too_large_or_too_deep_is_refused(void **state)
{
    (void)state;
    struct error err;
    cJSON *root = NULL;
    assert_true(json_parse(slice_of("[1,2]"), 5, &root, &err));
    json_free(root);
    assert_false(json_parse(slice_of("[1,2] "), 5, &root, &err));
    assert_string_equal(err.text, "the body has 6 bytes, at most 5 are accepted");

    AUTO_BUFFER body;
    buffer_init(&body, 2 * MESSAGE_MAXIMUM_BYTES);
    buffer_append_text(&body, EVENT(PUSHED));
    while (body.len <= MESSAGE_MAXIMUM_BYTES) {
        buffer_append_text(&body, "                                                                ");
    }
    must_refuse(&event_codec, buffer_slice(&body), "at most 8388608 are accepted");
    must_refuse(&event_codec, slice_from(body.ptr, MESSAGE_MAXIMUM_BYTES + 1), "at most 8388608 are accepted");
    AUTO_MESSAGE message = {&event_codec, NULL};
    must_parse(slice_from(body.ptr, MESSAGE_MAXIMUM_BYTES), &message, "exactly the maximum");

    enum { DEEP = 100000 };
    buffer_clear(&body);
    for (int i = 0; i < DEEP; i++) {
        buffer_append_char(&body, '[');
    }
    for (int i = 0; i < DEEP; i++) {
        buffer_append_char(&body, ']');
    }
    must_refuse(&event_codec, buffer_slice(&body), "not JSON");
}

static void the_envelope_is_held_to_its_type(void **state)
{
    (void)state;
    must_refuse(&job_codec, slice_of(EVENT(PUSHED)), "type is \"tagfleet.event.v1\", expected \"tagfleet.job.v1\"");
    must_refuse(&event_codec, slice_of("{\"specversion\":\"1.0\"}"), "type is \"\"");
    must_refuse(&event_codec, slice_of("{\"specversion\":\"0.3\",\"type\":\"tagfleet.event.v1\"}"), "specversion");
    must_refuse(&event_codec, slice_of("{\"specversion\":\"1.0\",\"type\":\"tagfleet.event.v1\",\"data\":[]}"),
                "data must be an object");
    must_refuse(&event_codec,
                slice_of("{\"specversion\":\"1.0\",\"type\":\"tagfleet.event.v1\",\"datacontenttype\":\"text/xml\"}"),
                "datacontenttype must be \"application/json\"");
    assert_null(message_type(slice_of("{")));
    assert_null(message_type(slice_of("{\"type\":7}")));
    assert_null(message_type(slice_of("[\"type\"]")));
}

static void whole_numbers_are_written_to_the_last_digit(void **state)
{
    (void)state;
    static const int64_t numbers[] = {0, 1, 2147483648, 1000000000000000, 9007199254740989, 9007199254740991};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        struct dead_letter letter = {.partition = numbers[i], .role = "r", .topic = "t", .reason = "because"};
        envelope_fill(&letter.envelope, "1", "tests", NULL);
        AUTO_BUFFER body;
        buffer_init(&body, MESSAGE_MAXIMUM_BYTES);
        dead_letter_format(&letter, &body);
        AUTO(text) char *expected = text_format("\"partition\":%lld,", (long long)numbers[i]);
        assert_non_null(strstr(body.ptr, expected));
        struct error err;
        AUTO(dead_letter) struct dead_letter *read = NULL;
        assert_true(dead_letter_parse(buffer_slice(&body), &read, &err));
        assert_int_equal(read->partition, numbers[i]);
        free(letter.envelope.id);
        free(letter.envelope.source);
    }
}

/* The reason of a refusal quotes the text, cut at a length: what is written of it must be readable. */
static void half_a_character_is_not_written(void **state)
{
    (void)state;
    AUTO_BUFFER ref;
    buffer_init(&ref, MESSAGE_MAXIMUM_BYTES);
    buffer_append_text(&ref, "x");
    for (int i = 0; i < 600; i++) {
        buffer_append_text(&ref, "\xc3\xa9");
    }
    AUTO(text)
    char *body = text_format(
        EVENT("\"kind\":\"tag_created\",\"origin\":\"emit\",\"repository\":\"a/b\",\"ref\":\"%s\""), ref.ptr);
    struct error err;
    struct event *event = NULL;
    assert_false(event_parse(slice_of(body), &event, &err));
    struct record record = {.partition = 1, .offset = 2, .value = slice_of(body)};
    AUTO(output) struct output *rejection = unreadable_rejection("resolver", "tagfleet.events", &record, err.text);
    AUTO(deployment) struct deployment *deployment = NULL;
    struct error wrong = {0};
    if (!deployment_parse(slice_from(rejection->value, rejection->value_len), &deployment, &wrong)) {
        fail_msg("%s", wrong.text);
    }
    assert_int_equal(deployment->outcome, DEPLOYMENT_REJECTED);
    assert_non_null(strstr(deployment->reason, "\xc3\xa9?\" is not a full ref"));
}

static void a_message_goes_out_with_the_headers_of_its_body(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        const char *value;
    } expected[] = {
        {"content-type", "application/cloudevents+json; charset=UTF-8"},
        {"ce_specversion", "1.0"},
        {"ce_id", "1"},
        {"ce_source", "tests"},
        {"ce_type", "tagfleet.event.v1"},
        {"ce_time", "2026-01-02T03:04:05.678Z"},
    };
    AUTO_MESSAGE message = {&event_codec, NULL};
    must_parse(slice_of(EVENT(PUSHED)), &message, "an event");
    AUTO(output) struct output *output = message_output(&event_codec, message.content, "events", "acme/app");
    assert_string_equal(output->topic, "events");
    assert_string_equal(output->key, "acme/app");
    size_t found = 0;
    for (size_t i = 0; i < output->header_count; i++) {
        for (size_t j = 0; j < sizeof(expected) / sizeof(expected[0]); j++) {
            if (strcmp(output->headers[i].name, expected[j].name) == 0) {
                assert_string_equal(output->headers[i].value, expected[j].value);
                found++;
            }
        }
    }
    assert_int_equal(found, sizeof(expected) / sizeof(expected[0]));
}

/* --- Ids --- */

static struct event event_of(const char *before, const char *after, const char *build)
{
    return (struct event){.repository = "acme/app",
                          .ref = "refs/heads/main",
                          .before = (char *)(uintptr_t)before,
                          .after = (char *)(uintptr_t)after,
                          .build = (char *)(uintptr_t)build};
}

static void id_of(struct event event, char ret_id[EVENT_ID_SIZE])
{
    identity_event(&event, ret_id);
    assert_int_equal(strlen(ret_id), 32);
    assert_int_equal(strspn(ret_id, "0123456789abcdef"), 32);
}

static void every_way_of_saying_no_commit_gives_one_event_id(void **state)
{
    (void)state;
    static const char *const none[] = {NULL, "", "0", ZEROS, ZEROS "000000000000000000000000"};
    char expected[EVENT_ID_SIZE];
    char deleted[EVENT_ID_SIZE];
    id_of(event_of(NULL, COMMIT, NULL), expected);
    id_of(event_of(COMMIT, NULL, NULL), deleted);
    assert_string_not_equal(expected, deleted);
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        char id[EVENT_ID_SIZE];
        assert_true(commit_is_absent(none[i]));
        id_of(event_of(none[i], COMMIT, NULL), id);
        assert_string_equal(id, expected);
        id_of(event_of(COMMIT, none[i], NULL), id);
        assert_string_equal(id, deleted);
    }
    assert_false(commit_is_absent(COMMIT));
    assert_false(commit_is_absent("00000001"));
}

static void the_event_id_follows_from_what_happened_and_nothing_else(void **state)
{
    (void)state;
    char plain[EVENT_ID_SIZE];
    char other[EVENT_ID_SIZE];
    struct event event = event_of(NULL, COMMIT, "b");
    id_of(event, plain);
    /* printf 'acme/app\0refs/heads/main\0\0<commit>\0b\0' | sha256sum */
    assert_string_equal(plain, "ae24a01ef604b671ab30383a470415b9");
    event.delivery = "another";
    event.redelivered = true;
    event.actor = "somebody";
    event.kind = EVENT_BUILD_PUBLISHED;
    id_of(event, other);
    assert_string_equal(plain, other);
    id_of(event_of(NULL, COMMIT, "c"), other);
    assert_string_not_equal(plain, other);
    id_of(event_of(NULL, COMMIT, NULL), other);
    assert_string_not_equal(plain, other);
}

/* The same characters, parted elsewhere. */
static void parts_of_an_id_do_not_run_into_each_other(void **state)
{
    (void)state;
    char one[EVENT_ID_SIZE];
    char two[EVENT_ID_SIZE];
    id_of((struct event){.repository = "acme/app", .ref = "refs/heads/main", .after = COMMIT}, one);
    id_of((struct event){.repository = "acme/apprefs", .ref = "/heads/main", .after = COMMIT}, two);
    assert_string_not_equal(one, two);
    id_of((struct event){.repository = "a", .ref = "r", .before = COMMIT}, one);
    id_of((struct event){.repository = "a", .ref = "r", .after = COMMIT}, two);
    assert_string_not_equal(one, two);
}

static void a_deployment_id_tells_builds_and_generations_apart(void **state)
{
    (void)state;
    char ids[6][DEPLOYMENT_ID_SIZE];
    char again[DEPLOYMENT_ID_SIZE];
    identity_deployment("acme/app", "refs/heads/main", COMMIT, "b", 0, ids[0]);
    identity_deployment("acme/app", "refs/heads/main", COMMIT, "c", 0, ids[1]);
    identity_deployment("acme/app", "refs/heads/main", COMMIT, NULL, 0, ids[2]);
    identity_deployment("acme/app", "refs/heads/main", COMMIT, "b", 1, ids[3]);
    identity_deployment("acme/app", "refs/heads/main", NULL, "b", 0, ids[4]);
    identity_unreadable("acme/app", 0, 0, ids[5]);
    for (size_t i = 0; i < 6; i++) {
        assert_null(check_deployment(ids[i]));
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(ids[i], ids[j]);
        }
    }
    identity_deployment("acme/app", "refs/heads/main", COMMIT, "b", 0, again);
    assert_string_equal(again, ids[0]);
    char first[DEPLOYMENT_ID_SIZE];
    char second[DEPLOYMENT_ID_SIZE];
    identity_unreadable("events", 1, 23, first);
    identity_unreadable("events", 12, 3, second);
    assert_string_not_equal(first, second);
}

static void a_job_id_is_read_where_the_job_is_not(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        bool is_read;
    } bodies[] = {
        {"{\"id\":\"d-0123456789abcdef/222222222222\"}", true},
        {"{\"id\":\"d-0123456789abcdef\"}", false},
        {"{\"id\":\"d-0123456789abcdef/\"}", false},
        {"{\"id\":\"d-0123456789abcde/222222222222\"}", false},
        {"{\"id\":\"d-0123456789abcdef/22222222222\"}", false},
        {"{\"id\":\"/222222222222\"}", false},
        {"{\"id\":7}", false},
        {"{}", false},
        {"{", false},
    };
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        AUTO(text) char *deployment = NULL;
        AUTO(text) char *account = NULL;
        assert_int_equal(job_read_id(slice_of(bodies[i].body), &deployment, &account), bodies[i].is_read);
        if (bodies[i].is_read) {
            assert_string_equal(deployment, "d-0123456789abcdef");
            assert_string_equal(account, "222222222222");
        } else {
            assert_null(deployment);
            assert_null(account);
        }
    }
}

/* --- Map files --- */

static void a_map_file_is_read_and_written(void **state)
{
    (void)state;
    static const char text[] = "{\"qa\": [\"222222222222\", \"000000000042\", \"222222222222\"],\"branch/main\":[], "
                               "\"gr\xc3\xb6\xc3\x9f\x65\":[\"333333333333\"]}";
    static const char written[] = "{\n  \"qa\": [\"222222222222\",\"000000000042\"],\n  \"branch/main\": [],\n"
                                  "  \"gr\xc3\xb6\xc3\x9f\x65\": [\"333333333333\"]\n}\n";
    struct error err;
    AUTO(map_file) struct map_file *file = NULL;
    assert_true(map_file_parse(slice_of(text), &file, &err));
    AUTO_BUFFER once;
    buffer_init(&once, MESSAGE_MAXIMUM_BYTES);
    map_file_format(file, &once);
    assert_string_equal(once.ptr, written);
    AUTO(map_file) struct map_file *again = NULL;
    assert_true(map_file_parse(buffer_slice(&once), &again, &err));
    AUTO_BUFFER twice;
    buffer_init(&twice, MESSAGE_MAXIMUM_BYTES);
    map_file_format(again, &twice);
    assert_string_equal(once.ptr, twice.ptr);
    assert_int_equal(map_file_find(file, "qa")->accounts.count, 2);
    const struct texts *qa = &map_file_find(file, "qa")->accounts;
    assert_string_equal(qa->items[qa->count - 1], "000000000042");
    assert_null(map_file_find(file, "QA"));
}

static void a_map_file_is_refused_with_the_tag_and_the_reason(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *reason;
    } files[] = {
        {"{\"qa\":[222222222222]}",
         "\"qa\": account ids are texts in quotes: a number loses its leading zeros (222222222222)"},
        {"{\"qa\":[\"22222222222\"]}", "\"qa\": \"22222222222\" is not an account id: exactly 12 digits"},
        {"{\"qa\":[\" 222222222222\"]}", "is not an account id"},
        {"{\"qa\":[null]}", "\"qa\": account ids are texts of 12 digits"},
        {"{\"qa\":\"222222222222\"}", "\"qa\": must be a list of account ids"},
        {"{\"ok\":[],\"a b\":[]}", "\"a b\": tag must not contain white space"},
        {"{\"\":[]}", "\"\": tag must have 1 to 128 bytes"},
        {"{\"qa\":[],\"qa\":[]}", "the key \"qa\" occurs twice"},
        {"[]", "must be an object"},
        {"\"qa\"", "must be an object"},
        {"{\"qa\":[]} x", "more text follows"},
        {"", "not JSON"},
    };
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        struct error err = {0};
        AUTO(map_file) struct map_file *file = NULL;
        assert_false(map_file_parse(slice_of(files[i].text), &file, &err));
        assert_int_equal(err.action, ERROR_REJECT);
        if (strstr(err.text, files[i].reason) == NULL) {
            fail_msg("\"%s\" does not say \"%s\"", err.text, files[i].reason);
        }
    }
}

static void texts_auto(struct texts *texts)
{
    texts_clear(texts);
}

static void the_comma_form_is_trimmed_and_without_duplicates(void **state)
{
    (void)state;
    struct error err;
    __attribute__((cleanup(texts_auto))) struct texts accounts = {0};
    assert_true(accounts_parse(" 222222222222,333333333333 ,\t222222222222,, 000000000042\n", &accounts, &err));
    assert_int_equal(accounts.count, 3);
    assert_string_equal(accounts.items[0], "222222222222");
    assert_string_equal(accounts.items[1], "333333333333");
    assert_string_equal(accounts.items[2], "000000000042");
    assert_true(texts_are_unique(&accounts));
    assert_true(accounts_parse("333333333333", &accounts, &err));
    assert_int_equal(accounts.count, 3);
    assert_false(accounts_parse("222222222222 333333333333", &accounts, &err));
    assert_string_equal(err.text, "\"222222222222 333333333333\" is not an account id: exactly 12 digits");
    texts_add(&accounts, "222222222222");
    assert_false(texts_are_unique(&accounts));
}

/* --- Dead letters --- */

static size_t decoded(const char *base64, unsigned char *ret_bytes)
{
    size_t length = strlen(base64);
    int count = EVP_DecodeBlock(ret_bytes, (const unsigned char *)base64, (int)length);
    assert_true(count >= 0);
    return (size_t)count - (length > 0 && base64[length - 1] == '=') - (length > 1 && base64[length - 2] == '=');
}

static void a_dead_letter_keeps_the_original_bytes(void **state)
{
    (void)state;
    char bytes[256];
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] = (char)i;
    }
    for (size_t length = 0; length <= sizeof(bytes); length++) {
        struct record record = {
            .partition = 3, .offset = 1187, .key = slice_of("k"), .value = slice_from(bytes, length)};
        AUTO(dead_letter) struct dead_letter *letter = dead_letter_of("resolver", "t.events", &record, "because");
        AUTO_BUFFER body;
        buffer_init(&body, MESSAGE_MAXIMUM_BYTES);
        dead_letter_format(letter, &body);
        struct error err;
        AUTO(dead_letter) struct dead_letter *read = NULL;
        assert_true(dead_letter_parse(buffer_slice(&body), &read, &err));
        unsigned char found[sizeof(bytes) + 3];
        assert_int_equal(decoded(read->value_base64, found), length);
        assert_memory_equal(found, bytes, length);
        assert_string_equal(read->key_base64, "aw==");
        assert_string_equal(read->envelope.id, "t.events/3/1187");
        assert_string_equal(read->envelope.source, "tagfleet/resolver");
        assert_string_equal(read->topic, "t.events");
        assert_int_equal(read->partition, 3);
        assert_int_equal(read->offset, 1187);
        assert_string_equal(read->reason, "because");
    }
    struct record none = {.partition = 0, .offset = 0};
    AUTO(dead_letter) struct dead_letter *letter = dead_letter_of("copier", "t.jobs", &none, "because");
    assert_null(letter->key_base64);
    assert_null(letter->value_base64);
}

static void an_original_too_large_for_a_message_is_told_of_all_the_same(void **state)
{
    (void)state;
    AUTO(text) char *bytes = memory_zeroed(MESSAGE_MAXIMUM_BYTES, 1);
    memset(bytes, 'x', MESSAGE_MAXIMUM_BYTES);
    static const struct {
        size_t key;
        size_t value;
        bool is_kept;
    } sizes[] = {
        {8, DEAD_LETTER_ORIGINAL_MAXIMUM_BYTES - 8, true},
        {DEAD_LETTER_ORIGINAL_MAXIMUM_BYTES - 8, 8, true},
        {8, DEAD_LETTER_ORIGINAL_MAXIMUM_BYTES - 7, false},
        {8, MESSAGE_MAXIMUM_BYTES - 8, false},
        {MESSAGE_MAXIMUM_BYTES - 8, 8, false},
    };
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct error err;
        struct record record = {.key = slice_from(bytes, sizes[i].key), .value = slice_from(bytes, sizes[i].value)};
        AUTO(output) struct output *letter = unreadable_letter("resolver", "t.events", &record, "because");
        AUTO(dead_letter) struct dead_letter *read = NULL;
        assert_true(output_size_bytes(letter) <= MESSAGE_MAXIMUM_BYTES);
        assert_true(dead_letter_parse(slice_from(letter->value, letter->value_len), &read, &err));
        assert_int_equal(read->value_base64 != NULL, sizes[i].is_kept);
        assert_int_equal(read->key_base64 != NULL, sizes[i].is_kept);
        assert_int_equal(strstr(read->reason, "not kept here") == NULL, sizes[i].is_kept);
    }
}

static void what_is_put_aside_keeps_its_key_and_is_rejected_visibly(void **state)
{
    (void)state;
    struct error err;
    struct record record = {.partition = 3, .offset = 1187, .key = slice_of("acme/app"), .value = slice_of("{")};
    AUTO(output) struct output *letter = unreadable_letter("resolver", "t.events", &record, "because");
    assert_string_equal(letter->topic, "dead");
    assert_string_equal(letter->key, "acme/app");
    AUTO(output) struct output *rejection = unreadable_rejection("resolver", "t.events", &record, "because");
    assert_string_equal(rejection->topic, "results");
    AUTO(deployment) struct deployment *deployment = NULL;
    assert_true(deployment_parse(slice_from(rejection->value, rejection->value_len), &deployment, &err));
    assert_string_equal(rejection->key, deployment->deployment);
    assert_string_equal(deployment->event, "t.events/3/1187");
    assert_string_equal(deployment->reason, "because");
    assert_int_equal(deployment->outcome, DEPLOYMENT_REJECTED);
}

/* --- Lines for scripts --- */

#define LINE(buffer)                                                                                                   \
    AUTO_BUFFER buffer;                                                                                                \
    buffer_init(&(buffer), MESSAGE_MAXIMUM_BYTES)

static void the_line_of_an_account_has_its_fields_in_order(void **state)
{
    (void)state;
    struct result result = {.deployment = "d-0123456789abcdef",
                            .account = "222222222222",
                            .repository = "acme/app",
                            .ref = "refs/heads/main",
                            .commit = COMMIT,
                            .outcome = RESULT_TIMED_OUT,
                            .reason = "never appeared",
                            .attempts = 2,
                            .objects = 3,
                            .bytes = 1000000000000000,
                            .started_ms = 1000,
                            .finished_ms = 2345};
    LINE(full);
    report_account_line(&result, &full);
    assert_string_equal(full.ptr,
                        "{\"deployment\":\"d-0123456789abcdef\",\"repository\":\"acme/app\",\"ref\":"
                        "\"refs/heads/main\",\"commit\":\"" COMMIT "\",\"account\":\"222222222222\","
                        "\"outcome\":\"timed_out\",\"reason\":\"never appeared\",\"attempts\":2,\"objects\":3,"
                        "\"bytes\":1000000000000000,\"started\":\"1970-01-01T00:00:01.000Z\","
                        "\"finished\":\"1970-01-01T00:00:02.345Z\"}");
    result = (struct result){.deployment = "d-0123456789abcdef", .account = "222222222222"};
    LINE(lean);
    report_account_line(&result, &lean);
    assert_string_equal(lean.ptr,
                        "{\"deployment\":\"d-0123456789abcdef\",\"repository\":null,\"ref\":null,\"commit\":null,"
                        "\"account\":\"222222222222\",\"outcome\":\"succeeded\",\"reason\":null,\"attempts\":0,"
                        "\"objects\":0,\"bytes\":0,\"started\":\"1970-01-01T00:00:00.000Z\","
                        "\"finished\":\"1970-01-01T00:00:00.000Z\"}");
}

static void the_line_of_a_deployment_has_its_fields_in_order(void **state)
{
    (void)state;
    struct deployment deployment = {.deployment = "d-0123456789abcdef",
                                    .outcome = DEPLOYMENT_ACCEPTED,
                                    .repository = "acme/app",
                                    .ref = "refs/heads/main",
                                    .commit = COMMIT,
                                    .tag = "branch/main",
                                    .build = "b"};
    struct result_counts counts = {.accounts = 21, .by_outcome = {1, 2, 3, 4, 5, 6}};
    LINE(finished);
    report_deployment_line(&deployment, &counts, &finished);
    assert_string_equal(finished.ptr,
                        "{\"deployment\":\"d-0123456789abcdef\",\"outcome\":\"finished\",\"repository\":\"acme/app\","
                        "\"ref\":\"refs/heads/main\",\"commit\":\"" COMMIT "\",\"tag\":\"branch/main\",\"build\":\"b\","
                        "\"accounts\":21,\"succeeded\":1,\"unchanged\":2,\"failed\":3,\"superseded\":4,"
                        "\"timed_out\":5,\"skipped\":6}");
    counts.accounts = 22;
    LINE(running);
    report_deployment_line(&deployment, &counts, &running);
    assert_non_null(strstr(running.ptr, "\"outcome\":\"running\""));

    static const char *const outcomes[] = {"dropped", "rejected", "noted", "superseded", "ignored"};
    for (int i = 0; i < 5; i++) {
        struct deployment ended = {.deployment = "d-0123456789abcdef",
                                   .outcome = DEPLOYMENT_DROPPED + i,
                                   .repository = "acme/app",
                                   .ref = "refs/heads/main",
                                   .reason = "because"};
        AUTO(text)
        char *expected = text_format("{\"deployment\":\"d-0123456789abcdef\",\"outcome\":\"%s\",\"repository\":"
                                     "\"acme/app\",\"ref\":\"refs/heads/main\",\"commit\":null,\"reason\":"
                                     "\"because\"}",
                                     outcomes[i]);
        LINE(line);
        report_deployment_line(&ended, &(struct result_counts){0}, &line);
        assert_string_equal(line.ptr, expected);
    }
}

static void the_line_of_a_plan_has_its_fields_in_order(void **state)
{
    (void)state;
    struct job_copy copies[] = {{"from", "b/frontend/", "to", "", false}, {"from", "b/a.zip", "pipe", "a.zip", true}};
    struct job job = {.tag = "qa",
                      .version = "1.1.1",
                      .account = "222222222222",
                      .role = "arn:aws:iam::222222222222:role/deploy",
                      .copies = {copies, 2}};
    LINE(line);
    report_plan_line(&job, &line);
    assert_string_equal(line.ptr,
                        "{\"outcome\":\"deploys\",\"tag\":\"qa\",\"version\":\"1.1.1\",\"account\":"
                        "\"222222222222\",\"role\":\"arn:aws:iam::222222222222:role/deploy\",\"copies\":["
                        "{\"source\":\"s3://from/b/frontend/\",\"target\":\"s3://to/\",\"trigger\":false},"
                        "{\"source\":\"s3://from/b/a.zip\",\"target\":\"s3://pipe/a.zip\",\"trigger\":true}]}");
    job = (struct job){.tag = "qa", .account = "222222222222", .profile = "acme"};
    LINE(profile);
    report_plan_line(&job, &profile);
    assert_string_equal(profile.ptr, "{\"outcome\":\"deploys\",\"tag\":\"qa\",\"version\":null,\"account\":"
                                     "\"222222222222\",\"role\":null,\"profile\":\"acme\",\"copies\":[]}");
    LINE(none);
    report_no_plan_line("dropped", "refs/tags/v-1-x", "x", "the map has no such tag", &none);
    assert_string_equal(none.ptr, "{\"outcome\":\"dropped\",\"ref\":\"refs/tags/v-1-x\",\"tag\":\"x\","
                                  "\"reason\":\"the map has no such tag\"}");
    LINE(untagged);
    report_no_plan_line("rejected", "refs/tags/x", NULL, "no", &untagged);
    assert_string_equal(untagged.ptr, "{\"outcome\":\"rejected\",\"ref\":\"refs/tags/x\",\"reason\":\"no\"}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_example_survives_reading_and_writing),
        cmocka_unit_test(a_message_is_checked_as_it_would_be_read),
        cmocka_unit_test(every_missing_field_is_refused_by_its_name),
        cmocka_unit_test(what_contradicts_itself_is_refused),
        cmocka_unit_test(rules_over_several_fields_hold),
        cmocka_unit_test(a_body_that_readers_could_take_differently_is_refused),
        cmocka_unit_test(a_body_that_only_looks_odd_is_read),
        cmocka_unit_test(a_body_too_large_or_too_deep_is_refused),
        cmocka_unit_test(the_envelope_is_held_to_its_type),
        cmocka_unit_test(whole_numbers_are_written_to_the_last_digit),
        cmocka_unit_test(half_a_character_is_not_written),
        cmocka_unit_test(a_message_goes_out_with_the_headers_of_its_body),
        cmocka_unit_test(every_way_of_saying_no_commit_gives_one_event_id),
        cmocka_unit_test(the_event_id_follows_from_what_happened_and_nothing_else),
        cmocka_unit_test(parts_of_an_id_do_not_run_into_each_other),
        cmocka_unit_test(a_deployment_id_tells_builds_and_generations_apart),
        cmocka_unit_test(a_job_id_is_read_where_the_job_is_not),
        cmocka_unit_test(a_map_file_is_read_and_written),
        cmocka_unit_test(a_map_file_is_refused_with_the_tag_and_the_reason),
        cmocka_unit_test(the_comma_form_is_trimmed_and_without_duplicates),
        cmocka_unit_test(a_dead_letter_keeps_the_original_bytes),
        cmocka_unit_test(an_original_too_large_for_a_message_is_told_of_all_the_same),
        cmocka_unit_test(what_is_put_aside_keeps_its_key_and_is_rejected_visibly),
        cmocka_unit_test(the_line_of_an_account_has_its_fields_in_order),
        cmocka_unit_test(the_line_of_a_deployment_has_its_fields_in_order),
        cmocka_unit_test(the_line_of_a_plan_has_its_fields_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
