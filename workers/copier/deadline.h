/*
 * How long the copier waits for an answer that it needs for a job. Pure; all times are clock_monotonic_ms.
 */
#pragma once

#include "schemas/job.h"

/* Of a request whose answer does not take longer for larger objects: a round of work, and not beyond the moment when
 * the job is given up. */
int64_t deadline_of_request(int64_t give_up_at_ms, int64_t now_ms);

/* Of a copy, or of reading a whole object. S3 answers a copy when it is done, so a large object gets the time it needs,
 * even beyond that moment. */
int64_t deadline_of_object(const struct job *job, int64_t size_bytes, int64_t give_up_at_ms, int64_t now_ms);
