/*
 * What the topic `results` says, in memory: each deployment with what became of its accounts. Records may come twice
 * and in any order between deployments; the newest of an account counts.
 */
#pragma once

#include "schemas/report_line.h"
#include "workers/common/base/index.h"
#include "workers/common/kafka/record.h"

struct recorded {
    struct deployment *deployment; /* NULL while only results have been seen */
    struct index results;          /* account -> struct result */
    uint64_t order;                /* grows with the arrival of the deployment's record */
};

struct history {
    struct index deployments; /* id -> struct recorded */
    uint64_t order;
};

/* What a record brought; one of both is set, or none when it could not be read. Borrowed from the history. */
struct history_news {
    const struct recorded *recorded;
    const struct deployment *deployment;
    const struct result *result;
};

void history_add(struct history *history, const struct record *record, struct history_news *ret_news);
void history_clear(struct history *history);

const struct recorded *history_find(const struct history *history, const char *deployment);

/* The newest deployment of a ref at a commit (commit may be cut short) that has got beyond `noted`, else the newest. */
const struct recorded *history_find_ref(const struct history *history, const char *repository, const char *ref,
                                        const char *commit);

void recorded_count(const struct recorded *recorded, struct result_counts *ret_counts);
bool recorded_is_finished(const struct recorded *recorded);

/* The exit code that says how it ended: EXIT_OK, EXIT_NEGATIVE, EXIT_DROPPED, EXIT_REJECTED, EXIT_SUPERSEDED. */
int recorded_exit_code(const struct recorded *recorded);
