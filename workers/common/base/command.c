#include "workers/common/base/command.h"

#include "workers/common/base/auto.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct flag common_flags[] = {
    {"config", "FILE", "the configuration file (TAGFLEET_CONFIG; else /etc/tagfleet/tagfleet.cfg if it is there)"},
    {"set", "section.key=value", "an option over the file and the environment; may be given again"},
    {"format", "table|json", "for people, or one JSON object per line for scripts"},
    {"help", NULL, "this text"},
    {0},
};

enum { COMMON_CONFIG, COMMON_SET, COMMON_FORMAT, COMMON_HELP };

static size_t flags_count(const struct flag *flags)
{
    size_t count = 0;
    while (flags != NULL && flags[count].name != NULL) {
        count++;
    }
    return count;
}

const char *command_flag(const struct command_line *line, const char *name)
{
    for (size_t i = 0; i < flags_count(line->command->flags); i++) {
        if (strcmp(line->command->flags[i].name, name) == 0) {
            return line->values[i];
        }
    }
    return NULL;
}

int command_usage(const struct command_line *line, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)fprintf(stderr, "tagfleet %s: ", line->command->name);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    (void)fprintf(stderr, "\nTry `tagfleet %s --help`.\n", line->command->name);
    return EXIT_USAGE;
}

int command_fail(const struct command_line *line, const struct error *err)
{
    (void)fprintf(stderr, "tagfleet %s: %s\n", line->command->name, err->text);
    switch (err->action) {
    case ERROR_RETRY:
        return EXIT_TEMPORARY;
    case ERROR_REJECT:
        return EXIT_NEGATIVE;
    case ERROR_FATAL:
    case ERROR_NONE:
        break;
    }
    return EXIT_PERMANENT;
}

static void flags_print(const struct flag *flags)
{
    for (const struct flag *flag = flags; flag != NULL && flag->name != NULL; flag++) {
        char name[80];
        (void)snprintf(name, sizeof(name), "--%s%s%s", flag->name, flag->argument != NULL ? " " : "",
                       flag->argument != NULL ? flag->argument : "");
        (void)printf("  %-28s %s\n", name, flag->help);
    }
}

static void command_help(const struct command *command, const struct option *const *tables)
{
    (void)printf("usage: tagfleet %s%s%s [--config FILE] [--set section.key=value]...\n\n%s\n\n", command->name,
                 command->arguments != NULL ? " " : "", command->arguments != NULL ? command->arguments : "",
                 command->summary);
    flags_print(command->flags);
    flags_print(common_flags);
    if (command->more != NULL) {
        (void)printf("\n%s\n", command->more);
    }
    /* The options of a role are those of its own section; `config check` lists all of them. */
    bool is_config = text_starts_with(command->name, "config");
    for (size_t i = 0; tables[i] != NULL; i++) {
        AUTO(text) char *section = text_format("%s.", command->name);
        if (is_config || (tables[i]->name != NULL && text_starts_with(tables[i]->name, section))) {
            const struct option *const one[] = {tables[i], NULL};
            AUTO(buffer) struct buffer text;
            buffer_init(&text, 64 * 1024);
            options_describe(one, &text);
            (void)printf("\nOptions:\n%s", text.ptr);
        }
    }
}

static void program_help(const struct command *commands, FILE *stream)
{
    (void)fprintf(stream, "tagfleet delivers builds into the AWS accounts that are mapped to a tag.\n\n"
                          "usage: tagfleet COMMAND [--config FILE] [--set section.key=value]...\n\n");
    for (const struct command *command = commands; command->name != NULL; command++) {
        (void)fprintf(stream, "  %-16s %s\n", command->name, command->summary);
    }
    (void)fprintf(stream, "\n`tagfleet COMMAND --help` tells more.\n");
}

/* A command of two words is tried first: "map set" before "map". Returns how many words it has, 0 for none. */
static size_t command_find(const struct command *commands, int argc, char **argv, const struct command **ret_command)
{
    AUTO(text) char *two = argc > 2 ? text_format("%s %s", argv[1], argv[2]) : text_copy("");
    for (const struct command *command = commands; command->name != NULL; command++) {
        if (strcmp(command->name, two) == 0) {
            *ret_command = command;
            return 2;
        }
    }
    for (const struct command *command = commands; argc > 1 && command->name != NULL; command++) {
        if (strcmp(command->name, argv[1]) == 0) {
            *ret_command = command;
            return 1;
        }
    }
    return 0;
}

static bool is_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0;
}

/* "tagfleet map" or "tagfleet map --help": the verbs that begin so. */
static int command_unknown(const struct command *commands, int argc, char **argv)
{
    if (argc < 2 || is_help(argv[1])) {
        program_help(commands, argc < 2 ? stderr : stdout);
        return argc < 2 ? EXIT_USAGE : EXIT_OK;
    }
    AUTO(text) char *prefix = text_format("%s ", argv[1]);
    bool is_help_wanted = argc > 2 && is_help(argv[2]);
    bool is_group = false;
    FILE *stream = is_help_wanted ? stdout : stderr;
    for (const struct command *command = commands; command->name != NULL; command++) {
        if (text_starts_with(command->name, prefix)) {
            (void)fprintf(stream, "  tagfleet %s %s\n      %s\n", command->name,
                          command->arguments != NULL ? command->arguments : "", command->summary);
            is_group = true;
        }
    }
    if (is_group) {
        return is_help_wanted ? EXIT_OK : EXIT_USAGE;
    }
    (void)fprintf(stderr, "tagfleet: %s is not a command; `tagfleet --help` lists them\n", argv[1]);
    return EXIT_USAGE;
}

struct common_values {
    const char *config;
    const char *format;
    bool is_help;
    struct option_override sets[COMMAND_SETS_MAXIMUM];
    size_t set_count;
};

/* Finds "--name" or "--name=..."; the length is that of the name. */
static const struct flag *flag_find(const struct flag *flags, const char *name, size_t length)
{
    for (const struct flag *flag = flags; flag != NULL && flag->name != NULL; flag++) {
        if (strlen(flag->name) == length && strncmp(flag->name, name, length) == 0) {
            return flag;
        }
    }
    return NULL;
}

static bool common_take(struct common_values *common, const struct flag *flag, const char *value)
{
    switch (flag - common_flags) {
    case COMMON_CONFIG:
        common->config = value;
        return true;
    case COMMON_SET:
        if (common->set_count == COMMAND_SETS_MAXIMUM) {
            return false;
        }
        common->sets[common->set_count++].assignment = value;
        return true;
    case COMMON_FORMAT:
        common->format = value;
        return true;
    default:
        common->is_help = true;
        return true;
    }
}

/* One word that begins with dashes; *position moves on when the argument is a word of its own. */
static bool flag_read(struct command_line *line, struct common_values *common, int argc, char **argv, int *position)
{
    const char *word = argv[*position];
    /* -f is what people type for a file. */
    const char *name = strcmp(word, "-f") == 0 ? "file" : strcmp(word, "-h") == 0 ? "help" : word + 2;
    if (name == word + 2 && !text_starts_with(word, "--")) {
        (void)command_usage(line, "unknown flag %s", word);
        return false;
    }
    const char *equals = strchr(name, '=');
    size_t length = equals != NULL ? (size_t)(equals - name) : strlen(name);
    const struct flag *own = flag_find(line->command->flags, name, length);
    const struct flag *flag = own != NULL ? own : flag_find(common_flags, name, length);
    if (flag == NULL) {
        (void)command_usage(line, "unknown flag %s", word);
        return false;
    }
    const char *value = "";
    if (flag->argument != NULL && equals != NULL) {
        value = equals + 1;
    } else if (flag->argument != NULL && *position + 1 < argc) {
        value = argv[++*position];
    } else if (flag->argument != NULL || equals != NULL) {
        (void)command_usage(line, flag->argument != NULL ? "--%s needs %s" : "--%s takes no argument%s", flag->name,
                            flag->argument != NULL ? flag->argument : "");
        return false;
    }
    if (own != NULL) {
        line->values[own - line->command->flags] = value;
        return true;
    }
    return common_take(common, flag, value) || command_usage(line, "too many --set") == 0;
}

/* Splits the words into flags and arguments; "--" ends the flags. */
static bool words_read(struct command_line *line, struct common_values *common, int argc, char **argv)
{
    bool is_literal = false;
    for (int i = 0; i < argc; i++) {
        if (!is_literal && strcmp(argv[i], "--") == 0) {
            is_literal = true;
        } else if (!is_literal && argv[i][0] == '-' && argv[i][1] != '\0') {
            if (!flag_read(line, common, argc, argv, &i)) {
                return false;
            }
        } else {
            line->arguments[line->argument_count++] = argv[i];
        }
    }
    return true;
}

static const char *config_path_find(const struct common_values *common)
{
    static const char installed[] = "/etc/tagfleet/tagfleet.cfg";
    const char *environment = getenv("TAGFLEET_CONFIG");
    if (common->config != NULL) {
        return common->config;
    }
    if (environment != NULL && environment[0] != '\0') {
        return environment;
    }
    return access(installed, R_OK) == 0 ? installed : NULL;
}

static int command_run(struct command_line *line, const struct common_values *common)
{
    if (common->format != NULL && strcmp(common->format, "json") != 0 && strcmp(common->format, "table") != 0) {
        return command_usage(line, "--format is table or json, not %s", common->format);
    }
    line->is_json = common->format != NULL && strcmp(common->format, "json") == 0;
    line->config_path = config_path_find(common);
    line->sets = common->sets;
    line->set_count = common->set_count;
    AUTO(buffer) struct buffer mistakes;
    buffer_init(&mistakes, 64 * 1024);
    AUTO(options) struct options *options = NULL;
    bool is_valid = options_load(line->tables, line->config_path, common->sets, common->set_count, &options, &mistakes);
    options_check *const *check = options != NULL ? line->command->checks : NULL;
    for (; check != NULL && *check != NULL; check++) {
        is_valid = (*check)(options, &mistakes) && is_valid;
    }
    if (!is_valid && !line->command->is_offline) {
        (void)fputs(mistakes.ptr, stderr);
        return EXIT_PERMANENT;
    }
    line->options = is_valid ? options : NULL;
    return line->command->run(line);
}

int command_main(const struct command *commands, const struct option *const *tables, int argc, char **argv)
{
    struct command_line line = {.tables = tables};
    size_t words = command_find(commands, argc, argv, &line.command);
    if (words == 0) {
        return command_unknown(commands, argc, argv);
    }
    struct common_values common = {0};
    line.arguments = memory_zeroed((size_t)argc, sizeof(char *));
    int exit_code = EXIT_USAGE;
    if (words_read(&line, &common, argc - 1 - (int)words, argv + 1 + words)) {
        if (common.is_help) {
            command_help(line.command, tables);
            exit_code = EXIT_OK;
        } else {
            exit_code = command_run(&line, &common);
        }
    }
    free((void *)line.arguments);
    return exit_code;
}
