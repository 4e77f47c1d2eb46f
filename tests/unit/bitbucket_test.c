#include "producer/hosts/host.h"

#include "tests/support/hook.h"

#include <string.h>

#define SHA_A "709d658dc5b6d6afcd46049c2f332ee3f515a67d"
#define SHA_B "1e65c05c1d5171631d92438a13901ca7dae9618c"
#define SIDE(type, name, hash)                                                                                         \
    "{\"type\":\"" type "\",\"name\":\"" name "\",\"target\":{\"hash\":\"" hash                                        \
    "\",\"date\":\"2026-03-01T10:00:00+02:00\"}}"
#define PUSH(changes)                                                                                                  \
    "{\"actor\":{\"nickname\":\"emma\"},\"repository\":{\"full_name\":\"Acme/App\",\"uuid\":\"{1}\"},"                 \
    "\"push\":{\"changes\":[" changes "]}}"
#define CHANGE(old, new) "{\"old\":" old ",\"new\":" new ",\"forced\":false}"

static bool parse(const char *body, const char *const *headers, struct changes *changes, struct error *err)
{
    return hook_parse(&bitbucket_host, slice_of(body), headers, changes, err);
}

static void each_kind_of_change_is_told_apart(void **state)
{
    (void)state;
    static const struct {
        const char *change;
        enum event_kind kind;
        const char *ref;
        const char *before;
        const char *after;
    } rows[] = {
        {CHANGE(SIDE("branch", "main", SHA_A), SIDE("branch", "main", SHA_B)), EVENT_BRANCH_UPDATED, "refs/heads/main",
         SHA_A, SHA_B},
        {CHANGE("null", SIDE("branch", "feature/x", SHA_B)), EVENT_BRANCH_UPDATED, "refs/heads/feature/x", NULL, SHA_B},
        {CHANGE("null", SIDE("tag", "v-1-qa", SHA_B)), EVENT_TAG_CREATED, "refs/tags/v-1-qa", NULL, SHA_B},
        {CHANGE("null", SIDE("annotated_tag", "v-1-qa", SHA_B)), EVENT_TAG_CREATED, "refs/tags/v-1-qa", NULL, SHA_B},
        {CHANGE(SIDE("tag", "v-1-qa", SHA_A), SIDE("tag", "v-1-qa", SHA_B)), EVENT_TAG_MOVED, "refs/tags/v-1-qa", SHA_A,
         SHA_B},
        {CHANGE(SIDE("tag", "v-1-qa", SHA_A), "null"), EVENT_REF_DELETED, "refs/tags/v-1-qa", SHA_A, NULL},
        {CHANGE("null", SIDE("tag", "v-1-größe", SHA_B)), EVENT_TAG_CREATED, "refs/tags/v-1-größe", NULL, SHA_B},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct error err = {0};
        AUTO(changes) struct changes changes = {0};
        AUTO(text)
        char *body =
            text_format("{\"actor\":{\"nickname\":\"emma\"},\"repository\":{\"full_name\":\"Acme/App\",\"uuid\":"
                        "\"{1}\"},\"push\":{\"changes\":[%s]}}",
                        rows[i].change);
        if (!parse(body, NULL, &changes, &err)) {
            fail_msg("row %zu: %s", i, err.text);
        }
        const struct event *event = change_at(&changes, 0)->event;
        assert_int_equal(event->kind, rows[i].kind);
        assert_string_equal(event->ref, rows[i].ref);
        assert_string_equal(event->repository, "acme/app");
        assert_string_equal(event->repository_id, "{1}");
        assert_string_equal(event->actor, "emma");
        assert_true((event->before == NULL) == (rows[i].before == NULL));
        assert_true(event->before == NULL || strcmp(event->before, rows[i].before) == 0);
        assert_true((event->after == NULL) == (rows[i].after == NULL));
        assert_true(event->after == NULL || strcmp(event->after, rows[i].after) == 0);
        assert_int_equal(event->committed_ms, event->after != NULL ? 1772352000000 : 0);
    }
}

static void all_changes_of_a_push_come_in_their_order(void **state)
{
    (void)state;
    struct error err;
    AUTO(changes) struct changes changes = {0};
    assert_true(parse(PUSH(CHANGE("null", SIDE("tag", "v-3-qa", SHA_A)) "," CHANGE(
                          "null", SIDE("bookmark", "x", SHA_A)) "," CHANGE("null", SIDE("branch", "main", SHA_B))),
                      NULL, &changes, &err));
    assert_int_equal(changes.items.count, 3);
    assert_string_equal(change_at(&changes, 0)->event->ref, "refs/tags/v-3-qa");
    assert_null(change_at(&changes, 1)->event);
    assert_non_null(strstr(change_at(&changes, 1)->reason, "bookmark"));
    assert_string_equal(change_at(&changes, 2)->event->ref, "refs/heads/main");
}

static void a_redelivery_has_the_same_id_and_says_so(void **state)
{
    (void)state;
    struct error err;
    static const char body[] = PUSH(CHANGE("null", SIDE("tag", "v-1-qa", SHA_A)));
    static const char *const first[] = {"X-Event-Key", "repo:push", "X-Request-UUID", "u1", "X-Attempt-Number",
                                        "1",           NULL};
    static const char *const again[] = {"x-event-key", "repo:push", "x-request-uuid", "u1", "x-attempt-number",
                                        "2",           NULL};
    AUTO(changes) struct changes one = {0};
    AUTO(changes) struct changes two = {0};
    assert_true(parse(body, first, &one, &err));
    assert_true(parse(body, again, &two, &err));
    const struct event *a = change_at(&one, 0)->event;
    const struct event *b = change_at(&two, 0)->event;
    assert_string_equal(a->envelope.id, b->envelope.id);
    assert_string_equal(a->delivery, "u1");
    assert_false(a->redelivered);
    assert_true(b->redelivered);
}

static void what_is_no_push_is_ignored_with_its_reason(void **state)
{
    (void)state;
    struct error err;
    static const char *const comment[] = {"X-Event-Key", "pullrequest:comment_created", NULL};
    AUTO(changes) struct changes changes = {0};
    assert_true(parse("{\"comment\":{}}", comment, &changes, &err));
    assert_null(change_at(&changes, 0)->event);
    assert_non_null(strstr(change_at(&changes, 0)->reason, "pullrequest:comment_created is not a push"));
    AUTO(changes) struct changes empty = {0};
    assert_true(parse(PUSH(""), NULL, &empty, &err));
    assert_null(change_at(&empty, 0)->event);
}

static void what_is_not_bitbuckets_payload_is_refused_with_its_reason(void **state)
{
    (void)state;
    static const char *const push[] = {"X-Event-Key", "repo:push", NULL};
    static const char *const bodies[] = {
        "",
        "[]",
        "not json",
        "{}",
        "{\"push\":{\"changes\":[]}}",
        "{\"repository\":{\"full_name\":\"a/b\"},\"push\":{}}",
        PUSH(CHANGE("null", SIDE("tag", "a\\u0000b", SHA_A))),
        "{\"repository\":{\"full_name\":\"a/b\",\"full_name\":\"c/d\"},\"push\":{\"changes\":[]}}",
    };
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        struct error err = {0};
        AUTO(changes) struct changes changes = {0};
        if (parse(bodies[i], push, &changes, &err)) {
            fail_msg("taken: %s", bodies[i]);
        }
        assert_int_equal(err.action, ERROR_REJECT);
        assert_true(strlen(err.text) > 10);
    }
}

/* Our own sample: one bad change among good ones. */
static void a_change_that_cannot_be_an_event_takes_no_other_with_it(void **state)
{
    (void)state;
    static const struct {
        const char *change;
        const char *reason;
    } rows[] = {
        {"{}", "neither new nor old"},
        {"7", "neither new nor old"},
        {CHANGE("null", "null"), "neither new nor old"},
        {CHANGE("null", "{\"type\":\"tag\",\"name\":\"v-1-qa\",\"target\":null}"), "new.target.hash"},
        {CHANGE("null", SIDE("tag", "v-1-qa", "")), "new.target.hash"},
        {CHANGE("null", SIDE("tag", "a b", SHA_A)), "does not allow"},
        {CHANGE("null", SIDE("tag", "v-1-qa", "not a commit")), "is not a commit"},
        {CHANGE(SIDE("tag", "v-1-qa", "not a commit"), SIDE("tag", "v-1-qa", SHA_A)), "is not a commit"},
        {CHANGE(SIDE("branch", "main", SHA_A), SIDE("branch", "main", SHA_A)), "has not moved"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct error err = {0};
        AUTO(changes) struct changes changes = {0};
        AUTO(text)
        char *body = text_format("{\"repository\":{\"full_name\":\"a/b\"},\"push\":{\"changes\":[%s,%s,%s]}}",
                                 CHANGE("null", SIDE("tag", "v-2-qa", SHA_A)), rows[i].change,
                                 CHANGE("null", SIDE("branch", "main", SHA_B)));
        assert_true(parse(body, NULL, &changes, &err));
        assert_int_equal(changes.items.count, 3);
        assert_string_equal(event_at(&changes, 0)->ref, "refs/tags/v-2-qa");
        if (strstr(reason_at(&changes, 1), rows[i].reason) == NULL) {
            fail_msg("row %zu: %s", i, reason_at(&changes, 1));
        }
        assert_string_equal(event_at(&changes, 2)->ref, "refs/heads/main");
    }
}

/* Our own sample: Bitbucket's own pipelines stop at five refs. */
static void a_push_of_many_refs_is_as_many_events(void **state)
{
    (void)state;
    enum { REFS = 12 };
    struct error err;
    AUTO(buffer) struct buffer body;
    AUTO(changes) struct changes changes = {0};
    buffer_init(&body, 1 << 20);
    buffer_append_text(&body, "{\"repository\":{\"full_name\":\"a/b\"},\"push\":{\"changes\":[");
    for (int i = 0; i < REFS; i++) {
        buffer_append_format(
            &body, "%s{\"old\":null,\"new\":{\"type\":\"tag\",\"name\":\"v-%d-qa\",\"target\":{\"hash\":\"%s\"}}}",
            i > 0 ? "," : "", i, SHA_A);
    }
    buffer_append_text(&body, "]}}");
    assert_true(parse(body.ptr, NULL, &changes, &err));
    assert_int_equal(changes.items.count, REFS);
    for (size_t i = 0; i < REFS; i++) {
        AUTO(text) char *ref = text_format("refs/tags/v-%zu-qa", i);
        assert_string_equal(event_at(&changes, i)->ref, ref);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_of_change_is_told_apart),
        cmocka_unit_test(all_changes_of_a_push_come_in_their_order),
        cmocka_unit_test(a_redelivery_has_the_same_id_and_says_so),
        cmocka_unit_test(what_is_no_push_is_ignored_with_its_reason),
        cmocka_unit_test(a_change_that_cannot_be_an_event_takes_no_other_with_it),
        cmocka_unit_test(a_push_of_many_refs_is_as_many_events),
        cmocka_unit_test(what_is_not_bitbuckets_payload_is_refused_with_its_reason),
    };
    return cmocka_run_group_tests_name("bitbucket", tests, NULL, NULL);
}
