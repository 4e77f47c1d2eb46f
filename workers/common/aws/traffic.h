/*
 * What a client's requests were and how they were answered, in numbers: by operation and status, how long each took,
 * and why requests were repeated. Pure counting; the operations are the API's own names, so there are few.
 */
#pragma once

#include "workers/common/aws/failure.h"
#include "workers/common/base/metric.h"

enum { TRAFFIC_OPERATIONS_MAXIMUM = 24, TRAFFIC_STATUSES_MAXIMUM = 16, TRAFFIC_NAME_SIZE = 32 };

struct traffic_operation {
    char name[TRAFFIC_NAME_SIZE];
    struct histogram lasted;
    struct {
        int status; /* 0: no answer */
        uint64_t count;
    } statuses[TRAFFIC_STATUSES_MAXIMUM];
    size_t status_count;
};

struct traffic {
    struct traffic_operation operations[TRAFFIC_OPERATIONS_MAXIMUM];
    size_t operation_count;
    uint64_t retries[FAILURE_INVALID + 1]; /* by enum failure_kind */
};

/* operation: its first word is the name, "CopyObject s3://a/b to s3://c/d". What is beyond the bounds is counted with
 * the last of them. */
void traffic_add(struct traffic *traffic, const char *operation, int status, int64_t lasted_ms);
void traffic_retry(struct traffic *traffic, enum failure_kind why);

/* s3_requests_total, s3_request_seconds, retries_total. */
void traffic_write(const struct traffic *traffic, struct buffer *text);
