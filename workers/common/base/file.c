#include "workers/common/base/file.h"

#include <errno.h>

bool stream_read(FILE *stream, struct buffer *buffer, struct error *err)
{
    char block[65536];
    for (size_t count; (count = fread(block, 1, sizeof(block), stream)) > 0;) {
        buffer_append(buffer, slice_from(block, count));
    }
    if (ferror(stream) != 0) {
        return error_set(err, ERROR_REJECT, "cannot be read: %s", strerror(errno));
    }
    return !buffer->is_overflowed || error_set(err, ERROR_REJECT, "is larger than %zu bytes", buffer->maximum);
}

bool file_read(const char *path, struct buffer *buffer, struct error *err)
{
    FILE *stream = fopen(path, "re");
    if (stream == NULL) {
        return error_set(err, ERROR_REJECT, "cannot be read: %s", strerror(errno));
    }
    bool is_read = stream_read(stream, buffer, err);
    (void)fclose(stream);
    return is_read;
}
