#include "workers/common/kafka/round_trip.h"

#include "workers/common/base/metric.h"

#include <pthread.h>

struct kind {
    int16_t api;
    const char *name;
    struct histogram lasted;
    uint64_t failures;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct kind kinds[] = {
    {.api = 0, .name = "Produce"},
    {.api = 1, .name = "Fetch"},
    {.api = 2, .name = "ListOffsets"},
    {.api = 3, .name = "Metadata"},
    {.api = 9, .name = "OffsetFetch"},
    {.api = 10, .name = "FindCoordinator"},
    {.api = 11, .name = "JoinGroup"},
    {.api = 12, .name = "Heartbeat"},
    {.api = 14, .name = "SyncGroup"},
    {.api = 22, .name = "InitProducerId"},
    {.api = 24, .name = "AddPartitionsToTxn"},
    {.api = 25, .name = "AddOffsetsToTxn"},
    {.api = 26, .name = "EndTxn"},
    {.api = 28, .name = "TxnOffsetCommit"},
};

enum { KIND_COUNT = sizeof(kinds) / sizeof(kinds[0]) };

void round_trip_add(int16_t api, int64_t lasted_us, bool is_failed)
{
    size_t i = 0;
    while (i < KIND_COUNT && kinds[i].api != api) {
        i++;
    }
    if (i == KIND_COUNT) {
        return;
    }
    (void)pthread_mutex_lock(&lock);
    if (is_failed) {
        kinds[i].failures++;
    } else {
        histogram_add(&kinds[i].lasted, (lasted_us + 500) / 1000);
    }
    (void)pthread_mutex_unlock(&lock);
}

void round_trip_write(struct buffer *text)
{
    (void)pthread_mutex_lock(&lock);
    metric_begin(text, "kafka_request_seconds", METRIC_HISTOGRAM,
                 "How long brokers took to answer; a Fetch waits for something to fetch.");
    for (size_t i = 0; i < KIND_COUNT; i++) {
        histogram_write(text, "kafka_request_seconds", &kinds[i].lasted, "api", kinds[i].name);
    }
    metric_begin(text, "kafka_request_failures_total", METRIC_COUNTER, "Requests that no broker answered.");
    for (size_t i = 0; i < KIND_COUNT; i++) {
        metric_sample(text, "kafka_request_failures_total", (double)kinds[i].failures, "api", kinds[i].name, NULL);
    }
    (void)pthread_mutex_unlock(&lock);
}
