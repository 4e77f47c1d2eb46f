/*
 * The JSON lines that scripts read from `plan`, `wait`, `status` and `history`. Their fields are a contract.
 */
#pragma once

#include "schemas/deployment.h"
#include "schemas/job.h"
#include "schemas/result.h"

/* Results of one deployment, counted by outcome (enum result_outcome). */
enum { RESULT_OUTCOME_COUNT = 6 };
struct result_counts {
    size_t accounts; /* that were accepted */
    size_t by_outcome[RESULT_OUTCOME_COUNT];
};

/* {"deployment","repository","ref","commit","account","outcome","reason","attempts","objects","bytes","started","finished"}
 */
void report_account_line(const struct result *result, struct buffer *buffer);

/* {"deployment","outcome":"finished"|"running","repository","ref","commit","accounts":N,"succeeded":N,...}, or for one
 * that was not accepted {"deployment","outcome","repository","ref","commit","reason"}. */
void report_deployment_line(const struct deployment *deployment, const struct result_counts *counts,
                            struct buffer *buffer);

/* {"outcome":"deploys","tag","version","account","role","copies":[{"source","target","trigger"}]} */
void report_plan_line(const struct job *job, struct buffer *buffer);

/* {"outcome":"dropped"|"rejected"|"noted","ref","tag","reason"} */
void report_no_plan_line(const char *outcome, const char *ref, const char *tag, const char *reason,
                         struct buffer *buffer);
