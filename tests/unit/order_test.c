#include "workers/resolver/order.h"

#include "tests/support/unit.h"

#include "schemas/identity.h"

#include <stdio.h>
#include <string.h>

static const char a[] = "aaaaaaa1";
static const char b[] = "bbbbbbb2";
static const char c[] = "ccccccc3";
static const char d[] = "ddddddd4";
static const char zeros[] = "0000000000000000000000000000000000000000";

struct change {
    const char *before;
    const char *after;
    enum event_kind kind;
    const char *delivery;
    bool redelivered;
    int64_t committed_ms;
    bool polled;
};

static struct event event_of(const struct change *change)
{
    /* The event borrows: nothing of it is freed. */
    return (struct event){
        .kind = change->kind,
        .repository = (char *)"acme/app",
        .ref = (char *)(change->kind == EVENT_BRANCH_UPDATED ? "refs/heads/main" : "refs/tags/v-1-qa"),
        .before = (char *)change->before,
        .after = (char *)change->after,
        .delivery = (char *)change->delivery,
        .redelivered = change->redelivered,
        .committed_ms = change->committed_ms,
        .origin = change->polled ? ORIGIN_POLL : ORIGIN_WEBHOOK,
    };
}

/* Judges and applies; the state is replaced unless the event was a duplicate. */
static enum order happens(struct ref_state **state, const struct change *change)
{
    struct event event = event_of(change);
    char id[EVENT_ID_SIZE];
    identity_event(&event, id);
    enum order order = order_judge(*state, &event, id);
    struct ref_state *next = order_apply(*state, &event, id, order);
    ref_state_free(*state);
    *state = next;
    return order;
}

static void commits_follow_each_other(void **unused)
{
    (void)unused;
    AUTO(ref_state) struct ref_state *state = NULL;
    assert_int_equal(happens(&state, &(struct change){NULL, a}), ORDER_NEXT);
    assert_int_equal(happens(&state, &(struct change){a, b}), ORDER_NEXT);
    assert_int_equal(happens(&state, &(struct change){b, c}), ORDER_NEXT);
    assert_string_equal(state->commit, c);
}

static void null_and_zeros_are_the_same_beginning(void **unused)
{
    (void)unused;
    AUTO(ref_state) struct ref_state *state = NULL;
    assert_int_equal(happens(&state, &(struct change){zeros, a}), ORDER_NEXT);
    assert_int_equal(happens(&state, &(struct change){NULL, a, .redelivered = true}), ORDER_DUPLICATE);
}

/* Whatever the order of arrival, a chain of pushes ends at its newest commit, and no deployment goes back. */
static void every_order_of_three_pushes_ends_at_the_newest(void **unused)
{
    (void)unused;
    static const struct change chain[] = {{NULL, a}, {a, b}, {b, c}};
    static const int orders[][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++) {
        AUTO(ref_state) struct ref_state *state = NULL;
        int highest = -1;
        for (int k = 0; k < 3; k++) {
            int n = orders[i][k];
            enum order order = happens(&state, &chain[n]);
            assert_int_equal(order, n > highest ? ORDER_NEXT : ORDER_OLDER);
            highest = n > highest ? n : highest;
        }
        assert_string_equal(state->commit, c);
    }
}

/* The same for four pushes that say when their commits were made. */
static void every_order_of_four_dated_pushes_ends_at_the_newest(void **unused)
{
    (void)unused;
    static const struct change chain[] = {{NULL, a, .committed_ms = 1000},
                                          {a, b, .committed_ms = 2000},
                                          {b, c, .committed_ms = 3000},
                                          {c, d, .committed_ms = 4000}};
    for (int n = 0; n < 4 * 4 * 4 * 4; n++) {
        int order[] = {n % 4, n / 4 % 4, n / 16 % 4, n / 64};
        if ((1 << order[0] | 1 << order[1] | 1 << order[2] | 1 << order[3]) != 15) {
            continue;
        }
        AUTO(ref_state) struct ref_state *state = NULL;
        int highest = -1;
        for (int k = 0; k < 4; k++) {
            assert_int_equal(happens(&state, &chain[order[k]]), order[k] > highest ? ORDER_NEXT : ORDER_OLDER);
            highest = order[k] > highest ? order[k] : highest;
        }
        assert_string_equal(state->commit, d);
    }
}

/* One wrong guess, as it may happen when deliveries are lost or overtake each other, must not hold the ref for ever. */
static void a_wrong_guess_does_not_last(void **unused)
{
    (void)unused;
    static const char e[] = "eeeeeee5";
    static const char f[] = "fffffff6";
    static const struct {
        const char *what;
        struct change before[4];
        struct change after[2];
    } rows[] = {
        {"created again before the deletion arrives",
         {{NULL, a}, {NULL, c}, {a, NULL, EVENT_REF_DELETED}},
         {{c, d}, {d, e}}},
        {"the deletion was lost", {{NULL, a}, {NULL, c}}, {{c, d}, {d, e}}},
        {"a push was lost, then the branch was forced back", {{a, b}, {b, c}, {d, b}}, {{b, e}, {e, f}}},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        AUTO(ref_state) struct ref_state *state = NULL;
        for (size_t k = 0; k < 4 && (rows[i].before[k].before != NULL || rows[i].before[k].after != NULL); k++) {
            (void)happens(&state, &rows[i].before[k]);
        }
        for (size_t k = 0; k < 2; k++) {
            if (happens(&state, &rows[i].after[k]) != ORDER_NEXT) {
                fail_msg("%s: push %zu is held to be old", rows[i].what, k);
            }
        }
        assert_string_equal(state->commit, rows[i].after[1].after);
    }
}

static void a_rollback_stands_when_the_push_it_undoes_arrives_late(void **unused)
{
    (void)unused;
    AUTO(ref_state) struct ref_state *state = NULL;
    (void)happens(&state, &(struct change){b, a, .committed_ms = 1000});
    assert_int_equal(happens(&state, &(struct change){c, b, .committed_ms = 2000}), ORDER_OLDER);
    assert_string_equal(state->commit, a);
}

static void a_redelivery_is_a_duplicate_however_late(void **unused)
{
    (void)unused;
    AUTO(ref_state) struct ref_state *state = NULL;
    (void)happens(&state, &(struct change){NULL, a, .delivery = "1"});
    (void)happens(&state, &(struct change){a, b, .delivery = "2"});
    (void)happens(&state, &(struct change){b, c, .delivery = "3"});
    assert_int_equal(happens(&state, &(struct change){a, b, .delivery = "2"}), ORDER_DUPLICATE);
    assert_int_equal(happens(&state, &(struct change){NULL, a, .delivery = "1"}), ORDER_DUPLICATE);
    assert_string_equal(state->commit, c);
}

static void a_rollback_is_the_next_event_and_works_twice(void **unused)
{
    (void)unused;
    AUTO(ref_state) struct ref_state *state = NULL;
    (void)happens(&state, &(struct change){NULL, a, .delivery = "1"});
    (void)happens(&state, &(struct change){a, b, .delivery = "2"});
    int64_t first = state->generation;
    assert_int_equal(happens(&state, &(struct change){b, a, .delivery = "3"}), ORDER_NEXT);
    assert_string_equal(state->commit, a);
    assert_int_equal(state->generation, first + 1);
    /* The same step once more, by a delivery of its own: it starts from where the ref is. */
    assert_int_equal(happens(&state, &(struct change){a, b, .delivery = "4"}), ORDER_NEXT);
    assert_int_equal(happens(&state, &(struct change){b, a, .delivery = "5"}), ORDER_NEXT);
    /* And as a repetition of the first one it is none. */
    assert_int_equal(happens(&state, &(struct change){a, b, .delivery = "2"}), ORDER_DUPLICATE);
    assert_int_equal(happens(&state, &(struct change){a, b, .delivery = "4", .redelivered = true}), ORDER_DUPLICATE);
    assert_string_equal(state->commit, a);
}

static void a_tag_that_is_created_again_is_a_new_generation(void **unused)
{
    (void)unused;
    AUTO(ref_state) struct ref_state *state = NULL;
    assert_int_equal(happens(&state, &(struct change){NULL, a, EVENT_TAG_CREATED, "1"}), ORDER_NEXT);
    int64_t first = state->generation;
    assert_int_equal(happens(&state, &(struct change){a, NULL, EVENT_REF_DELETED, "2"}), ORDER_NEXT);
    assert_null(state->commit);
    assert_int_equal(happens(&state, &(struct change){NULL, a, EVENT_TAG_CREATED, "3"}), ORDER_NEXT);
    assert_int_equal(state->generation, first + 1);
    assert_string_equal(state->commit, a);
}

/* Hosts name the tag object, here c, where a deletion began. */
static void an_annotated_tag_that_is_created_again_is_a_new_generation(void **unused)
{
    (void)unused;
    AUTO(ref_state) struct ref_state *state = NULL;
    assert_int_equal(happens(&state, &(struct change){NULL, a, EVENT_TAG_CREATED, "1"}), ORDER_NEXT);
    int64_t first = state->generation;
    assert_int_equal(happens(&state, &(struct change){c, NULL, EVENT_REF_DELETED, "2"}), ORDER_NEXT);
    assert_null(state->commit);
    assert_int_equal(happens(&state, &(struct change){NULL, a, EVENT_TAG_CREATED, "3"}), ORDER_NEXT);
    assert_int_equal(state->generation, first + 1);
    assert_int_equal(happens(&state, &(struct change){c, NULL, EVENT_REF_DELETED, "2"}), ORDER_DUPLICATE);
    assert_string_equal(state->commit, a);
}

static void a_tag_that_moves_stays_in_its_generation(void **unused)
{
    (void)unused;
    AUTO(ref_state) struct ref_state *state = NULL;
    (void)happens(&state, &(struct change){NULL, a, EVENT_TAG_CREATED});
    int64_t first = state->generation;
    assert_int_equal(happens(&state, &(struct change){a, b, EVENT_TAG_MOVED}), ORDER_NEXT);
    assert_int_equal(state->generation, first);
}

static void a_late_deletion_of_an_older_commit_deletes_nothing(void **unused)
{
    (void)unused;
    AUTO(ref_state) struct ref_state *state = NULL;
    (void)happens(&state, &(struct change){NULL, a, EVENT_TAG_CREATED});
    (void)happens(&state, &(struct change){a, b, EVENT_TAG_MOVED});
    assert_int_equal(happens(&state, &(struct change){a, NULL, EVENT_REF_DELETED}), ORDER_OLDER);
    assert_string_equal(state->commit, b);
    assert_int_equal(happens(&state, &(struct change){b, NULL, EVENT_REF_DELETED}), ORDER_NEXT);
    assert_null(state->commit);
    assert_int_equal(happens(&state, &(struct change){b, NULL, EVENT_REF_DELETED, .redelivered = true}),
                     ORDER_DUPLICATE);
}

static void lost_pushes_in_between_are_bridged_by_the_commits_own_dates(void **unused)
{
    (void)unused;
    AUTO(ref_state) struct ref_state *state = NULL;
    (void)happens(&state, &(struct change){NULL, a, .committed_ms = 1000});
    /* b to c, while nobody has told how the ref came to b. */
    assert_int_equal(happens(&state, &(struct change){b, c, .committed_ms = 3000}), ORDER_NEXT);
    assert_int_equal(happens(&state, &(struct change){d, b, .committed_ms = 2000}), ORDER_OLDER);
    assert_string_equal(state->commit, c);
}

static void without_dates_an_event_that_touches_nothing_known_is_believed(void **unused)
{
    (void)unused;
    AUTO(ref_state) struct ref_state *state = NULL;
    (void)happens(&state, &(struct change){NULL, a});
    assert_int_equal(happens(&state, &(struct change){b, c}), ORDER_NEXT);
    assert_string_equal(state->commit, c);
}

static void the_same_commit_again_is_no_news_by_itself(void **unused)
{
    (void)unused;
    AUTO(ref_state) struct ref_state *state = NULL;
    (void)happens(&state, &(struct change){NULL, a});
    assert_int_equal(happens(&state, &(struct change){b, a}), ORDER_SAME);
    assert_string_equal(state->commit, a);
}

static void memory_is_bounded_and_the_newest_steps_stay(void **unused)
{
    (void)unused;
    AUTO(ref_state) struct ref_state *state = NULL;
    char before[16] = "";
    for (int n = 0; n < 3 * ORDER_STEPS_MAXIMUM; n++) {
        char after[16];
        (void)snprintf(after, sizeof(after), "%08x", 0x1000000 + n);
        assert_int_equal(happens(&state, &(struct change){before, after}), ORDER_NEXT);
        memcpy(before, after, sizeof(before));
    }
    assert_int_equal(state->steps.count, ORDER_STEPS_MAXIMUM);
    /* A commit that was forgotten may come back: from then on each move is a generation of its own. */
    assert_int_equal(state->generation, 2 * ORDER_STEPS_MAXIMUM);
    const struct ref_step *last = (const struct ref_step *)state->steps.items + ORDER_STEPS_MAXIMUM - 1;
    assert_string_equal(last->after, before);
}

/* --- the poll beside webhooks --- */

static void a_polls_older_find_does_not_undo_the_webhook_that_overtook_it(void **unused)
{
    (void)unused;
    AUTO(ref_state) struct ref_state *state = NULL;
    (void)happens(&state, &(struct change){NULL, a});
    /* a -> b was lost, the poll has seen b; before it has said so, the webhook b -> c arrives. */
    assert_int_equal(happens(&state, &(struct change){b, c}), ORDER_NEXT);
    assert_int_equal(happens(&state, &(struct change){a, b, .polled = true}), ORDER_OLDER);
    assert_string_equal(state->commit, c);
}

static void a_polls_find_stands_for_the_pushes_it_bridges(void **unused)
{
    (void)unused;
    AUTO(ref_state) struct ref_state *state = NULL;
    (void)happens(&state, &(struct change){NULL, a});
    assert_int_equal(happens(&state, &(struct change){a, c, .polled = true}), ORDER_NEXT);
    /* a -> b and b -> c, delivered again by hand much later, and without dates. */
    assert_int_equal(happens(&state, &(struct change){a, b, .delivery = "1"}), ORDER_OLDER);
    assert_int_equal(happens(&state, &(struct change){b, c, .delivery = "2"}), ORDER_SAME);
    assert_string_equal(state->commit, c);
    assert_int_equal(happens(&state, &(struct change){c, d}), ORDER_NEXT);
}

static void the_same_change_by_webhook_and_poll_is_one(void **unused)
{
    (void)unused;
    AUTO(ref_state) struct ref_state *state = NULL;
    (void)happens(&state, &(struct change){NULL, a});
    (void)happens(&state, &(struct change){a, b, .delivery = "1"});
    assert_int_equal(happens(&state, &(struct change){a, b, .delivery = "poll/0/a", .polled = true}), ORDER_DUPLICATE);
    (void)happens(&state, &(struct change){b, c, .delivery = "poll/0/b", .polled = true});
    assert_int_equal(happens(&state, &(struct change){b, c, .delivery = "2"}), ORDER_DUPLICATE);
}

static void two_polls_that_find_the_same_way_back_are_one(void **unused)
{
    (void)unused;
    AUTO(ref_state) struct ref_state *state = NULL;
    (void)happens(&state, &(struct change){NULL, a});
    (void)happens(&state, &(struct change){a, b, .delivery = "1"});
    assert_int_equal(happens(&state, &(struct change){b, a, .delivery = "poll/0/b", .polled = true}), ORDER_NEXT);
    assert_int_equal(happens(&state, &(struct change){a, b, .delivery = "2"}), ORDER_NEXT);
    /* The other producer's, late: the ref is at b again, but this is what was told before. */
    assert_int_equal(happens(&state, &(struct change){b, a, .delivery = "poll/0/b", .polled = true}), ORDER_DUPLICATE);
    assert_string_equal(state->commit, b);
    /* And a real second way back, which was compared with another generation. */
    assert_int_equal(happens(&state, &(struct change){b, a, .delivery = "poll/2/b", .polled = true}), ORDER_NEXT);
}

static void a_baseline_is_no_repetition_of_its_webhook(void **unused)
{
    (void)unused;
    AUTO(ref_state) struct ref_state *state = NULL;
    struct event baseline = event_of(&(struct change){NULL, a, EVENT_TAG_CREATED, .polled = true});
    struct event webhook = event_of(&(struct change){NULL, a, EVENT_TAG_CREATED, "1"});
    baseline.baseline = true;
    char id[EVENT_ID_SIZE];
    identity_event(&baseline, id);
    state = order_apply(NULL, &baseline, id, ORDER_NEXT);
    assert_true(state->baseline);
    assert_false(state->polled);
    identity_event(&webhook, id);
    assert_int_equal(order_judge(state, &webhook, id), ORDER_SAME);
    assert_int_equal(happens(&state, &(struct change){a, b, EVENT_TAG_MOVED}), ORDER_NEXT);
    assert_false(state->baseline);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commits_follow_each_other),
        cmocka_unit_test(null_and_zeros_are_the_same_beginning),
        cmocka_unit_test(every_order_of_three_pushes_ends_at_the_newest),
        cmocka_unit_test(every_order_of_four_dated_pushes_ends_at_the_newest),
        cmocka_unit_test(a_wrong_guess_does_not_last),
        cmocka_unit_test(a_rollback_stands_when_the_push_it_undoes_arrives_late),
        cmocka_unit_test(a_redelivery_is_a_duplicate_however_late),
        cmocka_unit_test(a_rollback_is_the_next_event_and_works_twice),
        cmocka_unit_test(a_tag_that_is_created_again_is_a_new_generation),
        cmocka_unit_test(an_annotated_tag_that_is_created_again_is_a_new_generation),
        cmocka_unit_test(a_tag_that_moves_stays_in_its_generation),
        cmocka_unit_test(a_late_deletion_of_an_older_commit_deletes_nothing),
        cmocka_unit_test(lost_pushes_in_between_are_bridged_by_the_commits_own_dates),
        cmocka_unit_test(without_dates_an_event_that_touches_nothing_known_is_believed),
        cmocka_unit_test(the_same_commit_again_is_no_news_by_itself),
        cmocka_unit_test(memory_is_bounded_and_the_newest_steps_stay),
        cmocka_unit_test(a_polls_older_find_does_not_undo_the_webhook_that_overtook_it),
        cmocka_unit_test(a_polls_find_stands_for_the_pushes_it_bridges),
        cmocka_unit_test(the_same_change_by_webhook_and_poll_is_one),
        cmocka_unit_test(two_polls_that_find_the_same_way_back_are_one),
        cmocka_unit_test(a_baseline_is_no_repetition_of_its_webhook),
    };
    return cmocka_run_group_tests_name("order", tests, NULL, NULL);
}
