#include "schemas/trace.h"

#include "tests/support/unit.h"

#include <stdlib.h>

static const char parent[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

static void what_is_made_of_a_message_keeps_its_trace_and_flags_and_gets_a_span_of_its_own(void **state)
{
    (void)state;
    char one[TRACEPARENT_SIZE];
    char other[TRACEPARENT_SIZE];
    trace_continue(parent, one);
    trace_continue(parent, other);
    assert_int_equal(strlen(one), TRACEPARENT_SIZE - 1);
    assert_memory_equal(one, parent, 36);
    assert_memory_not_equal(one + 36, parent + 36, 16);
    assert_memory_not_equal(one + 36, other + 36, 16);
    assert_string_equal(one + 52, "-00");
}

static void what_cannot_be_read_begins_a_new_trace(void **state)
{
    (void)state;
    static const char *const bad[] = {
        NULL,
        "",
        "00",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
        "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char traceparent[TRACEPARENT_SIZE];
        char id[TRACE_ID_SIZE];
        trace_continue(bad[i], traceparent);
        assert_null(trace_id(bad[i], id));
        assert_non_null(trace_id(traceparent, id));
        assert_null(strstr(traceparent, "0af7651916cd43dd8448eb211c80319c"));
        assert_string_equal(traceparent + 52, "-01");
    }
}

static void a_later_version_that_says_more_is_continued(void **state)
{
    (void)state;
    char traceparent[TRACEPARENT_SIZE];
    trace_continue("01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more", traceparent);
    assert_memory_equal(traceparent, "00-0af7651916cd43dd8448eb211c80319c-", 36);
}

static void the_trace_of_a_message_is_a_header_of_its_record_too(void **state)
{
    (void)state;
    static const struct field no_fields[] = {{0}};
    static const struct codec codec = {"tagfleet.test.v1", sizeof(struct envelope), no_fields, NULL};
    struct envelope *envelope = memory_zeroed(1, sizeof(*envelope));
    envelope_fill(envelope, "1", "tests", NULL);
    envelope_trace(envelope, parent);
    AUTO(output) struct output *output = message_output(&codec, envelope, "events", "key");
    const struct {
        const char *name;
        const char *value;
    } last = {output->headers[output->header_count - 1].name, output->headers[output->header_count - 1].value};
    assert_string_equal(last.name, "traceparent");
    assert_string_equal(last.value, envelope->traceparent);
    assert_non_null(strstr(output->value, envelope->traceparent));
    message_free(&codec, envelope);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_made_of_a_message_keeps_its_trace_and_flags_and_gets_a_span_of_its_own),
        cmocka_unit_test(what_cannot_be_read_begins_a_new_trace),
        cmocka_unit_test(a_later_version_that_says_more_is_continued),
        cmocka_unit_test(the_trace_of_a_message_is_a_header_of_its_record_too),
    };
    return cmocka_run_group_tests_name("trace", tests, NULL, NULL);
}
