/*
 * The standard retry rules of the AWS SDKs (2.1), without I/O or clock: when to try again, after how long, and when a
 * budget forbids it. delay = random * min(base * 2^retry, 20 s), base 50 ms, or 1 s when throttled; a server's
 * x-amz-retry-after (ms) is honoured between that delay and that delay + 5 s; Retry-After (s or date) is a lower bound.
 * A quota of 500 tokens, 14 a retry and 5 a throttled one, keeps a broken service from being hit by everybody's
 * retries; a success gives back what the last retry cost.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct retry_rules {
    unsigned attempts_maximum; /* with the first one */
    int64_t base_ms;
    int64_t throttled_base_ms;
    int64_t maximum_ms;
};

/* 3 attempts, 50 ms, 1 s, 20 s. */
struct retry_rules retry_rules_standard(void);

enum { RETRY_QUOTA_CAPACITY = 500, RETRY_COST = 14, RETRY_COST_THROTTLED = 5, RETRY_REFUND_WITHOUT_RETRY = 1 };

struct retry_quota {
    unsigned capacity;
    unsigned available;
};

struct retry_quota retry_quota_full(unsigned capacity);

/* One call with all its attempts. */
struct retry {
    unsigned attempts;  /* made so far */
    unsigned last_cost; /* of the last retry; 0 before the first */
};

enum retry_verdict { RETRY_AGAIN, RETRY_ATTEMPTS_EXCEEDED, RETRY_QUOTA_EXCEEDED };

/* After an attempt that failed and may be repeated: counts it, pays from the quota, and says after which delay to go
 * on. random is in [0, 1]. amz_retry_after_ms and retry_after_ms are what the server asked for, -1 when it did not. */
enum retry_verdict retry_after_failure(struct retry *retry, const struct retry_rules *rules, struct retry_quota *quota,
                                       bool is_throttled, double random, int64_t amz_retry_after_ms,
                                       int64_t retry_after_ms, int64_t *ret_delay_ms);

/* After a success: gives back to the quota. */
void retry_after_success(const struct retry *retry, struct retry_quota *quota);

/* Reads x-amz-retry-after (whole ms) and Retry-After (whole seconds, or an HTTP date); -1 for anything else. text may
 * be NULL. */
int64_t retry_read_amz_retry_after_ms(const char *text);
int64_t retry_read_retry_after_ms(const char *text, int64_t now_wall_ms);

/* An HTTP date ("Tue, 15 Nov 1994 08:12:31 GMT"). */
bool http_date_parse(const char *text, int64_t *ret_wall_ms);
