#include "workers/copier/deadline.h"

enum {
    /* Beyond it the job backs off, with fresh credentials and listings. */
    ROUND_MS = 120000,
    COPY_BYTES_PER_MS = 10000, /* the slowest copy within the store that is waited for: 10 MB/s */
    RELAY_BYTES_PER_MS = 1000, /* the slowest copy through us */
};

int64_t deadline_of_request(int64_t give_up_at_ms, int64_t now_ms)
{
    int64_t round_end_ms = now_ms + ROUND_MS;
    return round_end_ms < give_up_at_ms ? round_end_ms : give_up_at_ms;
}

int64_t deadline_of_object(const struct job *job, int64_t size_bytes, int64_t give_up_at_ms, int64_t now_ms)
{
    int64_t request_ms = deadline_of_request(give_up_at_ms, now_ms);
    int64_t bytes_per_ms = job->mode == JOB_RELAY ? RELAY_BYTES_PER_MS : COPY_BYTES_PER_MS;
    int64_t by_size_ms = now_ms + size_bytes / bytes_per_ms;
    return by_size_ms > request_ms ? by_size_ms : request_ms;
}
