#include "workers/common/base/command.h"

#include "tests/support/capture.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct option rows[] = {
    {.name = "map.limit", .type = OPTION_INTEGER, .initial = "5", .minimum = 1, .maximum = 9, .help = "at most"},
    {0},
};
static const struct option *const tables[] = {rows, NULL};

/* What the command was run with. */
static struct {
    unsigned runs;
    char file[32];
    bool is_dry;
    bool is_json;
    bool has_options;
    int64_t limit;
    char arguments[128];
    const char *command;
    char config[64];
} seen;

static int run(const struct command_line *line)
{
    seen.runs++;
    seen.command = line->command->name;
    (void)snprintf(seen.file, sizeof(seen.file), "%s", command_flag(line, "file") ? command_flag(line, "file") : "-");
    (void)snprintf(seen.config, sizeof(seen.config), "%s", line->config_path != NULL ? line->config_path : "-");
    seen.is_dry = command_flag(line, "dry-run") != NULL;
    seen.is_json = line->is_json;
    seen.has_options = line->options != NULL;
    seen.limit = line->options != NULL ? options_integer(line->options, "map.limit") : -1;
    assert_null(command_flag(line, "no such flag"));
    for (size_t i = 0; i < line->argument_count; i++) {
        size_t length = strlen(seen.arguments);
        (void)snprintf(seen.arguments + length, sizeof(seen.arguments) - length, "[%s]", line->arguments[i]);
    }
    return 42;
}

static const struct flag flags[] = {
    {"file", "FILE", "what to read"},
    {"dry-run", NULL, "change nothing"},
    {0},
};

static const struct command commands[] = {
    {.name = "map", .summary = "shows the map", .run = run},
    {.name = "map set", .arguments = "TAG", .summary = "changes the map", .flags = flags, .run = run, .more = "More."},
    {.name = "version", .summary = "tells the version", .run = run, .is_offline = true},
    {.name = "job show", .summary = "shows a job", .run = run},
    {.name = "job list", .summary = "lists jobs", .run = run},
    {0},
};

struct said {
    int code;
    char *out;
    char *err;
};

static struct said say(const char *words)
{
    char *argv[80] = {"tagfleet"};
    int argc = 1;
    AUTO(text) char *copy = text_copy(words);
    char *rest = copy;
    for (char *word; (word = strsep(&rest, " ")) != NULL;) {
        if (word[0] != '\0') {
            argv[argc++] = word;
        }
    }
    memset(&seen, 0, sizeof(seen));
    struct capture out;
    struct capture err;
    capture_start(&out, 1);
    capture_start(&err, 2);
    struct said said = {.code = command_main(commands, tables, argc, argv)};
    said.err = capture_end(&err);
    said.out = capture_end(&out);
    return said;
}

static void said_free(struct said *said)
{
    free(said->out);
    free(said->err);
}

static int surroundings_clear(void **state)
{
    (void)state;
    unsetenv("TAGFLEET_CONFIG");
    unsetenv("TAGFLEET_MAP_LIMIT");
    return 0;
}

static void a_command_gets_its_flags_and_arguments_in_any_order(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "map set one --file x --dry-run two",
        "map set --dry-run one two --file=x",
        "map set -f x one --dry-run two",
        "map set --file y one --dry-run two --file x",
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct said said = say(lines[i]);
        assert_int_equal(said.code, 42);
        assert_int_equal(seen.runs, 1);
        assert_string_equal(seen.command, "map set");
        assert_string_equal(seen.file, "x");
        assert_true(seen.is_dry);
        assert_string_equal(seen.arguments, "[one][two]");
        assert_string_equal(said.out, "");
        assert_string_equal(said.err, "");
        said_free(&said);
    }
}

static void of_two_commands_the_longer_name_is_tried_first(void **state)
{
    (void)state;
    struct said said = say("map");
    assert_string_equal(seen.command, "map");
    said_free(&said);
    said = say("map get");
    assert_string_equal(seen.command, "map");
    assert_string_equal(seen.arguments, "[get]");
    said_free(&said);
    said = say("map set");
    assert_string_equal(seen.command, "map set");
    assert_string_equal(seen.arguments, "");
    said_free(&said);
}

static void two_dashes_end_the_flags_and_one_dash_is_an_argument(void **state)
{
    (void)state;
    struct said said = say("map set - -- --file --");
    assert_int_equal(said.code, 42);
    assert_string_equal(seen.arguments, "[-][--file][--]");
    assert_string_equal(seen.file, "-");
    said_free(&said);
}

static void a_flag_that_was_not_given_is_null(void **state)
{
    (void)state;
    struct said said = say("map set x");
    assert_false(seen.is_dry);
    assert_string_equal(seen.file, "-");
    assert_false(seen.is_json);
    said_free(&said);
}

static void what_is_wrong_with_the_line_ends_with_2_and_a_reason(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        const char *reason;
    } cases[] = {
        {"", "usage: tagfleet COMMAND"},
        {"nothing", "tagfleet: nothing is not a command"},
        {"--version", "tagfleet: --version is not a command"},
        {"map set --nothing", "tagfleet map set: unknown flag --nothing\nTry `tagfleet map set --help`.\n"},
        {"map set -x", "tagfleet map set: unknown flag -x"},
        {"map --file x", "tagfleet map: unknown flag --file"},
        {"map set --file", "tagfleet map set: --file needs FILE"},
        {"map set --dry-run=yes", "tagfleet map set: --dry-run takes no argument"},
        {"map --format xml", "tagfleet map: --format is table or json, not xml"},
        {"map --format", "tagfleet map: --format needs table|json"},
        {"map --set", "tagfleet map: --set needs section.key=value"},
        {"job", "tagfleet job show"},
        {"job nothing", "tagfleet job list"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct said said = say(cases[i].line);
        if (said.code != EXIT_USAGE || strstr(said.err, cases[i].reason) == NULL) {
            fail_msg("\"%s\": %d %s", cases[i].line, said.code, said.err);
        }
        assert_int_equal(seen.runs, 0);
        assert_string_equal(said.out, "");
        said_free(&said);
    }
}

static void help_goes_to_the_output_and_runs_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        const char *text;
    } cases[] = {
        {"--help", "  map set          changes the map\n"},
        {"help", "  version          tells the version\n"},
        {"-h", "usage: tagfleet COMMAND"},
        {"map set --help", "usage: tagfleet map set TAG [--config FILE]"},
        {"map set -h", "  --file FILE                  what to read\n"},
        {"map set x --help", "  --set section.key=value      "},
        {"map set --help", "\nMore.\n"},
        {"map --help", "map.limit                      at most [5]\n"},
        {"job --help", "  tagfleet job show "},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct said said = say(cases[i].line);
        if (said.code != EXIT_OK || strstr(said.out, cases[i].text) == NULL) {
            fail_msg("\"%s\": %d %s", cases[i].line, said.code, said.out);
        }
        assert_int_equal(seen.runs, 0);
        assert_string_equal(said.err, "");
        said_free(&said);
    }
}

static void set_and_format_reach_the_command(void **state)
{
    (void)state;
    struct said said = say("map --set map.limit=7 --format json");
    assert_int_equal(said.code, 42);
    assert_int_equal(seen.limit, 7);
    assert_true(seen.is_json);
    said_free(&said);
    said = say("map --format=table --set=map.limit=7 --set map.limit=8");
    assert_int_equal(seen.limit, 8);
    assert_false(seen.is_json);
    said_free(&said);
}

static void more_sets_than_there_is_room_for_are_refused(void **state)
{
    (void)state;
    AUTO(buffer) struct buffer line;
    buffer_init(&line, 10000);
    buffer_append_text(&line, "map");
    for (int i = 0; i < COMMAND_SETS_MAXIMUM; i++) {
        buffer_append_text(&line, " --set=map.limit=3");
    }
    struct said said = say(line.ptr);
    assert_int_equal(said.code, 42);
    assert_int_equal(seen.limit, 3);
    said_free(&said);
    buffer_append_text(&line, " --set=map.limit=4");
    said = say(line.ptr);
    assert_int_equal(said.code, EXIT_USAGE);
    assert_non_null(strstr(said.err, "too many --set"));
    said_free(&said);
}

static void a_mistake_in_the_configuration_stops_all_but_offline_commands(void **state)
{
    (void)state;
    struct said said = say("map --set map.limit=99");
    assert_int_equal(said.code, EXIT_PERMANENT);
    assert_int_equal(seen.runs, 0);
    assert_string_equal(said.err, "--set: map.limit must be from 1 to 9, not 99\n");
    said_free(&said);
    said = say("version --set map.limit=99");
    assert_int_equal(said.code, 42);
    assert_false(seen.has_options);
    assert_string_equal(said.err, "");
    said_free(&said);
}

static void the_configuration_file_is_the_given_one_or_the_environments(void **state)
{
    (void)state;
    setenv("TAGFLEET_CONFIG", "/nowhere/environment.cfg", 1);
    struct said said = say("map");
    assert_int_equal(said.code, EXIT_PERMANENT);
    assert_non_null(strstr(said.err, "/nowhere/environment.cfg: cannot be read"));
    said_free(&said);
    said = say("map --config /nowhere/given.cfg");
    assert_non_null(strstr(said.err, "/nowhere/given.cfg: cannot be read"));
    said_free(&said);
    setenv("TAGFLEET_CONFIG", "", 1);
    said = say("version");
    assert_int_equal(said.code, 42);
    said_free(&said);
}

static void a_failure_ends_with_the_code_of_its_action(void **state)
{
    (void)state;
    static const struct {
        enum error_action action;
        int code;
    } cases[] = {
        {ERROR_RETRY, EXIT_TEMPORARY},
        {ERROR_REJECT, EXIT_NEGATIVE},
        {ERROR_FATAL, EXIT_PERMANENT},
        {ERROR_NONE, EXIT_PERMANENT},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct command_line line = {.command = &commands[0]};
        struct error err;
        struct capture capture;
        (void)error_set(&err, cases[i].action, "it broke");
        capture_start(&capture, 2);
        int code = command_fail(&line, &err);
        AUTO(text) char *text = capture_end(&capture);
        assert_int_equal(code, cases[i].code);
        assert_string_equal(text, "tagfleet map: it broke\n");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_command_gets_its_flags_and_arguments_in_any_order, surroundings_clear),
        cmocka_unit_test_setup(of_two_commands_the_longer_name_is_tried_first, surroundings_clear),
        cmocka_unit_test_setup(two_dashes_end_the_flags_and_one_dash_is_an_argument, surroundings_clear),
        cmocka_unit_test_setup(a_flag_that_was_not_given_is_null, surroundings_clear),
        cmocka_unit_test_setup(what_is_wrong_with_the_line_ends_with_2_and_a_reason, surroundings_clear),
        cmocka_unit_test_setup(help_goes_to_the_output_and_runs_nothing, surroundings_clear),
        cmocka_unit_test_setup(set_and_format_reach_the_command, surroundings_clear),
        cmocka_unit_test_setup(more_sets_than_there_is_room_for_are_refused, surroundings_clear),
        cmocka_unit_test_setup(a_mistake_in_the_configuration_stops_all_but_offline_commands, surroundings_clear),
        cmocka_unit_test_setup(the_configuration_file_is_the_given_one_or_the_environments, surroundings_clear),
        cmocka_unit_test_setup(a_failure_ends_with_the_code_of_its_action, surroundings_clear),
    };
    return cmocka_run_group_tests_name("command", tests, NULL, NULL);
}
