#include "producer/api/token.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/file.h"

#include <openssl/evp.h>
#include <string.h>

void token_wipe(struct buffer *buffer)
{
    if (buffer->capacity > 0) {
        explicit_bzero(buffer->ptr, buffer->capacity);
    }
    buffer_done(buffer);
}

static void append_basic(struct buffer *header, struct slice pair)
{
    unsigned char text[4 * ((TOKEN_MAXIMUM_BYTES + 2) / 3) + 1];
    int length = EVP_EncodeBlock(text, (const unsigned char *)pair.ptr, (int)pair.len);
    buffer_append_text(header, "Authorization: Basic ");
    buffer_append(header, slice_from(text, (size_t)length));
    explicit_bzero(text, sizeof(text));
}

bool token_append_header(const char *path, const char *prefix, struct buffer *header, struct error *err)
{
    if (path == NULL) {
        return true;
    }
    struct buffer content;
    buffer_init(&content, TOKEN_MAXIMUM_BYTES);
    /* All at once: no half of it is left behind where the buffer grew. */
    buffer_expect(&content, TOKEN_MAXIMUM_BYTES);
    bool is_read = file_read(path, &content, err) || error_prefix(err, "%s", path);
    struct slice token = slice_trim(buffer_slice(&content));
    if (is_read && (token.len == 0 || !slice_is_visible(token))) {
        is_read = error_set(err, ERROR_REJECT, "%s must hold one token, or user:password, on one line", path);
    }
    if (is_read && memchr(token.ptr, ':', token.len) != NULL) {
        append_basic(header, token);
    } else if (is_read) {
        buffer_append_text(header, prefix);
        buffer_append(header, token);
    }
    token_wipe(&content);
    return is_read;
}

bool token_check(const char *path, struct error *err)
{
    struct buffer header;
    buffer_init(&header, 2 * TOKEN_MAXIMUM_BYTES);
    buffer_expect(&header, 2 * TOKEN_MAXIMUM_BYTES);
    bool is_usable = token_append_header(path, "", &header, err);
    token_wipe(&header);
    return is_usable;
}
