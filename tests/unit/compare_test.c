#include "producer/poll/compare.h"

#include "producer/poll/told.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <string.h>

static const char a[] = "aaaaaaa1";
static const char b[] = "bbbbbbb2";

enum { SETTLE_MS = 60000, OLD_MS = 3600000, FRESH_MS = 5000 };

/* One ref on both sides, and what must be told of it. */
struct row {
    const char *what;
    const char *ref;
    bool is_known;
    const char *known; /* NULL: deleted */
    const char *left;  /* a commit that the ref has left */
    int64_t age_ms;
    const char *listed; /* NULL: not at the host */
    bool is_seen;       /* this process has compared before */
    bool is_marked;     /* another known ref is marked */
    bool has_new;       /* another ref at the host is not known */
    const char *expected;
};

static const struct row rows[] = {
    {"first look", "refs/tags/v-1", false, NULL, NULL, 0, a, false, false, false, "tag_created - aaaaaaa1 baseline"},
    {"later look", "refs/tags/v-1", false, NULL, NULL, 0, a, true, false, false, "tag_created - aaaaaaa1"},
    {"after a restart", "refs/tags/v-1", false, NULL, NULL, 0, a, false, true, false, "tag_created - aaaaaaa1"},
    {"a branch", "refs/heads/main", false, NULL, NULL, 0, a, true, false, false, "branch_updated - aaaaaaa1"},
    {"not looked at", "refs/heads/topic", false, NULL, NULL, 0, a, true, false, false, ""},
    {"not looked at", "refs/tags/x-1", true, a, NULL, OLD_MS, NULL, true, false, false, ""},
    {"deleted, there again", "refs/tags/v-1", true, NULL, NULL, OLD_MS, a, false, false, false,
     "tag_created - aaaaaaa1"},
    {"just deleted", "refs/tags/v-1", true, NULL, a, FRESH_MS, a, true, false, false, ""},
    {"moved tag", "refs/tags/v-1", true, a, NULL, OLD_MS, b, true, false, false, "tag_moved aaaaaaa1 bbbbbbb2"},
    {"moved at the first look", "refs/heads/main", true, a, NULL, OLD_MS, b, false, false, false,
     "branch_updated aaaaaaa1 bbbbbbb2"},
    {"onwards, however fresh", "refs/heads/main", true, a, NULL, FRESH_MS, b, true, false, false,
     "branch_updated aaaaaaa1 bbbbbbb2"},
    {"back, or a replica that lags", "refs/heads/main", true, b, a, FRESH_MS, a, true, false, false, ""},
    {"back, for long", "refs/heads/main", true, b, a, OLD_MS, a, true, false, false,
     "branch_updated bbbbbbb2 aaaaaaa1"},
    {"changed while the host was asked", "refs/heads/main", true, a, NULL, 500, b, true, false, false, ""},
    {"gone", "refs/tags/v-1", true, a, NULL, OLD_MS, NULL, true, false, false, "ref_deleted aaaaaaa1 -"},
    {"gone, or not there yet", "refs/tags/v-1", true, a, NULL, FRESH_MS, NULL, true, false, false, ""},
    {"gone for long", "refs/tags/v-1", true, NULL, NULL, OLD_MS, NULL, true, false, false, ""},
    {"the same, unmarked", "refs/tags/v-1", true, a, NULL, OLD_MS, a, true, false, false,
     "tag_created aaaaaaa1 aaaaaaa1 baseline"},
    {"the same, marked", "refs/tags/v-1", true, a, NULL, OLD_MS, a, true, true, false, ""},
    {"no mark before all of the baseline is known", "refs/tags/v-1", true, a, NULL, OLD_MS, a, false, false, true, ""},
};

/* What is told of the row's own ref. */
static void judge(const struct row *row, struct compare_changes *ret_changes)
{
    static const char *const branches[] = {"main"};
    static const char *const tags[] = {"v-*"};
    const bool is_seen[] = {row->is_seen, row->is_seen};
    struct ref_step step = {.event = "e", .before = (char *)row->left};
    struct ref_state state = {
        .ref = (char *)row->ref, .commit = (char *)row->known, .steps = {&step, row->left != NULL}};
    struct ref_state other = {.ref = "refs/tags/v-other", .commit = "0123456", .polled = true};
    struct compare_known known[2];
    size_t known_count = 0;
    if (row->is_known) {
        known[known_count++] = (struct compare_known){&state, row->age_ms};
    }
    if (row->is_marked) {
        known[known_count++] = (struct compare_known){&other, OLD_MS};
    }
    struct page page = {0};
    struct error err;
    if (row->listed != NULL) {
        *(struct page_row *)groups_add(&page.rows, sizeof(struct page_row)) =
            (struct page_row){text_copy(row->ref), text_copy(row->listed), 0};
    }
    if (row->is_marked) {
        assert_true(page_add(&page, REF_TAG, "v-other", "0123456", NULL, &err));
    }
    if (row->has_new) {
        assert_true(page_add(&page, REF_TAG, "v-new", "0123456", NULL, &err));
    }
    const struct page *const pages[] = {&page};
    struct listing listing = {.pages = pages, .page_count = 1, .is_whole = true};
    struct compare_input input = {
        .known = known,
        .known_count = known_count,
        .listing = &listing,
        .branches = branches,
        .branch_count = 1,
        .tags = tags,
        .tag_count = 1,
        .is_seen = is_seen,
        .look_ms = 1000,
        .settle_ms = SETTLE_MS,
    };
    compare(&input, ret_changes);
    page_clear(&page);
}

static void each_difference_is_told_as_what_it_is(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct compare_changes changes;
        judge(&rows[i], &changes);
        char text[200] = "";
        for (size_t j = 0; j < changes.items.count; j++) {
            const struct compare_change *change = (const struct compare_change *)changes.items.items + j;
            if (strcmp(change->ref, rows[i].ref) == 0) {
                (void)snprintf(text, sizeof(text), "%s %s %s%s", event_kind_names[change->kind],
                               change->before != NULL ? change->before : "-",
                               change->after != NULL ? change->after : "-", change->is_baseline ? " baseline" : "");
            }
        }
        if (strcmp(text, rows[i].expected) != 0) {
            fail_msg("%s: \"%s\", not \"%s\"", rows[i].what, text, rows[i].expected);
        }
        compare_clear(&changes);
    }
}

static void change_put(struct compare_changes *changes, const char *ref, const char *before, const char *after,
                       bool is_baseline)
{
    *(struct compare_change *)groups_add(&changes->items, sizeof(struct compare_change)) = (struct compare_change){
        .kind = EVENT_TAG_CREATED,
        .ref = text_copy(ref),
        .before = text_copy_or_null(before),
        .after = text_copy_or_null(after),
        .is_baseline = is_baseline,
    };
}

static void only_what_both_looks_say_counts(void **unused)
{
    (void)unused;
    struct compare_changes first = {0};
    struct compare_changes second = {0};
    change_put(&first, "a", NULL, a, false);
    change_put(&first, "b", NULL, a, false);
    change_put(&first, "d", NULL, a, false);
    change_put(&second, "b", NULL, b, false);
    change_put(&second, "c", NULL, a, false);
    change_put(&second, "d", NULL, a, false);
    compare_confirm(&first, &second);
    assert_int_equal(second.items.count, 1);
    assert_string_equal(((struct compare_change *)second.items.items)->ref, "d");
    compare_clear(&first);
    compare_clear(&second);
}

static void what_was_told_as_baseline_does_not_become_news(void **unused)
{
    (void)unused;
    struct told told = {0};
    struct compare_changes changes = {0};
    struct compare_changes later = {0};
    change_put(&changes, "refs/tags/v-1", NULL, a, true);
    change_put(&changes, "refs/tags/v-2", NULL, a, true);
    told_add(&told, changes.items.items);
    told_add(&told, (struct compare_change *)changes.items.items + 1);
    change_put(&later, "refs/tags/v-1", NULL, a, false); /* the resolver is slow: it is not in `refs` yet */
    change_put(&later, "refs/tags/v-2", NULL, b, false); /* moved since */
    told_drop(&told, &later);
    assert_int_equal(later.items.count, 1);
    assert_string_equal(((struct compare_change *)later.items.items)->after, b);
    told_clear(&told);
    free(changes.items.items);
    compare_clear(&later);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_difference_is_told_as_what_it_is),
        cmocka_unit_test(only_what_both_looks_say_counts),
        cmocka_unit_test(what_was_told_as_baseline_does_not_become_news),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
