#include "workers/common/aws/profile.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/file.h"
#include "workers/common/base/index.h"

#include <ctype.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

enum { FILE_MAXIMUM_BYTES = 4 * 1024 * 1024 };

/* Where a profile was found. `[default]` in the config file counts only where `[profile default]` does not exist, so it
 * is kept apart until all is read. */
enum place { PLACE_CREDENTIALS, PLACE_CONFIG, PLACE_CONFIG_DEFAULT, PLACES };

/* Values by place, profile and key, names of profiles by place and profile: each on a line of its own, because none of
 * them can hold a line end. */
struct profiles {
    struct index values;
    struct index names;
};

struct profiles *profiles_new(void)
{
    return memory_zeroed(1, sizeof(struct profiles));
}

static void value_free(void *value)
{
    OPENSSL_cleanse(value, strlen(value));
    free(value);
}

void profiles_free(struct profiles *profiles)
{
    if (profiles != NULL) {
        index_clear(&profiles->values, value_free);
        index_clear(&profiles->names, NULL);
        free(profiles);
    }
}

/* "value # comment": a comment begins behind a blank. */
static struct slice without_comment(struct slice text)
{
    for (size_t i = 1; i < text.len; i++) {
        if ((text.ptr[i] == '#' || text.ptr[i] == ';') && isspace((unsigned char)text.ptr[i - 1])) {
            return slice_trim(slice_from(text.ptr, i));
        }
    }
    return slice_trim(text);
}

static bool name_is_valid(struct slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (!isalnum((unsigned char)name.ptr[i]) && strchr("_-./%@:+", name.ptr[i]) == NULL) {
            return false;
        }
    }
    return name.len > 0;
}

/* Where the lines that follow belong. */
struct section {
    bool is_open;
    enum place place;
    struct slice profile; /* empty: a section that is none of ours */
    char *value_key;      /* of the value that nested lines belong to; NULL: none, or one that is not kept */
    bool has_value;
    bool is_value_empty; /* nested lines are "name = value" then, else they carry the value on */
};

/* The name between the brackets. */
static bool section_read(struct slice line, enum profile_file file, struct section *section)
{
    const char *end = memchr(line.ptr, ']', line.len);
    if (end == NULL) {
        return false;
    }
    struct slice name = slice_trim(slice_from(line.ptr + 1, (size_t)(end - line.ptr - 1)));
    bool has_prefix = name.len > 8 && memcmp(name.ptr, "profile", 7) == 0 && isspace((unsigned char)name.ptr[7]);
    section->place = PLACE_CREDENTIALS;
    if (file == PROFILE_CONFIG_FILE) {
        section->place = has_prefix ? PLACE_CONFIG : PLACE_CONFIG_DEFAULT;
        name = has_prefix ? slice_trim(slice_from(name.ptr + 7, name.len - 7)) : name;
    }
    bool is_foreign = section->place == PLACE_CONFIG_DEFAULT && !slice_equal_text(name, "default");
    section->profile = !is_foreign && name_is_valid(name) ? name : (struct slice){NULL, 0};
    section->is_open = true;
    section->has_value = false;
    return true;
}

static void section_done(struct section *section)
{
    free(section->value_key);
    section->value_key = NULL;
}

static char *name_key(enum place place, struct slice profile)
{
    return text_format("%d\n%.*s", (int)place, (int)profile.len, profile.ptr);
}

static char *value_key(const struct section *section, struct slice name)
{
    char *key = text_format("%d\n%.*s\n%.*s", (int)section->place, (int)section->profile.len, section->profile.ptr,
                            (int)name.len, name.ptr);
    for (char *at = key + strlen(key) - name.len; *at != '\0'; at++) {
        *at = (char)tolower((unsigned char)*at);
    }
    return key;
}

static void value_put(struct profiles *profiles, const char *key, char *value)
{
    void *replaced = index_put(&profiles->values, slice_of(key), value);
    if (replaced != NULL) {
        value_free(replaced);
    }
}

static const char *value_line(struct profiles *profiles, struct section *section, struct slice text)
{
    const char *equals = memchr(text.ptr, '=', text.len);
    if (!section->is_open || equals == NULL || equals == text.ptr) {
        return "expected [section] or name = value";
    }
    size_t name_length = (size_t)(equals - text.ptr);
    struct slice value = without_comment(slice_from(equals + 1, text.len - name_length - 1));
    section_done(section);
    section->has_value = true;
    section->is_value_empty = value.len == 0;
    if (section->profile.len > 0) {
        section->value_key = value_key(section, slice_trim(slice_from(text.ptr, name_length)));
        value_put(profiles, section->value_key, slice_copy(value));
    }
    return NULL;
}

static const char *nested_line(struct profiles *profiles, struct section *section, struct slice text)
{
    const char *equals = memchr(text.ptr, '=', text.len);
    if (!section->has_value) {
        return "an indented line needs a value to belong to";
    }
    if (section->is_value_empty && (equals == NULL || equals == text.ptr)) {
        return "expected name = value below an empty value";
    }
    if (section->value_key != NULL) {
        const char *before = index_get(&profiles->values, slice_of(section->value_key));
        value_put(profiles, section->value_key, text_format("%s\n%.*s", before, (int)text.len, text.ptr));
    }
    return NULL;
}

static const char *section_line(struct profiles *profiles, enum profile_file file, struct section *section,
                                struct slice text)
{
    section_done(section);
    if (!section_read(text, file, section)) {
        return "a section needs a closing bracket";
    }
    if (section->profile.len > 0) {
        AUTO(text) char *name = name_key(section->place, section->profile);
        (void)index_put(&profiles->names, slice_of(name), profiles);
    }
    return NULL;
}

/* What is wrong with the line, or NULL. */
static const char *line_add(struct profiles *profiles, enum profile_file file, struct section *section,
                            struct slice line)
{
    struct slice text = slice_trim(line);
    if (memchr(line.ptr, '\0', line.len) != NULL) {
        return "a NUL byte";
    }
    if (text.len == 0 || text.ptr[0] == '#' || text.ptr[0] == ';') {
        return NULL;
    }
    if (section->is_open && isspace((unsigned char)line.ptr[0])) {
        return nested_line(profiles, section, text);
    }
    return text.ptr[0] == '[' ? section_line(profiles, file, section, text) : value_line(profiles, section, text);
}

bool profiles_add(struct profiles *profiles, enum profile_file file, const char *file_name, struct slice content,
                  struct error *err)
{
    struct section section = {0};
    const char *mistake = NULL;
    size_t number = 0;
    while (content.len > 0 && mistake == NULL) {
        const char *end = memchr(content.ptr, '\n', content.len);
        size_t length = end != NULL ? (size_t)(end - content.ptr) : content.len;
        mistake = line_add(profiles, file, &section, slice_from(content.ptr, length));
        content.ptr += end != NULL ? length + 1 : length;
        content.len -= end != NULL ? length + 1 : length;
        number++;
    }
    section_done(&section);
    return mistake == NULL || error_set(err, ERROR_REJECT, "%s:%zu: %s", file_name, number, mistake);
}

/* A file that is not there is no mistake; one that cannot be understood is. */
static bool profiles_add_file(struct profiles *profiles, enum profile_file file, const char *path, struct error *err)
{
    AUTO(buffer) struct buffer content;
    buffer_init(&content, FILE_MAXIMUM_BYTES);
    struct error unreadable;
    bool is_fine =
        !file_read(path, &content, &unreadable) || profiles_add(profiles, file, path, buffer_slice(&content), err);
    OPENSSL_cleanse(content.ptr, content.len);
    return is_fine;
}

bool profiles_read(const char *credentials_path, const char *config_path, struct profiles **ret_profiles,
                   struct error *err)
{
    struct profiles *profiles = profiles_new();
    if (!profiles_add_file(profiles, PROFILE_CREDENTIALS_FILE, credentials_path, err) ||
        !profiles_add_file(profiles, PROFILE_CONFIG_FILE, config_path, err)) {
        profiles_free(profiles);
        return false;
    }
    *ret_profiles = profiles;
    return true;
}

static bool place_has(const struct profiles *profiles, enum place place, const char *profile)
{
    AUTO(text) char *name = name_key(place, slice_of(profile));
    return index_get(&profiles->names, slice_of(name)) != NULL;
}

static bool place_counts(const struct profiles *profiles, enum place place, const char *profile)
{
    return place != PLACE_CONFIG_DEFAULT || !place_has(profiles, PLACE_CONFIG, profile);
}

bool profiles_has(const struct profiles *profiles, const char *profile)
{
    for (enum place place = PLACE_CREDENTIALS; place < PLACES; place++) {
        if (place_has(profiles, place, profile)) {
            return true;
        }
    }
    return false;
}

const char *profiles_get(const struct profiles *profiles, const char *profile, const char *key)
{
    for (enum place place = PLACE_CREDENTIALS; place < PLACES; place++) {
        AUTO(text) char *name = text_format("%d\n%s\n%s", (int)place, profile, key);
        const char *value = index_get(&profiles->values, slice_of(name));
        if (value != NULL && value[0] != '\0' && place_counts(profiles, place, profile)) {
            return value;
        }
    }
    return NULL;
}
