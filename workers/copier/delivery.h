/*
 * One job being carried out: the state machine between a task that was taken and its one result.
 *
 *     AWAITS_CREDENTIALS -> LOOKS (survey.h) -> COPIES (shipment.h)
 *         -> AWAITS_CONFIRMATION (still a member of the group?) -> COPIES the trigger -> ended
 *
 * Everything that can be tried again is, within copier.retry_for; a source that is not there yet is waited for within
 * copier.artifact_wait. What an earlier attempt has put in place is found and not copied again.
 */
#pragma once

#include "workers/common/aws/role.h"
#include "workers/common/engine/worker.h"
#include "workers/copier/breaker.h"
#include "workers/copier/shipment.h"

struct delivery;

/* What all deliveries of a copier share. */
struct delivery_shared {
    struct shipment_shared shipment;
    struct roles *roles;
    struct breaker *breaker;
    int64_t artifact_wait_ms;
    bool limits_sessions; /* to the job's buckets */
};

/* Begins; takes the job. The task ends by itself, with its result emitted. */
void delivery_begin(const struct delivery_shared *shared, struct task *task, struct job *job);

/* Takes up a task that comes back after its backoff. */
void delivery_resume(struct delivery *delivery);

/* What it waits for, and what went wrong last, in a few words. */
void delivery_explain(const struct delivery *delivery, struct buffer *text);

/* Drops everything in flight and frees the delivery; the task stays. */
void delivery_cancel(struct delivery *delivery);

/* Ends the task of a job that is not carried out, with its result emitted. */
void delivery_end_without(const struct delivery_shared *shared, struct task *task, const struct job *job,
                          enum result_outcome outcome, const char *reason);
