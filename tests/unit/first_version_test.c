/* What the first version has written is read for ever: tests/support/first/ holds its messages as they lay on the
 * topics. */
#include "schemas/build.h"
#include "schemas/dead_letter.h"
#include "schemas/deployment.h"
#include "schemas/event.h"
#include "schemas/job.h"
#include "schemas/map_entry.h"
#include "schemas/ref_state.h"
#include "schemas/result.h"
#include "tests/support/unit.h"
#include "workers/common/base/auto.h"
#include "workers/common/base/file.h"
#include "workers/common/engine/ledger.h"

#include <string.h>

static const struct codec *const codecs[] = {
    &build_codec, &dead_letter_codec, &deployment_codec, &event_codec,
    &job_codec,   &map_entry_codec,   &ref_state_codec,  &result_codec,
};

static const struct codec *codec_of(struct slice line)
{
    AUTO(text) char *type = message_type(line);
    for (size_t i = 0; type != NULL && i < sizeof(codecs) / sizeof(codecs[0]); i++) {
        if (strcmp(codecs[i]->type, type) == 0) {
            return codecs[i];
        }
    }
    fail_msg("no codec for %s", type);
    return NULL;
}

/* Read and written again it is the same text: every value was understood, none is lost, and none has got another
 * default. */
static void line_is_understood(struct slice line)
{
    struct error err;
    void *message = NULL;
    AUTO(buffer) struct buffer again;
    buffer_init(&again, MESSAGE_MAXIMUM_BYTES);
    const struct codec *codec = codec_of(line);
    if (!message_parse(codec, line, &message, &err)) {
        fail_msg("%s: %.*s", err.text, (int)line.len, line.ptr);
    }
    message_format(codec, message, &again);
    AUTO(text) char *first = slice_copy(line);
    assert_string_equal(again.ptr, first);
    message_free(codec, message);
}

static void every_message_is_read_and_written_alike(void **state)
{
    static const struct {
        const char *topic;
        size_t messages;
    } files[] = {{"events", 5}, {"refs", 5}, {"builds", 1}, {"map", 3}, {"jobs", 4}, {"results", 11}, {"dead", 2}};
    (void)state;
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        struct error err;
        AUTO(text) char *path = text_format("tests/support/first/%s.jsonl", files[i].topic);
        AUTO(buffer) struct buffer content;
        buffer_init(&content, MESSAGE_MAXIMUM_BYTES);
        assert_true(file_read(path, &content, &err));
        size_t messages = 0;
        for (const char *at = content.ptr; *at != '\0'; messages++) {
            size_t length = strcspn(at, "\n");
            line_is_understood(slice_from(at, length));
            at += length + 1;
        }
        assert_int_equal(messages, files[i].messages);
    }
}

/* The map of finished work beside a committed offset. */
static void a_committed_map_is_read(void **state)
{
    static const struct {
        int64_t offset;
        bool is_settled;
    } table[] = {{10, false}, {11, false}, {12, true}, {13, false}, {14, true}, {19, true}, {20, false}};
    (void)state;
    struct ledger ledger;
    ledger_init(&ledger);
    assert_true(ledger_restore(&ledger, 10, "v1:2,4-9"));
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        assert_int_equal(ledger_push(&ledger, table[i].offset, &ledger), !table[i].is_settled);
    }
    ledger_done(&ledger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_is_read_and_written_alike),
        cmocka_unit_test(a_committed_map_is_read),
    };
    return cmocka_run_group_tests_name("first_version", tests, NULL, NULL);
}
