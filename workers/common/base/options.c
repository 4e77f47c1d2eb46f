#include "workers/common/base/options.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/index.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <libconfig.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What one option is set to. Which members count follows from the row's type. */
struct setting {
    const struct option *row;
    bool is_set;
    char *text;
    int64_t number; /* integer, boolean, milliseconds */
    char **items;   /* texts; for pairs key, value, key, value, ... */
    size_t item_count;
    struct options **groups;
    size_t group_count;
};

struct options {
    struct index settings; /* name -> struct setting */
};

/* Where a value comes from, for the text of a mistake. */
struct origin {
    const char *file;
    int line;
    const char *name; /* environment variable, or "--set" */
    struct buffer *mistakes;
};

static bool mistake(const struct origin *origin, const char *name, const char *format, ...) FORMAT(3);

static bool mistake(const struct origin *origin, const char *name, const char *format, ...)
{
    char text[400];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (origin->file != NULL) {
        buffer_append_format(origin->mistakes, "%s:%d: %s %s\n", origin->file, origin->line, name, text);
    } else {
        buffer_append_format(origin->mistakes, "%s: %s %s\n", origin->name, name, text);
    }
    return false;
}

static void items_free(struct setting *setting)
{
    for (size_t i = 0; i < setting->item_count; i++) {
        free(setting->items[i]);
    }
    free((void *)setting->items);
    setting->items = NULL;
    setting->item_count = 0;
}

static void setting_free(void *value)
{
    struct setting *setting = value;
    free(setting->text);
    items_free(setting);
    for (size_t i = 0; i < setting->group_count; i++) {
        options_free(setting->groups[i]);
    }
    free((void *)setting->groups);
    free(setting);
}

void options_free(struct options *options)
{
    if (options != NULL) {
        index_clear(&options->settings, setting_free);
        free(options);
    }
}

static void items_add(struct setting *setting, const char *text)
{
    setting->items = memory_resized((void *)setting->items, (setting->item_count + 1) * sizeof(char *));
    setting->items[setting->item_count++] = text_copy(text);
}

static bool choice_is_known(const char *choices, const char *text)
{
    size_t length = strlen(text);
    for (const char *at = choices; at != NULL; at = strchr(at, '|') != NULL ? strchr(at, '|') + 1 : NULL) {
        if (strcspn(at, "|") == length && memcmp(at, text, length) == 0) {
            return true;
        }
    }
    return false;
}

static bool number_is_within(const struct option *row, int64_t number)
{
    return (row->minimum == 0 && row->maximum == 0) || (number >= row->minimum && number <= row->maximum);
}

static bool setting_from_integer(struct setting *setting, const char *text, const struct origin *origin)
{
    char *end;
    errno = 0;
    int64_t number = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0') {
        return mistake(origin, setting->row->name, "must be a whole number, not \"%s\"", text);
    }
    if (!number_is_within(setting->row, number)) {
        return mistake(origin, setting->row->name, "must be from %" PRId64 " to %" PRId64 ", not %" PRId64,
                       setting->row->minimum, setting->row->maximum, number);
    }
    setting->number = number;
    return true;
}

static bool setting_from_duration(struct setting *setting, const char *text, const struct origin *origin)
{
    int64_t duration_ms;
    if (!duration_parse(text, &duration_ms)) {
        return mistake(origin, setting->row->name, "must be a duration such as 500ms, 30s or 10m, not \"%s\"", text);
    }
    if (!number_is_within(setting->row, duration_ms)) {
        return mistake(origin, setting->row->name, "must be from %" PRId64 " ms to %" PRId64 " ms, not \"%s\"",
                       setting->row->minimum, setting->row->maximum, text);
    }
    setting->number = duration_ms;
    return true;
}

static bool setting_from_boolean(struct setting *setting, const char *text, const struct origin *origin)
{
    if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0) {
        return mistake(origin, setting->row->name, "must be true or false, not \"%s\"", text);
    }
    setting->number = text[0] == 't';
    return true;
}

static void setting_from_list(struct setting *setting, const char *text)
{
    items_free(setting);
    struct slice rest = slice_of(text);
    for (struct slice item; slice_next_item(&rest, &item);) {
        setting->items = memory_resized((void *)setting->items, (setting->item_count + 1) * sizeof(char *));
        setting->items[setting->item_count++] = slice_copy(item);
    }
}

/* "a=1,b=2": over the pairs that are there already, since the last one of a name counts. A piece without "=" belongs to
 * the value before it. */
static bool setting_from_pairs(struct setting *setting, const char *text, const struct origin *origin)
{
    AUTO(text) char *copy = text_copy(text);
    char *rest = copy;
    for (char *piece; (piece = strsep(&rest, ",")) != NULL;) {
        char *equals = strchr(piece, '=');
        if (equals == NULL && (piece == copy || setting->item_count == 0)) {
            return mistake(origin, setting->row->name, "must be name=value pairs separated by commas, not \"%s\"",
                           text);
        }
        if (equals == NULL) {
            char **value = &setting->items[setting->item_count - 1];
            char *longer = text_format("%s,%s", *value, piece);
            free(*value);
            *value = longer;
            continue;
        }
        *equals = '\0';
        items_add(setting, piece);
        items_add(setting, equals + 1);
    }
    return true;
}

/* A value given as text: from the environment, from --set, or a string in the file. */
static bool setting_from_text(struct setting *setting, const char *text, const struct origin *origin)
{
    const struct option *row = setting->row;
    bool is_valid = true;
    switch (row->type) {
    case OPTION_CHOICE:
        if (!choice_is_known(row->choices, text)) {
            return mistake(origin, row->name, "must be one of %s, not \"%s\"", row->choices, text);
        }
        /* fall through */
    case OPTION_TEXT:
        free(setting->text);
        setting->text = text_copy(text);
        break;
    case OPTION_INTEGER:
        is_valid = setting_from_integer(setting, text, origin);
        break;
    case OPTION_BOOLEAN:
        is_valid = setting_from_boolean(setting, text, origin);
        break;
    case OPTION_DURATION:
        is_valid = setting_from_duration(setting, text, origin);
        break;
    case OPTION_TEXTS:
        setting_from_list(setting, text);
        break;
    case OPTION_PAIRS:
        is_valid = setting_from_pairs(setting, text, origin);
        break;
    case OPTION_GROUPS:
        return mistake(origin, row->name, "can be set in the config file only: a list of groups ( { ... } )");
    }
    setting->is_set = is_valid;
    return is_valid;
}

static struct setting *options_setting(const struct options *options, const char *name)
{
    return index_get(&options->settings, slice_of(name));
}

/* Adds a setting for each row, at its default. */
static void options_add_rows(struct options *options, const struct option *rows, struct buffer *mistakes)
{
    struct origin origin = {.name = "default", .mistakes = mistakes};
    for (const struct option *row = rows; row->name != NULL; row++) {
        struct setting *setting = memory_zeroed(1, sizeof(*setting));
        setting->row = row;
        index_put(&options->settings, slice_of(row->name), setting);
        if (row->initial != NULL) {
            (void)setting_from_text(setting, row->initial, &origin);
            setting->is_set = false;
        }
    }
}

static bool group_read(struct options *options, const config_setting_t *group, const char *prefix,
                       const struct origin *origin);

// NOLINTNEXTLINE(misc-no-recursion): see group_read.
static bool item_read(struct options *group, const struct setting *setting, const config_setting_t *item,
                      const struct origin *at)
{
    options_add_rows(group, setting->row->group, at->mistakes);
    bool is_valid = group_read(group, item, "", at);
    for (const struct option *row = setting->row->group; row->name != NULL; row++) {
        if (row->is_required && !options_setting(group, row->name)->is_set) {
            is_valid = mistake(at, setting->row->name, "needs %s: %s", row->name, row->help);
        }
    }
    return is_valid;
}

/* A group with a mistake is left out. */
// NOLINTNEXTLINE(misc-no-recursion): see group_read.
static bool groups_read(struct setting *setting, const config_setting_t *list, const struct origin *origin)
{
    bool is_valid = true;
    for (int i = 0; i < config_setting_length(list); i++) {
        const config_setting_t *item = config_setting_get_elem(list, (unsigned)i);
        struct origin at = {origin->file, (int)config_setting_source_line(item), NULL, origin->mistakes};
        if (!config_setting_is_group(item)) {
            is_valid = mistake(&at, setting->row->name, "must hold groups { ... }");
            continue;
        }
        AUTO(options) struct options *group = memory_zeroed(1, sizeof(*group));
        if (!item_read(group, setting, item, &at)) {
            is_valid = false;
            continue;
        }
        setting->groups =
            memory_resized((void *)setting->groups, (setting->group_count + 1) * sizeof(struct options *));
        setting->groups[setting->group_count++] = TAKE(group);
    }
    return is_valid;
}

/* A scalar of the file as text, in a buffer of the caller. */
static const char *scalar_text(const config_setting_t *value, char *ret_text, size_t size)
{
    switch (config_setting_type(value)) {
    case CONFIG_TYPE_STRING:
        return config_setting_get_string(value);
    case CONFIG_TYPE_INT:
    case CONFIG_TYPE_INT64:
        (void)snprintf(ret_text, size, "%lld", config_setting_get_int64(value));
        return ret_text;
    case CONFIG_TYPE_BOOL:
        return config_setting_get_bool(value) ? "true" : "false";
    case CONFIG_TYPE_FLOAT:
        (void)snprintf(ret_text, size, "%g", config_setting_get_float(value));
        return ret_text;
    default:
        return NULL;
    }
}

static bool texts_read(struct setting *setting, const config_setting_t *list, const struct origin *origin)
{
    items_free(setting);
    for (int i = 0; i < config_setting_length(list); i++) {
        const char *text = config_setting_get_string_elem(list, i);
        if (text == NULL) {
            return mistake(origin, setting->row->name, "must be a list of texts (\"a\", \"b\")");
        }
        items_add(setting, text);
    }
    setting->is_set = true;
    return true;
}

static bool pairs_read(struct setting *setting, const config_setting_t *group, const struct origin *origin)
{
    for (int i = 0; i < config_setting_length(group); i++) {
        const config_setting_t *pair = config_setting_get_elem(group, (unsigned)i);
        char number[32];
        const char *text = scalar_text(pair, number, sizeof(number));
        if (text == NULL) {
            return mistake(origin, setting->row->name, "must hold texts, numbers or booleans only");
        }
        AUTO(text) char *name = text_copy(config_setting_name(pair));
        for (char *at = name; *at != '\0'; at++) {
            *at = *at == '_' ? '.' : *at;
        }
        items_add(setting, name);
        items_add(setting, text);
    }
    setting->is_set = true;
    return true;
}

// NOLINTNEXTLINE(misc-no-recursion): see group_read.
static bool value_read(struct setting *setting, const config_setting_t *value, const struct origin *origin)
{
    bool is_list = config_setting_is_list(value) || config_setting_is_array(value);
    if (setting->row->type == OPTION_GROUPS && is_list) {
        setting->is_set = true;
        return groups_read(setting, value, origin);
    }
    if (setting->row->type == OPTION_TEXTS && is_list) {
        return texts_read(setting, value, origin);
    }
    if (setting->row->type == OPTION_PAIRS && config_setting_is_group(value)) {
        return pairs_read(setting, value, origin);
    }
    char number[32];
    const char *text = scalar_text(value, number, sizeof(number));
    if (text == NULL) {
        return mistake(origin, setting->row->name, "has the wrong type; it means: %s", setting->row->help);
    }
    return setting_from_text(setting, text, origin);
}

struct nearest {
    const char *wanted;
    const char *name;
    size_t shared;
};

static void nearest_visit(const char *name, void *value, void *context)
{
    (void)value;
    struct nearest *nearest = context;
    size_t shared = 0;
    while (name[shared] != '\0' && name[shared] == nearest->wanted[shared]) {
        shared++;
    }
    if (shared > nearest->shared) {
        nearest->shared = shared;
        nearest->name = name;
    }
}

static bool unknown_name(const struct options *options, const char *name, const struct origin *origin)
{
    struct nearest nearest = {.wanted = name};
    index_each(&options->settings, nearest_visit, &nearest);
    if (nearest.name != NULL && nearest.shared > 2) {
        return mistake(origin, name, "is not an option; did you mean %s?", nearest.name);
    }
    return mistake(origin, name, "is not an option; `tagfleet config --help` lists them");
}

// NOLINTNEXTLINE(misc-no-recursion): sections hold keys, and a list holds groups of keys; libconfig bounds the rest.
static bool group_read(struct options *options, const config_setting_t *group, const char *prefix,
                       const struct origin *origin)
{
    bool is_valid = true;
    for (int i = 0; i < config_setting_length(group); i++) {
        const config_setting_t *value = config_setting_get_elem(group, (unsigned)i);
        struct origin at = {origin->file, (int)config_setting_source_line(value), NULL, origin->mistakes};
        AUTO(text) char *name = text_format("%s%s", prefix, config_setting_name(value));
        struct setting *setting = options_setting(options, name);
        if (setting != NULL) {
            is_valid = value_read(setting, value, &at) && is_valid;
        } else if (prefix[0] == '\0' && config_setting_is_group(value)) {
            AUTO(text) char *section = text_format("%s.", name);
            is_valid = group_read(options, value, section, origin) && is_valid;
        } else {
            is_valid = unknown_name(options, name, &at);
        }
    }
    return is_valid;
}

/* False: the file says nothing at all. *ret_is_valid: nothing that it says is a mistake. */
static bool file_read(struct options *options, const char *path, bool *ret_is_valid, struct buffer *mistakes)
{
    config_t config;
    config_init(&config);
    bool is_read = config_read_file(&config, path) == CONFIG_TRUE;
    if (!is_read && config_error_type(&config) == CONFIG_ERR_FILE_IO) {
        buffer_append_format(mistakes, "%s: cannot be read: %s\n", path, strerror(errno));
    } else if (!is_read) {
        buffer_append_format(mistakes, "%s:%d: %s\n", path, config_error_line(&config), config_error_text(&config));
    } else {
        struct origin origin = {.file = path, .mistakes = mistakes};
        *ret_is_valid = group_read(options, config_root_setting(&config), "", &origin);
    }
    config_destroy(&config);
    return is_read;
}

struct environment_read {
    struct buffer *mistakes;
    bool is_valid;
};

static void environment_visit(const char *name, void *value, void *context)
{
    struct setting *setting = value;
    struct environment_read *read = context;
    AUTO(text) char *variable = text_format("TAGFLEET_%s", name);
    for (char *at = variable; *at != '\0'; at++) {
        *at = *at == '.' ? '_' : (char)toupper((unsigned char)*at);
    }
    struct origin origin = {.name = variable, .mistakes = read->mistakes};
    const char *text = getenv(variable);
    if (text == NULL && setting->row->environment != NULL && !setting->is_set) {
        origin.name = setting->row->environment;
        text = getenv(setting->row->environment);
    }
    if (text != NULL && text[0] != '\0') {
        read->is_valid = setting_from_text(setting, text, &origin) && read->is_valid;
    }
}

/* Pairs are properties of somebody else's: these are in the names of those that are secrets. */
static bool is_secret(const char *text)
{
    static const char *const words[] = {"password", "secret", "key.pem", "oauthbearer.config"};
    bool is_found = false;
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        is_found = is_found || strstr(text, words[i]) != NULL;
    }
    return is_found;
}

static bool override_pairs(struct setting *setting, const char *key, const char *text, const struct origin *origin)
{
    if (is_secret(key != NULL ? key : text)) {
        return mistake(origin, setting->row->name,
                       "must not hold a password here, since everybody on this machine can read a command line: it "
                       "comes from a file or from the environment");
    }
    if (key == NULL) {
        return setting_from_text(setting, text, origin);
    }
    items_add(setting, key);
    items_add(setting, text);
    return true;
}

static bool override_apply(struct options *options, const char *assignment, struct buffer *mistakes)
{
    struct origin origin = {.name = "--set", .mistakes = mistakes};
    const char *equals = strchr(assignment, '=');
    if (equals == NULL) {
        return mistake(&origin, assignment, "needs a value: --set section.key=value");
    }
    AUTO(text) char *name = slice_copy(slice_from(assignment, (size_t)(equals - assignment)));
    struct setting *setting = options_setting(options, name);
    if (setting != NULL && setting->row->type == OPTION_PAIRS) {
        return override_pairs(setting, NULL, equals + 1, &origin);
    }
    if (setting != NULL) {
        return setting_from_text(setting, equals + 1, &origin);
    }
    /* kafka.properties.linger.ms=5: the rest of the name is the key of a pair. */
    for (char *dot = strchr(name, '.'); dot != NULL; dot = strchr(dot + 1, '.')) {
        *dot = '\0';
        setting = options_setting(options, name);
        *dot = '.';
        if (setting != NULL && setting->row->type == OPTION_PAIRS) {
            return override_pairs(setting, dot + 1, equals + 1, &origin);
        }
    }
    return unknown_name(options, name, &origin);
}

bool options_load(const struct option *const *tables, const char *file_path, const struct option_override *overrides,
                  size_t override_count, struct options **ret_options, struct buffer *mistakes)
{
    AUTO(options) struct options *options = memory_zeroed(1, sizeof(*options));
    for (size_t i = 0; tables[i] != NULL; i++) {
        options_add_rows(options, tables[i], mistakes);
    }
    bool is_valid = true;
    if (file_path != NULL && !file_read(options, file_path, &is_valid, mistakes)) {
        return false;
    }
    struct environment_read read = {mistakes, true};
    index_each(&options->settings, environment_visit, &read);
    is_valid = read.is_valid && is_valid;
    for (size_t i = 0; i < override_count; i++) {
        is_valid = override_apply(options, overrides[i].assignment, mistakes) && is_valid;
    }
    *ret_options = TAKE(options);
    return is_valid;
}

/* An unknown name is a mistake of ours that any test shows. */
static const struct setting *options_known(const struct options *options, const char *name)
{
    const struct setting *setting = options_setting(options, name);
    if (setting == NULL) {
        (void)fprintf(stderr, "no option is called %s\n", name);
        abort();
    }
    return setting;
}

const char *options_text(const struct options *options, const char *name)
{
    return options_known(options, name)->text;
}

int64_t options_integer(const struct options *options, const char *name)
{
    return options_known(options, name)->number;
}

int64_t options_duration_ms(const struct options *options, const char *name)
{
    return options_known(options, name)->number;
}

bool options_boolean(const struct options *options, const char *name)
{
    return options_known(options, name)->number != 0;
}

size_t options_texts(const struct options *options, const char *name, const char *const **ret_items)
{
    const struct setting *setting = options_known(options, name);
    *ret_items = (const char *const *)setting->items;
    return setting->item_count;
}

void options_pairs(const struct options *options, const char *name,
                   void (*visit)(const char *key, const char *value, void *context), void *context)
{
    const struct setting *setting = options_known(options, name);
    for (size_t i = 0; i + 1 < setting->item_count; i += 2) {
        visit(setting->items[i], setting->items[i + 1], context);
    }
}

size_t options_groups(const struct options *options, const char *name)
{
    return options_known(options, name)->group_count;
}

const struct options *options_group(const struct options *options, const char *name, size_t position)
{
    return options_known(options, name)->groups[position];
}

/* Rows of groups are named "section.list.key"; groups nest one level deep. */
// NOLINTNEXTLINE(misc-no-recursion): as deep as the tables.
static void rows_describe(const struct option *rows, const char *prefix, struct buffer *buffer)
{
    for (const struct option *row = rows; row->name != NULL; row++) {
        AUTO(text) char *name = text_format("%s%s", prefix, row->name);
        buffer_append_format(buffer, "  %-30s %s", name, row->help);
        if (row->choices != NULL) {
            buffer_append_format(buffer, " (%s)", row->choices);
        }
        if (row->initial != NULL && row->initial[0] != '\0') {
            buffer_append_format(buffer, " [%s]", row->initial);
        }
        buffer_append_char(buffer, '\n');
        if (row->group != NULL) {
            AUTO(text) char *inner = text_format("%s.", name);
            rows_describe(row->group, inner, buffer);
        }
    }
}

void options_describe(const struct option *const *tables, struct buffer *buffer)
{
    for (size_t i = 0; tables[i] != NULL; i++) {
        rows_describe(tables[i], "", buffer);
    }
}
