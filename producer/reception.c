#include "producer/reception.h"

#include "schemas/trace.h"
#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/log.h"

#include <stdlib.h>
#include <strings.h>

enum {
    RETRY_AFTER_S = 10,
    ANSWER_MAXIMUM = 256 * 1024,
    FORWARDED_MAXIMUM = 4096,
};

/* What the listener refuses by itself, and what belongs to no hook, by the status of the answer; the last stands for
 * all others. */
static const char *const refused_statuses[] = {"0", "400", "404", "413", "414", "431", "other"};
_Static_assert(sizeof(refused_statuses) / sizeof(refused_statuses[0]) == RECEPTION_REFUSED_COUNT,
               "a name for each counter");

/* A delivery whose events are being stored. */
struct delivery {
    struct reception *reception;
    struct hook *hook;
    struct listener_request *request;
    int64_t began_ms;
    struct buffer answer;
};

/* --- answers --- */

static void answer_text(struct listener_request *request, unsigned status, const char *text)
{
    AUTO(text) char *line = text_format("%s\n", text);
    struct listener_answer answer = {
        .status = status,
        .content_type = "text/plain; charset=utf-8",
        .body = slice_of(line),
        .retry_after_s = status == 503 ? RETRY_AFTER_S : 0,
        .allow = status == 405 ? "POST" : NULL,
    };
    listener_answer(request, &answer);
}

static void count_refused(struct reception *reception, unsigned status)
{
    size_t i = 0;
    while (i + 1 < RECEPTION_REFUSED_COUNT && strtoul(refused_statuses[i], NULL, 10) != status) {
        i++;
    }
    reception->refused[i]++;
}

static void log_refused(const char *hook, unsigned status, const char *reason, const struct address *client)
{
    char text[ADDRESS_TEXT_SIZE] = "";
    if (client != NULL) {
        address_format(client, text);
    }
    log_event(LOG_WARNING, "delivery refused", "hook", hook, "status", log_number(status), "reason", reason, "client",
              client != NULL ? text : NULL, NULL);
}

/* What belongs to a hook: one counter, one line in the log, never the body. */
static void refuse(struct hook *hook, struct listener_request *request, enum hook_outcome outcome, unsigned status,
                   const char *reason)
{
    hook->counts[outcome]++;
    log_refused(hook->name, status, reason, listener_peer(request));
    answer_text(request, status, reason);
}

void reception_refused(void *context, unsigned status, const char *reason, const struct address *client)
{
    count_refused(context, status);
    log_refused(NULL, status, reason, client);
}

/* --- deliveries --- */

static void delivery_stored(void *context, enum store_place place, const struct error *err)
{
    struct delivery *delivery = context;
    if (place == STORE_NOWHERE) {
        refuse(delivery->hook, delivery->request, HOOK_NOT_STORED, 503, err->text);
    } else {
        const struct listener_answer answer = {
            .status = 202,
            .content_type = "application/x-ndjson",
            .body = buffer_slice(&delivery->answer),
        };
        histogram_add(&delivery->reception->stored, clock_monotonic_ms() - delivery->began_ms);
        delivery->hook->counts[place == STORE_DISK ? HOOK_SPOOLED : HOOK_STORED]++;
        listener_answer(delivery->request, &answer);
    }
    buffer_done(&delivery->answer);
    free(delivery);
}

static struct output *delivery_outputs(struct delivery *delivery, const struct changes *changes)
{
    struct output *first = NULL;
    struct output **end = &first;
    for (size_t i = 0; i < changes->items.count; i++) {
        const struct event *event = ((const struct change *)changes->items.items + i)->event;
        if (event == NULL) {
            continue;
        }
        *end = message_output(&event_codec, event, "events", event->repository);
        buffer_append(&delivery->answer, slice_from((*end)->value, (*end)->value_len));
        buffer_append_char(&delivery->answer, '\n');
        end = &(*end)->next;
    }
    return first;
}

static const struct event *first_event(const struct changes *changes)
{
    for (size_t i = 0; i < changes->items.count; i++) {
        const struct change *change = (const struct change *)changes->items.items + i;
        if (change->event != NULL) {
            return change->event;
        }
    }
    return NULL;
}

/* first: the first event of the changes. */
static void delivery_begin(struct reception *reception, struct hook *hook, struct listener_request *request,
                           const struct changes *changes, const struct event *first)
{
    char trace[TRACE_ID_SIZE];
    struct delivery *delivery = memory_zeroed(1, sizeof(*delivery));
    *delivery =
        (struct delivery){.reception = reception, .hook = hook, .request = request, .began_ms = clock_monotonic_ms()};
    buffer_init(&delivery->answer, ANSWER_MAXIMUM);
    log_event(LOG_INFO, "delivery taken", "hook", hook->name, "delivery", first->delivery, "repository",
              first->repository, "changes", log_number((long long)changes->items.count), "trace",
              trace_id(first->envelope.traceparent, trace), NULL);
    store_put(reception->store, delivery_outputs(delivery, changes), hook->may_spool, delivery_stored, delivery);
}

static const char *find_header(void *context, const char *name, size_t *ret_count)
{
    *ret_count = listener_header_count(context, name);
    return listener_header(context, name);
}

static bool is_json(const struct listener_request *request)
{
    static const char json[] = "application/json";
    const char *type = listener_header(request, "Content-Type");
    size_t length = strlen(json);
    return type != NULL && strncasecmp(type, json, length) == 0 &&
           (type[length] == '\0' || type[length] == ';' || type[length] == ' ');
}

static bool is_compressed(const struct listener_request *request)
{
    const char *coding = listener_header(request, "Content-Encoding");
    return coding != NULL && strcasecmp(coding, "identity") != 0;
}

static bool is_allowed(const struct reception *reception, const struct hook *hook,
                       const struct listener_request *request)
{
    AUTO(buffer) struct buffer forwarded;
    struct address client;
    buffer_init(&forwarded, FORWARDED_MAXIMUM);
    listener_header_join(request, "X-Forwarded-For", &forwarded);
    return !forwarded.is_overflowed &&
           address_behind_proxies(&reception->proxies, listener_peer(request), buffer_slice(&forwarded), &client) &&
           networks_contain(&hook->allowed, &client);
}

/* Whoever calls may have begun a trace, such as a proxy. */
static void changes_trace(struct changes *changes, const char *traceparent)
{
    for (size_t i = 0; i < changes->items.count; i++) {
        struct change *change = (struct change *)changes->items.items + i;
        if (change->event != NULL) {
            envelope_trace(&change->event->envelope, traceparent);
        }
    }
}

static void take_payload(struct reception *reception, struct hook *hook, struct listener_request *request,
                         const struct host_headers *headers)
{
    struct changes changes = {0};
    struct error err;
    if (!hook->host->parse(headers, listener_body(request), &changes, &err)) {
        refuse(hook, request, HOOK_BAD_PAYLOAD, 400, err.text);
        changes_clear(&changes);
        return;
    }
    changes_trace(&changes, listener_header(request, "traceparent"));
    if (changes.moved_unnamed != NULL) {
        poll_now(reception->poll, changes.moved_unnamed);
    }
    const struct event *first = first_event(&changes);
    if (hook_hears_twice(hook, &changes)) {
        hook->counts[HOOK_NOTHING]++;
        answer_text(request, 200, "a creation, of which the push tells, too");
    } else if (first != NULL) {
        delivery_begin(reception, hook, request, &changes, first);
    } else {
        const struct change *ignored = changes.items.items;
        hook->counts[HOOK_NOTHING]++;
        answer_text(request, 200, changes.items.count > 0 ? ignored->reason : "nothing to do");
    }
    changes_clear(&changes);
}

/* A forged delivery costs no more than its refusal, and must not use up what the genuine ones are allowed: hence the
 * limit behind the signature. It is answered 503, since some hosts switch a hook off for any 4xx. */
static void take_delivery(struct reception *reception, struct hook *hook, struct listener_request *request)
{
    const struct host_headers headers = {find_header, request};
    if (strcmp(listener_method(request), "POST") != 0) {
        refuse(hook, request, HOOK_BAD_METHOD, 405, "webhooks are posted");
    } else if (!is_json(request)) {
        refuse(hook, request, HOOK_BAD_TYPE, 415, "set the webhook's content type to application/json");
    } else if (is_compressed(request)) {
        refuse(hook, request, HOOK_BAD_TYPE, 415, "compressed bodies are not taken");
    } else if (hook->allowed.count > 0 && !is_allowed(reception, hook, request)) {
        refuse(hook, request, HOOK_BAD_ADDRESS, 403, "the address is not one that may call this hook");
    } else if (!hook->is_unsigned &&
               !hook->host->is_genuine(&hook->secrets, &headers, listener_body(request), clock_wall_ms())) {
        refuse(hook, request, HOOK_BAD_SIGNATURE, 401,
               "the signature is missing or wrong: is the secret the same on both sides?");
    } else if (reception->is_closing) {
        refuse(hook, request, HOOK_NOT_STORED, 503, "going down: send it again");
    } else if (!rate_has_turn(&hook->rate, clock_monotonic_ms())) {
        refuse(hook, request, HOOK_TOO_OFTEN, 503, "more deliveries than this hook's rate: send it again");
    } else {
        take_payload(reception, hook, request, &headers);
    }
}

void reception_request(void *context, struct listener_request *request)
{
    struct reception *reception = context;
    struct hook *hook = hooks_find(&reception->hooks, listener_path(request));
    if (hook != NULL) {
        take_delivery(reception, hook, request);
        return;
    }
    reception_refused(reception, 404, "no such hook", listener_peer(request));
    answer_text(request, 404, "no such hook");
}

void reception_write_metrics(const struct reception *reception, struct buffer *text)
{
    metric_begin(text, "deliveries_total", METRIC_COUNTER, "Webhooks by what became of them.");
    for (size_t i = 0; i < reception->hooks.count; i++) {
        for (int outcome = 0; outcome < HOOK_OUTCOME_COUNT; outcome++) {
            metric_sample(text, "deliveries_total", (double)reception->hooks.items[i].counts[outcome], "hook",
                          reception->hooks.items[i].name, "outcome", hook_outcome_names[outcome], NULL);
        }
    }
    metric_begin(text, "delivery_seconds", METRIC_HISTOGRAM, "From when a webhook was read until it was stored.");
    histogram_write(text, "delivery_seconds", &reception->stored, NULL, NULL);
    metric_begin(text, "requests_refused_total", METRIC_COUNTER,
                 "Requests that reached no hook, by status; 0: cut off.");
    for (size_t i = 0; i < RECEPTION_REFUSED_COUNT; i++) {
        metric_sample(text, "requests_refused_total", (double)reception->refused[i], "status", refused_statuses[i],
                      NULL);
    }
}
