#include "workers/common/aws/credentials.h"

#include "workers/common/aws/profile.h"
#include "workers/common/base/file.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

enum { PROFILE_FILE_MAXIMUM_BYTES = 4 * 1024 * 1024 };

struct credentials *credentials_new(const char *access_key, const char *secret_key, const char *session_token,
                                    int64_t expires_wall_ms, const char *origin)
{
    struct credentials *credentials = memory_zeroed(1, sizeof(*credentials));
    credentials->access_key = text_copy(access_key);
    credentials->secret_key = text_copy(secret_key);
    credentials->session_token = text_copy_or_null(session_token);
    credentials->expires_wall_ms = expires_wall_ms;
    credentials->origin = text_copy(origin);
    return credentials;
}

struct credentials *credentials_copy(const struct credentials *credentials)
{
    return credentials_new(credentials->access_key, credentials->secret_key, credentials->session_token,
                           credentials->expires_wall_ms, credentials->origin);
}

static void secret_free(char *secret)
{
    if (secret != NULL) {
        OPENSSL_cleanse(secret, strlen(secret));
        free(secret);
    }
}

void credentials_free(struct credentials *credentials)
{
    if (credentials != NULL) {
        secret_free(credentials->access_key);
        secret_free(credentials->secret_key);
        secret_free(credentials->session_token);
        free(credentials->origin);
        free(credentials);
    }
}

static const char *variable(const char *name)
{
    const char *text = getenv(name);
    return text != NULL && text[0] != '\0' ? text : NULL;
}

bool credentials_from_environment(struct credentials **ret_credentials, struct error *err)
{
    const char *access_key = variable("AWS_ACCESS_KEY_ID");
    const char *secret_key = variable("AWS_SECRET_ACCESS_KEY");
    if (access_key == NULL || secret_key == NULL) {
        return error_set(err, ERROR_REJECT, "the environment has no %s",
                         access_key == NULL ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY");
    }
    *ret_credentials = credentials_new(access_key, secret_key, variable("AWS_SESSION_TOKEN"), 0, "environment");
    return true;
}

static char *file_path(const char *name, const char *default_name)
{
    const char *home = variable("HOME");
    const char *named = variable(name);
    return named != NULL ? text_copy(named) : text_format("%s/.aws/%s", home != NULL ? home : "", default_name);
}

/* A file that is not there is no mistake; one that cannot be understood is. */
static bool profiles_add_file(struct profiles *profiles, enum profile_file file, const char *path, struct error *err)
{
    AUTO(buffer) struct buffer content;
    buffer_init(&content, PROFILE_FILE_MAXIMUM_BYTES);
    struct error unreadable;
    bool is_fine =
        !file_read(path, &content, &unreadable) || profiles_add(profiles, file, path, buffer_slice(&content), err);
    OPENSSL_cleanse(content.ptr, content.len);
    return is_fine;
}

static bool profile_read(const struct profiles *profiles, const char *profile, const char *credentials_path,
                         const char *config_path, struct credentials **ret_credentials, struct error *err)
{
    if (!profiles_has(profiles, profile)) {
        return error_set(err, ERROR_REJECT, "no profile \"%.80s\" in %s or %s", profile, credentials_path, config_path);
    }
    const char *access_key = profiles_get(profiles, profile, "aws_access_key_id");
    const char *secret_key = profiles_get(profiles, profile, "aws_secret_access_key");
    if (access_key == NULL || secret_key == NULL) {
        return error_set(err, ERROR_REJECT, "profile \"%.80s\" has no %s (in %s or %s)", profile,
                         access_key == NULL ? "aws_access_key_id" : "aws_secret_access_key", credentials_path,
                         config_path);
    }
    AUTO(text) char *origin = text_format("profile %s", profile);
    *ret_credentials =
        credentials_new(access_key, secret_key, profiles_get(profiles, profile, "aws_session_token"), 0, origin);
    return true;
}

bool credentials_from_profile(const char *profile, struct credentials **ret_credentials, struct error *err)
{
    const char *name = profile != NULL                   ? profile
                       : variable("AWS_PROFILE") != NULL ? variable("AWS_PROFILE")
                                                         : "default";
    AUTO(text) char *credentials_path = file_path("AWS_SHARED_CREDENTIALS_FILE", "credentials");
    AUTO(text) char *config_path = file_path("AWS_CONFIG_FILE", "config");
    struct profiles *profiles = profiles_new();
    bool is_read = profiles_add_file(profiles, PROFILE_CREDENTIALS_FILE, credentials_path, err) &&
                   profiles_add_file(profiles, PROFILE_CONFIG_FILE, config_path, err) &&
                   profile_read(profiles, name, credentials_path, config_path, ret_credentials, err);
    profiles_free(profiles);
    return is_read;
}

bool credentials_find(const char *profile, struct credentials **ret_credentials, struct error *err)
{
    if (profile != NULL || variable("AWS_PROFILE") != NULL) {
        return credentials_from_profile(profile, ret_credentials, err);
    }
    if (credentials_from_environment(ret_credentials, err)) {
        return true;
    }
    struct error in_files;
    if (credentials_from_profile(NULL, ret_credentials, &in_files)) {
        return true;
    }
    return error_set(err, ERROR_REJECT, "%.150s, and %.300s", err->text, in_files.text);
}
