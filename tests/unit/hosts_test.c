#include "producer/hosts/host.h"

#include "tests/support/fixtures.h"
#include "tests/support/hook.h"
#include "tests/support/hook_ignored.h"
#include "tests/support/hook_pushes.h"

#include <ftw.h>
#include <stdio.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static const char *event_header(const struct host *host)
{
    static const char *const names[][2] = {{"bitbucket", "X-Event-Key"}, {"bitbucket-server", "X-Event-Key"},
                                           {"github", "X-GitHub-Event"}, {"gitlab", "X-Gitlab-Event"},
                                           {"gitea", "X-Gitea-Event"},   {"gogs", "X-Gogs-Event"}};
    for (size_t i = 0; i < COUNT(names); i++) {
        if (strcmp(names[i][0], host->name) == 0) {
            return names[i][1];
        }
    }
    return NULL;
}

/* The file as changes; false when it was refused. */
static void file_parse(const char *file, const struct host *host, const char *event, struct changes *changes)
{
    struct error err = {0};
    AUTO(text) char *path = text_format("webhooks/%s", file);
    AUTO(text) char *body = fixture_read(path);
    const char *headers[] = {event != NULL ? event_header(host) : NULL, event, NULL};
    if (body == NULL) {
        fail_msg("%s is not there", path);
    }
    if (!hook_parse(host, slice_of(body), headers, changes, &err)) {
        fail_msg("%s as %s: %s", file, event != NULL ? event : "it is", err.text);
    }
}

static void assert_text(const char *file, const char *what, const char *got, const char *wanted)
{
    if ((got == NULL) != (wanted == NULL) || (got != NULL && strcmp(got, wanted) != 0)) {
        fail_msg("%s: %s is %s, not %s", file, what, got != NULL ? got : "absent", wanted != NULL ? wanted : "absent");
    }
}

static void assert_push(const struct push_payload *row, const char *event)
{
    AUTO(changes) struct changes changes = {0};
    file_parse(row->file, row->host, event, &changes);
    size_t count = 0;
    for (; count < COUNT(row->changes) && row->changes[count].ref != NULL; count++) {
        const struct event *got = event_at(&changes, count);
        assert_text(row->file, "kind", event_kind_names[got->kind], event_kind_names[row->changes[count].kind]);
        assert_text(row->file, "provider", got->provider, row->host->name);
        assert_text(row->file, "repository", got->repository, row->repository);
        assert_text(row->file, "repository_id", got->repository_id, row->repository_id);
        assert_text(row->file, "ref", got->ref, row->changes[count].ref);
        assert_text(row->file, "before", got->before, row->changes[count].before);
        assert_text(row->file, "after", got->after, row->changes[count].after);
        assert_int_equal(got->forced, row->forced);
        assert_non_null(got->actor);
    }
    assert_int_equal(changes.items.count, count);
}

static void every_public_push_is_these_events(void **state)
{
    (void)state;
    if (!fixture_is_here("webhooks", "44 public pushes")) {
        return;
    }
    for (size_t i = 0; i < COUNT(push_payloads); i++) {
        assert_push(&push_payloads[i], NULL);
        if (push_payloads[i].event != NULL) {
            assert_push(&push_payloads[i], push_payloads[i].event);
        }
    }
}

static void every_other_public_payload_is_ignored_with_its_reason(void **state)
{
    (void)state;
    if (!fixture_is_here("webhooks", "103 public payloads that deploy nothing")) {
        return;
    }
    for (size_t i = 0; i < COUNT(ignored_payloads); i++) {
        const struct ignored_payload *row = &ignored_payloads[i];
        AUTO(changes) struct changes by_body = {0};
        AUTO(changes) struct changes by_header = {0};
        file_parse(row->file, row->host, NULL, &by_body);
        assert_int_equal(by_body.items.count, 1);
        assert_text(row->file, "reason", reason_at(&by_body, 0), row->reason);
        file_parse(row->file, row->host, row->event, &by_header);
        assert_int_equal(by_header.items.count, 1);
        assert_true(strlen(reason_at(&by_header, 0)) > 10);
        bool is_cut = strstr(row->file, "refLimitExceeded") != NULL;
        assert_text(row->file, "moved unnamed", by_body.moved_unnamed, is_cut ? "amuniz/test-repos" : NULL);
    }
}

static bool is_in_a_table(const char *file)
{
    for (size_t i = 0; i < COUNT(push_payloads); i++) {
        if (strcmp(push_payloads[i].file, file) == 0) {
            return true;
        }
    }
    for (size_t i = 0; i < COUNT(ignored_payloads); i++) {
        if (strcmp(ignored_payloads[i].file, file) == 0) {
            return true;
        }
    }
    return false;
}

static bool ends_with(const char *text, const char *end)
{
    return strlen(text) >= strlen(end) && strcmp(text + strlen(text) - strlen(end), end) == 0;
}

static size_t payload_count;

static int file_found(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status;
    (void)place;
    const char *file = strstr(path, "webhooks/");
    if (type != FTW_F || file == NULL || !ends_with(path, ".json") || ends_with(path, ".schema.json") ||
        ends_with(path, "/signature-vectors.json")) {
        return 0;
    }
    payload_count++;
    if (!is_in_a_table(file + strlen("webhooks/"))) {
        fail_msg("%s is in no table of tests/support/hook_*.h", file);
    }
    return 0;
}

static void no_public_payload_is_left_out(void **state)
{
    (void)state;
    if (!fixture_is_here("webhooks", "the list of public payloads")) {
        return;
    }
    AUTO(text) char *folder = fixture_path("webhooks");
    payload_count = 0;
    assert_int_equal(nftw(folder, file_found, 8, FTW_PHYS), 0);
    assert_int_equal(payload_count, COUNT(push_payloads) + COUNT(ignored_payloads));
}

static void every_host_is_known_by_its_name(void **state)
{
    (void)state;
    size_t count = 0;
    AUTO(text) char *names = text_copy("");
    for (; hosts[count] != NULL; count++) {
        assert_ptr_equal(host_named(hosts[count]->name), hosts[count]);
        char *longer = text_format("%s%s%s%s", names, count > 0 ? ", " : "", hosts[count]->name,
                                   hosts[count] == &gitea_host ? " (Forgejo too)" : "");
        free(names);
        names = longer;
    }
    assert_int_equal(count, 7);
    assert_string_equal(names, HOST_NAMES);
    assert_null(host_named("subversion"));
    assert_null(host_named("GitHub"));
    assert_null(host_named(""));
}

/* Our own samples: what no host sends, and anybody can. */
static void what_is_no_proper_json_is_refused_by_every_host(void **state)
{
    (void)state;
    enum { DEPTH = 2000 };
    char deep[2 * DEPTH + 1] = {0};
    memset(deep, '[', DEPTH);
    memset(deep + DEPTH, ']', DEPTH);
    const struct slice bodies[] = {
        slice_of(""),
        slice_of("not json"),
        slice_of("[]"),
        slice_of("null"),
        slice_of("\"push\""),
        slice_of("{} {}"),
        slice_of("{\"ref\":\"a\\u0000b\"}"),
        slice_from("{\"ref\":\"a\0b\"}", 13),
        slice_of("{\"ref\":\"\xff\"}"),
        slice_of("{\"ref\":\"a\",\"ref\":\"b\"}"),
        slice_of("{\"repository\":{\"id\":1,\"id\":2}}"),
        slice_from(deep, 2 * DEPTH),
        slice_of("payload=%7B%7D"),
    };
    for (size_t i = 0; hosts[i] != NULL; i++) {
        for (size_t j = 0; j < COUNT(bodies); j++) {
            struct error err = {0};
            AUTO(changes) struct changes changes = {0};
            if (hook_parse(hosts[i], bodies[j], NULL, &changes, &err)) {
                fail_msg("%s took %.*s", hosts[i]->name, (int)bodies[j].len, bodies[j].ptr);
            }
            assert_int_equal(err.action, ERROR_REJECT);
            assert_true(strlen(err.text) > 10);
        }
    }
}

static void a_doubled_event_header_is_refused(void **state)
{
    (void)state;
    for (size_t i = 0; hosts[i] != NULL; i++) {
        const char *name = event_header(hosts[i]);
        const char *const headers[] = {name, "push", name, "push", NULL};
        struct error err = {0};
        AUTO(changes) struct changes changes = {0};
        if (name != NULL) {
            assert_false(hook_parse(hosts[i], slice_of("{}"), headers, &changes, &err));
            assert_int_equal(err.action, ERROR_REJECT);
            assert_non_null(strstr(err.text, name));
        }
    }
}

static void an_empty_object_is_ignored_or_refused_and_never_an_event(void **state)
{
    (void)state;
    static const char *const bodies[] = {"{}", "{\"repository\":null}", "{\"push\":[],\"changes\":{},\"ref\":1}"};
    for (size_t i = 0; hosts[i] != NULL; i++) {
        for (size_t j = 0; j < COUNT(bodies); j++) {
            struct error err = {0};
            AUTO(changes) struct changes changes = {0};
            if (hook_parse(hosts[i], slice_of(bodies[j]), NULL, &changes, &err)) {
                assert_non_null(reason_at(&changes, 0));
            } else {
                assert_int_equal(err.action, ERROR_REJECT);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_public_push_is_these_events),
        cmocka_unit_test(every_other_public_payload_is_ignored_with_its_reason),
        cmocka_unit_test(no_public_payload_is_left_out),
        cmocka_unit_test(every_host_is_known_by_its_name),
        cmocka_unit_test(what_is_no_proper_json_is_refused_by_every_host),
        cmocka_unit_test(a_doubled_event_header_is_refused),
        cmocka_unit_test(an_empty_object_is_ignored_or_refused_and_never_an_event),
    };
    return cmocka_run_group_tests_name("hosts", tests, NULL, NULL);
}
