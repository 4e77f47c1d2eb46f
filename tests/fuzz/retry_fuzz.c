#include "workers/common/aws/retry.h"

#include "tests/fuzz/fuzz.h"

#include <time.h>

enum { DAY_MS = 86400000 };

/* The headers that ask for a pause: whatever they say, the pause is none or within its bounds, and a date that is read
 * is the same when it is written and read again. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(text) char *text = slice_copy(slice_from(data, size));
    const int64_t now_ms = 1767323045678;
    int64_t amz_ms = retry_read_amz_retry_after_ms(text);
    int64_t after_ms = retry_read_retry_after_ms(text, now_ms);
    int64_t date_ms = -1;
    bool is_date = http_date_parse(text, &date_ms);
    PROMISE(amz_ms >= -1 && amz_ms <= DAY_MS);
    PROMISE(after_ms >= -1 && (is_date || after_ms <= DAY_MS));
    PROMISE(!is_date || after_ms == (date_ms > now_ms ? date_ms - now_ms : 0));
    if (is_date) {
        time_t seconds = (time_t)(date_ms / 1000);
        struct tm parts;
        char written[64];
        int64_t again_ms = -1;
        PROMISE(gmtime_r(&seconds, &parts) != NULL);
        /* strftime writes years before 1000 with fewer digits, and after the last hour of 9999 with more. */
        if (parts.tm_year + 1900 >= 1000 && parts.tm_year + 1900 <= 9999) {
            PROMISE(strftime(written, sizeof(written), "%a, %d %b %Y %H:%M:%S GMT", &parts) > 0);
            PROMISE(http_date_parse(written, &again_ms) && again_ms == date_ms);
        }
    }
    struct retry_rules rules = retry_rules_standard();
    struct retry_quota quota = retry_quota_full(RETRY_QUOTA_CAPACITY);
    struct retry retry = {0};
    int64_t delay_ms = -1;
    PROMISE(retry_after_failure(&retry, &rules, &quota, size % 2 == 0, 1.0, amz_ms, after_ms, &delay_ms) ==
            RETRY_AGAIN);
    PROMISE(delay_ms >= after_ms && delay_ms >= 50);
    PROMISE(after_ms > 0 || delay_ms <= rules.throttled_base_ms + 5000);
    return 0;
}
