#include "workers/copier/tally.h"

enum job_result tally_job_result(enum result_outcome outcome)
{
    switch (outcome) {
    case RESULT_SUCCEEDED:
        return JOB_OK;
    case RESULT_FAILED:
    case RESULT_TIMED_OUT:
        return JOB_FAILED;
    case RESULT_UNCHANGED:
    case RESULT_SUPERSEDED:
    case RESULT_SKIPPED:
        return JOB_SKIPPED;
    }
    return JOB_FAILED;
}

void tally_add(struct tally *tally, const struct result *result, int64_t requested_ms)
{
    tally->outcomes[result->outcome]++;
    bool has_build = result->outcome == RESULT_SUCCEEDED || result->outcome == RESULT_UNCHANGED;
    if (has_build && requested_ms > 0) {
        histogram_add(&tally->tag_to_done, result->finished_ms - requested_ms);
    }
}

void tally_add_copy(struct tally *tally, int64_t size_bytes)
{
    tally->objects_copied++;
    tally->bytes_copied += (uint64_t)size_bytes;
}

void tally_add_unchanged(struct tally *tally)
{
    tally->objects_unchanged++;
}

void tally_write(const struct tally *tally, struct buffer *text)
{
    metric_begin(text, "results_total", METRIC_COUNTER, "Accounts by how their deployments ended.");
    for (int outcome = 0; outcome <= RESULT_SKIPPED; outcome++) {
        metric_sample(text, "results_total", (double)tally->outcomes[outcome], "outcome", result_outcome_names[outcome],
                      NULL);
    }
    metric_begin(text, "objects_total", METRIC_COUNTER, "Objects in accounts: written, or found there identical.");
    metric_sample(text, "objects_total", (double)tally->objects_copied, "state", "copied", NULL);
    metric_sample(text, "objects_total", (double)tally->objects_unchanged, "state", "unchanged", NULL);
    metric_write(text, "copy_bytes_total", METRIC_COUNTER, "Bytes of the objects written.", (double)tally->bytes_copied,
                 NULL);
    metric_begin(text, "tag_to_done_seconds", METRIC_HISTOGRAM,
                 "From when the producer received the event until an account had its build.");
    histogram_write(text, "tag_to_done_seconds", &tally->tag_to_done, NULL, NULL);
}
