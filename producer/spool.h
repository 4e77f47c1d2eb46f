/*
 * Events on this machine's disk, for while the brokers are away: lines in one file, in the order in which they came,
 * each with a checksum. What was appended is on the disk before anybody is told so (fdatasync), all of a call or
 * nothing of it; a process that is killed in the middle loses nothing that it had promised. The file is emptied when
 * all of it has been stored by the brokers, so its size is bounded by what came meanwhile, and by the maximum.
 *
 * One process at a time: the folder is locked. Not thread-safe; appending waits for the disk.
 */
#pragma once

#include "workers/common/base/auto.h"
#include "workers/common/base/buffer.h"

#include <stdint.h>

struct spool;

/* What was found when the spool was opened, or read. */
struct spool_findings {
    size_t lines;   /* whole ones */
    size_t damaged; /* those whose checksum is wrong: they are kept aside in the file events.damaged */
    bool was_cut;   /* the last line was not finished: nobody had been told that it was there */
};

/* ERROR_FATAL: the folder is missing, not writable, or another process has it. */
bool spool_open(const char *folder, int64_t maximum_bytes, struct spool **ret_spool,
                struct spool_findings *ret_findings, struct error *err) MUST_CHECK;
void spool_close(struct spool *spool); /* NULL is fine */
static inline void spool_free(struct spool *spool)
{
    spool_close(spool);
}
DEFINE_AUTO(spool, struct spool *);

/* Lines are texts without line feeds. ERROR_RETRY: full, or the disk says no; then nothing of it is there. */
bool spool_append(struct spool *spool, const struct slice *lines, size_t count, struct error *err) MUST_CHECK;

/* Reads the line at *position (0 is the first) into line and moves the position behind it; damaged ones are passed
 * over. False at the end, and with an error when the disk says no. */
bool spool_read(struct spool *spool, int64_t *position, struct buffer *line, struct error *err);

/* Keeps a line beside the damaged ones. */
bool spool_put_aside(const struct spool *spool, const struct buffer *line, struct error *err) MUST_CHECK;

/* All that was read is stored elsewhere now. */
bool spool_clear(struct spool *spool, struct error *err) MUST_CHECK;

int64_t spool_size_bytes(const struct spool *spool);
