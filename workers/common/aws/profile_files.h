/*
 * The shared files of profiles as they are now. They are read and understood again only when one of them has changed:
 * thousands of accounts may each have a profile of their own in them.
 */
#pragma once

#include "workers/common/aws/profile.h"

struct profile_files;

struct profile_files *profile_files_new(void);
void profile_files_free(struct profile_files *files); /* NULL is fine */

/* As profiles_read. The profiles are borrowed until the next call. */
bool profile_files_read(struct profile_files *files, const char *credentials_path, const char *config_path,
                        const struct profiles **ret_profiles, struct error *err) MUST_CHECK;
