#include "workers/common/aws/retry.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SERVER_EXTRA_MAXIMUM_MS = 5000, RETRY_AFTER_MAXIMUM_S = 86400 };

struct retry_rules retry_rules_standard(void)
{
    return (struct retry_rules){.attempts_maximum = 3, .base_ms = 50, .throttled_base_ms = 1000, .maximum_ms = 20000};
}

struct retry_quota retry_quota_full(unsigned capacity)
{
    return (struct retry_quota){capacity, capacity};
}

static int64_t delay_ceiling_ms(const struct retry_rules *rules, bool is_throttled, unsigned retries)
{
    int64_t base_ms = is_throttled ? rules->throttled_base_ms : rules->base_ms;
    bool is_small = retries < 32 && base_ms <= rules->maximum_ms >> retries;
    return is_small ? base_ms << retries : rules->maximum_ms;
}

enum retry_verdict retry_after_failure(struct retry *retry, const struct retry_rules *rules, struct retry_quota *quota,
                                       bool is_throttled, double random, int64_t amz_retry_after_ms,
                                       int64_t retry_after_ms, int64_t *ret_delay_ms)
{
    unsigned retries = retry->attempts++;
    if (retry->attempts >= rules->attempts_maximum) {
        return RETRY_ATTEMPTS_EXCEEDED;
    }
    unsigned cost = is_throttled ? RETRY_COST_THROTTLED : RETRY_COST;
    if (quota->available < cost) {
        return RETRY_QUOTA_EXCEEDED;
    }
    quota->available -= cost;
    retry->last_cost = cost;
    int64_t delay_ms = (int64_t)(random * (double)delay_ceiling_ms(rules, is_throttled, retries));
    if (amz_retry_after_ms >= 0) {
        int64_t longest_ms = delay_ms + SERVER_EXTRA_MAXIMUM_MS;
        int64_t wanted_ms = amz_retry_after_ms > delay_ms ? amz_retry_after_ms : delay_ms;
        delay_ms = wanted_ms < longest_ms ? wanted_ms : longest_ms;
    }
    *ret_delay_ms = retry_after_ms > delay_ms ? retry_after_ms : delay_ms;
    return RETRY_AGAIN;
}

void retry_after_success(const struct retry *retry, struct retry_quota *quota)
{
    unsigned refund = retry->last_cost > 0 ? retry->last_cost : RETRY_REFUND_WITHOUT_RETRY;
    quota->available = quota->capacity - quota->available > refund ? quota->available + refund : quota->capacity;
}

static int64_t whole_number(const char *text, int64_t maximum)
{
    size_t length = text != NULL ? strspn(text, "0123456789") : 0;
    if (length == 0 || length > 12 || text[length] != '\0') {
        return -1;
    }
    int64_t number = strtoll(text, NULL, 10);
    return number <= maximum ? number : maximum;
}

int64_t retry_read_amz_retry_after_ms(const char *text)
{
    return whole_number(text, (int64_t)RETRY_AFTER_MAXIMUM_S * 1000);
}

int64_t retry_read_retry_after_ms(const char *text, int64_t now_wall_ms)
{
    int64_t seconds = whole_number(text, RETRY_AFTER_MAXIMUM_S);
    int64_t at_ms;
    if (seconds >= 0) {
        return seconds * 1000;
    }
    if (text == NULL || !http_date_parse(text, &at_ms)) {
        return -1;
    }
    return at_ms > now_wall_ms ? at_ms - now_wall_ms : 0;
}

bool http_date_parse(const char *text, int64_t *ret_wall_ms)
{
    struct tm parts = {0};
    const char *end = strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
    if (end == NULL || *end != '\0') {
        return false;
    }
    *ret_wall_ms = (int64_t)timegm(&parts) * 1000;
    return true;
}
