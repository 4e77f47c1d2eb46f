#include "workers/common/base/options.h"

#include "tests/support/scratch.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct option server_rows[] = {
    {.name = "url", .type = OPTION_TEXT, .help = "where it is", .is_required = true},
    {.name = "weight", .type = OPTION_INTEGER, .initial = "1", .minimum = 1, .maximum = 9, .help = "its share"},
    {0},
};

static const struct option shop_rows[] = {
    {.name = "shop.name", .type = OPTION_TEXT, .help = "on the door"},
    {.name = "shop.region", .type = OPTION_TEXT, .initial = "here", .environment = "SHOP_REGION", .help = "where"},
    {.name = "shop.limit", .type = OPTION_INTEGER, .initial = "10", .minimum = 1, .maximum = 100, .help = "guests"},
    {.name = "shop.floor", .type = OPTION_INTEGER, .initial = "-3", .help = "any floor"},
    {.name = "shop.open", .type = OPTION_BOOLEAN, .initial = "true", .help = "is it open"},
    {.name = "shop.pause",
     .type = OPTION_DURATION,
     .initial = "30s",
     .minimum = 1000,
     .maximum = 60000,
     .help = "rest"},
    {.name = "shop.mode", .type = OPTION_CHOICE, .initial = "fast", .choices = "fast|slow", .help = "how"},
    {.name = "shop.tags", .type = OPTION_TEXTS, .initial = "a, b", .help = "what"},
    {0},
};

static const struct option more_rows[] = {
    {.name = "more.properties", .type = OPTION_PAIRS, .help = "anything"},
    {.name = "more.servers", .type = OPTION_GROUPS, .group = server_rows, .help = "all of them"},
    {0},
};

static const struct option *const tables[] = {shop_rows, more_rows, NULL};

static struct scratch scratch;

static int file_make(void **state)
{
    (void)state;
    return scratch_make(&scratch) ? 0 : -1;
}

static int file_remove(void **state)
{
    (void)state;
    return scratch_remove(&scratch);
}

static int environment_clear(void **state)
{
    (void)state;
    static const char *const names[] = {"NAME", "REGION", "LIMIT", "FLOOR", "OPEN", "PAUSE", "MODE", "TAGS"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        AUTO(text) char *name = text_format("TAGFLEET_SHOP_%s", names[i]);
        unsetenv(name);
    }
    unsetenv("TAGFLEET_MORE_PROPERTIES");
    unsetenv("TAGFLEET_MORE_SERVERS");
    unsetenv("SHOP_REGION");
    return 0;
}

/* With the given file content (NULL: no file) and up to two --set. */
static struct options *load(const char *content, const char *first_set, const char *second_set)
{
    const struct option_override sets[] = {{first_set}, {second_set}};
    struct options *options = NULL;
    AUTO(buffer) struct buffer mistakes;
    buffer_init(&mistakes, 10000);
    if (content != NULL) {
        scratch_write(&scratch, content);
    }
    size_t count = (first_set != NULL) + (second_set != NULL);
    if (!options_load(tables, content != NULL ? scratch.path : NULL, sets, count, &options, &mistakes)) {
        fail_msg("%s", mistakes.ptr);
    }
    assert_string_equal(mistakes.ptr, "");
    return options;
}

/* The mistakes, with "FILE" for the name of the file. The caller frees them. */
static char *load_fails(const char *content, const char *first_set, const char *second_set)
{
    const struct option_override sets[] = {{first_set}, {second_set}};
    struct options *options = NULL;
    AUTO(buffer) struct buffer mistakes;
    AUTO(buffer) struct buffer shown;
    buffer_init(&mistakes, 10000);
    buffer_init(&shown, 10000);
    if (content != NULL) {
        scratch_write(&scratch, content);
    }
    size_t count = (first_set != NULL) + (second_set != NULL);
    assert_false(options_load(tables, content != NULL ? scratch.path : NULL, sets, count, &options, &mistakes));
    options_free(options);
    const char *at = mistakes.ptr;
    for (const char *found; (found = strstr(at, scratch.path)) != NULL; at = found + strlen(scratch.path)) {
        buffer_append(&shown, slice_from(at, (size_t)(found - at)));
        buffer_append_text(&shown, "FILE");
    }
    buffer_append_text(&shown, at);
    return slice_copy(buffer_slice(&shown));
}

static void without_any_source_every_option_has_its_default(void **state)
{
    (void)state;
    struct options *options = load(NULL, NULL, NULL);
    const char *const *tags;
    assert_null(options_text(options, "shop.name"));
    assert_string_equal(options_text(options, "shop.region"), "here");
    assert_int_equal(options_integer(options, "shop.limit"), 10);
    assert_int_equal(options_integer(options, "shop.floor"), -3);
    assert_true(options_boolean(options, "shop.open"));
    assert_int_equal(options_duration_ms(options, "shop.pause"), 30000);
    assert_string_equal(options_text(options, "shop.mode"), "fast");
    assert_int_equal(options_texts(options, "shop.tags", &tags), 2);
    assert_string_equal(tags[0], "a");
    assert_string_equal(tags[1], "b");
    assert_int_equal(options_groups(options, "more.servers"), 0);
    options_free(options);
    options_free(NULL);
}

static void every_type_can_be_set_in_the_file(void **state)
{
    (void)state;
    struct options *options = load("shop : {\n"
                                   "  name = \"Corner\"; limit = 100; floor = -100000; open = false;\n"
                                   "  pause = \"2s\"; mode = \"slow\"; tags = (\"x\", \"y\", \"z\");\n"
                                   "};\n",
                                   NULL, NULL);
    const char *const *tags;
    assert_string_equal(options_text(options, "shop.name"), "Corner");
    assert_int_equal(options_integer(options, "shop.limit"), 100);
    assert_int_equal(options_integer(options, "shop.floor"), -100000);
    assert_false(options_boolean(options, "shop.open"));
    assert_int_equal(options_duration_ms(options, "shop.pause"), 2000);
    assert_string_equal(options_text(options, "shop.mode"), "slow");
    assert_int_equal(options_texts(options, "shop.tags", &tags), 3);
    assert_string_equal(tags[2], "z");
    options_free(options);
}

static void the_environment_goes_over_the_file_and_set_over_both(void **state)
{
    (void)state;
    static const char file[] = "shop : { limit = 20; name = \"file\"; tags = [\"file\"]; };";
    const char *const *tags;
    struct options *options = load(file, NULL, NULL);
    assert_int_equal(options_integer(options, "shop.limit"), 20);
    options_free(options);
    setenv("TAGFLEET_SHOP_LIMIT", "30", 1);
    setenv("TAGFLEET_SHOP_TAGS", "one, two ,,three", 1);
    options = load(file, NULL, NULL);
    assert_int_equal(options_integer(options, "shop.limit"), 30);
    assert_string_equal(options_text(options, "shop.name"), "file");
    assert_int_equal(options_texts(options, "shop.tags", &tags), 3);
    assert_string_equal(tags[1], "two");
    options_free(options);
    options = load(file, "shop.limit=40", "shop.limit=41");
    assert_int_equal(options_integer(options, "shop.limit"), 41);
    options_free(options);
}

static void an_empty_environment_variable_is_none(void **state)
{
    (void)state;
    setenv("TAGFLEET_SHOP_LIMIT", "", 1);
    struct options *options = load(NULL, NULL, NULL);
    assert_int_equal(options_integer(options, "shop.limit"), 10);
    options_free(options);
}

static void the_second_variable_counts_only_where_nothing_of_our_own_is_set(void **state)
{
    (void)state;
    setenv("SHOP_REGION", "second", 1);
    struct options *options = load(NULL, NULL, NULL);
    assert_string_equal(options_text(options, "shop.region"), "second");
    options_free(options);
    options = load("shop : { region = \"file\"; };", NULL, NULL);
    assert_string_equal(options_text(options, "shop.region"), "file");
    options_free(options);
    setenv("TAGFLEET_SHOP_REGION", "own", 1);
    options = load(NULL, NULL, NULL);
    assert_string_equal(options_text(options, "shop.region"), "own");
    options_free(options);
    options = load(NULL, "shop.region=set=x", NULL);
    assert_string_equal(options_text(options, "shop.region"), "set=x");
    options_free(options);
}

static void pair_visit(const char *key, const char *value, void *context)
{
    buffer_append_format(context, "%s=%s;", key, value);
}

static void pairs_keep_their_order_and_the_later_ones_come_behind(void **state)
{
    (void)state;
    AUTO(buffer) struct buffer text;
    buffer_init(&text, 1000);
    struct options *options = load("more : { properties : { name = \"x\"; size = 5; on = true; }; };",
                                   "more.properties.linger.ms=7", "more.properties.name=y");
    options_pairs(options, "more.properties", pair_visit, &text);
    assert_string_equal(text.ptr, "name=x;size=5;on=true;linger.ms=7;name=y;");
    options_free(options);
}

static void the_items_of_a_list_are_read_like_options_of_their_own(void **state)
{
    (void)state;
    struct options *options =
        load("more : { servers = ( { url = \"one\"; }, { url = \"two\"; weight = 9; } ); };", NULL, NULL);
    assert_int_equal(options_groups(options, "more.servers"), 2);
    assert_string_equal(options_text(options_group(options, "more.servers", 0), "url"), "one");
    assert_int_equal(options_integer(options_group(options, "more.servers", 0), "weight"), 1);
    assert_string_equal(options_text(options_group(options, "more.servers", 1), "url"), "two");
    assert_int_equal(options_integer(options_group(options, "more.servers", 1), "weight"), 9);
    options_free(options);
}

static void all_mistakes_are_told_each_with_its_file_and_line(void **state)
{
    (void)state;
    setenv("TAGFLEET_SHOP_FLOOR", "first", 1);
    AUTO(text)
    char *mistakes = load_fails("shop : {\n"
                                "  nane = \"x\";\n"
                                "  limit = 0;\n"
                                "  open = \"maybe\";\n"
                                "  pause = 5;\n"
                                "\n"
                                "  mode = \"fas\";\n"
                                "  tags = ( 1 );\n"
                                "  name = ( \"x\" );\n"
                                "};\n"
                                "more : {\n"
                                "  servers = (\n"
                                "    { weight = 20; url = \"x\"; },\n"
                                "    7\n"
                                "  );\n"
                                "};\n"
                                "zzz = 1;\n",
                                "shop.limit=many", "shop.nothing");
    assert_string_equal(mistakes, "FILE:2: shop.nane is not an option; did you mean shop.name?\n"
                                  "FILE:3: shop.limit must be from 1 to 100, not 0\n"
                                  "FILE:4: shop.open must be true or false, not \"maybe\"\n"
                                  "FILE:5: shop.pause must be a duration such as 500ms, 30s or 10m, not \"5\"\n"
                                  "FILE:7: shop.mode must be one of fast|slow, not \"fas\"\n"
                                  "FILE:8: shop.tags must be a list of texts (\"a\", \"b\")\n"
                                  "FILE:9: shop.name has the wrong type; it means: on the door\n"
                                  "FILE:13: weight must be from 1 to 9, not 20\n"
                                  "FILE:14: more.servers must hold groups { ... }\n"
                                  "FILE:17: zzz is not an option; `tagfleet config --help` lists them\n"
                                  "TAGFLEET_SHOP_FLOOR: shop.floor must be a whole number, not \"first\"\n"
                                  "--set: shop.limit must be a whole number, not \"many\"\n"
                                  "--set: shop.nothing needs a value: --set section.key=value\n");
}

static void a_group_without_what_it_needs_is_a_mistake(void **state)
{
    (void)state;
    AUTO(text) char *mistakes = load_fails("more : {\n  servers = (\n    { weight = 2; }\n  );\n};\n", NULL, NULL);
    assert_string_equal(mistakes, "FILE:3: more.servers needs url: where it is\n");
}

static void a_file_that_is_no_configuration_is_refused_with_its_line(void **state)
{
    (void)state;
    AUTO(text) char *mistakes = load_fails("shop : {\n  limit = ;\n};\n", NULL, NULL);
    assert_string_equal(mistakes, "FILE:2: syntax error\n");
}

static void a_file_that_is_not_there_is_refused_by_name(void **state)
{
    (void)state;
    struct options *options = NULL;
    AUTO(buffer) struct buffer mistakes;
    buffer_init(&mistakes, 1000);
    assert_false(options_load(tables, "/nowhere/tagfleet.cfg", NULL, 0, &options, &mistakes));
    assert_string_equal(mistakes.ptr, "/nowhere/tagfleet.cfg: cannot be read: No such file or directory\n");
    assert_null(options);
}

static void what_is_no_mistake_can_be_looked_at_all_the_same(void **state)
{
    (void)state;
    struct options *options = NULL;
    AUTO(buffer) struct buffer mistakes;
    buffer_init(&mistakes, 10000);
    scratch_write(&scratch, "shop: { pause = \"999ms\"; limit = 12; };\n"
                            "more: { servers = ( { weight = 2; }, { url = \"u\"; weight = 3; } ); };\n");
    assert_false(options_load(tables, scratch.path, NULL, 0, &options, &mistakes));
    assert_int_equal(options_duration_ms(options, "shop.pause"), 30000);
    assert_int_equal(options_integer(options, "shop.limit"), 12);
    assert_int_equal(options_groups(options, "more.servers"), 1);
    assert_int_equal(options_integer(options_group(options, "more.servers", 0), "weight"), 3);
    options_free(options);
}

static void values_outside_their_bounds_are_refused_and_on_them_taken(void **state)
{
    (void)state;
    static const struct {
        const char *set;
        bool is_taken;
    } cases[] = {
        {"shop.limit=1", true},
        {"shop.limit=100", true},
        {"shop.limit=0", false},
        {"shop.limit=101", false},
        {"shop.limit=", false},
        {"shop.limit=5x", false},
        {"shop.limit=99999999999999999999", false},
        {"shop.floor=-9223372036854775808", true},
        {"shop.pause=1s", true},
        {"shop.pause=1m", true},
        {"shop.pause=999ms", false},
        {"shop.pause=60001ms", false},
        {"shop.open=false", true},
        {"shop.open=yes", false},
        {"shop.open=True", false},
        {"shop.mode=slow", true},
        {"shop.mode=", false},
        {"shop.mode=slo", false},
        {"shop.mode=slower", false},
        {"shop.mode=fast|slow", false},
        {"shop.mode=|", false},
        {"shop.name=", true},
        {"shop.nane=x", false},
        {"more.servers=x", false},
        {"=x", false},
        {"more.properties.linger.ms=5", true},
        {"more.properties=linger.ms=5", true},
        {"more.properties.sasl.password=x", false},
        {"more.properties.ssl.key.pem=x", false},
        {"more.properties=linger.ms=5,sasl.oauthbearer.client.secret=x", false},
        {"more.properties.sasl.oauthbearer.config=x", false},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct option_override set = {cases[i].set};
        struct options *options = NULL;
        AUTO(buffer) struct buffer mistakes;
        buffer_init(&mistakes, 1000);
        if (options_load(tables, NULL, &set, 1, &options, &mistakes) != cases[i].is_taken) {
            fail_msg("%s: %s", cases[i].set, mistakes.ptr);
        }
        assert_int_equal(mistakes.len == 0, cases[i].is_taken);
        options_free(options);
    }
}

static void the_description_names_every_option_with_default_and_choices(void **state)
{
    (void)state;
    AUTO(buffer) struct buffer text;
    buffer_init(&text, 10000);
    options_describe(tables, &text);
    assert_non_null(strstr(text.ptr, "  shop.mode                      how (fast|slow) [fast]\n"));
    assert_non_null(strstr(text.ptr, "  shop.name                      on the door\n"));
    assert_non_null(strstr(text.ptr, "  more.servers.weight            its share [1]\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(without_any_source_every_option_has_its_default, environment_clear),
        cmocka_unit_test_setup(every_type_can_be_set_in_the_file, environment_clear),
        cmocka_unit_test_setup(the_environment_goes_over_the_file_and_set_over_both, environment_clear),
        cmocka_unit_test_setup(an_empty_environment_variable_is_none, environment_clear),
        cmocka_unit_test_setup(the_second_variable_counts_only_where_nothing_of_our_own_is_set, environment_clear),
        cmocka_unit_test_setup(pairs_keep_their_order_and_the_later_ones_come_behind, environment_clear),
        cmocka_unit_test_setup(the_items_of_a_list_are_read_like_options_of_their_own, environment_clear),
        cmocka_unit_test_setup(all_mistakes_are_told_each_with_its_file_and_line, environment_clear),
        cmocka_unit_test_setup(a_group_without_what_it_needs_is_a_mistake, environment_clear),
        cmocka_unit_test_setup(a_file_that_is_no_configuration_is_refused_with_its_line, environment_clear),
        cmocka_unit_test_setup(a_file_that_is_not_there_is_refused_by_name, environment_clear),
        cmocka_unit_test_setup(what_is_no_mistake_can_be_looked_at_all_the_same, environment_clear),
        cmocka_unit_test_setup(values_outside_their_bounds_are_refused_and_on_them_taken, environment_clear),
        cmocka_unit_test_setup(the_description_names_every_option_with_default_and_choices, environment_clear),
    };
    return cmocka_run_group_tests_name("options", tests, file_make, file_remove);
}
