/*
 * The AWS shared config and credentials files, read the way the AWS tools read them: `[name]` in the credentials file,
 * `[profile name]` or `[default]` in the config file (`[default]` only where there is no `[profile default]`),
 * `name = value`, whole-line comments with # or ;, comments behind a value after a blank, indented lines that carry a
 * value on or are values of their own below an empty one, keys in any case, the last value wins, and the credentials
 * file wins over the config file. Sections with names that no profile can have are left out. A line that makes no sense
 * is an error with its number.
 */
#pragma once

#include "workers/common/base/error.h"
#include "workers/common/base/slice.h"

#include <stdbool.h>

struct profiles;

enum profile_file { PROFILE_CREDENTIALS_FILE, PROFILE_CONFIG_FILE };

struct profiles *profiles_new(void);
void profiles_free(struct profiles *profiles); /* wipes the values; NULL is fine */

/* Adds the content of one file. file_name is for the text of errors, which never show a value. On failure what was
 * read up to the mistake stays. */
bool profiles_add(struct profiles *profiles, enum profile_file file, const char *file_name, struct slice content,
                  struct error *err) MUST_CHECK;

/* Both files; one that is not there holds nothing. */
bool profiles_read(const char *credentials_path, const char *config_path, struct profiles **ret_profiles,
                   struct error *err) MUST_CHECK;

bool profiles_has(const struct profiles *profiles, const char *profile);

/* The value of a key (lower case) of a profile, or NULL; borrowed. An empty value is NULL, too. Indented
 * lines are in it, each behind a line end and without its blanks. */
const char *profiles_get(const struct profiles *profiles, const char *profile, const char *key);
