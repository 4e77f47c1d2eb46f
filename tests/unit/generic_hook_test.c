#include "producer/hosts/host.h"

#include "tests/support/hook.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define WHERE "\"repository\":\"Acme/App\",\"ref\":\"refs/tags/v-1-qa\""

static void each_kind_of_event_can_be_said(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        enum event_kind kind;
        const char *ref;
        const char *before;
        const char *after;
        const char *build;
    } rows[] = {
        {"{" WHERE ",\"commit\":\"" A "\"}", EVENT_TAG_CREATED, "refs/tags/v-1-qa", NULL, A},
        {"{" WHERE ",\"commit\":\"" A "\",\"before\":null,\"actor\":\"ci\",\"build\":null}", EVENT_TAG_CREATED,
         "refs/tags/v-1-qa", NULL, A},
        {"{" WHERE ",\"commit\":\"" A "\",\"before\":\"" B "\"}", EVENT_TAG_MOVED, "refs/tags/v-1-qa", B, A},
        {"{" WHERE ",\"commit\":null}", EVENT_REF_DELETED, "refs/tags/v-1-qa", NULL, NULL},
        {"{" WHERE ",\"commit\":null,\"before\":\"" B "\"}", EVENT_REF_DELETED, "refs/tags/v-1-qa", B, NULL},
        {"{\"repository\":\"a/b\",\"ref\":\"heads/main\",\"commit\":\"" A "\"}", EVENT_BRANCH_UPDATED,
         "refs/heads/main", NULL, A},
        {"{\"repository\":\"a/b\",\"ref\":\"refs/heads/main\",\"commit\":\"" A "\",\"build\":\"b-1\"}",
         EVENT_BUILD_PUBLISHED, "refs/heads/main", NULL, A, "b-1"},
        {"{" WHERE ",\"commit\":\"" A "\",\"before\":\"" A "\",\"build\":\"b-1\"}", EVENT_BUILD_PUBLISHED,
         "refs/tags/v-1-qa", A, A, "b-1"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct error err = {0};
        AUTO(changes) struct changes changes = {0};
        if (!hook_parse(&generic_host, slice_of(rows[i].body), NULL, &changes, &err)) {
            fail_msg("%s: %s", rows[i].body, err.text);
        }
        const struct event *event = event_at(&changes, 0);
        const char *const wanted[] = {rows[i].ref, rows[i].before, rows[i].after, rows[i].build};
        const char *const got[] = {event->ref, event->before, event->after, event->build};
        assert_int_equal(changes.items.count, 1);
        assert_int_equal(event->kind, rows[i].kind);
        for (size_t j = 0; j < COUNT(wanted); j++) {
            assert_true((wanted[j] == NULL) == (got[j] == NULL));
            assert_true(wanted[j] == NULL || strcmp(wanted[j], got[j]) == 0);
        }
    }
}

static void a_mistake_is_answered_with_what_would_be_right(void **state)
{
    (void)state;
    static const struct {
        const char *body;
        const char *reason;
    } rows[] = {
        {"{}", "repository is needed"},
        {"{\"repository\":\"a/b\"}", "ref is needed: refs/heads/<branch> or refs/tags/<tag>"},
        {"{\"repository\":\"a/b\",\"ref\":\"main\",\"commit\":\"" A "\"}", "\"main\" is not a full ref"},
        {"{" WHERE "}", "commit is needed: the commit's id, or null"},
        {"{" WHERE ",\"comit\":\"" A "\"}", "\"comit\" is not a field; known are repository, ref, commit"},
        {"{" WHERE ",\"commit\":7}", "commit must be a text"},
        {"{" WHERE ",\"commit\":\"\"}", "commit is empty"},
        {"{" WHERE ",\"commit\":\"HEAD\"}", "is not a commit: 7 to 64"},
        {"{" WHERE ",\"commit\":\"0000000000000000000000000000000000000000\"}", "leave it out"},
        {"{" WHERE ",\"commit\":null,\"build\":\"b-1\"}", "build must be left out"},
        {"{" WHERE ",\"commit\":\"" A "\",\"before\":\"" A "\"}", "has not moved"},
        {"{" WHERE ",\"commit\":\"" A "\",\"before\":\"x\"}", "before \"x\" is not a commit"},
        {"{" WHERE ",\"commit\":\"" A "\",\"build\":\"../b\"}", "build"},
        {"{" WHERE ",\"commit\":\"" A "\",\"actor\":true}", "actor must be a text"},
        {"{\"repository\":null,\"ref\":\"refs/heads/main\",\"commit\":\"" A "\"}", "repository must be a text"},
        {"{\"repository\":\"a b\",\"ref\":\"refs/heads/main\",\"commit\":\"" A "\"}", "such as acme/app"},
        {"{\"repository\":\"a/b\",\"ref\":\"refs/heads/a..b\",\"commit\":\"" A "\"}", "git does not allow"},
        {"{\"repository\":\"a/b\",\"repository\":\"c/d\"}", "occurs twice"},
        {"[]", "not an object"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct error err = {0};
        AUTO(changes) struct changes changes = {0};
        if (hook_parse(&generic_host, slice_of(rows[i].body), NULL, &changes, &err)) {
            fail_msg("taken: %s", rows[i].body);
        }
        assert_int_equal(err.action, ERROR_REJECT);
        if (strstr(err.text, rows[i].reason) == NULL) {
            fail_msg("%s: %s", rows[i].body, err.text);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_of_event_can_be_said),
        cmocka_unit_test(a_mistake_is_answered_with_what_would_be_right),
    };
    return cmocka_run_group_tests_name("generic hook", tests, NULL, NULL);
}
