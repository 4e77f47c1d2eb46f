#include "workers/common/aws/fetch.h"

#include "workers/common/aws/credentials.h"
#include "workers/common/base/clock.h"

#include <stdlib.h>
#include <string.h>

enum {
    ATTEMPTS_MAXIMUM = 3,
    ATTEMPT_TIMEOUT_MS = 1000, /* as in the SDKs: it is near, or it is not there */
    PAUSE_BASE_MS = 50,
    PAUSE_MAXIMUM_MS = 500,
    ANSWER_MAXIMUM_BYTES = 64 * 1024,
};

struct fetch {
    struct loop *loop;
    char *method;
    char *url;
    char *header;
    bool is_silence_repeated;
    unsigned attempts;
    struct http_transfer *transfer;
    struct loop_timer *timer;
    void (*on_done)(void *context, const struct http_answer *answer);
    void *context;
};

static void fetch_free(struct fetch *fetch)
{
    free(fetch->method);
    free(fetch->url);
    secret_free(fetch->header);
    free(fetch);
}

static bool is_worth_repeating(const struct fetch *fetch, const struct http_answer *answer)
{
    if (fetch->attempts >= ATTEMPTS_MAXIMUM) {
        return false;
    }
    if (answer->status != 0) {
        return answer->status == 429 || answer->status >= 500;
    }
    return answer->is_connection_stale || (fetch->is_silence_repeated && answer->err.action == ERROR_RETRY);
}

static void fetch_send(void *context);

static void fetch_answered(void *context, const struct http_answer *answer)
{
    struct fetch *fetch = context;
    fetch->transfer = NULL;
    if (is_worth_repeating(fetch, answer)) {
        int64_t pause_ms = backoff_ms(fetch->attempts, PAUSE_BASE_MS, PAUSE_MAXIMUM_MS);
        fetch->timer = loop_after(fetch->loop, pause_ms, fetch_send, fetch);
        return;
    }
    void (*on_done)(void *context, const struct http_answer *answer) = fetch->on_done;
    void *on_done_context = fetch->context;
    fetch_free(fetch);
    on_done(on_done_context, answer);
}

static void fetch_send(void *context)
{
    struct fetch *fetch = context;
    const char *headers[] = {fetch->header};
    struct http_request request = {
        .method = fetch->method,
        .url = fetch->url,
        .headers = headers,
        .header_count = fetch->header != NULL ? 1 : 0,
        .timeout_ms = ATTEMPT_TIMEOUT_MS,
        .answer_maximum_bytes = ANSWER_MAXIMUM_BYTES,
        .is_direct = text_starts_with(fetch->url, "http://"),
    };
    fetch->timer = NULL;
    fetch->attempts++;
    fetch->transfer = http_start(loop_http(fetch->loop), &request, fetch_answered, fetch);
}

struct fetch *fetch_start(struct loop *loop, const struct fetch_request *request,
                          void (*on_done)(void *context, const struct http_answer *answer), void *context)
{
    struct fetch *fetch = memory_zeroed(1, sizeof(*fetch));
    fetch->loop = loop;
    fetch->method = text_copy(request->method);
    fetch->url = text_copy(request->url);
    fetch->header = text_copy_or_null(request->header);
    fetch->is_silence_repeated = request->is_silence_repeated;
    fetch->on_done = on_done;
    fetch->context = context;
    fetch_send(fetch);
    return fetch;
}

void fetch_cancel(struct fetch *fetch)
{
    if (fetch != NULL) {
        http_cancel(loop_http(fetch->loop), fetch->transfer);
        loop_timer_cancel(fetch->loop, fetch->timer);
        fetch_free(fetch);
    }
}
