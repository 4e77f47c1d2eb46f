#include "workers/common/aws/uri.h"

#include "tests/fuzz/fuzz.h"

/* Decoding gives back what was encoded, whatever it was, and what is encoded needs no further encoding on the wire. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice input = slice_from(data, size);
    for (int is_path = 0; is_path < 2; is_path++) {
        AUTO(buffer) struct buffer encoded;
        AUTO(buffer) struct buffer decoded;
        buffer_init(&encoded, 3 * size);
        buffer_init(&decoded, size);
        if (is_path) {
            uri_encode_path(&encoded, input);
        } else {
            uri_encode(&encoded, input);
        }
        PROMISE(!encoded.is_overflowed);
        PROMISE(strspn(encoded.ptr, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%/") ==
                encoded.len);
        PROMISE(is_path || strchr(encoded.ptr, '/') == NULL);
        uri_decode(&decoded, buffer_slice(&encoded));
        PROMISE(slice_equal(buffer_slice(&decoded), input));
    }
    AUTO(buffer) struct buffer decoded;
    buffer_init(&decoded, size);
    uri_decode(&decoded, input);
    PROMISE(!decoded.is_overflowed);
    return 0;
}
