#include "producer/hosts/signature.h"

#include "workers/common/base/auto.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>

static const char hub_prefix[] = "sha256=";

enum { SHA256_BYTES = 32, SECRET_LINE_MAXIMUM = 1024 };

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

bool signature_check_hub(const struct secrets *secrets, struct slice body, const char *signature)
{
    unsigned char claimed[SHA256_BYTES];
    if (signature == NULL || !text_starts_with(signature, hub_prefix) ||
        !hex_read(signature + strlen(hub_prefix), claimed, sizeof(claimed))) {
        return false;
    }
    bool is_genuine = false;
    for (size_t i = 0; i < secrets->count; i++) {
        unsigned char computed[EVP_MAX_MD_SIZE];
        unsigned int length = 0;
        if (HMAC(EVP_sha256(), secrets->items[i], (int)strlen(secrets->items[i]), (const unsigned char *)body.ptr,
                 body.len, computed, &length) != NULL &&
            length == SHA256_BYTES && CRYPTO_memcmp(computed, claimed, SHA256_BYTES) == 0) {
            is_genuine = true;
        }
    }
    return is_genuine;
}
