/*
 * A look at both sides, once a round: what does the build consist of, what of it has the account already, and what is
 * left to copy? Only reads. What lies in the source is asked for once for all jobs of a build (sources.h).
 *
 *     [AWAITS_MANIFEST] -> AWAITS_SOURCE <-> AWAITS_TARGET, rule by rule -> [AWAITS_DIGESTS] -> answered
 */
#pragma once

#include "workers/common/base/buffer.h"
#include "workers/copier/copies.h"
#include "workers/copier/transfer.h"

struct survey;

/* The job is borrowed until the survey is freed, the credentials until it has answered. */
struct survey_request {
    const struct job *job;
    const struct credentials *writer; /* of the account */
    const struct credentials *reader; /* of the source; NULL: the writer's */
    int64_t give_up_at_ms;            /* clock_monotonic_ms: when the job is */
    size_t digests_at_once;
    bool has_written; /* an earlier round of the job has */
};

/* Borrowed for the duration of the call. */
struct survey_result {
    const char *missing;    /* what should be in the source and is not there (yet); else NULL */
    struct error err;       /* ERROR_NONE: the copies are known, or something is missing */
    struct failure failure; /* with an error */
};
typedef void survey_answer(void *context, const struct survey_result *result);

/* Answers from a later turn of the loop, exactly once unless freed before; it may be freed in the answer. */
struct survey *survey_start(const struct transfer_shared *shared, const struct survey_request *request,
                            survey_answer *answer, void *context);
void survey_free(struct survey *survey); /* NULL is fine */

/* What was found: all of it, sorted, after an answer that says so, else what has been seen so far. Lives as long as the
 * survey. */
struct copies *survey_copies(struct survey *survey);

/* What it waits for, in a few words. */
const char *survey_state_name(const struct survey *survey);

/* What is known of the job's sources has turned out to be out of date: the next survey reads them anew. */
void survey_forget_sources(const struct transfer_shared *shared, const struct job *job);
