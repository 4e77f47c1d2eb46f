#include "workers/common/aws/key_document.h"

#include "workers/common/base/buffer.h"
#include "workers/common/base/clock.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <openssl/crypto.h>
#include <string.h>
#include <strings.h>

/* One level deep is all that is read; what lies deeper is wiped neither, as no key is there. */
static void document_free(cJSON *root)
{
    cJSON *member;
    cJSON_ArrayForEach(member, root)
    {
        if (cJSON_IsString(member)) {
            OPENSSL_cleanse(member->valuestring, strlen(member->valuestring));
        }
    }
    cJSON_Delete(root);
}
DEFINE_AUTO(document, cJSON *);

/* NULL when it is absent, no text, or empty. */
static const char *member_text(const cJSON *root, const char *name)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(root, name));
    return text != NULL && text[0] != '\0' ? text : NULL;
}

static enum error_action action_of(enum key_giver giver)
{
    return giver == KEY_GIVER_PROCESS ? ERROR_REJECT : ERROR_RETRY;
}

static bool key_text(const cJSON *root, const char *name, enum key_giver giver, const char **ret_text,
                     struct error *err)
{
    *ret_text = member_text(root, name);
    if (*ret_text == NULL) {
        return error_set(err, action_of(giver), "the answer has no %s", name);
    }
    return slice_is_visible(slice_of(*ret_text)) ||
           error_set(err, action_of(giver), "the answer's %s has odd characters", name);
}

/* The giver's own words, which may hold anything. */
static void words_append(struct buffer *words, const char *text)
{
    for (const char *at = text; at != NULL && *at != '\0'; at++) {
        buffer_append_char(words, isprint((unsigned char)*at) ? *at : '?');
    }
}

static bool refusal_check(const cJSON *root, struct error *err)
{
    const char *code = member_text(root, "Code");
    if (code == NULL || strcasecmp(code, "Success") == 0) {
        return true;
    }
    AUTO(buffer) struct buffer words;
    buffer_init(&words, 200);
    words_append(&words, code);
    words_append(&words, ": ");
    words_append(&words, member_text(root, "Message"));
    return error_set(err, ERROR_REJECT, "no key was given: %s", words.ptr);
}

static bool expiration_read(const cJSON *root, enum key_giver giver, int64_t *ret_wall_ms, struct error *err)
{
    const char *expiration = member_text(root, "Expiration");
    *ret_wall_ms = 0;
    if (expiration == NULL && giver == KEY_GIVER_PROCESS) {
        return true;
    }
    if (expiration == NULL) {
        return error_set(err, action_of(giver), "the answer has no Expiration");
    }
    return clock_parse(expiration, ret_wall_ms) ||
           error_set(err, action_of(giver), "the answer's Expiration is no time");
}

static bool members_read(const cJSON *root, enum key_giver giver, const char *origin, struct credentials **ret_key,
                         struct error *err)
{
    bool is_process = giver == KEY_GIVER_PROCESS;
    const char *token_name = is_process ? "SessionToken" : "Token";
    const char *access_key;
    const char *secret_key;
    const char *token = NULL;
    int64_t expires_wall_ms;
    if (!refusal_check(root, err) || !key_text(root, "AccessKeyId", giver, &access_key, err) ||
        !key_text(root, "SecretAccessKey", giver, &secret_key, err)) {
        return false;
    }
    bool needs_token = !is_process || member_text(root, token_name) != NULL;
    if ((needs_token && !key_text(root, token_name, giver, &token, err)) ||
        !expiration_read(root, giver, &expires_wall_ms, err)) {
        return false;
    }
    *ret_key = credentials_new(access_key, secret_key, token, expires_wall_ms, origin);
    return true;
}

bool key_document_read(struct slice text, enum key_giver giver, const char *origin, struct credentials **ret_key,
                       struct error *err)
{
    AUTO(document) cJSON *root = cJSON_ParseWithLength(text.ptr != NULL ? text.ptr : "", text.len);
    if (!cJSON_IsObject(root)) {
        return error_set(err, action_of(giver), "the answer is not a JSON object");
    }
    const cJSON *version = cJSON_GetObjectItem(root, "Version");
    if (giver == KEY_GIVER_PROCESS && (!cJSON_IsNumber(version) || version->valueint != 1)) {
        return error_set(err, ERROR_REJECT, "the answer's Version is not 1");
    }
    return members_read(root, giver, origin, ret_key, err);
}
