/*
 * How this copier's jobs ended, in numbers. Pure counting.
 */
#pragma once

#include "schemas/result.h"
#include "workers/common/base/metric.h"
#include "workers/common/engine/worker.h"

struct tally {
    uint64_t outcomes[RESULT_SKIPPED + 1]; /* by enum result_outcome */
    uint64_t objects_copied;
    uint64_t objects_unchanged;
    uint64_t bytes_copied;
    struct histogram tag_to_done; /* from when the producer received the event until the account had its build */
};

/* What the engine calls such an end. */
enum job_result tally_job_result(enum result_outcome outcome);

/* requested_ms: when the producer received the event; 0: not known. */
void tally_add(struct tally *tally, const struct result *result, int64_t requested_ms);

/* One object that was written. */
void tally_add_copy(struct tally *tally, int64_t size_bytes);
void tally_add_unchanged(struct tally *tally);

void tally_write(const struct tally *tally, struct buffer *text);
