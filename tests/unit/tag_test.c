#include "workers/resolver/tag.h"

#include "tests/support/unit.h"

#include <string.h>

static const char *const keys[] = {"branch/main", "branch/mytag/x", "qa",      "prod", "us-east", "east",
                                   "rc1",         "rc.1-qa-eu",     "staging", NULL};

static bool has(void *context, const char *key)
{
    for (const char *const *at = context; *at != NULL; at++) {
        if (strcmp(*at, key) == 0) {
            return true;
        }
    }
    return false;
}

static void each(void *context, void (*visit)(const char *key, void *visit_context), void *visit_context)
{
    for (const char *const *at = context; *at != NULL; at++) {
        visit(*at, visit_context);
    }
}

static struct tag_answer resolve(const char *ref, enum tag_rule rule)
{
    struct tag_map map = {has, each, (void *)keys};
    struct tag_answer answer;
    tag_resolve(ref, rule, &map, &answer);
    return answer;
}

struct row {
    const char *ref;
    enum tag_outcome outcome;
    const char *key;
    const char *version;
};

static void rows_hold(const struct row *rows, size_t count, enum tag_rule rule)
{
    for (size_t i = 0; i < count; i++) {
        struct tag_answer answer = resolve(rows[i].ref, rule);
        if (answer.outcome != rows[i].outcome || (rows[i].key != NULL && strcmp(answer.key, rows[i].key) != 0) ||
            (rows[i].version != NULL && strcmp(answer.version, rows[i].version) != 0)) {
            fail_msg("%s: outcome %d, key \"%s\", version \"%s\" (%s)", rows[i].ref, answer.outcome, answer.key,
                     answer.version, answer.reason);
        }
        assert_true((answer.outcome == TAG_MAPPED) == (answer.reason[0] == '\0'));
    }
}

static void the_truth_table_of_refs_holds(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"branch/main", TAG_MAPPED, "branch/main", ""},
        {"refs/heads/main", TAG_MAPPED, "branch/main", ""},
        {"refs/heads/other", TAG_UNMAPPED, "branch/other", NULL},
        {"branch/mytag/x", TAG_MAPPED, "branch/mytag/x", ""},
        {"tag/v-1.1.1-qa", TAG_MAPPED, "qa", "1.1.1"},
        {"refs/tags/v-1.1.1-qa", TAG_MAPPED, "qa", "1.1.1"},
        {"tag/v-1-qa", TAG_MAPPED, "qa", "1"},
        {"tag/v-1.1.1-QA", TAG_UNMAPPED, "QA", NULL},
        {"tag/v-1.1.1-rc1-qa", TAG_MAPPED, "qa", "1.1.1-rc1"},
        {"tag/v-1.1.1-rc.1-qa", TAG_MAPPED, "qa", "1.1.1-rc.1"},
        {"tag/v-1.1.1-us-east", TAG_MAPPED, "us-east", "1.1.1"},
        {"tag/v-1.1.1-rc.1-qa-eu", TAG_MAPPED, "rc.1-qa-eu", "1.1.1"},
        {"tag/v-1.1.1-rc.2-qa-nowhere", TAG_UNMAPPED, "nowhere", NULL},
        {"tag/v-1.1.1", TAG_MALFORMED, NULL, NULL},
        {"tag/v1.1", TAG_MALFORMED, NULL, NULL},
        {"tag/v1.1.1-qa", TAG_MALFORMED, NULL, NULL},
        {"tag/v-1.1.1-", TAG_MALFORMED, NULL, NULL},
        {"tag/v-1.1.1--qa", TAG_MALFORMED, NULL, NULL},
        {"tag/v--qa", TAG_MALFORMED, NULL, NULL},
        {"tag/v-qa", TAG_MALFORMED, NULL, NULL},
        {"tag/v-x1-qa", TAG_MALFORMED, NULL, NULL},
        {"tag/V-1.1.1-qa", TAG_MALFORMED, NULL, NULL},
        {"tag/vendor-x-prod", TAG_MALFORMED, NULL, NULL},
        {"tag/prod", TAG_MALFORMED, NULL, NULL},
        {"tag/release/v-1.1.1-qa", TAG_MALFORMED, NULL, NULL},
        {"tag/v-1.1.1-qa,prod", TAG_MALFORMED, NULL, NULL},
        {"tag/", TAG_MALFORMED, NULL, NULL},
        {"", TAG_MALFORMED, NULL, NULL},
        {"main", TAG_MALFORMED, NULL, NULL},
        {"refs/notes/commits", TAG_MALFORMED, NULL, NULL},
    };
    rows_hold(rows, sizeof(rows) / sizeof(rows[0]), TAG_RULE_LONGEST);
}

static void the_reference_rule_takes_the_third_part_of_a_well_formed_tag(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"tag/v-1.1.1-qa", TAG_MAPPED, "qa", "1.1.1"},     {"tag/v-1.1.1-rc1-qa", TAG_MAPPED, "rc1", "1.1.1"},
        {"tag/v-1.1.1-us-east", TAG_UNMAPPED, "us", NULL}, {"tag/v-1.1.1-qa-anything", TAG_MAPPED, "qa", "1.1.1"},
        {"tag/prod", TAG_MALFORMED, NULL, NULL},           {"tag/vendor-x-prod", TAG_MALFORMED, NULL, NULL},
        {"branch/main", TAG_MAPPED, "branch/main", ""},
    };
    rows_hold(rows, sizeof(rows) / sizeof(rows[0]), TAG_RULE_REFERENCE);
}

static void a_near_miss_is_suggested_and_a_far_one_is_not(void **state)
{
    (void)state;
    assert_non_null(strstr(resolve("tag/v-1-QA", TAG_RULE_LONGEST).reason, "did you mean \"qa\"?"));
    assert_non_null(strstr(resolve("tag/v-1-stagin", TAG_RULE_LONGEST).reason, "did you mean \"staging\"?"));
    assert_non_null(strstr(resolve("tag/v-1-prdo", TAG_RULE_REFERENCE).reason, "\"prdo\" is not in the map"));
    assert_null(strstr(resolve("tag/v-1-zz", TAG_RULE_LONGEST).reason, "did you mean"));
    assert_non_null(strstr(resolve("tag/v1.1.1-qa", TAG_RULE_LONGEST).reason, "did you mean \"v-1.1.1-qa\"?"));
}

static void a_refusal_says_what_would_have_been_right(void **state)
{
    (void)state;
    assert_non_null(strstr(resolve("tag/prod", TAG_RULE_LONGEST).reason, "v-<version>-<deploy tag>"));
    assert_non_null(strstr(resolve("main", TAG_RULE_LONGEST).reason, "refs/heads/<branch> or refs/tags/<tag>"));
}

static void a_name_of_any_length_is_answered(void **state)
{
    (void)state;
    char ref[2000];
    static const size_t lengths[] = {100, 128, 129, 1000, 1900};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        memset(ref, 'x', sizeof(ref));
        memcpy(ref, "tag/v-1-", 8);
        ref[lengths[i]] = '\0';
        assert_int_not_equal(resolve(ref, TAG_RULE_LONGEST).outcome, TAG_MAPPED);
        memcpy(ref, "branch/x", 8);
        assert_int_equal(resolve(ref, TAG_RULE_LONGEST).outcome, TAG_UNMAPPED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_truth_table_of_refs_holds),
        cmocka_unit_test(the_reference_rule_takes_the_third_part_of_a_well_formed_tag),
        cmocka_unit_test(a_near_miss_is_suggested_and_a_far_one_is_not),
        cmocka_unit_test(a_refusal_says_what_would_have_been_right),
        cmocka_unit_test(a_name_of_any_length_is_answered),
    };
    return cmocka_run_group_tests_name("tag", tests, NULL, NULL);
}
