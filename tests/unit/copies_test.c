#include "workers/copier/copies.h"

#include "tests/support/unit.h"
#include "workers/common/base/auto.h"

#include <string.h>

static const struct job_copy front_end = {"src", "b1/frontend/", "frontend", "", false};
static const struct job_copy below_a_prefix = {"src", "b1/frontend/", "frontend", "www/", false};
static const struct job_copy archive = {"src", "b1/app.zip", "artifacts", "codebuild/artifacts", true};

/* Objects with literal texts: nothing of it is freed. */
static const struct s3_listing *listing(struct s3_listing *list, struct s3_object *objects, size_t count)
{
    *list = (struct s3_listing){objects, count};
    return list;
}

static void copies_auto(struct copies *copies)
{
    copies_clear(copies);
}

#define AUTO_COPIES __attribute__((cleanup(copies_auto))) struct copies

static struct s3_object front_end_objects[] = {
    {"b1/frontend/", "\"0\"", 0, 0},
    {"b1/frontend/INDEX.HTML", "\"i\"", 10, 0},
    {"b1/frontend/css/a.css", "\"c\"", 20, 0},
    {"b1/frontend/js/a b+c.js", "\"j\"", 30, 0},
};

static void assets_come_first_then_pages_then_the_trigger(void **state)
{
    (void)state;
    AUTO_COPIES copies = {0};
    struct s3_listing source;
    struct s3_object zip[] = {{"b1/app.zip", "\"z\"", 5, 0}, {"b1/app.zip.sha256", "\"s\"", 6, 0}};
    copies_add(&copies, &archive, listing(&source, zip, 2), NULL, NULL);
    copies_add(&copies, &front_end, listing(&source, front_end_objects, 4), NULL, NULL);
    copies_sort(&copies, false);
    static const struct {
        const char *key;
        enum copy_phase phase;
    } wanted[] = {{"css/a.css", PHASE_ASSETS},
                  {"js/a b+c.js", PHASE_ASSETS},
                  {"INDEX.HTML", PHASE_PAGES},
                  {"codebuild/artifacts", PHASE_TRIGGER}};
    assert_int_equal(copies.count, 4);
    for (size_t i = 0; i < 4; i++) {
        AUTO(text) char *key = copy_object_key(&copies.objects[i]);
        assert_string_equal(key, wanted[i].key);
        assert_int_equal(copies.objects[i].phase, wanted[i].phase);
        assert_false(copies.objects[i].unchanged);
    }
}

static void the_target_prefix_takes_the_place_of_the_source_prefix(void **state)
{
    (void)state;
    AUTO_COPIES copies = {0};
    struct s3_listing source;
    copies_add(&copies, &below_a_prefix, listing(&source, front_end_objects, 4), NULL, NULL);
    copies_sort(&copies, false);
    AUTO(text) char *key = copy_object_key(&copies.objects[0]);
    assert_string_equal(copies.objects[0].source->key, "b1/frontend/css/a.css");
    assert_string_equal(key, "www/css/a.css");
}

static void only_the_same_size_and_etag_is_unchanged(void **state)
{
    (void)state;
    static const struct {
        struct s3_object target;
        bool unchanged;
    } rows[] = {
        {{"css/a.css", "\"c\"", 20, 0}, true},
        {{"css/a.css", "\"x\"", 20, 0}, false},
        {{"css/a.css", "\"c\"", 21, 0}, false},
        {{"css/a.csss", "\"c\"", 20, 0}, false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        AUTO_COPIES copies = {0};
        struct s3_listing source;
        struct s3_listing target;
        struct s3_object present = rows[i].target;
        copies_add(&copies, &front_end, listing(&source, front_end_objects + 2, 1), listing(&target, &present, 1),
                   NULL);
        copies_sort(&copies, false);
        assert_int_equal(copies.objects[0].unchanged, rows[i].unchanged);
    }
}

static void an_object_without_etag_is_never_taken_for_the_same(void **state)
{
    (void)state;
    AUTO_COPIES copies = {0};
    struct s3_listing source;
    struct s3_listing target;
    struct s3_object from[] = {{"b1/frontend/a", "", 3, 0}};
    struct s3_object to[] = {{"a", "", 3, 0}};
    copies_add(&copies, &front_end, listing(&source, from, 1), listing(&target, to, 1), NULL);
    assert_false(copies.objects[0].unchanged);
}

static void the_trigger_is_written_again_when_anything_else_is_new(void **state)
{
    (void)state;
    for (int is_new = 0; is_new < 2; is_new++) {
        AUTO_COPIES copies = {0};
        struct s3_listing source;
        struct s3_listing target;
        struct s3_object zip[] = {{"b1/app.zip", "\"z\"", 5, 0}};
        struct s3_object there[] = {{"codebuild/artifacts", "\"z\"", 5, 0}};
        struct s3_object asset[] = {{"css/a.css", is_new ? "\"x\"" : "\"c\"", 20, 0}};
        copies_add(&copies, &archive, listing(&source, zip, 1), listing(&target, there, 1), NULL);
        copies_add(&copies, &front_end, listing(&source, front_end_objects + 2, 1), listing(&target, asset, 1), NULL);
        copies_sort(&copies, false);
        assert_int_equal(copies.objects[1].phase, PHASE_TRIGGER);
        assert_int_equal(copies.objects[1].unchanged, !is_new);
    }
}

static void the_trigger_is_written_again_when_it_was_not_the_last(void **state)
{
    (void)state;
    static const struct {
        int64_t asset_ms;
        int64_t trigger_ms;
        bool has_written;
        bool unchanged;
    } rows[] = {
        {1000, 2000, false, true}, {2000, 2000, false, true}, {2000, 1000, false, false},
        {1000, 2000, true, false}, {1000, 0, false, true},    {0, 1000, false, true},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        AUTO_COPIES copies = {0};
        struct s3_listing source;
        struct s3_listing target;
        struct s3_object zip[] = {{"b1/app.zip", "\"z\"", 5, 0}};
        struct s3_object there[] = {{"codebuild/artifacts", "\"z\"", 5, rows[i].trigger_ms}};
        struct s3_object asset[] = {{"css/a.css", "\"c\"", 20, rows[i].asset_ms}};
        copies_add(&copies, &archive, listing(&source, zip, 1), listing(&target, there, 1), NULL);
        copies_add(&copies, &front_end, listing(&source, front_end_objects + 2, 1), listing(&target, asset, 1), NULL);
        copies_sort(&copies, rows[i].has_written);
        assert_true(copies.objects[0].unchanged);
        assert_int_equal(copies.objects[1].unchanged, rows[i].unchanged);
    }
}

static void a_single_object_must_be_there_and_a_prefix_may_be_empty(void **state)
{
    (void)state;
    struct s3_listing source;
    struct s3_object longer[] = {{"b1/app.zip.sha256", "\"s\"", 6, 0}};
    assert_false(copies_source_is_there(&archive, listing(&source, longer, 1)));
    assert_false(copies_source_is_there(&archive, listing(&source, NULL, 0)));
    assert_true(copies_source_is_there(&front_end, listing(&source, NULL, 0)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(assets_come_first_then_pages_then_the_trigger),
        cmocka_unit_test(the_target_prefix_takes_the_place_of_the_source_prefix),
        cmocka_unit_test(only_the_same_size_and_etag_is_unchanged),
        cmocka_unit_test(an_object_without_etag_is_never_taken_for_the_same),
        cmocka_unit_test(the_trigger_is_written_again_when_anything_else_is_new),
        cmocka_unit_test(the_trigger_is_written_again_when_it_was_not_the_last),
        cmocka_unit_test(a_single_object_must_be_there_and_a_prefix_may_be_empty),
    };
    return cmocka_run_group_tests_name("copies", tests, NULL, NULL);
}
