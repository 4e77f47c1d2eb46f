#include "workers/common/aws/credentials.h"

#include "workers/common/base/file.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

enum { SECRET_MAXIMUM_BYTES = 16 * 1024 };

struct credentials *credentials_new(const char *access_key, const char *secret_key, const char *session_token,
                                    int64_t expires_wall_ms, const char *origin)
{
    struct credentials *credentials = memory_zeroed(1, sizeof(*credentials));
    credentials->holders = 1;
    credentials->access_key = text_copy(access_key);
    credentials->secret_key = text_copy(secret_key);
    credentials->session_token = text_copy_or_null(session_token);
    credentials->expires_wall_ms = expires_wall_ms;
    credentials->origin = text_copy(origin);
    return credentials;
}

struct credentials *credentials_copy(const struct credentials *credentials)
{
    struct credentials *held = (struct credentials *)(uintptr_t)credentials;
    held->holders++;
    return held;
}

void credentials_free(struct credentials *credentials)
{
    if (credentials != NULL && --credentials->holders == 0) {
        secret_free(credentials->access_key);
        secret_free(credentials->secret_key);
        secret_free(credentials->session_token);
        free(credentials->origin);
        free(credentials);
    }
}

void secret_free(char *secret)
{
    if (secret != NULL) {
        OPENSSL_cleanse(secret, strlen(secret));
        free(secret);
    }
}

bool secret_read(const char *path, char **ret_secret, struct error *err)
{
    AUTO(buffer) struct buffer content;
    buffer_init(&content, SECRET_MAXIMUM_BYTES);
    if (!file_read(path, &content, err)) {
        return error_prefix(err, "%.200s", path);
    }
    struct slice secret = slice_trim(buffer_slice(&content));
    bool is_fine = (secret.len > 0 && slice_is_visible(secret)) ||
                   error_set(err, ERROR_REJECT, "%.200s: is not one line of visible ASCII", path);
    if (is_fine) {
        *ret_secret = slice_copy(secret);
    }
    OPENSSL_cleanse(content.ptr, content.len);
    return is_fine;
}
