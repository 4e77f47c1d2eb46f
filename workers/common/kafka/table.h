/*
 * A compacted topic of one partition, read into memory: the newest value of each key. Several tables of a process
 * share one reader. The reader never blocks the loop; "caught up" means that everything the broker had when
 * tables_refresh was called has been read, including what a transaction that was open then may still commit.
 */
#pragma once

#include "workers/common/base/options.h"
#include "workers/common/kafka/record.h"

struct tables;

struct table_reader {
    const char *topic; /* short name */
    /* Called for each message in order; a value of ptr NULL is a deletion. */
    void (*apply)(void *context, struct slice key, struct slice value);
    void *context;
};

enum { TABLES_MAXIMUM = 8 };

/* readers: at most TABLES_MAXIMUM, copied. wake_fd as for a consumer. */
bool tables_open(const struct options *options, const struct table_reader *readers, size_t count, int wake_fd,
                 struct tables **ret_tables, struct error *err) MUST_CHECK;
void tables_close(struct tables *tables);

/* Asks the broker for the present end of count tables from the given one on (in the order of the readers); a few
 * milliseconds, at most timeout_ms for each. */
bool tables_refresh(struct tables *tables, size_t first, size_t count, int timeout_ms, struct error *err) MUST_CHECK;

/* Why one of the tables cannot be read at present; action ERROR_NONE when all can. */
const struct error *tables_error(const struct tables *tables);

/* Reads what arrives, for some 20 ms at most, and tells whether the ends of the last refreshes are reached. */
bool tables_caught_up(struct tables *tables);
