#include "workers/common/aws/traffic.h"

#include <stdio.h>
#include <string.h>

static struct traffic_operation *traffic_operation(struct traffic *traffic, const char *operation)
{
    size_t length = strcspn(operation, " ");
    length = length < TRAFFIC_NAME_SIZE ? length : TRAFFIC_NAME_SIZE - 1;
    for (size_t i = 0; i < traffic->operation_count; i++) {
        const char *name = traffic->operations[i].name;
        if (strncmp(name, operation, length) == 0 && name[length] == '\0') {
            return &traffic->operations[i];
        }
    }
    if (traffic->operation_count == TRAFFIC_OPERATIONS_MAXIMUM) {
        return &traffic->operations[TRAFFIC_OPERATIONS_MAXIMUM - 1];
    }
    struct traffic_operation *added = &traffic->operations[traffic->operation_count++];
    (void)snprintf(added->name, sizeof(added->name), "%.*s", (int)length, operation);
    return added;
}

void traffic_add(struct traffic *traffic, const char *operation, int status, int64_t lasted_ms)
{
    struct traffic_operation *to = traffic_operation(traffic, operation);
    size_t i = 0;
    while (i < to->status_count && to->statuses[i].status != status) {
        i++;
    }
    if (i == to->status_count && to->status_count < TRAFFIC_STATUSES_MAXIMUM) {
        to->statuses[to->status_count++].status = status;
    }
    to->statuses[i < TRAFFIC_STATUSES_MAXIMUM ? i : TRAFFIC_STATUSES_MAXIMUM - 1].count++;
    histogram_add(&to->lasted, lasted_ms);
}

void traffic_retry(struct traffic *traffic, enum failure_kind why)
{
    traffic->retries[why]++;
}

void traffic_write(const struct traffic *traffic, struct buffer *text)
{
    metric_begin(text, "s3_requests_total", METRIC_COUNTER,
                 "Requests to S3 and STS by operation and status; 0: no answer.");
    for (size_t i = 0; i < traffic->operation_count; i++) {
        const struct traffic_operation *operation = &traffic->operations[i];
        for (size_t k = 0; k < operation->status_count; k++) {
            char code[16];
            (void)snprintf(code, sizeof(code), "%d", operation->statuses[k].status);
            metric_sample(text, "s3_requests_total", (double)operation->statuses[k].count, "op", operation->name,
                          "code", code, NULL);
        }
    }
    metric_begin(text, "s3_request_seconds", METRIC_HISTOGRAM, "From a request's first byte to its whole answer.");
    for (size_t i = 0; i < traffic->operation_count; i++) {
        histogram_write(text, "s3_request_seconds", &traffic->operations[i].lasted, "op", traffic->operations[i].name);
    }
    metric_begin(text, "retries_total", METRIC_COUNTER, "Requests to S3 and STS that were repeated, by the reason.");
    for (int kind = FAILURE_NONE + 1; kind <= FAILURE_INVALID; kind++) {
        if (traffic->retries[kind] > 0 || kind <= FAILURE_THROTTLED) {
            metric_sample(text, "retries_total", (double)traffic->retries[kind], "class",
                          failure_kind_name((enum failure_kind)kind), NULL);
        }
    }
}
