#include "producer/hosts/signature.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/buffer.h"

#include <errno.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>

static const char hub_prefix[] = "sha256=";
static const char signing_prefix[] = "whsec_";

enum {
    SHA256_BYTES = 32,
    SHA256_BASE64_SIZE = 44,
    SECRET_LINE_MAXIMUM = 1024,
    TIMESTAMP_MAXIMUM_DIGITS = 12,
};

void secrets_add(struct secrets *secrets, struct slice secret)
{
    if (secrets->count < SECRETS_MAXIMUM && secret.len > 0) {
        secrets->items[secrets->count++] = slice_copy(secret);
    }
}

void secrets_clear(struct secrets *secrets)
{
    for (size_t i = 0; i < secrets->count; i++) {
        OPENSSL_cleanse(secrets->items[i], strlen(secrets->items[i]));
        free(secrets->items[i]);
    }
    *secrets = (struct secrets){0};
}

bool secrets_read_file(const char *path, struct secrets *ret_secrets, struct error *err)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return error_set(err, ERROR_FATAL, "secret file %s: %s", path, strerror(errno));
    }
    char line[SECRET_LINE_MAXIMUM];
    while (fgets(line, sizeof(line), file) != NULL) {
        secrets_add(ret_secrets, slice_from(line, strcspn(line, "\r\n")));
    }
    (void)fclose(file);
    OPENSSL_cleanse(line, sizeof(line));
    return ret_secrets->count > 0 || error_set(err, ERROR_FATAL, "secret file %s holds no secret", path);
}

static int hex_value(char digit)
{
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

static bool hex_read(const char *text, unsigned char *ret_bytes, size_t count)
{
    if (strlen(text) != 2 * count) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        int high = hex_value(text[2 * i]);
        int low = hex_value(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        ret_bytes[i] = (unsigned char)(high << 4 | low);
    }
    return true;
}

/* Of `parts` one behind the other. */
static bool hmac(struct slice key, const struct slice *parts, size_t count, unsigned char ret_digest[SHA256_BYTES])
{
    struct slice whole = parts[0];
    AUTO(buffer) struct buffer joined;
    buffer_init(&joined, SIZE_MAX);
    for (size_t i = 0; count > 1 && i < count; i++) {
        buffer_append(&joined, parts[i]);
    }
    if (count > 1) {
        whole = buffer_slice(&joined);
    }
    unsigned int length = 0;
    const unsigned char empty = 0;
    const unsigned char *bytes = whole.len > 0 ? (const unsigned char *)whole.ptr : &empty;
    return key.len <= INT_MAX &&
           HMAC(EVP_sha256(), key.ptr, (int)key.len, bytes, whole.len, ret_digest, &length) != NULL &&
           length == SHA256_BYTES;
}

bool signature_check_hex(const struct secrets *secrets, struct slice body, const char *signature)
{
    unsigned char claimed[SHA256_BYTES];
    if (signature == NULL || !hex_read(signature, claimed, sizeof(claimed))) {
        return false;
    }
    bool is_genuine = false;
    for (size_t i = 0; i < secrets->count; i++) {
        unsigned char computed[SHA256_BYTES];
        if (hmac(slice_of(secrets->items[i]), &body, 1, computed) &&
            CRYPTO_memcmp(computed, claimed, SHA256_BYTES) == 0) {
            is_genuine = true;
        }
    }
    return is_genuine;
}

bool signature_check_hub(const struct secrets *secrets, struct slice body, const char *signature)
{
    return signature != NULL && text_starts_with(signature, hub_prefix) &&
           signature_check_hex(secrets, body, signature + strlen(hub_prefix));
}

bool signature_check_token(const struct secrets *secrets, const char *token)
{
    /* Digests have one length, so that the comparison tells nothing about the secret's. */
    unsigned char claimed[SHA256_BYTES];
    if (token == NULL || EVP_Digest(token, strlen(token), claimed, NULL, EVP_sha256(), NULL) != 1) {
        return false;
    }
    bool is_genuine = false;
    for (size_t i = 0; i < secrets->count; i++) {
        const char *secret = secrets->items[i];
        unsigned char expected[SHA256_BYTES];
        if (!text_starts_with(secret, signing_prefix) &&
            EVP_Digest(secret, strlen(secret), expected, NULL, EVP_sha256(), NULL) == 1 &&
            CRYPTO_memcmp(expected, claimed, SHA256_BYTES) == 0) {
            is_genuine = true;
        }
    }
    return is_genuine;
}

bool signature_has_signing_secret(const struct secrets *secrets)
{
    for (size_t i = 0; i < secrets->count; i++) {
        if (text_starts_with(secrets->items[i], signing_prefix)) {
            return true;
        }
    }
    return false;
}

/* --- Standard Webhooks --- */

/* The key behind "whsec_"; 0 when it is no base64. */
static size_t signing_key(const char *secret, unsigned char ret_key[SECRET_LINE_MAXIMUM])
{
    const char *text = secret + strlen(signing_prefix);
    size_t length = strlen(text);
    if (length == 0 || length % 4 != 0 || length > SECRET_LINE_MAXIMUM ||
        EVP_DecodeBlock(ret_key, (const unsigned char *)text, (int)length) < 0) {
        return 0;
    }
    size_t padding = (size_t)(text[length - 1] == '=') + (size_t)(text[length - 2] == '=');
    return length / 4 * 3 - padding;
}

bool signature_signing_secrets_are_whole(const struct secrets *secrets)
{
    unsigned char key[SECRET_LINE_MAXIMUM];
    bool is_whole = true;
    for (size_t i = 0; i < secrets->count; i++) {
        is_whole = is_whole &&
                   (!text_starts_with(secrets->items[i], signing_prefix) || signing_key(secrets->items[i], key) > 0);
    }
    OPENSSL_cleanse(key, sizeof(key));
    return is_whole;
}

static bool is_recent(const char *timestamp, int64_t now_ms)
{
    size_t length = strlen(timestamp);
    if (length == 0 || length > TIMESTAMP_MAXIMUM_DIGITS || strspn(timestamp, "0123456789") != length) {
        return false;
    }
    int64_t off_s = strtoll(timestamp, NULL, 10) - now_ms / 1000;
    return off_s >= -SIGNATURE_TOLERANCE_S && off_s <= SIGNATURE_TOLERANCE_S;
}

/* Compared as they are written, so that there is one way to write a signature. */
static bool is_among(const char *signatures, const char *expected)
{
    size_t length = strlen(expected);
    bool is_found = false;
    while (*signatures != '\0') {
        size_t taken = strcspn(signatures, " ");
        if (taken == length && CRYPTO_memcmp(signatures, expected, length) == 0) {
            is_found = true;
        }
        signatures += taken;
        signatures += strspn(signatures, " ");
    }
    return is_found;
}

static bool is_signed_by(const char *secret, struct slice body, const struct standard_webhook *webhook)
{
    unsigned char key[SECRET_LINE_MAXIMUM];
    unsigned char digest[SHA256_BYTES];
    char expected[sizeof("v1,") + SHA256_BASE64_SIZE] = "v1,";
    size_t key_len = signing_key(secret, key);
    const struct slice parts[] = {slice_of(webhook->id), slice_of("."), slice_of(webhook->timestamp), slice_of("."),
                                  body};
    bool is_computed = key_len > 0 && hmac(slice_from(key, key_len), parts, sizeof(parts) / sizeof(parts[0]), digest);
    OPENSSL_cleanse(key, sizeof(key));
    if (!is_computed) {
        return false;
    }
    (void)EVP_EncodeBlock((unsigned char *)expected + strlen(expected), digest, sizeof(digest));
    return is_among(webhook->signatures, expected);
}

bool signature_check_standard(const struct secrets *secrets, struct slice body, const struct standard_webhook *webhook,
                              int64_t now_ms)
{
    /* A dot in the id would make two readings of one signed text. */
    if (webhook->id == NULL || webhook->id[0] == '\0' || strchr(webhook->id, '.') != NULL ||
        webhook->timestamp == NULL || !is_recent(webhook->timestamp, now_ms) || webhook->signatures == NULL) {
        return false;
    }
    bool is_genuine = false;
    for (size_t i = 0; i < secrets->count; i++) {
        if (text_starts_with(secrets->items[i], signing_prefix) && is_signed_by(secrets->items[i], body, webhook)) {
            is_genuine = true;
        }
    }
    return is_genuine;
}
