/*
 * Reads a whole topic without a group, for commands: from the beginning or from a time, up to what was the end when it
 * was opened and, if wanted, on with what follows. Reads committed messages only. Blocking; not for the roles' loops.
 */
#pragma once

#include "workers/common/base/options.h"
#include "workers/common/kafka/record.h"

struct reader;

/* topic: short name. since_ms: wall clock of the first message of interest, 0 for everything. Waits at
 * most timeout_ms, also for a topic that has no leader yet. */
bool reader_open(const struct options *options, const char *topic, int64_t since_ms, int timeout_ms,
                 struct reader **ret_reader, struct error *err) MUST_CHECK;
void reader_close(struct reader *reader);
static inline void reader_free(struct reader *reader)
{
    reader_close(reader);
}
DEFINE_AUTO(reader, struct reader *);

enum reader_outcome { READER_MESSAGE, READER_CAUGHT_UP, READER_TIMED_OUT, READER_FAILED };

/* Waits at most timeout_ms for the next message; READER_CAUGHT_UP is said once, when everything that was there at
 * the opening has been read. Record: the caller frees it. */
enum reader_outcome reader_next(struct reader *reader, int timeout_ms, struct record *ret_record, struct error *err);
