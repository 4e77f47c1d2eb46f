#include "producer/api/verdict.h"

#include "workers/common/aws/retry.h"
#include "workers/common/base/auto.h"

#include <ctype.h>

enum { NUMBER_DIGITS_MAXIMUM = 15 };

/* A header that is a whole number of seconds, or -1. */
static int64_t header_seconds(const struct http_answer *answer, const char *name)
{
    struct slice value = http_answer_header(answer, name);
    int64_t number = 0;
    if (value.ptr == NULL || value.len == 0 || value.len > NUMBER_DIGITS_MAXIMUM) {
        return -1;
    }
    for (size_t i = 0; i < value.len; i++) {
        if (!isdigit((unsigned char)value.ptr[i])) {
            return -1;
        }
        number = number * 10 + (value.ptr[i] - '0');
    }
    return number;
}

static bool header_date(const struct http_answer *answer, const char *name, int64_t *ret_wall_ms)
{
    struct slice value = http_answer_header(answer, name);
    AUTO(text) char *text = value.ptr != NULL ? slice_copy(value) : NULL;
    return text != NULL && http_date_parse(text, ret_wall_ms);
}

static int64_t bounded(int64_t delay_ms)
{
    int64_t at_least_ms = delay_ms < 1000 ? 1000 : delay_ms;
    return at_least_ms > VERDICT_LIMIT_MAXIMUM_MS ? VERDICT_LIMIT_MAXIMUM_MS : at_least_ms;
}

/* When the host counts anew: X-RateLimit-Reset (GitHub, Gitea's proxies) and RateLimit-Reset (GitLab) are seconds since
 * 1970. 0: it does not say. */
static int64_t reset_ms(const struct http_answer *answer, int64_t now_wall_ms)
{
    int64_t reset_s = header_seconds(answer, "X-RateLimit-Reset");
    if (reset_s < 0) {
        reset_s = header_seconds(answer, "RateLimit-Reset");
    }
    if (reset_s < 0) {
        return 0;
    }
    int64_t host_ms = now_wall_ms;
    (void)header_date(answer, "Date", &host_ms);
    return bounded(reset_s * 1000 - host_ms);
}

static int64_t retry_after_ms(const struct http_answer *answer, int64_t now_wall_ms)
{
    int64_t seconds = header_seconds(answer, "Retry-After");
    int64_t date_ms;
    if (seconds >= 0) {
        return bounded(seconds * 1000);
    }
    if (!header_date(answer, "Retry-After", &date_ms)) {
        return 0;
    }
    int64_t host_ms = now_wall_ms;
    (void)header_date(answer, "Date", &host_ms);
    return bounded(date_ms - host_ms);
}

static bool is_used_up(const struct http_answer *answer)
{
    return header_seconds(answer, "X-RateLimit-Remaining") == 0 || header_seconds(answer, "RateLimit-Remaining") == 0;
}

/* GitHub's secondary limits come as 403 with nothing but their text. */
static bool says_rate_limit(const struct http_answer *answer)
{
    return answer->body.len > 0 &&
           memmem(answer->body.ptr, answer->body.len, "rate limit", strlen("rate limit")) != NULL;
}

static enum api_outcome outcome_of(int status)
{
    if (status >= 200 && status < 300) {
        return API_OK;
    }
    switch (status) {
    case 304:
        return API_UNCHANGED;
    case 301:
    case 302:
    case 307:
    case 308:
    case 404:
    case 410:
        return API_MISSING;
    case 401:
    case 403:
        return API_REFUSED;
    case 429:
        return API_LIMITED;
    case 408:
        return API_LATER;
    default:
        return status >= 400 && status < 500 ? API_WRONG : API_LATER;
    }
}

struct verdict verdict_of(const struct http_answer *answer, int64_t now_wall_ms)
{
    struct verdict verdict = {outcome_of(answer->status), 0};
    int64_t retry_ms = retry_after_ms(answer, now_wall_ms);
    int64_t new_count_ms = is_used_up(answer) ? reset_ms(answer, now_wall_ms) : 0;
    bool is_limit = verdict.outcome == API_LIMITED ||
                    (answer->status == 403 && (retry_ms > 0 || is_used_up(answer) || says_rate_limit(answer)));
    if (is_limit) {
        verdict.outcome = API_LIMITED;
        verdict.limited_ms = retry_ms > 0 ? retry_ms : new_count_ms > 0 ? new_count_ms : reset_ms(answer, now_wall_ms);
        verdict.limited_ms = verdict.limited_ms > 0 ? verdict.limited_ms : VERDICT_LIMIT_DEFAULT_MS;
    } else if (verdict.outcome == API_LATER) {
        verdict.limited_ms = retry_ms; /* a 503 with Retry-After */
    } else {
        verdict.limited_ms = new_count_ms;
    }
    return verdict;
}

void verdict_explain(const struct verdict *verdict, const struct http_answer *answer, struct error *ret_err)
{
    switch (verdict->outcome) {
    case API_OK:
    case API_UNCHANGED:
        *ret_err = (struct error){0};
        break;
    case API_MISSING:
        (void)error_set(ret_err, ERROR_REJECT,
                        answer->status < 400 ? "the host answers %d: it has moved, use its present name and address"
                                             : "the host answers %d: it is not there, or the token may not see it",
                        answer->status);
        break;
    case API_REFUSED:
        (void)error_set(ret_err, ERROR_REJECT, "the host answers %d: the token is missing, wrong, or may not do this",
                        answer->status);
        break;
    case API_LIMITED:
        (void)error_set(ret_err, ERROR_RETRY, "the host answers %d: too many requests, the next in %lld s",
                        answer->status, (long long)verdict->limited_ms / 1000);
        break;
    case API_LATER:
        if (answer->status == 0) {
            *ret_err = answer->err;
        } else {
            (void)error_set(ret_err, ERROR_RETRY, "the host answers %d", answer->status);
        }
        break;
    case API_WRONG:
        (void)error_set(ret_err, ERROR_REJECT, "the host answers %d", answer->status);
        break;
    }
}
