/*
 * Beside the plain cases a random walk with a model: a log of messages, what of it is settled, and nothing else. After
 * every plan the metadata is read by a parser of this file, and by a second ledger as after a restart.
 */
#include "workers/common/engine/ledger.h"

#include "tests/support/unit.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LOG_MAXIMUM = 4000, WALKS = 60, STEPS = 500, NO_BOUND = 1 << 20 };

static int a_task;

static void push(struct ledger *ledger, int64_t offset)
{
    assert_true(ledger_push(ledger, offset, &a_task));
}

static void finish(struct ledger *ledger, int64_t offset)
{
    struct ledger_entry *entry = ledger_find(ledger, offset);
    assert_non_null(entry);
    assert_int_equal(entry->mark, LEDGER_OPEN);
    entry->mark = LEDGER_CANDIDATE;
}

static void settle(struct ledger *ledger, int64_t offset)
{
    AUTO(buffer) struct buffer map;
    size_t left_out;
    buffer_init(&map, NO_BOUND);
    finish(ledger, offset);
    (void)ledger_plan(ledger, NO_BOUND, NO_BOUND, &map, &left_out);
    ledger_settle(ledger);
}

static void expect_plan(struct ledger *ledger, int64_t offset, const char *metadata)
{
    AUTO(buffer) struct buffer map;
    size_t left_out;
    buffer_init(&map, NO_BOUND);
    assert_int_equal(ledger_plan(ledger, NO_BOUND, NO_BOUND, &map, &left_out), offset);
    assert_string_equal(map.ptr, metadata);
    assert_int_equal(left_out, 0);
}

static void the_commit_point_is_the_first_unsettled_message_or_the_end(void **state)
{
    (void)state;
    struct ledger ledger;
    ledger_init(&ledger);
    assert_int_equal(ledger_commit_point(&ledger), -1);
    push(&ledger, 10);
    push(&ledger, 11);
    push(&ledger, 15);
    assert_int_equal(ledger_commit_point(&ledger), 10);
    settle(&ledger, 11);
    assert_int_equal(ledger_commit_point(&ledger), 10);
    settle(&ledger, 10);
    assert_int_equal(ledger_commit_point(&ledger), 15);
    settle(&ledger, 15);
    assert_int_equal(ledger_commit_point(&ledger), 16);
    ledger_reach(&ledger, 20);
    assert_int_equal(ledger_commit_point(&ledger), 20);
    ledger_reach(&ledger, 18);
    assert_int_equal(ledger_commit_point(&ledger), 20);
    ledger_done(&ledger);
}

static void what_is_settled_beyond_the_offset_is_named_by_its_distance(void **state)
{
    (void)state;
    struct ledger ledger;
    ledger_init(&ledger);
    for (int64_t offset = 100; offset < 110; offset++) {
        push(&ledger, offset);
    }
    expect_plan(&ledger, 100, "");
    finish(&ledger, 102);
    finish(&ledger, 104);
    finish(&ledger, 105);
    finish(&ledger, 106);
    expect_plan(&ledger, 100, "v1:2,4-6");
    ledger_done(&ledger);
}

static void a_range_covers_the_gaps_between_settled_neighbours(void **state)
{
    (void)state;
    struct ledger ledger;
    ledger_init(&ledger);
    push(&ledger, 100);
    push(&ledger, 110);
    push(&ledger, 137);
    push(&ledger, 190);
    push(&ledger, 200);
    finish(&ledger, 110);
    finish(&ledger, 137);
    finish(&ledger, 190);
    expect_plan(&ledger, 100, "v1:10-90");
    ledger_done(&ledger);
}

static void the_head_is_covered_by_the_offset_and_needs_no_metadata(void **state)
{
    (void)state;
    struct ledger ledger;
    AUTO(buffer) struct buffer map;
    size_t left_out = 9;
    buffer_init(&map, NO_BOUND);
    ledger_init(&ledger);
    for (int64_t offset = 0; offset < 6; offset++) {
        push(&ledger, offset);
    }
    finish(&ledger, 0);
    finish(&ledger, 1);
    finish(&ledger, 3);
    /* There is no room for metadata at all. */
    assert_int_equal(ledger_plan(&ledger, NO_BOUND, 0, &map, &left_out), 2);
    assert_string_equal(map.ptr, "");
    assert_int_equal(left_out, 1);
    assert_int_equal(ledger_find(&ledger, 3)->mark, LEDGER_CANDIDATE);
    ledger_done(&ledger);
}

static void at_most_as_many_are_chosen_as_was_asked_the_oldest_first(void **state)
{
    (void)state;
    struct ledger ledger;
    AUTO(buffer) struct buffer map;
    size_t left_out = 9;
    buffer_init(&map, NO_BOUND);
    ledger_init(&ledger);
    for (int64_t offset = 0; offset < 8; offset++) {
        push(&ledger, offset);
    }
    finish(&ledger, 0);
    finish(&ledger, 2);
    finish(&ledger, 4);
    finish(&ledger, 6);
    assert_int_equal(ledger_plan(&ledger, 3, NO_BOUND, &map, &left_out), 1);
    assert_string_equal(map.ptr, "v1:1,3");
    /* Those wait for their number, not for the metadata. */
    assert_int_equal(left_out, 0);
    assert_int_equal(ledger_find(&ledger, 6)->mark, LEDGER_CANDIDATE);
    ledger_unplan(&ledger);
    assert_int_equal(ledger_plan(&ledger, 0, NO_BOUND, &map, &left_out), 0);
    assert_string_equal(map.ptr, "");
    ledger_done(&ledger);
}

static void a_plan_that_failed_leaves_everything_as_it_was(void **state)
{
    (void)state;
    struct ledger ledger;
    ledger_init(&ledger);
    for (int64_t offset = 0; offset < 4; offset++) {
        push(&ledger, offset);
    }
    finish(&ledger, 0);
    finish(&ledger, 2);
    expect_plan(&ledger, 1, "v1:1");
    ledger_unplan(&ledger);
    assert_int_equal(ledger.count, 4);
    assert_int_equal(ledger_commit_point(&ledger), 0);
    assert_int_equal(ledger_find(&ledger, 0)->mark, LEDGER_CANDIDATE);
    assert_ptr_equal(ledger_find(&ledger, 2)->task, &a_task);
    expect_plan(&ledger, 1, "v1:1");
    ledger_settle(&ledger);
    assert_null(ledger_find(&ledger, 0));
    assert_null(ledger_find(&ledger, 2)->task);
    assert_int_equal(ledger_find(&ledger, 2)->mark, LEDGER_SETTLED);
    ledger_done(&ledger);
}

static void only_what_was_pushed_and_not_forgotten_is_found(void **state)
{
    (void)state;
    struct ledger ledger;
    ledger_init(&ledger);
    assert_null(ledger_find(&ledger, 5));
    push(&ledger, 5);
    push(&ledger, 9);
    assert_int_equal(ledger_find(&ledger, 9)->offset, 9);
    assert_null(ledger_find(&ledger, 7));
    assert_null(ledger_find(&ledger, 10));
    settle(&ledger, 5);
    assert_null(ledger_find(&ledger, 5));
    ledger_done(&ledger);
}

static void a_message_that_the_restored_map_names_is_settled_already(void **state)
{
    (void)state;
    struct ledger ledger;
    ledger_init(&ledger);
    assert_true(ledger_restore(&ledger, 100, "v1:2,4-9"));
    static const bool is_new[] = {true, true, false, true, false, false, false, false, false, false, true};
    for (size_t i = 0; i < sizeof(is_new) / sizeof(is_new[0]); i++) {
        assert_int_equal(ledger_push(&ledger, 100 + (int64_t)i, &a_task), is_new[i]);
    }
    assert_null(ledger_find(&ledger, 104)->task);
    expect_plan(&ledger, 100, "v1:2,4-9");
    ledger_done(&ledger);
}

static void what_the_restored_map_names_is_kept_until_it_has_been_read_again(void **state)
{
    (void)state;
    struct ledger ledger;
    ledger_init(&ledger);
    assert_true(ledger_restore(&ledger, 100, "v1:2,4-9,12"));
    push(&ledger, 100);
    push(&ledger, 101);
    finish(&ledger, 100);
    /* A commit before the rest has been read: the next process must still know of it. */
    expect_plan(&ledger, 101, "v1:1,3-8,11");
    ledger_settle(&ledger);
    assert_false(ledger_push(&ledger, 102, &a_task));
    push(&ledger, 103);
    assert_false(ledger_push(&ledger, 104, &a_task));
    expect_plan(&ledger, 101, "v1:1,3-8,11");
    finish(&ledger, 101);
    expect_plan(&ledger, 103, "v1:1-6,9");
    ledger_settle(&ledger);
    finish(&ledger, 103);
    /* The end lies within a range: everything read so far is covered by the offset. */
    expect_plan(&ledger, 105, "v1:0-4,7");
    ledger_settle(&ledger);
    ledger_reach(&ledger, 111);
    expect_plan(&ledger, 111, "v1:1");
    ledger_reach(&ledger, 120);
    expect_plan(&ledger, 120, "");
    ledger_done(&ledger);
}

static void metadata_of_another_kind_is_refused_and_nothing_counts_as_settled(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "v1:",
        "v1",
        "v2:1",
        "x",
        "v1:a",
        "v1:1,",
        "v1:,1",
        "v1:1-",
        "v1:-1",
        "v1:1--2",
        "v1:1 ,2",
        "v1:+1",
        "v1:5-4",
        "v1:5,4",
        "v1:1-3,3",
        "v1:1,2 ",
        "v1:99999999999999999999",
        "v1:9223372036854775807",
        "v1:1-9223372036854775807",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct ledger ledger;
        ledger_init(&ledger);
        if (ledger_restore(&ledger, 100, texts[i])) {
            fail_msg("\"%s\" was read", texts[i]);
        }
        for (int64_t offset = 100; offset < 110; offset++) {
            push(&ledger, offset);
        }
        ledger_done(&ledger);
    }
}

static void a_later_restore_replaces_the_earlier_one(void **state)
{
    (void)state;
    struct ledger ledger;
    ledger_init(&ledger);
    assert_true(ledger_restore(&ledger, 10, "v1:1"));
    assert_true(ledger_restore(&ledger, 10, "v1:2"));
    push(&ledger, 11);
    assert_false(ledger_push(&ledger, 12, &a_task));
    assert_true(ledger_restore(&ledger, 10, ""));
    push(&ledger, 22);
    ledger_done(&ledger);
}

/* ---- the random walk ---- */

struct message {
    int64_t offset;
    bool is_read;      /* by the present ledger */
    bool is_candidate; /* in the present ledger */
    bool is_settled;   /* by a commit that took place */
    bool is_planned;
};

struct model {
    struct message log[LOG_MAXIMUM];
    size_t count;
    size_t read_count; /* the first of the log that the present ledger has not read */
    int64_t end;       /* of the log */
    int64_t committed;
    char metadata[8192];
    size_t metadata_maximum;
    unsigned seed;
};

static unsigned draw(struct model *model, unsigned bound)
{
    return (unsigned)rand_r(&model->seed) % bound;
}

/* Does the metadata name this offset? A parser of our own, slow and plain. */
static bool map_names(const char *metadata, int64_t base, int64_t offset)
{
    if (metadata[0] == '\0') {
        return false;
    }
    assert_memory_equal(metadata, "v1:", 3);
    const char *at = metadata + 3;
    while (*at != '\0') {
        char *end;
        int64_t from = strtoll(at, &end, 10);
        int64_t to = from;
        assert_true(end > at);
        if (*end == '-') {
            at = end + 1;
            to = strtoll(at, &end, 10);
            assert_true(end > at);
        }
        at = end;
        if (offset - base >= from && offset - base <= to) {
            return true;
        }
        at += *at == ',';
    }
    return false;
}

static void model_read(struct model *model, struct ledger *ledger)
{
    if (model->read_count == model->count) {
        if (model->count == LOG_MAXIMUM) {
            return;
        }
        /* A new message, now and then behind a gap. */
        int64_t gap = draw(model, 5) == 0 ? draw(model, 2000) : 0;
        model->log[model->count++] = (struct message){.offset = model->end + gap};
        model->end += gap + 1;
    }
    struct message *message = &model->log[model->read_count++];
    message->is_read = true;
    bool is_new = ledger_push(ledger, message->offset, message);
    /* The heart of it: a message is done again if and only if no commit has settled it. */
    assert_int_equal(is_new, !message->is_settled);
}

static void model_finish(struct model *model, struct ledger *ledger)
{
    if (model->read_count == 0) {
        return;
    }
    /* Mostly one of the last hundred. */
    size_t back = draw(model, 100) + 1;
    struct message *message = &model->log[model->read_count > back ? model->read_count - back : 0];
    if (message->is_read && !message->is_settled && !message->is_candidate) {
        message->is_candidate = true;
        finish(ledger, message->offset);
    }
}

static void model_check_plan(struct model *model, int64_t base, const char *metadata)
{
    for (size_t i = 0; i < model->count; i++) {
        const struct message *message = &model->log[i];
        bool is_covered = message->offset < base || map_names(metadata, base, message->offset);
        if (is_covered != (message->is_settled || message->is_planned)) {
            fail_msg("offset %" PRId64 " is %scovered by %" PRId64 " \"%s\"", message->offset, is_covered ? "" : "not ",
                     base, metadata);
        }
    }
}

static void model_commit(struct model *model, struct ledger *ledger)
{
    AUTO(buffer) struct buffer map;
    buffer_init(&map, sizeof(model->metadata) - 1);
    size_t most = draw(model, 4) == 0 ? draw(model, 20) : NO_BOUND;
    size_t left_out = 0;
    size_t chosen = 0;
    size_t waiting = 0;
    if (ledger_commit_point(ledger) < 0) {
        return;
    }
    int64_t base = ledger_plan(ledger, most, model->metadata_maximum, &map, &left_out);
    assert_false(map.is_overflowed);
    assert_true(map.len <= model->metadata_maximum);
    for (size_t i = 0; i < model->count; i++) {
        struct message *message = &model->log[i];
        const struct ledger_entry *entry = message->is_read ? ledger_find(ledger, message->offset) : NULL;
        message->is_planned = entry != NULL && entry->mark == LEDGER_CHOSEN;
        assert_true(!message->is_planned || message->is_candidate);
        chosen += message->is_planned;
        waiting += message->is_candidate && !message->is_planned;
    }
    assert_true(chosen <= most);
    /* Who is not chosen is left out for want of metadata, or because enough were chosen. */
    assert_true(left_out <= waiting && (left_out == waiting || chosen == most));
    model_check_plan(model, base, map.ptr);
    bool takes_place = draw(model, 4) != 0;
    for (size_t i = 0; i < model->count; i++) {
        struct message *message = &model->log[i];
        if (message->is_planned && takes_place) {
            message->is_settled = true;
            message->is_candidate = false;
        }
        message->is_planned = false;
    }
    if (!takes_place) {
        ledger_unplan(ledger);
        return;
    }
    ledger_settle(ledger);
    assert_true(base >= model->committed);
    model->committed = base;
    (void)snprintf(model->metadata, sizeof(model->metadata), "%s", map.ptr);
}

/* The process ends and another one begins where the last commit says. */
static void model_restart(struct model *model, struct ledger *ledger)
{
    ledger_done(ledger);
    ledger_init(ledger);
    assert_true(ledger_restore(ledger, model->committed, model->metadata));
    model->read_count = 0;
    for (size_t i = 0; i < model->count; i++) {
        model->log[i].is_read = false;
        model->log[i].is_candidate = false;
        model->read_count += model->log[i].offset < model->committed;
    }
}

static void any_sequence_of_commits_and_restarts_does_each_message_once(void **state)
{
    (void)state;
    static struct model model;
    static const size_t maxima[] = {0, 3, 4, 10, 40, 200, 4000};
    for (unsigned walk = 0; walk < WALKS; walk++) {
        struct ledger ledger;
        ledger_init(&ledger);
        model =
            (struct model){.seed = walk + 1, .metadata_maximum = maxima[walk % (sizeof(maxima) / sizeof(maxima[0]))]};
        for (int step = 0; step < STEPS; step++) {
            switch (draw(&model, 40)) {
            case 0:
                model_restart(&model, &ledger);
                break;
            case 1:
            case 2:
            case 3:
                model_commit(&model, &ledger);
                break;
            default:
                if (draw(&model, 2) == 0) {
                    model_read(&model, &ledger);
                } else {
                    model_finish(&model, &ledger);
                }
            }
        }
        ledger_done(&ledger);
    }
}

static void the_end_of_the_map_is_the_last_message_it_names(void **state)
{
    (void)state;
    struct ledger ledger;
    struct buffer metadata;
    size_t left_out;
    ledger_init(&ledger);
    buffer_init(&metadata, 4096);
    assert_int_equal(ledger_map_end(&ledger), -1);
    assert_true(ledger_restore(&ledger, 10, "v1:5-7,20"));
    assert_int_equal(ledger_map_end(&ledger), 30);
    for (int64_t offset = 10; offset <= 40; offset++) {
        (void)ledger_push(&ledger, offset, &ledger);
    }
    assert_int_equal(ledger_map_end(&ledger), 30);
    ledger_find(&ledger, 35)->mark = LEDGER_CANDIDATE;
    assert_int_equal(ledger_map_end(&ledger), 30);
    assert_int_equal(ledger_plan(&ledger, 10, 4096, &metadata, &left_out), 10);
    assert_string_equal(metadata.ptr, "v1:5-7,20,25");
    assert_int_equal(ledger_map_end(&ledger), 35);
    buffer_done(&metadata);
    ledger_done(&ledger);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_commit_point_is_the_first_unsettled_message_or_the_end),
        cmocka_unit_test(what_is_settled_beyond_the_offset_is_named_by_its_distance),
        cmocka_unit_test(a_range_covers_the_gaps_between_settled_neighbours),
        cmocka_unit_test(the_head_is_covered_by_the_offset_and_needs_no_metadata),
        cmocka_unit_test(at_most_as_many_are_chosen_as_was_asked_the_oldest_first),
        cmocka_unit_test(a_plan_that_failed_leaves_everything_as_it_was),
        cmocka_unit_test(only_what_was_pushed_and_not_forgotten_is_found),
        cmocka_unit_test(a_message_that_the_restored_map_names_is_settled_already),
        cmocka_unit_test(what_the_restored_map_names_is_kept_until_it_has_been_read_again),
        cmocka_unit_test(metadata_of_another_kind_is_refused_and_nothing_counts_as_settled),
        cmocka_unit_test(a_later_restore_replaces_the_earlier_one),
        cmocka_unit_test(any_sequence_of_commits_and_restarts_does_each_message_once),
        cmocka_unit_test(the_end_of_the_map_is_the_last_message_it_names),
    };
    return cmocka_run_group_tests_name("ledger", tests, NULL, NULL);
}
