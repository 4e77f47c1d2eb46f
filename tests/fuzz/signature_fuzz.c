#include "producer/hosts/signature.h"

#include "workers/common/base/auto.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Claims, one a line: id, timestamp, signatures, and the body behind them. Nobody who does not know the secret is
 * taken for genuine; a token is genuine when it is the secret and only then. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { CLAIMS = 3 };
    char *claims[CLAIMS];
    struct slice rest = slice_from(data, size);
    for (size_t i = 0; i < CLAIMS; i++) {
        const char *end = rest.len > 0 ? memchr(rest.ptr, '\n', rest.len) : NULL;
        size_t length = end != NULL ? (size_t)(end - rest.ptr) : rest.len;
        claims[i] = slice_copy(slice_from(rest.ptr, length));
        size_t taken = length + (end != NULL);
        rest = slice_from(rest.ptr + taken, rest.len - taken);
    }
    struct secrets secrets = {0};
    struct standard_webhook webhook = {claims[0], claims[1], claims[2]};
    secrets_add(&secrets, slice_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"));
    secrets_add(&secrets, slice_of("plain"));
    bool is_forged = signature_check_standard(&secrets, rest, &webhook, INT64_C(1614265330000)) ||
                     signature_check_hub(&secrets, rest, claims[0]) || signature_check_hex(&secrets, rest, claims[0]) ||
                     signature_check_token(&secrets, claims[0]) != (strcmp(claims[0], "plain") == 0);
    secrets_clear(&secrets);
    for (size_t i = 0; i < CLAIMS; i++) {
        free(claims[i]);
    }
    if (is_forged) {
        abort();
    }
    return 0;
}
