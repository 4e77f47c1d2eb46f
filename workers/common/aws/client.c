#include "workers/common/aws/client.h"

#include "workers/common/aws/traffic.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/index.h"

#include <openssl/crypto.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    URL_MAXIMUM = 16 * 1024,
    HEADERS_OF_OURS = 2, /* that are signed with the request's: host, hash */
    LINES_MAXIMUM = 1024 * 1024,
    SKEW_MINIMUM_MS = 30000, /* smaller ones do not matter: services accept some minutes */
    ATTEMPT_MINIMUM_MS = 5,  /* one that has less time left is not begun */
    REDIRECTS_MAXIMUM = 3,
    STALE_MAXIMUM = 3,
    TURN_WAIT_MAXIMUM_MS = 60000, /* of a limiter, that the deadline is put off by */
};

/* Header lines, one behind the other in one text. */
struct lines {
    struct buffer text;
    size_t *offsets;
    const char **items;
    size_t count;
    size_t capacity;
};

struct aws_client {
    struct loop *loop;
    struct endpoint_settings endpoints; /* with s3_url and sts_url */
    char *s3_url;
    char *sts_url;
    struct retry_rules retry;
    bool is_payload_signed_always;
    bool forgoes_checksums;
    struct sigv4 *sigv4;
    struct lines lines;   /* of the request that is being made; kept for the next one */
    struct index quotas;  /* quota key -> struct retry_quota */
    struct index skews;   /* regional host -> int64_t */
    struct index regions; /* bucket -> char * */
    struct aws_call *calls;
    struct traffic traffic;
};

struct aws_call {
    struct aws_client *client;
    struct aws_call *next;
    struct aws_call **link; /* what points to this call */
    struct aws_request request;
    struct sigv4_header *headers;
    struct credentials *credentials;
    const char *region;
    char *followed_region; /* when it was found to be another one */
    int64_t *skew_ms;      /* of the host that it was sent to */
    struct retry retry;
    unsigned redirects;
    unsigned stale;
    unsigned sent;
    struct http_transfer *transfer;
    struct loop_timer *timer;
    struct limiter_wait *turn;
    int64_t turn_waited_ms;
    struct error failed; /* of a call that cannot even be sent */
    void (*on_done)(void *context, const struct aws_result *result);
    void *context;
};

static void quota_free(void *value)
{
    free(value);
}

struct aws_client *aws_client_new(struct loop *loop, const struct aws_client_settings *settings)
{
    struct aws_client *client = memory_zeroed(1, sizeof(*client));
    client->loop = loop;
    client->sigv4 = sigv4_new();
    buffer_init(&client->lines.text, LINES_MAXIMUM);
    client->retry = retry_rules_standard();
    if (settings != NULL) {
        client->endpoints = settings->endpoints;
        client->s3_url = settings->endpoints.s3_url != NULL ? text_copy(settings->endpoints.s3_url) : NULL;
        client->sts_url = settings->endpoints.sts_url != NULL ? text_copy(settings->endpoints.sts_url) : NULL;
        client->endpoints.s3_url = client->s3_url;
        client->endpoints.sts_url = client->sts_url;
        client->is_payload_signed_always = settings->is_payload_signed_always;
        client->retry = settings->retry.attempts_maximum > 0 ? settings->retry : client->retry;
    }
    return client;
}

struct aws_client *aws_client_copy(const struct aws_client *client, struct loop *loop)
{
    struct aws_client_settings settings = {
        .endpoints = client->endpoints,
        .retry = client->retry,
        .is_payload_signed_always = client->is_payload_signed_always,
    };
    return aws_client_new(loop, &settings);
}

static void call_free(struct aws_call *call)
{
    *call->link = call->next;
    if (call->next != NULL) {
        call->next->link = call->link;
    }
    http_cancel(loop_http(call->client->loop), call->transfer);
    loop_timer_cancel(call->client->loop, call->timer);
    limiter_wait_cancel(call->turn);
    free(call->followed_region);
    credentials_free(call->credentials);
    free(call);
}

void aws_client_free(struct aws_client *client)
{
    if (client == NULL) {
        return;
    }
    while (client->calls != NULL) {
        call_free(client->calls); // NOLINT(clang-analyzer-unix.Malloc): unlinked before it is freed
    }
    index_clear(&client->quotas, quota_free);
    index_clear(&client->skews, quota_free);
    index_clear(&client->regions, quota_free);
    sigv4_free(client->sigv4);
    OPENSSL_cleanse(client->lines.text.ptr, client->lines.text.len);
    buffer_done(&client->lines.text);
    free(client->lines.offsets);
    free(client->lines.items);
    free(client->s3_url);
    free(client->sts_url);
    free(client);
}

struct loop *aws_client_loop(struct aws_client *client)
{
    return client->loop;
}

bool aws_client_is_custom(const struct aws_client *client, enum aws_service service)
{
    const char *url = service == AWS_S3 ? client->s3_url : client->sts_url;
    return url != NULL && url[0] != '\0';
}

void aws_client_forgo_checksums(struct aws_client *client)
{
    client->forgoes_checksums = true;
}

bool aws_client_forgoes_checksums(const struct aws_client *client)
{
    return client->forgoes_checksums;
}

int64_t aws_client_clock_skew_ms(const struct aws_client *client, const char *host)
{
    const int64_t *skew_ms = index_get(&client->skews, slice_of(host));
    return skew_ms != NULL ? *skew_ms : 0;
}

static struct retry_quota *call_quota(struct aws_call *call)
{
    struct aws_client *client = call->client;
    struct slice key = slice_of(call->request.quota_key != NULL ? call->request.quota_key : "");
    struct retry_quota *quota = index_get(&client->quotas, key);
    if (quota == NULL) {
        quota = memory_zeroed(1, sizeof(*quota));
        *quota = retry_quota_full(RETRY_QUOTA_CAPACITY);
        index_put(&client->quotas, key, quota);
    }
    return quota;
}

/* --- ending --- */

static void call_end(struct aws_call *call, struct aws_result *result)
{
    void (*on_done)(void *context, const struct aws_result *result) = call->on_done;
    void *context = call->context;
    result->attempts = call->sent;
    (void)snprintf(result->region, sizeof(result->region), "%s", call->region);
    /* The request id must outlive the answer it was read from. */
    call_free(call);
    on_done(context, result);
}

static void call_end_failed(struct aws_call *call, const struct failure *failure)
{
    struct aws_result result = {.failure = *failure};
    const char *origin = call->credentials != NULL ? call->credentials->origin : "nobody (an unsigned call)";
    (void)failure_describe(failure, call->request.operation, origin, &result.err);
    (void)snprintf(result.request_id, sizeof(result.request_id), "%s", failure->request_id);
    call_end(call, &result);
}

static void call_end_unsent(void *context)
{
    struct aws_call *call = context;
    bool is_late = call->failed.action == ERROR_RETRY;
    struct aws_result result = {.err = call->failed,
                                .failure = {.kind = is_late ? FAILURE_THROTTLED : FAILURE_INVALID}};
    call->timer = NULL;
    call_end(call, &result);
}

/* --- learning from answers --- */

/* "https://host:port/..." -> "host:port". */
static struct slice url_host(const char *url)
{
    const char *host = strstr(url, "://") + 3;
    return slice_from(host, strcspn(host, "/"));
}

/* One for each regional host, however many buckets stand before its name. */
static int64_t *skew_of_host(struct aws_client *client, struct slice host)
{
    int64_t *skew_ms = index_get(&client->skews, host);
    if (skew_ms == NULL) {
        skew_ms = memory_zeroed(1, sizeof(*skew_ms));
        index_put(&client->skews, host, skew_ms);
    }
    return skew_ms;
}

static void call_learn_skew(struct aws_call *call, const struct http_answer *answer)
{
    int64_t server_ms;
    AUTO(text) char *date = slice_copy(http_answer_header(answer, "Date"));
    if (http_answer_header(answer, "Age").ptr != NULL || !http_date_parse(date, &server_ms)) {
        return;
    }
    int64_t skew_ms = server_ms - (answer->sent_wall_ms + answer->received_wall_ms) / 2;
    *call->skew_ms = llabs(skew_ms) >= SKEW_MINIMUM_MS ? skew_ms : 0;
}

static const char *call_region(struct aws_call *call)
{
    const char *known = call->request.bucket != NULL && !call->request.is_region_fixed
                            ? index_get(&call->client->regions, slice_of(call->request.bucket))
                            : NULL;
    return known != NULL ? known : call->region;
}

static void call_learn_region(struct aws_call *call, const char *region)
{
    void *replaced = index_put(&call->client->regions, slice_of(call->request.bucket), text_copy(region));
    free(replaced);
}

/* --- sending --- */

static bool call_url(struct aws_call *call, const char *region, struct buffer *url, struct buffer *path,
                     struct error *err)
{
    const struct endpoint_settings *endpoints = &call->client->endpoints;
    if (!endpoint_url(endpoints, call->request.service, region, url, err)) {
        return false;
    }
    call->skew_ms = skew_of_host(call->client, url_host(url->ptr));
    if (call->request.bucket != NULL) {
        bool is_custom = aws_client_is_custom(call->client, call->request.service);
        if (!bucket_name_is_valid(call->request.bucket, is_custom)) {
            return error_set(err, ERROR_REJECT, "\"%.100s\" is not a bucket's name", call->request.bucket);
        }
        endpoint_add_bucket(endpoints, call->request.bucket, url, path);
    }
    buffer_append_text(path, call->request.path);
    buffer_append_text(path, path->len == 0 ? "/" : "");
    buffer_append(url, buffer_slice(path));
    if (call->request.query != NULL && call->request.query[0] != '\0') {
        buffer_append_format(url, "?%s", call->request.query);
    }
    return (!url->is_overflowed && !path->is_overflowed) ||
           error_set(err, ERROR_REJECT, "the request's URL is too long");
}

static bool call_hashes_body(const struct aws_call *call, const char *url)
{
    const struct aws_request *request = &call->request;
    return request->service != AWS_S3 || !text_starts_with(url, "https://") || call->client->is_payload_signed_always ||
           request->body.len == 0;
}

static void call_payload_hash(const struct aws_call *call, const char *url, char ret_hash[SIGV4_HASH_SIZE])
{
    const struct aws_request *request = &call->request;
    if (!call_hashes_body(call, url)) {
        (void)snprintf(ret_hash, SIGV4_HASH_SIZE, "%s", SIGV4_UNSIGNED_PAYLOAD);
    } else if (request->body_sha256 != NULL) {
        (void)snprintf(ret_hash, SIGV4_HASH_SIZE, "%s", request->body_sha256);
    } else {
        sigv4_hash(request->body, ret_hash);
    }
}

static void lines_add(struct lines *lines, const char *name, const char *joint, struct slice value)
{
    if (lines->count == lines->capacity) {
        lines->capacity = lines->capacity > 0 ? 2 * lines->capacity : 32;
        lines->offsets = memory_resized(lines->offsets, lines->capacity * sizeof(*lines->offsets));
        lines->items = memory_resized(lines->items, lines->capacity * sizeof(*lines->items));
    }
    lines->offsets[lines->count++] = lines->text.len;
    buffer_append_text(&lines->text, name);
    buffer_append_text(&lines->text, joint);
    buffer_append(&lines->text, value);
    buffer_append_char(&lines->text, '\0');
}

static void lines_finish(struct lines *lines)
{
    for (size_t i = 0; i < lines->count; i++) {
        lines->items[i] = lines->text.ptr + lines->offsets[i];
    }
}

static void call_add_signature(const struct aws_call *call, const struct sigv4_request *sigv4, struct lines *lines)
{
    struct sigv4_signed signature;
    sigv4_sign(call->client->sigv4, sigv4, &signature);
    lines_add(lines, "x-amz-date", ": ", slice_of(signature.date));
    if (call->credentials->session_token != NULL) {
        lines_add(lines, "x-amz-security-token", ": ", slice_of(call->credentials->session_token));
    }
    lines_add(lines, "Authorization", ": ", signature.authorization);
}

/* Signs the request for this moment (if there is a key) and fills the header lines. */
static void call_sign(struct aws_call *call, const char *url, const char *path, const char *region, struct lines *lines)
{
    const struct aws_request *request = &call->request;
    struct sigv4_header *signed_headers =
        memory_zeroed(request->header_count + HEADERS_OF_OURS, sizeof(*signed_headers));
    char hash[SIGV4_HASH_SIZE];
    size_t count = 0;
    bool is_s3 = request->service == AWS_S3;
    AUTO(text) char *host = slice_copy(url_host(url));
    call_payload_hash(call, url, hash);
    signed_headers[count++] = (struct sigv4_header){"host", host};
    if (is_s3) {
        signed_headers[count++] = (struct sigv4_header){"x-amz-content-sha256", hash};
    }
    for (size_t i = 0; i < request->header_count; i++) {
        signed_headers[count++] = call->headers[i];
    }
    struct sigv4_request sigv4 = {
        .form = SIGV4_HEADER,
        .method = request->method,
        .path = path,
        .query = request->query,
        .headers = signed_headers,
        .header_count = count,
        .payload_hash = hash,
        .region = region,
        .service = aws_service_name(request->service),
        .wall_ms = clock_wall_ms() + *call->skew_ms,
        .is_path_encoded_again = !is_s3,
        .is_path_normalized = !is_s3,
        .credentials = call->credentials,
    };
    buffer_clear(&lines->text);
    lines->count = 0;
    for (size_t i = 1; i < count; i++) {
        bool is_empty = signed_headers[i].value[0] == '\0';
        lines_add(lines, signed_headers[i].name, is_empty ? ";" : ": ", slice_of(signed_headers[i].value));
    }
    if (call->credentials != NULL) {
        call_add_signature(call, &sigv4, lines);
    }
    lines_finish(lines);
    free(signed_headers);
}

static void call_answered(void *context, const struct http_answer *answer);

static void call_send_now(struct aws_call *call)
{
    const char *region = call_region(call);
    AUTO(buffer) struct buffer url;
    AUTO(buffer) struct buffer path;
    buffer_init(&url, URL_MAXIMUM);
    buffer_init(&path, URL_MAXIMUM);
    if (!call_url(call, region, &url, &path, &call->failed)) {
        (void)error_prefix(&call->failed, "%.150s", call->request.operation);
        call->timer = loop_after(call->client->loop, 0, call_end_unsent, call);
        return;
    }
    if (region != call->region) {
        char *copy = text_copy(region);
        free(call->followed_region);
        call->followed_region = copy;
        call->region = copy;
    }
    struct lines *lines = &call->client->lines;
    call_sign(call, url.ptr, path.ptr, call->region, lines);
    int64_t left_ms = call->request.deadline_ms - clock_monotonic_ms();
    int64_t timeout_ms = call->request.attempt_timeout_ms < left_ms ? call->request.attempt_timeout_ms : left_ms;
    struct http_request request = {
        .method = call->request.method,
        .url = url.ptr,
        .headers = lines->items,
        .header_count = lines->count,
        .body = call->request.body,
        .timeout_ms = timeout_ms > 0 ? timeout_ms : 1,
        .answer_maximum_bytes = call->request.answer_maximum_bytes,
        .answer_expected_bytes = call->request.answer_expected_bytes,
    };
    call->sent++;
    call->transfer = http_start(loop_http(call->client->loop), &request, call_answered, call);
}

/* Who comes too late leaves the turn to the next, or a long queue would send nothing at all. */
static bool call_has_turn(void *context, int64_t waited_ms)
{
    struct aws_call *call = context;
    int64_t put_off_ms = TURN_WAIT_MAXIMUM_MS - call->turn_waited_ms;
    put_off_ms = waited_ms < put_off_ms ? waited_ms : put_off_ms;
    call->turn = NULL;
    call->turn_waited_ms += put_off_ms;
    call->request.deadline_ms += put_off_ms;
    if (clock_monotonic_ms() < call->request.deadline_ms) {
        call_send_now(call);
        return true;
    }
    (void)error_set(&call->failed, ERROR_RETRY, "%.150s: too many calls wait for their turn", call->request.operation);
    call->timer = loop_after(call->client->loop, 0, call_end_unsent, call);
    return false;
}

static void call_send(void *context)
{
    struct aws_call *call = context;
    call->timer = NULL;
    if (call->request.limiter != NULL) {
        call->turn = limiter_wait(call->request.limiter, call_has_turn, call);
    } else {
        call_send_now(call);
    }
}

/* --- deciding what an answer means --- */

static void call_succeed(struct aws_call *call, const struct http_answer *answer)
{
    struct aws_result result = {.answer = answer};
    AUTO(text) char *request_id = slice_copy(http_answer_header(answer, "x-amz-request-id"));
    (void)snprintf(result.request_id, sizeof(result.request_id), "%s", request_id);
    retry_after_success(&call->retry, call_quota(call));
    call_end(call, &result);
}

/* Tries again after a pause, when rules, quota and deadline allow it. */
static bool call_retries(struct aws_call *call, const struct http_answer *answer, const struct failure *failure)
{
    AUTO(text) char *amz_after = slice_copy(http_answer_header(answer, "x-amz-retry-after"));
    AUTO(text) char *after = slice_copy(http_answer_header(answer, "Retry-After"));
    int64_t delay_ms;
    struct retry_rules rules = call->client->retry;
    rules.attempts_maximum =
        call->request.attempts_maximum > 0 ? call->request.attempts_maximum : rules.attempts_maximum;
    double random = (double)backoff_ms(0, 1 << 20, 1 << 20) / (double)(1 << 20);
    if (retry_after_failure(&call->retry, &rules, call_quota(call), failure->kind == FAILURE_THROTTLED, random,
                            retry_read_amz_retry_after_ms(amz_after), retry_read_retry_after_ms(after, clock_wall_ms()),
                            &delay_ms) != RETRY_AGAIN ||
        clock_monotonic_ms() + delay_ms + ATTEMPT_MINIMUM_MS > call->request.deadline_ms) {
        return false;
    }
    call->timer = loop_after(call->client->loop, delay_ms, call_send, call);
    traffic_retry(&call->client->traffic, failure->kind);
    return true;
}

static bool call_follows_region(struct aws_call *call, const struct failure *failure)
{
    bool may_follow = call->request.bucket != NULL && !call->request.is_region_fixed;
    if (failure->kind != FAILURE_WRONG_REGION || !may_follow || !region_is_valid(failure->region) ||
        strcmp(failure->region, call->region) == 0 || call->redirects++ >= REDIRECTS_MAXIMUM) {
        return false;
    }
    call_learn_region(call, failure->region);
    call->sent--;
    call->timer = loop_after(call->client->loop, 0, call_send, call);
    return true;
}

/* The answer to a HEAD has no words: a 400 is a signature for another region, or a session that has expired. */
static void failure_guess_of_head(const struct aws_call *call, struct failure *failure)
{
    if (failure->status == 400 && failure->code[0] == '\0' && strcmp(call->request.method, "HEAD") == 0) {
        bool is_elsewhere = failure->region[0] != '\0' && strcmp(failure->region, call->region) != 0;
        bool is_session = call->credentials != NULL && call->credentials->session_token != NULL;
        failure->kind = is_elsewhere ? FAILURE_WRONG_REGION : is_session ? FAILURE_EXPIRED_TOKEN : failure->kind;
    }
}

static void call_answered(void *context, const struct http_answer *answer)
{
    struct aws_call *call = context;
    struct failure failure;
    struct error err = {0};
    call->transfer = NULL;
    if (answer->is_connection_stale && call->stale++ < STALE_MAXIMUM) {
        call->sent--;
        call->timer = loop_after(call->client->loop, 0, call_send, call);
        return;
    }
    traffic_add(&call->client->traffic, call->request.operation, answer->status,
                clock_wall_ms() - answer->sent_wall_ms);
    if (answer->status != 0) {
        call_learn_skew(call, answer);
    }
    bool is_success = answer->status >= 200 && answer->status < 300;
    bool is_broken = is_success && !call->request.is_content && failure_is_in_body(answer->body);
    if (is_success && !is_broken) {
        is_broken = call->request.accept != NULL && !call->request.accept(call->request.accept_context, answer, &err);
        if (!is_broken) {
            call_succeed(call, answer);
            return;
        }
    }
    struct http_answer words = *answer;
    words.body = is_success && call->request.is_content ? slice_of("") : answer->body;
    failure_read(&words, is_broken, &failure);
    failure_guess_of_head(call, &failure);
    if (is_broken && failure.code[0] == '\0') {
        (void)snprintf(failure.message, sizeof(failure.message), "%.200s", err.text);
    }
    bool may_repeat = failure_action(failure.kind) == ERROR_RETRY && failure.kind != FAILURE_EXPIRED_TOKEN;
    if (call_follows_region(call, &failure) || (may_repeat && call_retries(call, answer, &failure))) {
        return;
    }
    call_end_failed(call, &failure);
}

/* --- beginning --- */

static size_t text_size(const char *text)
{
    return text != NULL ? strlen(text) + 1 : 0;
}

/* Copies the text behind those that are kept already. */
static const char *keep(char **end, const char *text)
{
    size_t size = text_size(text);
    const char *kept = size > 0 ? memcpy(*end, text, size) : NULL;
    *end += size;
    return kept;
}

/* A call with all its texts in one block: there are twenty of them, and a hundred thousand calls a minute. */
static struct aws_call *call_new(const struct aws_request *request)
{
    size_t size = text_size(request->bucket) + text_size(request->method) + text_size(request->path) +
                  text_size(request->query) + text_size(request->operation) + text_size(request->quota_key) +
                  text_size(request->body_sha256) + text_size(request->region);
    for (size_t i = 0; i < request->header_count; i++) {
        size += text_size(request->headers[i].name) + text_size(request->headers[i].value);
    }
    size_t headers_size = request->header_count * sizeof(struct sigv4_header);
    struct aws_call *call = memory_zeroed(1, sizeof(*call) + headers_size + size);
    char *end = (char *)(call + 1) + headers_size;
    call->headers = (struct sigv4_header *)(void *)(call + 1);
    call->request = *request;
    call->request.bucket = keep(&end, request->bucket);
    call->request.method = keep(&end, request->method);
    call->request.path = keep(&end, request->path);
    call->request.query = keep(&end, request->query);
    call->request.operation = keep(&end, request->operation);
    call->request.quota_key = keep(&end, request->quota_key);
    call->request.body_sha256 = keep(&end, request->body_sha256);
    call->region = keep(&end, request->region);
    for (size_t i = 0; i < request->header_count; i++) {
        const char *name = keep(&end, request->headers[i].name);
        call->headers[i] = (struct sigv4_header){name, keep(&end, request->headers[i].value)};
    }
    return call;
}

struct aws_call *aws_call_start(struct aws_client *client, const struct aws_request *request,
                                void (*on_done)(void *context, const struct aws_result *result), void *context)
{
    struct aws_call *call = call_new(request);
    call->client = client;
    call->next = client->calls;
    call->link = &client->calls;
    if (call->next != NULL) {
        call->next->link = &call->next;
    }
    client->calls = call;
    call->credentials = request->credentials != NULL ? credentials_copy(request->credentials) : NULL;
    call->on_done = on_done;
    call->context = context;
    call_send(call);
    return call;
}

void aws_call_cancel(struct aws_call *call)
{
    if (call != NULL) {
        call_free(call);
    }
}

void aws_client_write_metrics(const struct aws_client *client, struct buffer *text)
{
    traffic_write(&client->traffic, text);
}
