/*
 * The session policy of a job: whatever the account's role may do, this session can only read the job's sources and
 * write its targets. Pure.
 */
#pragma once

#include "schemas/job.h"
#include "workers/common/base/buffer.h"

/* What STS takes (AssumeRole, Policy). */
enum { POLICY_MAXIMUM_BYTES = 2048 };

/* Appends the policy as JSON. has_kms: the STS that will read it knows the actions of KMS, as AWS's does and others do
 * not. ERROR_REJECT when the job has so many buckets that it does not fit. */
bool policy_of_job(const struct job *job, bool has_kms, struct buffer *policy, struct error *err) MUST_CHECK;
