#include "producer/spool.h"

#include "workers/common/aws/checksum.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>

enum {
    CHECKSUM_CHARACTERS = 16,
    LINE_MAXIMUM_BYTES = 16 * 1024 * 1024,
    BLOCK_BYTES = 64 * 1024,
    OWNER_ONLY = 0600,
};

struct spool {
    char *folder;
    int descriptor;
    int64_t size_bytes;
    int64_t maximum_bytes;
};

static bool disk_error(struct error *err, const char *what)
{
    return error_set(err, ERROR_RETRY, "spool: cannot %s: %s", what, strerror(errno));
}

/* Whatever the disk took of a failed append must not stay in front of what comes next. */
static bool spool_cut_back(const struct spool *spool, const char *what, struct error *err)
{
    (void)disk_error(err, what);
    (void)!ftruncate(spool->descriptor, spool->size_bytes);
    return false;
}

static bool write_whole(int descriptor, struct slice bytes, int64_t position)
{
    for (size_t done = 0; done < bytes.len;) {
        ssize_t count = pwrite(descriptor, bytes.ptr + done, bytes.len - done, position + (int64_t)done);
        if (count < 0 && errno != EINTR) {
            return false;
        }
        done += count > 0 ? (size_t)count : 0;
    }
    return true;
}

bool spool_append(struct spool *spool, const struct slice *lines, size_t count, struct error *err)
{
    AUTO(buffer) struct buffer bytes;
    buffer_init(&bytes, (size_t)spool->maximum_bytes);
    for (size_t i = 0; i < count; i++) {
        buffer_append_format(&bytes, "%016" PRIx64 " ", crc64nvme(lines[i]));
        buffer_append(&bytes, lines[i]);
        buffer_append_char(&bytes, '\n');
    }
    if (bytes.is_overflowed || spool->size_bytes + (int64_t)bytes.len > spool->maximum_bytes) {
        return error_set(err, ERROR_RETRY, "the spool is full: %" PRId64 " of %" PRId64 " bytes", spool->size_bytes,
                         spool->maximum_bytes);
    }
    if (!write_whole(spool->descriptor, buffer_slice(&bytes), spool->size_bytes)) {
        return spool_cut_back(spool, "write", err);
    }
    if (fdatasync(spool->descriptor) != 0) {
        return spool_cut_back(spool, "bring to the disk what was written", err);
    }
    spool->size_bytes += (int64_t)bytes.len;
    return true;
}

/* The line at the position without its line feed; false when there is no whole one. */
static bool line_read(const struct spool *spool, int64_t position, struct buffer *line, struct error *err)
{
    char block[BLOCK_BYTES];
    buffer_clear(line);
    while (position < spool->size_bytes) {
        ssize_t count = pread(spool->descriptor, block, sizeof(block), position);
        if (count <= 0) {
            return disk_error(err, "read");
        }
        const char *end = memchr(block, '\n', (size_t)count);
        buffer_append(line, slice_from(block, end != NULL ? (size_t)(end - block) : (size_t)count));
        if (end != NULL) {
            return true;
        }
        position += count;
    }
    return false;
}

/* Takes the checksum off a line that has the right one. */
static bool line_check(struct buffer *line)
{
    char expected[CHECKSUM_CHARACTERS + 2];
    if (line->is_overflowed || line->len < CHECKSUM_CHARACTERS + 1) {
        return false;
    }
    struct slice text = slice_from(line->ptr + CHECKSUM_CHARACTERS + 1, line->len - CHECKSUM_CHARACTERS - 1);
    (void)snprintf(expected, sizeof(expected), "%016" PRIx64 " ", crc64nvme(text));
    if (memcmp(expected, line->ptr, CHECKSUM_CHARACTERS + 1) != 0) {
        return false;
    }
    memmove(line->ptr, text.ptr, text.len + 1);
    line->len = text.len;
    return true;
}

bool spool_read(struct spool *spool, int64_t *position, struct buffer *line, struct error *err)
{
    err->action = ERROR_NONE;
    while (line_read(spool, *position, line, err)) {
        *position += (int64_t)line->len + 1;
        if (line_check(line)) {
            return true;
        }
    }
    return false;
}

bool spool_put_aside(const struct spool *spool, const struct buffer *line, struct error *err)
{
    AUTO(text) char *path = text_format("%s/events.damaged", spool->folder);
    AUTO(descriptor) int descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, OWNER_ONLY);
    AUTO(text) char *whole = text_format("%s\n", line->ptr);
    size_t length = strlen(whole);
    return (descriptor >= 0 && write(descriptor, whole, length) == (ssize_t)length && fsync(descriptor) == 0) ||
           disk_error(err, "put a damaged line aside");
}

static bool spool_survey(struct spool *spool, struct spool_findings *findings, struct error *err)
{
    AUTO(buffer) struct buffer line;
    buffer_init(&line, LINE_MAXIMUM_BYTES);
    int64_t position = 0;
    err->action = ERROR_NONE;
    while (line_read(spool, position, &line, err)) {
        position += (int64_t)line.len + 1;
        if (line_check(&line)) {
            findings->lines++;
        } else if (!spool_put_aside(spool, &line, err)) {
            return false;
        } else {
            findings->damaged++;
        }
    }
    if (err->action != ERROR_NONE) {
        return false;
    }
    findings->was_cut = position < spool->size_bytes;
    spool->size_bytes = position;
    return (findings->lines > 0 || spool_clear(spool, err)) &&
           (ftruncate(spool->descriptor, spool->size_bytes) == 0 || disk_error(err, "cut an unfinished line"));
}

static bool spool_open_files(struct spool *spool, struct error *err)
{
    AUTO(text) char *path = text_format("%s/events", spool->folder);
    struct stat status;
    spool->descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, OWNER_ONLY);
    if (spool->descriptor < 0) {
        return error_set(err, ERROR_FATAL, "spool %s: %s", spool->folder, strerror(errno));
    }
    if (flock(spool->descriptor, LOCK_EX | LOCK_NB) != 0) {
        return error_set(err, ERROR_FATAL, "spool %s: another process has it; each producer needs a folder of its own",
                         spool->folder);
    }
    /* The file's entry in its folder must last as well as its bytes. */
    AUTO(descriptor) int folder = open(spool->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0 || fsync(folder) != 0 || fstat(spool->descriptor, &status) != 0) {
        return error_set(err, ERROR_FATAL, "spool %s: %s", spool->folder, strerror(errno));
    }
    spool->size_bytes = status.st_size;
    return true;
}

bool spool_open(const char *folder, int64_t maximum_bytes, struct spool **ret_spool,
                struct spool_findings *ret_findings, struct error *err)
{
    AUTO(spool) struct spool *spool = memory_zeroed(1, sizeof(*spool));
    *spool = (struct spool){.folder = text_copy(folder), .descriptor = -1, .maximum_bytes = maximum_bytes};
    *ret_findings = (struct spool_findings){0};
    if (!spool_open_files(spool, err)) {
        return false;
    }
    if (!spool_survey(spool, ret_findings, err)) {
        err->action = ERROR_FATAL;
        return false;
    }
    *ret_spool = TAKE(spool);
    return true;
}

bool spool_clear(struct spool *spool, struct error *err)
{
    if (ftruncate(spool->descriptor, 0) != 0 || fdatasync(spool->descriptor) != 0) {
        return disk_error(err, "empty the file");
    }
    spool->size_bytes = 0;
    return true;
}

int64_t spool_size_bytes(const struct spool *spool)
{
    return spool->size_bytes;
}

void spool_close(struct spool *spool)
{
    if (spool == NULL) {
        return;
    }
    if (spool->descriptor >= 0) {
        close(spool->descriptor);
    }
    free(spool->folder);
    free(spool);
}
