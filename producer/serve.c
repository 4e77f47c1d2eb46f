#include "producer/serve.h"

#include "producer/api/repository.h"
#include "producer/hook.h"
#include "producer/poll/poll.h"
#include "producer/store.h"
#include "schemas/trace.h"
#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/command.h"
#include "workers/common/base/file.h"
#include "workers/common/base/log.h"
#include "workers/common/base/metric.h"
#include "workers/common/http/admin.h"
#include "workers/common/http/signals.h"
#include "workers/common/kafka/reach.h"
#include "workers/common/kafka/round_trip.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/eventfd.h>

enum {
    DRAIN_TIMEOUT_MS = 5000,
    RETRY_AFTER_S = 10,
    ANSWER_MAXIMUM = 256 * 1024,
    MISTAKES_MAXIMUM = 16 * 1024,
    FORWARDED_MAXIMUM = 4096,
    HEAD_MAXIMUM_BYTES = 32 * 1024,
    PEM_MAXIMUM = 1024 * 1024,
    REQUEST_TIMEOUT_S = 20,
};

const struct option producer_options[] = {
    {.name = "producer.listen",
     .type = OPTION_TEXT,
     .initial = "127.0.0.1:8080",
     .help = "where webhooks come in, host:port; port 0: any free one, named in the log"},
    {.name = "producer.body_maximum",
     .type = OPTION_INTEGER,
     .initial = "1048576",
     .minimum = 1024,
     .maximum = 33554432,
     .help = "bytes of a delivery; larger ones are answered 413"},
    {.name = "producer.connections_maximum",
     .type = OPTION_INTEGER,
     .initial = "1000",
     .minimum = 1,
     .maximum = 100000,
     .help = "open connections; for further ones, those make room that have kept us waiting longest"},
    {.name = "producer.tls_certificate",
     .type = OPTION_TEXT,
     .help = "PEM file of the certificate and its chain; with it, webhooks come in over TLS. Read again on SIGHUP"},
    {.name = "producer.tls_key", .type = OPTION_TEXT, .help = "PEM file of the certificate's key"},
    {.name = "producer.proxies",
     .type = OPTION_TEXTS,
     .help = "networks of proxies whose X-Forwarded-For says who is calling"},
    {.name = "producer.spool",
     .type = OPTION_TEXT,
     .help = "folder on this machine's disk for deliveries while the brokers are away, of this process alone"},
    {.name = "producer.spool_maximum",
     .type = OPTION_INTEGER,
     .initial = "67108864",
     .minimum = 65536,
     .maximum = 17179869184,
     .help = "bytes of the spool; when it is full, deliveries are answered 503"},
    {.name = "producer.admin",
     .type = OPTION_TEXT,
     .initial = "127.0.0.1:0",
     .help = "address of /healthz, /readyz and /metrics; port 0: any free one, which is logged; empty: none"},
    {.name = "producer.hooks", .type = OPTION_GROUPS, .group = hook_options, .help = "the webhooks that are taken"},
    {0},
};

/* What the listener refuses by itself, and what belongs to no hook, by the status of the answer; the last stands for
 * all others. */
static const char *const refused_statuses[] = {"0", "400", "404", "413", "414", "431", "other"};
enum { REFUSED_STATUS_COUNT = sizeof(refused_statuses) / sizeof(refused_statuses[0]) };

struct server {
    struct loop *loop;
    struct listener *listener;
    struct listener *admin;
    struct store *store;
    struct poll *poll; /* NULL: nothing is polled */
    struct hooks hooks;
    struct networks proxies;
    uint64_t refused[REFUSED_STATUS_COUNT];
    struct histogram stored;
    int wake_fd;
    bool is_draining;
    bool is_quiet; /* not ready, so that proxies send elsewhere; what comes all the same is taken */
    bool must_end_now;
    bool is_broken; /* nothing will ever be stored again: a new process may */
};

/* A delivery whose events are being stored. */
struct delivery {
    struct server *server;
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

static void count_refused(struct server *server, unsigned status)
{
    size_t i = 0;
    while (i + 1 < REFUSED_STATUS_COUNT && strtoul(refused_statuses[i], NULL, 10) != status) {
        i++;
    }
    server->refused[i]++;
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

static void server_refused(void *context, unsigned status, const char *reason, const struct address *client)
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
        histogram_add(&delivery->server->stored, clock_monotonic_ms() - delivery->began_ms);
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
static void delivery_begin(struct server *server, struct hook *hook, struct listener_request *request,
                           const struct changes *changes, const struct event *first)
{
    char trace[TRACE_ID_SIZE];
    struct delivery *delivery = memory_zeroed(1, sizeof(*delivery));
    *delivery = (struct delivery){.server = server, .hook = hook, .request = request, .began_ms = clock_monotonic_ms()};
    buffer_init(&delivery->answer, ANSWER_MAXIMUM);
    log_event(LOG_INFO, "delivery taken", "hook", hook->name, "delivery", first->delivery, "repository",
              first->repository, "changes", log_number((long long)changes->items.count), "trace",
              trace_id(first->envelope.traceparent, trace), NULL);
    store_put(server->store, delivery_outputs(delivery, changes), hook->may_spool, delivery_stored, delivery);
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

static bool is_allowed(const struct server *server, const struct hook *hook, const struct listener_request *request)
{
    AUTO(buffer) struct buffer forwarded;
    struct address client;
    buffer_init(&forwarded, FORWARDED_MAXIMUM);
    listener_header_join(request, "X-Forwarded-For", &forwarded);
    return !forwarded.is_overflowed &&
           address_behind_proxies(&server->proxies, listener_peer(request), buffer_slice(&forwarded), &client) &&
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

static void take_payload(struct server *server, struct hook *hook, struct listener_request *request,
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
        poll_now(server->poll, changes.moved_unnamed);
    }
    const struct event *first = first_event(&changes);
    if (hook_hears_twice(hook, &changes)) {
        hook->counts[HOOK_NOTHING]++;
        answer_text(request, 200, "a creation, of which the push tells, too");
    } else if (first != NULL) {
        delivery_begin(server, hook, request, &changes, first);
    } else {
        const struct change *ignored = changes.items.items;
        hook->counts[HOOK_NOTHING]++;
        answer_text(request, 200, changes.items.count > 0 ? ignored->reason : "nothing to do");
    }
    changes_clear(&changes);
}

/* A forged delivery costs no more than its refusal, and must not use up what the genuine ones are allowed: hence the
 * limit behind the signature. It is answered 503, since some hosts switch a hook off for any 4xx. */
static void take_delivery(struct server *server, struct hook *hook, struct listener_request *request)
{
    const struct host_headers headers = {find_header, request};
    if (strcmp(listener_method(request), "POST") != 0) {
        refuse(hook, request, HOOK_BAD_METHOD, 405, "webhooks are posted");
    } else if (!is_json(request)) {
        refuse(hook, request, HOOK_BAD_TYPE, 415, "set the webhook's content type to application/json");
    } else if (is_compressed(request)) {
        refuse(hook, request, HOOK_BAD_TYPE, 415, "compressed bodies are not taken");
    } else if (hook->allowed.count > 0 && !is_allowed(server, hook, request)) {
        refuse(hook, request, HOOK_BAD_ADDRESS, 403, "the address is not one that may call this hook");
    } else if (!hook->is_unsigned &&
               !hook->host->is_genuine(&hook->secrets, &headers, listener_body(request), clock_wall_ms())) {
        refuse(hook, request, HOOK_BAD_SIGNATURE, 401,
               "the signature is missing or wrong: is the secret the same on both sides?");
    } else if (server->is_draining) {
        refuse(hook, request, HOOK_NOT_STORED, 503, "going down: send it again");
    } else if (!rate_has_turn(&hook->rate, clock_monotonic_ms())) {
        refuse(hook, request, HOOK_TOO_OFTEN, 503, "more deliveries than this hook's rate: send it again");
    } else {
        take_payload(server, hook, request, &headers);
    }
}

static void server_request(void *context, struct listener_request *request)
{
    struct server *server = context;
    struct hook *hook = hooks_find(&server->hooks, listener_path(request));
    if (hook != NULL) {
        take_delivery(server, hook, request);
        return;
    }
    server_refused(server, 404, "no such hook", listener_peer(request));
    answer_text(request, 404, "no such hook");
}

/* --- health and metrics --- */

static bool server_is_healthy(const void *subject, struct buffer *text)
{
    const struct server *server = subject;
    struct store_state state;
    size_t before = text->len;
    store_look(server->store, &state);
    if (!reach_is_well(text)) {
        buffer_append_char(text, '\n');
    }
    if (state.away_since_ms > 0) {
        buffer_append_format(text, "the brokers have not stored for %" PRId64 " s\n",
                             (clock_monotonic_ms() - state.away_since_ms) / 1000);
    }
    if (state.spool_bytes > 0) {
        buffer_append_format(text, "the spool holds %" PRId64 " bytes\n", state.spool_bytes);
    }
    return text->len == before;
}

static bool server_is_ready(const void *subject)
{
    const struct server *server = subject;
    struct store_state state;
    store_look(server->store, &state);
    return !server->is_draining && !server->is_quiet &&
           ((state.away_since_ms == 0 && reach_has_answers()) || state.has_spool);
}

static void server_write_metrics(const void *subject, struct buffer *text)
{
    const struct server *server = subject;
    struct store_state state;
    store_look(server->store, &state);
    metric_begin(text, "deliveries_total", METRIC_COUNTER, "Webhooks by what became of them.");
    for (size_t i = 0; i < server->hooks.count; i++) {
        for (int outcome = 0; outcome < HOOK_OUTCOME_COUNT; outcome++) {
            metric_sample(text, "deliveries_total", (double)server->hooks.items[i].counts[outcome], "hook",
                          server->hooks.items[i].name, "outcome", hook_outcome_names[outcome], NULL);
        }
    }
    metric_begin(text, "delivery_seconds", METRIC_HISTOGRAM, "From when a webhook was read until it was stored.");
    histogram_write(text, "delivery_seconds", &server->stored, NULL, NULL);
    metric_begin(text, "requests_refused_total", METRIC_COUNTER,
                 "Requests that reached no hook, by status; 0: cut off.");
    for (size_t i = 0; i < REFUSED_STATUS_COUNT; i++) {
        metric_sample(text, "requests_refused_total", (double)server->refused[i], "status", refused_statuses[i], NULL);
    }
    metric_write(text, "spool_bytes", METRIC_GAUGE, "Deliveries on the disk.", (double)state.spool_bytes, NULL);
    metric_write(text, "spool_maximum_bytes", METRIC_GAUGE, "Room for them; 0: no spool.",
                 (double)state.spool_maximum_bytes, NULL);
    metric_write(text, "spooled_events_total", METRIC_COUNTER, "Events that went onto the disk.", (double)state.spooled,
                 NULL);
    metric_write(text, "replayed_events_total", METRIC_COUNTER, "Events that came from the disk to the brokers.",
                 (double)state.replayed, NULL);
    metric_write(text, "brokers_away_seconds", METRIC_GAUGE, "For how long the brokers have not stored.",
                 state.away_since_ms > 0 ? (double)(clock_monotonic_ms() - state.away_since_ms) / 1000 : 0, NULL);
    metric_write(text, "deliveries_waiting", METRIC_GAUGE, "Webhooks that wait for their answer.",
                 (double)state.waiting, NULL);
    metric_write(text, "ready", METRIC_GAUGE, "1 when it takes deliveries.", server_is_ready(server), "role",
                 "producer", NULL);
    poll_write_metrics(server->poll, text);
    round_trip_write(text);
}

/* --- configuration --- */

static bool proxies_read(const struct options *options, struct networks *ret_proxies, struct buffer *mistakes)
{
    const char *const *proxies;
    struct error err;
    size_t count = options_texts(options, "producer.proxies", &proxies);
    if (!networks_parse(proxies, count, ret_proxies, &err)) {
        buffer_append_format(mistakes, "producer.proxies: %s\n", err.text);
        return false;
    }
    return true;
}

static bool pem_check(const char *option, const char *path, struct buffer *mistakes)
{
    struct error err;
    AUTO(buffer) struct buffer content;
    buffer_init(&content, PEM_MAXIMUM);
    if (!file_read(path, &content, &err)) {
        buffer_append_format(mistakes, "%s: %s %s\n", option, path, err.text);
        return false;
    }
    return true;
}

static bool tls_check(const struct options *options, struct buffer *mistakes)
{
    const char *certificate = options_text(options, "producer.tls_certificate");
    const char *key = options_text(options, "producer.tls_key");
    if ((certificate != NULL) != (key != NULL)) {
        buffer_append_text(mistakes, "producer: tls_certificate and tls_key belong together: set both or neither\n");
        return false;
    }
    bool is_right = certificate == NULL || pem_check("producer.tls_certificate", certificate, mistakes);
    return (key == NULL || pem_check("producer.tls_key", key, mistakes)) && is_right;
}

static bool server_read(const struct options *options, struct server *server, struct buffer *mistakes)
{
    bool is_hooks_right = hooks_read(options, &server->hooks, mistakes);
    bool is_proxies_right = proxies_read(options, &server->proxies, mistakes);
    bool is_repositories_right = repositories_check(options, mistakes);
    return tls_check(options, mistakes) && is_repositories_right && is_proxies_right && is_hooks_right;
}

bool serve_check(const struct options *options, struct buffer *mistakes)
{
    struct server server = {0};
    bool is_right = server_read(options, &server, mistakes);
    hooks_clear(&server.hooks);
    networks_clear(&server.proxies);
    return is_right;
}

/* What the operator should know without having asked. */
static void server_warn(const struct server *server, bool has_spool)
{
    for (size_t i = 0; i < server->hooks.count; i++) {
        const struct hook *hook = &server->hooks.items[i];
        if (hook->is_unsigned) {
            log_event(LOG_WARNING, "an unsigned hook: anybody who knows its path may deploy", "hook", hook->name, NULL);
        }
        if (hook->may_spool && !has_spool) {
            log_event(LOG_WARNING,
                      "this host never sends again: set producer.spool, or a poll, for when the brokers are away",
                      "hook", hook->name, "provider", hook->host->name, NULL);
        }
    }
}

/* --- the process --- */

static void server_woken(void *context)
{
    struct server *server = context;
    uint64_t count;
    (void)!read(server->wake_fd, &count, sizeof(count));
}

static void server_reload(struct server *server)
{
    AUTO(buffer) struct buffer mistakes;
    struct error err;
    buffer_init(&mistakes, MISTAKES_MAXIMUM);
    bool is_reread = hooks_reread_secrets(&server->hooks, &mistakes);
    bool is_renewed = listener_reload(server->listener, &err);
    if (!is_reread) {
        log_event(LOG_ERROR, "secrets stay as they were", "reason", mistakes.ptr, NULL);
    }
    if (!is_renewed) {
        log_event(LOG_ERROR, "the certificate stays as it was", "reason", err.text, NULL);
    }
    if (is_reread && is_renewed) {
        log_event(LOG_INFO, "secrets and certificate read again", NULL);
    }
}

static void server_log_in_flight(const struct server *server)
{
    struct store_state state;
    store_look(server->store, &state);
    log_event(LOG_INFO, "in flight, all told", "deliveries", log_number((long long)state.waiting), "spool_bytes",
              log_number(state.spool_bytes), "ready", server_is_ready(server) ? "yes" : "no", NULL);
}

static void server_set_quiet(struct server *server, bool is_quiet)
{
    if (is_quiet != server->is_quiet) {
        log_event(LOG_INFO, is_quiet ? "quiet: not ready until SIGCONT" : "no longer quiet", NULL);
    }
    server->is_quiet = is_quiet;
}

static void server_signalled(void *context, int signal)
{
    struct server *server = context;
    switch (signal) {
    case SIGHUP:
        server_reload(server);
        break;
    case SIGTSTP:
    case SIGCONT:
        server_set_quiet(server, signal == SIGTSTP);
        break;
    case SIGUSR1:
        server_log_in_flight(server);
        break;
    default:
        server->must_end_now = server->is_draining;
        server->is_draining = true;
    }
}

static bool server_configure(const struct options *options, struct server *server, struct error *err)
{
    AUTO(buffer) struct buffer mistakes;
    buffer_init(&mistakes, MISTAKES_MAXIMUM);
    return server_read(options, server, &mistakes) || error_set(err, ERROR_FATAL, "%s", mistakes.ptr);
}

static bool server_open(struct server *server, const struct options *options, const struct admin_view *view,
                        struct error *err)
{
    const struct listener_settings settings = {
        .address = options_text(options, "producer.listen"),
        .head_maximum_bytes = HEAD_MAXIMUM_BYTES,
        .body_maximum_bytes = (size_t)options_integer(options, "producer.body_maximum"),
        .connections_maximum = (unsigned)options_integer(options, "producer.connections_maximum"),
        .timeout_s = REQUEST_TIMEOUT_S,
        .tls_certificate_file = options_text(options, "producer.tls_certificate"),
        .tls_key_file = options_text(options, "producer.tls_key"),
        .on_request = server_request,
        .on_refused = server_refused,
        .context = server,
    };
    return server_configure(options, server, err) &&
           store_open(options, server->loop, server->wake_fd, &server->store, err) &&
           poll_open(options, server->loop, store_publisher(server->store), &server->poll, err) &&
           admin_open(server->loop, options_text(options, "producer.admin"), view, &server->admin, err) &&
           listener_open(server->loop, &settings, &server->listener, err);
}

/* Until it is told to end and everything taken is stored, or the time for that is over. */
static void server_loop(struct server *server)
{
    struct store_state state;
    int64_t deadline_ms = INT64_MAX;
    store_look(server->store, &state);
    while (!server->is_draining || (state.waiting > 0 && !server->must_end_now && clock_monotonic_ms() < deadline_ms)) {
        loop_turn(server->loop, state.waiting > 0 ? 50 : 1000);
        store_turn(server->store);
        store_look(server->store, &state);
        server->is_broken = state.is_broken || poll_is_broken(server->poll);
        server->is_draining = server->is_draining || server->is_broken;
        if (server->is_draining && deadline_ms == INT64_MAX) {
            deadline_ms = clock_monotonic_ms() + DRAIN_TIMEOUT_MS;
        }
    }
}

static int server_serve(struct server *server, const struct options *options)
{
    const char *spool = options_text(options, "producer.spool");
    server_warn(server, spool != NULL && spool[0] != '\0');
    log_event(LOG_INFO, "ready", "port", log_number(listener_port(server->listener)), "hooks",
              log_number((long long)server->hooks.count), NULL);
    server_loop(server);
    log_event(LOG_INFO, "drained", NULL);
    if (server->is_broken) {
        log_event(LOG_ERROR, "the connection to the brokers is broken beyond repair: start again", NULL);
    }
    return server->is_broken ? EXIT_TEMPORARY : EXIT_OK;
}

int serve_run(const struct options *options)
{
    static const int wanted_signals[] = {SIGHUP, SIGTSTP, SIGCONT, SIGUSR1, 0};
    struct server server = {.loop = loop_new(NULL), .wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    const struct admin_view view = {server_is_healthy, server_is_ready, server_write_metrics, &server};
    struct signals *signals = signals_watch(server.loop, wanted_signals, server_signalled, &server);
    struct error err = {0};
    int exit_code = EXIT_OK;
    loop_watch(server.loop, server.wake_fd, server_woken, &server);
    if (server_open(&server, options, &view, &err)) {
        exit_code = server_serve(&server, options);
    } else {
        log_event(LOG_ERROR, "cannot start", "reason", err.text, NULL);
        exit_code = err.action == ERROR_RETRY ? EXIT_TEMPORARY : EXIT_PERMANENT;
    }
    /* First the store: what it still reports answers requests of the listener, and is the poll's, too. */
    store_close(server.store);
    poll_close(server.poll);
    listener_close(server.listener);
    listener_close(server.admin);
    hooks_clear(&server.hooks);
    networks_clear(&server.proxies);
    signals_unwatch(signals);
    loop_free(server.loop);
    close(server.wake_fd);
    return exit_code;
}
