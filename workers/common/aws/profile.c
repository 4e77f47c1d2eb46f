#include "workers/common/aws/profile.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/index.h"

#include <ctype.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

/* Values by file, profile and key, names of profiles by file and profile: each on a line of its own, because none of
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

static bool line_refuse(const char *file_name, size_t number, const char *what, struct error *err)
{
    return error_set(err, ERROR_REJECT, "%s:%zu: %s", file_name, number, what);
}

/* The name between the brackets; empty for a section that is none of ours. */
static bool section_read(struct slice line, enum profile_file file, struct slice *ret_name)
{
    const char *end = memchr(line.ptr, ']', line.len);
    if (end == NULL) {
        return false;
    }
    struct slice name = slice_trim(slice_from(line.ptr + 1, (size_t)(end - line.ptr - 1)));
    bool has_prefix = name.len > 8 && memcmp(name.ptr, "profile", 7) == 0 && isspace((unsigned char)name.ptr[7]);
    bool is_foreign = file == PROFILE_CONFIG_FILE ? !slice_equal_text(name, "default") : has_prefix;
    if (file == PROFILE_CONFIG_FILE && has_prefix) {
        name = slice_trim(slice_from(name.ptr + 7, name.len - 7));
    } else if (is_foreign) {
        name.len = 0;
    }
    *ret_name = name;
    return true;
}

static void value_put(struct profiles *profiles, enum profile_file file, struct slice profile, struct slice key,
                      struct slice value)
{
    AUTO(text)
    char *name = text_format("%d\n%.*s\n%.*s", (int)file, (int)profile.len, profile.ptr, (int)key.len, key.ptr);
    for (char *at = name + strlen(name) - key.len; *at != '\0'; at++) {
        *at = (char)tolower((unsigned char)*at);
    }
    void *replaced = index_put(&profiles->values, slice_of(name), slice_copy(value));
    if (replaced != NULL) {
        value_free(replaced);
    }
}

bool profiles_add(struct profiles *profiles, enum profile_file file, const char *file_name, struct slice content,
                  struct error *err)
{
    struct slice profile = {NULL, 0};
    bool is_in_section = false;
    size_t number = 0;
    while (content.len > 0) {
        const char *end = memchr(content.ptr, '\n', content.len);
        size_t length = end != NULL ? (size_t)(end - content.ptr) : content.len;
        struct slice line = slice_from(content.ptr, length);
        content.ptr += end != NULL ? length + 1 : length;
        content.len -= end != NULL ? length + 1 : length;
        number++;
        if (memchr(line.ptr, '\0', line.len) != NULL) {
            return line_refuse(file_name, number, "a NUL byte", err);
        }
        bool is_nested = line.len > 0 && isspace((unsigned char)line.ptr[0]);
        struct slice text = slice_trim(line);
        if (text.len == 0 || text.ptr[0] == '#' || text.ptr[0] == ';' || (is_nested && is_in_section)) {
            continue;
        }
        if (text.ptr[0] == '[') {
            if (!section_read(text, file, &profile)) {
                return line_refuse(file_name, number, "a section needs a closing bracket", err);
            }
            is_in_section = true;
            if (profile.len > 0) {
                AUTO(text) char *name = text_format("%d\n%.*s", (int)file, (int)profile.len, profile.ptr);
                (void)index_put(&profiles->names, slice_of(name), profiles);
            }
            continue;
        }
        const char *equals = memchr(text.ptr, '=', text.len);
        if (!is_in_section || equals == NULL || equals == text.ptr) {
            return line_refuse(file_name, number, "expected [section] or name = value", err);
        }
        if (profile.len > 0) {
            size_t key_length = (size_t)(equals - text.ptr);
            value_put(profiles, file, profile, slice_trim(slice_from(text.ptr, key_length)),
                      without_comment(slice_from(equals + 1, text.len - key_length - 1)));
        }
    }
    return true;
}

bool profiles_has(const struct profiles *profiles, const char *profile)
{
    for (int file = PROFILE_CREDENTIALS_FILE; file <= PROFILE_CONFIG_FILE; file++) {
        AUTO(text) char *name = text_format("%d\n%s", file, profile);
        if (index_get(&profiles->names, slice_of(name)) != NULL) {
            return true;
        }
    }
    return false;
}

const char *profiles_get(const struct profiles *profiles, const char *profile, const char *key)
{
    for (int file = PROFILE_CREDENTIALS_FILE; file <= PROFILE_CONFIG_FILE; file++) {
        AUTO(text) char *name = text_format("%d\n%s\n%s", file, profile, key);
        const char *value = index_get(&profiles->values, slice_of(name));
        if (value != NULL && value[0] != '\0') {
            return value;
        }
    }
    return NULL;
}
