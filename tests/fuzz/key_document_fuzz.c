#include "workers/common/aws/key_document.h"

#include "tests/fuzz/fuzz.h"

static bool is_visible(const char *text)
{
    return text[0] != '\0' && slice_is_visible(slice_of(text));
}

/* Whatever is taken for a key can stand in a header line, and what a service gives always ends; a refusal shows none of
 * the bytes that cannot be printed. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (int giver = KEY_GIVER_SERVICE; giver <= KEY_GIVER_PROCESS; giver++) {
        struct credentials *key = NULL;
        struct error err = {0};
        if (!key_document_read(slice_from(data, size), (enum key_giver)giver, "fuzz", &key, &err)) {
            PROMISE(key == NULL && (err.action == ERROR_REJECT || err.action == ERROR_RETRY));
            PROMISE(giver != KEY_GIVER_PROCESS || err.action == ERROR_REJECT);
            for (const char *at = err.text; *at != '\0'; at++) {
                PROMISE(*at >= ' ' && *at <= '~');
            }
            continue;
        }
        PROMISE(is_visible(key->access_key) && is_visible(key->secret_key));
        PROMISE(key->session_token == NULL || is_visible(key->session_token));
        PROMISE(giver == KEY_GIVER_PROCESS || key->session_token != NULL);
        credentials_free(key);
    }
    return 0;
}
