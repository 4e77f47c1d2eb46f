#include "workers/common/aws/uri.h"

#include <stdint.h>

static bool is_unreserved(unsigned char byte)
{
    return (byte >= 'A' && byte <= 'Z') || (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') ||
           byte == '-' || byte == '.' || byte == '_' || byte == '~';
}

static void encode(struct buffer *buffer, struct slice text, bool is_slash_kept)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t plain_start = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.ptr[i];
        if (is_unreserved(byte) || (is_slash_kept && byte == '/')) {
            continue;
        }
        char encoded[3] = {'%', hex[byte >> 4], hex[byte & 15]};
        buffer_append(buffer, slice_from(text.ptr + plain_start, i - plain_start));
        buffer_append(buffer, slice_from(encoded, sizeof(encoded)));
        plain_start = i + 1;
    }
    if (text.len > plain_start) {
        buffer_append(buffer, slice_from(text.ptr + plain_start, text.len - plain_start));
    }
}

void uri_encode(struct buffer *buffer, struct slice text)
{
    encode(buffer, text, false);
}

void uri_encode_path(struct buffer *buffer, struct slice text)
{
    encode(buffer, text, true);
}

static int hex_value(char digit)
{
    if (digit >= '0' && digit <= '9') {
        return digit - '0';
    }
    if (digit >= 'A' && digit <= 'F') {
        return digit - 'A' + 10;
    }
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

void uri_decode(struct buffer *buffer, struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '%' && i + 2 < text.len) {
            int high = hex_value(text.ptr[i + 1]);
            int low = hex_value(text.ptr[i + 2]);
            if (high >= 0 && low >= 0) {
                buffer_append_char(buffer, (char)(uint8_t)(high * 16 + low));
                i += 2;
                continue;
            }
        }
        buffer_append_char(buffer, text.ptr[i]);
    }
}

void uri_add_parameter(struct buffer *buffer, const char *name, const char *value)
{
    if (buffer->len > 0) {
        buffer_append_char(buffer, '&');
    }
    uri_encode(buffer, slice_of(name));
    buffer_append_char(buffer, '=');
    uri_encode(buffer, slice_of(value));
}
