#include "producer/status/notice.h"

#include "tests/support/unit.h"

#include <string.h>

#define A "aaaaaaa1"
#define B "bbbbbbb2"

/* --- how a deployment stands --- */

struct stand {
    struct commit_status status;
    enum commit_state state;
    const char *text;
};

static const struct stand stands[] = {
    {{.accounts = 12}, COMMIT_PENDING, "0 of 12 accounts"},
    {{.accounts = 1}, COMMIT_PENDING, "0 of 1 account"},
    {{.waiting = true}, COMMIT_PENDING, "waits for its build"},
    {{.accounts = 12, .failed = 2, .succeeded = 9}, COMMIT_PENDING, "11 of 12 accounts"},
    {{.accounts = 12, .succeeded = 12}, COMMIT_SUCCESS, "12 accounts: 12 succeeded"},
    {{.accounts = 12, .succeeded = 10, .unchanged = 1, .skipped = 1},
     COMMIT_SUCCESS,
     "12 accounts: 10 succeeded, 1 unchanged, 1 skipped"},
    {{.accounts = 1, .unchanged = 1}, COMMIT_SUCCESS, "1 account: 1 unchanged"},
    {{.accounts = 12, .failed = 2, .succeeded = 9, .unchanged = 1},
     COMMIT_FAILURE,
     "2 of 12 accounts failed: 9 succeeded, 1 unchanged"},
    {{.accounts = 12, .failed = 1, .timed_out = 1, .succeeded = 9, .superseded = 1},
     COMMIT_FAILURE,
     "2 of 12 accounts failed (1 timed out): 9 succeeded, 1 superseded"},
    {{.accounts = 2, .timed_out = 2}, COMMIT_FAILURE, "2 of 2 accounts failed (2 timed out)"},
    {{.accounts = 12, .superseded = 3, .succeeded = 9},
     COMMIT_ERROR,
     "3 of 12 accounts replaced by a newer deployment: 9 succeeded"},
};

static void every_stand_has_its_state_and_words(void **unused)
{
    for (size_t i = 0; i < sizeof(stands) / sizeof(stands[0]); i++) {
        struct outlook outlook = outlook_of(&stands[i].status);
        assert_string_equal(outlook.text, stands[i].text);
        assert_int_equal(outlook.state, stands[i].state);
    }
}

static void only_a_tag_that_goes_nowhere_is_told(void **unused)
{
    static const struct {
        const char *ref;
        enum deployment_outcome outcome;
        enum commit_state state;
    } endings[] = {
        {"refs/tags/v-1-qa", DEPLOYMENT_DROPPED, COMMIT_ERROR},
        {"refs/tags/x", DEPLOYMENT_REJECTED, COMMIT_ERROR},
        {"refs/heads/main", DEPLOYMENT_DROPPED, COMMIT_NONE},
        {"refs/heads/main", DEPLOYMENT_REJECTED, COMMIT_NONE},
        {"refs/tags/v-1-qa", DEPLOYMENT_IGNORED, COMMIT_NONE},
        {"refs/tags/v-1-qa", DEPLOYMENT_SUPERSEDED, COMMIT_NONE},
    };
    for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++) {
        struct deployment deployment = {
            .ref = (char *)endings[i].ref, .outcome = endings[i].outcome, .reason = (char *)"because"};
        struct outlook outlook = outlook_of_ending(&deployment);
        assert_int_equal(outlook.state, endings[i].state);
        assert_string_equal(outlook.text, outlook.state == COMMIT_ERROR ? "because" : "");
    }
}

/* --- what a message means --- */

struct told {
    const char *id;
    enum deployment_outcome outcome;
    const char *ref;
    const char *commit;
    size_t accounts;
    int64_t time_ms;
};

static char *const accounts[] = {"222222222222", "333333333333", "444444444444"};

/* As the notifier does it. */
static struct notice *tell(struct recall *recall, const struct told *record)
{
    /* It borrows: nothing of it is freed. */
    struct deployment deployment = {
        .envelope = {.time_ms = record->time_ms},
        .deployment = (char *)record->id,
        .outcome = record->outcome,
        .repository = "acme/app",
        .ref = (char *)record->ref,
        .tag = text_starts_with(record->ref, "refs/heads/") ? "branch/main" : "qa",
        .commit = (char *)record->commit,
        .reason = record->outcome == DEPLOYMENT_ACCEPTED ? NULL : "the reason",
        .accounts = {(char **)accounts, record->accounts},
    };
    struct notice *notice = notice_of_deployment(recall, &deployment);
    if (notice != NULL) {
        recall_note(recall, "acme/app", record->ref, notice_has_own(notice) ? record->commit : NULL, deployment.tag,
                    record->time_ms);
    }
    return notice;
}

static struct notice *end(struct recall *recall, const char *id, enum result_outcome outcome)
{
    struct result result = {.deployment = (char *)id,
                            .outcome = outcome,
                            .repository = "acme/app",
                            .ref = "refs/heads/main",
                            .tag = "branch/main",
                            .commit = A};
    return notice_of_result(recall, &result);
}

/* Posts all and remembers; returns what was posted, "commit state text" and a semicolon each. */
static char *settle(struct recall *recall, struct notice *notice)
{
    AUTO(buffer) struct buffer told;
    buffer_init(&told, 4096);
    if (notice == NULL) {
        return text_copy("nothing");
    }
    for (const struct post *post; (post = notice_next(notice, recall, 0)) != NULL;) {
        buffer_append_format(&told, "%s %s %s;", post->commit, commit_state_names[post->state], post->text);
        notice_advance(notice, true);
    }
    for (size_t i = 0; i < notice->replaced.count; i++) {
        recall_put(recall, 0, notice->replaced.items[i], NULL);
    }
    if (notice->is_over || notice->status != NULL) {
        recall_put(recall, 0, notice->deployment, notice->is_over ? NULL : TAKE(notice->status));
    }
    notice_free(notice);
    return text_copy(told.ptr);
}

#define SETTLES(recall, notice, words)                                                                                 \
    do {                                                                                                               \
        AUTO(text) char *told_ = settle(recall, notice);                                                               \
        assert_string_equal(told_, words);                                                                             \
    } while (0)

static void recall_auto_free(struct recall **recall)
{
    recall_free(*recall);
}
#define AUTO_RECALL __attribute__((cleanup(recall_auto_free))) struct recall

#define MAIN "refs/heads/main"

static const struct told noted = {"d-1", DEPLOYMENT_NOTED, MAIN, A, 0, 1000};
static const struct told accepted = {"d-2", DEPLOYMENT_ACCEPTED, MAIN, A, 3, 2000};
static const struct told newer_noted = {"d-3", DEPLOYMENT_NOTED, MAIN, B, 0, 3000};

static void a_deployment_is_told_when_it_begins_and_when_it_ends(void **unused)
{
    AUTO_RECALL *recall = recall_new();
    SETTLES(recall, tell(recall, &accepted), A " pending 0 of 3 accounts;");
    SETTLES(recall, tell(recall, &accepted), "nothing");
    SETTLES(recall, end(recall, "d-2", RESULT_SUCCEEDED), "");
    SETTLES(recall, end(recall, "d-2", RESULT_FAILED), "");
    SETTLES(recall, end(recall, "d-2", RESULT_UNCHANGED),
            A " failure 1 of 3 accounts failed: 1 succeeded, 1 unchanged;");
    assert_null(recall_get(recall, "d-2"));
    SETTLES(recall, end(recall, "d-2", RESULT_SUCCEEDED), "nothing");
}

static void skipped_accounts_count_though_they_are_told_first(void **unused)
{
    AUTO_RECALL *recall = recall_new();
    for (size_t i = 0; i < 3; i++) {
        SETTLES(recall, end(recall, "d-2", RESULT_SKIPPED), "");
    }
    SETTLES(recall, tell(recall, &accepted), A " success 3 accounts: 3 skipped;");
    assert_null(recall_get(recall, "d-2"));
}

static void a_build_that_came_turns_waiting_into_running(void **unused)
{
    AUTO_RECALL *recall = recall_new();
    SETTLES(recall, tell(recall, &noted), A " pending waits for its build;");
    SETTLES(recall, tell(recall, &accepted), A " pending 0 of 3 accounts;");
    assert_null(recall_get(recall, "d-1"));
    assert_non_null(recall_get(recall, "d-2"));
}

static void what_waited_in_vain_does_not_stay_pending(void **unused)
{
    static const struct {
        struct told next;
        const char *told;
        bool is_forgotten;
    } cases[] = {
        {{"d-3", DEPLOYMENT_NOTED, MAIN, B, 0, 3000},
         A " error replaced by a newer commit before its build was published;" B " pending waits for its build;",
         true},
        {{"d-3", DEPLOYMENT_DROPPED, MAIN, B, 0, 3000},
         A " error replaced by a newer commit before its build was published;",
         true},
        {{"d-3", DEPLOYMENT_DROPPED, MAIN, A, 0, 3000}, A " error the reason;", true},
        {{"d-3", DEPLOYMENT_IGNORED, MAIN, NULL, 0, 3000},
         A " error the ref was deleted before its build was published;",
         true},
        {{"d-3", DEPLOYMENT_SUPERSEDED, MAIN, B, 0, 3000}, "nothing", false},
        {{"d-3", DEPLOYMENT_NOTED, MAIN, B, 0, 900}, "", false},
        {{"d-3", DEPLOYMENT_ACCEPTED, "refs/tags/v-1-qa", A, 1, 3000}, A " pending 0 of 1 account;", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO_RECALL *recall = recall_new();
        SETTLES(recall, tell(recall, &noted), A " pending waits for its build;");
        SETTLES(recall, tell(recall, &cases[i].next), cases[i].told);
        assert_int_equal(recall_get(recall, "d-1") == NULL, cases[i].is_forgotten);
    }
}

static void an_older_status_has_not_the_last_word(void **unused)
{
    AUTO_RECALL *recall = recall_new();
    struct notice *held_up = tell(recall, &noted);
    assert_non_null(notice_next(held_up, recall, 0));
    SETTLES(recall, tell(recall, &newer_noted), B " pending waits for its build;");
    SETTLES(recall, held_up, ""); /* of the same ref, and it still waits */
    assert_null(recall_get(recall, "d-1"));

    AUTO_RECALL *other = recall_new();
    struct told first = accepted;
    struct told second = accepted;
    second.id = "d-9";
    second.time_ms = 9000;
    first.accounts = second.accounts = 1;
    struct notice *slow = tell(other, &first);
    assert_non_null(notice_next(slow, other, 0));
    SETTLES(other, tell(other, &second), A " pending 0 of 1 account;");
    SETTLES(other, slow, ""); /* the same commit's same status is the newer one's now */
    SETTLES(other, end(other, "d-2", RESULT_SUCCEEDED), "");
    SETTLES(other, end(other, "d-9", RESULT_SUCCEEDED), A " success 1 account: 1 succeeded;");
}

static void pending_is_left_out_when_the_end_waits_behind_it(void **unused)
{
    AUTO_RECALL *recall = recall_new();
    struct notice *notice = tell(recall, &accepted);
    assert_non_null(notice_next(notice, recall, 2));
    assert_null(notice_next(notice, recall, 3));
    notice_free(notice);
}

static void what_could_not_be_posted_counts_as_untold(void **unused)
{
    AUTO_RECALL *recall = recall_new();
    struct notice *notice = tell(recall, &noted);
    assert_non_null(notice_next(notice, recall, 0));
    notice_advance(notice, false);
    SETTLES(recall, notice, "");
    assert_int_equal(recall_get(recall, "d-1")->state, COMMIT_NONE);
    /* Nobody has been told that it waits: nobody need be told that it does no more. */
    SETTLES(recall, tell(recall, &newer_noted), B " pending waits for its build;");
}

static void what_was_decided_is_forgotten_with_its_partition(void **unused)
{
    AUTO_RECALL *recall = recall_new();
    SETTLES(recall, tell(recall, &accepted), A " pending 0 of 3 accounts;");
    recall_forget_partition(recall, 1);
    assert_non_null(recall_get(recall, "d-2"));
    recall_forget_partition(recall, 0);
    assert_null(recall_get(recall, "d-2"));
}

static void only_the_latest_times_are_remembered(void **unused)
{
    AUTO_RECALL *recall = recall_new();
    for (int64_t i = 1; i <= 3 * RECALL_TIMES_MAXIMUM; i++) {
        AUTO(text) char *ref = text_format("refs/heads/%d", (int)i);
        recall_note(recall, "acme/app", ref, NULL, NULL, i);
    }
    assert_int_equal(recall_ref_ms(recall, "acme/app", "refs/heads/1"), 0);
    assert_int_equal(recall_ref_ms(recall, "acme/app", "refs/heads/100001"), 100001);
    recall_note(recall, "acme/app", "refs/heads/100001", NULL, NULL, 5);
    assert_int_equal(recall_ref_ms(recall, "acme/app", "refs/heads/100001"), 100001);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_stand_has_its_state_and_words),
        cmocka_unit_test(only_a_tag_that_goes_nowhere_is_told),
        cmocka_unit_test(a_deployment_is_told_when_it_begins_and_when_it_ends),
        cmocka_unit_test(skipped_accounts_count_though_they_are_told_first),
        cmocka_unit_test(a_build_that_came_turns_waiting_into_running),
        cmocka_unit_test(what_waited_in_vain_does_not_stay_pending),
        cmocka_unit_test(an_older_status_has_not_the_last_word),
        cmocka_unit_test(pending_is_left_out_when_the_end_waits_behind_it),
        cmocka_unit_test(what_could_not_be_posted_counts_as_untold),
        cmocka_unit_test(what_was_decided_is_forgotten_with_its_partition),
        cmocka_unit_test(only_the_latest_times_are_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
