#include "schemas/check.h"

#include "workers/common/base/slice.h"

#include <ctype.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

const char *check_not_empty(const char *text)
{
    return text[0] != '\0' ? NULL : "must not be empty";
}

const char *check_account(const char *text)
{
    return strlen(text) == 12 && strspn(text, "0123456789") == 12 ? NULL : "is not an account id: exactly 12 digits";
}

const char *check_commit(const char *text)
{
    size_t length = strlen(text);
    if (length < 7 || length > 64 || strspn(text, "0123456789abcdef") != length) {
        return "is not a commit: 7 to 64 lower-case hexadecimal digits";
    }
    return strspn(text, "0") < length ? NULL : "is all zeros, which stands for no commit: leave it out";
}

/* A path component ends with ".lock". */
static bool has_lock_component(const char *text)
{
    static const char suffix[] = ".lock";
    for (const char *at = strstr(text, suffix); at != NULL; at = strstr(at + 1, suffix)) {
        char next = at[sizeof(suffix) - 1];
        if (next == '\0' || next == '/') {
            return true;
        }
    }
    return false;
}

const char *check_ref(const char *text)
{
    size_t length = strlen(text);
    if ((!text_starts_with(text, "refs/heads/") && !text_starts_with(text, "refs/tags/")) || text[length - 1] == '/') {
        return "is not a full ref: refs/heads/<branch> or refs/tags/<tag>";
    }
    if (length > 1024) {
        return "is longer than 1,024 bytes";
    }
    for (const char *at = text; *at != '\0'; at++) {
        if ((unsigned char)*at <= ' ' || *at == 0x7f || strchr("~^:?*[\\", *at) != NULL) {
            return "contains a character that git does not allow in a ref";
        }
    }
    if (strstr(text, "..") != NULL || strstr(text, "//") != NULL || strstr(text, "@{") != NULL) {
        return "contains \"..\", \"//\" or \"@{\", which git does not allow in a ref";
    }
    if (strstr(text, "/.") != NULL || text[length - 1] == '.' || has_lock_component(text)) {
        return "has a part that begins with \".\" or ends with \".\" or \".lock\", which git does not allow in a ref";
    }
    return NULL;
}

const char *check_repository(const char *text)
{
    size_t length = strlen(text);
    if (length == 0 || length > 256) {
        return "must have 1 to 256 bytes";
    }
    for (const char *at = text; *at != '\0'; at++) {
        if ((unsigned char)*at <= ' ' || *at == 0x7f || isupper((unsigned char)*at)) {
            return "must be the host's full name in lower case, such as acme/app";
        }
    }
    return NULL;
}

const char *check_deploy_tag(const char *text)
{
    size_t length = strlen(text);
    if (length == 0 || length > 128) {
        return "must have 1 to 128 bytes";
    }
    for (const char *at = text; *at != '\0'; at++) {
        if ((unsigned char)*at <= ' ' || *at == 0x7f || *at == ',') {
            return "must not contain white space, commas or control characters";
        }
    }
    return NULL;
}

/* The name becomes part of object keys: it must not climb out of its own prefix. */
const char *check_artifact_name(const char *text)
{
    size_t length = strlen(text);
    if (length == 0 || length > 256) {
        return "must have 1 to 256 bytes";
    }
    for (const char *at = text; *at != '\0'; at++) {
        if ((unsigned char)*at <= ' ' || *at == 0x7f || *at == '\\' || *at == '{' || *at == '}') {
            return "must not contain white space, braces, backslashes or control characters";
        }
    }
    if (text[0] == '/' || text[length - 1] == '/' || strstr(text, "//") != NULL || strcmp(text, ".") == 0 ||
        strstr(text, "..") != NULL) {
        return "must not begin or end with \"/\" nor contain \"//\" or \"..\"";
    }
    return NULL;
}

const char *check_deployment(const char *text)
{
    bool is_id = strlen(text) == 18 && text_starts_with(text, "d-") && strspn(text + 2, "0123456789abcdef") == 16;
    return is_id ? NULL : "is not a deployment id: d- and 16 hexadecimal digits";
}

const char *check_arn(const char *text)
{
    return text_starts_with(text, "arn:") ? NULL : "is not an ARN: arn:<partition>:<service>:...";
}

const char *check_base64(const char *text)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t length = strlen(text);
    size_t body = strspn(text, alphabet);
    size_t padding = strspn(text + body, "=");
    return length % 4 == 0 && padding <= 2 && body + padding == length ? NULL : "is not base64";
}
