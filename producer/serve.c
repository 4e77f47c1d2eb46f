#include "producer/serve.h"

#include "producer/api/repository.h"
#include "producer/reception.h"
#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/command.h"
#include "workers/common/base/file.h"
#include "workers/common/base/log.h"
#include "workers/common/http/admin.h"
#include "workers/common/http/signals.h"
#include "workers/common/kafka/reach.h"
#include "workers/common/kafka/round_trip.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>

enum {
    DRAIN_TIMEOUT_MS = 5000,
    MISTAKES_MAXIMUM = 16 * 1024,
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

struct server {
    struct loop *loop;
    struct listener *listener;
    struct listener *admin;
    struct reception reception;
    int wake_fd;
    bool is_quiet; /* not ready, so that proxies send elsewhere; what comes all the same is taken */
    bool must_end_now;
    bool is_broken; /* nothing will ever be stored again: a new process may */
};

/* --- health and metrics --- */

static bool server_is_healthy(const void *subject, struct buffer *text)
{
    const struct server *server = subject;
    struct store_state state;
    size_t before = text->len;
    store_look(server->reception.store, &state);
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

static const char *server_why_not_ready(const void *subject)
{
    const struct server *server = subject;
    struct store_state state;
    store_look(server->reception.store, &state);
    if (server->reception.is_closing) {
        return "it is ending";
    }
    if (server->is_quiet) {
        return "quiet until SIGCONT";
    }
    bool can_store = (state.away_since_ms == 0 && reach_has_answers()) || state.has_spool;
    return can_store ? NULL : "the brokers do not answer, and there is no spool";
}

static void server_write_metrics(const void *subject, struct buffer *text)
{
    const struct server *server = subject;
    struct store_state state;
    store_look(server->reception.store, &state);
    reception_write_metrics(&server->reception, text);
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
    metric_write(text, "ready", METRIC_GAUGE, "1 when it takes deliveries.", server_why_not_ready(server) == NULL,
                 "role", "producer", NULL);
    poll_write_metrics(server->reception.poll, text);
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

/* What the server keeps of its configuration. */
static bool server_read(const struct options *options, struct server *server, struct buffer *mistakes)
{
    bool is_hooks_right = hooks_read(options, &server->reception.hooks, mistakes);
    bool is_proxies_right = proxies_read(options, &server->reception.proxies, mistakes);
    return is_proxies_right && is_hooks_right;
}

bool serve_check(const struct options *options, struct buffer *mistakes)
{
    struct server server = {0};
    bool is_right = server_read(options, &server, mistakes);
    is_right = repositories_check(options, mistakes) && is_right;
    is_right = tls_check(options, mistakes) && is_right;
    hooks_clear(&server.reception.hooks);
    networks_clear(&server.reception.proxies);
    return is_right;
}

/* What the operator should know without having asked. */
static void server_warn(const struct server *server, bool has_spool)
{
    for (size_t i = 0; i < server->reception.hooks.count; i++) {
        const struct hook *hook = &server->reception.hooks.items[i];
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
    bool is_reread = hooks_reread_secrets(&server->reception.hooks, &mistakes);
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
    store_look(server->reception.store, &state);
    log_event(LOG_INFO, "in flight, all told", "deliveries", log_number((long long)state.waiting), "spool_bytes",
              log_number(state.spool_bytes), "ready", server_why_not_ready(server) == NULL ? "yes" : "no", NULL);
}

static void server_set_quiet(struct server *server, bool is_quiet)
{
    if (is_quiet != server->is_quiet) {
        log_event(LOG_INFO, is_quiet ? "quiet: not ready until SIGCONT" : "no longer quiet", NULL);
    }
    server->is_quiet = is_quiet;
}

/* The first asks for a drain, the second for the end. */
static void server_end(struct server *server)
{
    struct store_state state;
    store_look(server->reception.store, &state);
    server->must_end_now = server->reception.is_closing;
    server->reception.is_closing = true;
    log_event(LOG_INFO, server->must_end_now ? "ending now" : "draining", "waiting",
              log_number((long long)state.waiting), NULL);
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
        server_end(server);
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
        .on_request = reception_request,
        .on_refused = reception_refused,
        .context = &server->reception,
    };
    return server_configure(options, server, err) &&
           store_open(options, server->loop, server->wake_fd, &server->reception.store, err) &&
           poll_open(options, server->loop, store_publisher(server->reception.store), &server->reception.poll, err) &&
           admin_open(server->loop, options_text(options, "producer.admin"), view, &server->admin, err) &&
           listener_open(server->loop, &settings, &server->listener, err);
}

/* Until it is told to end and everything taken is stored, or the time for that is over. */
static void server_loop(struct server *server)
{
    struct store_state state;
    int64_t deadline_ms = INT64_MAX;
    store_look(server->reception.store, &state);
    while (!server->reception.is_closing ||
           (state.waiting > 0 && !server->must_end_now && clock_monotonic_ms() < deadline_ms)) {
        loop_turn(server->loop, state.waiting > 0 ? 50 : 1000);
        store_turn(server->reception.store);
        store_look(server->reception.store, &state);
        server->is_broken = state.is_broken || poll_is_broken(server->reception.poll);
        server->reception.is_closing = server->reception.is_closing || server->is_broken;
        if (server->reception.is_closing && deadline_ms == INT64_MAX) {
            deadline_ms = clock_monotonic_ms() + DRAIN_TIMEOUT_MS;
        }
    }
}

static int server_serve(struct server *server, const struct options *options)
{
    struct store_state state;
    const char *spool = options_text(options, "producer.spool");
    server_warn(server, spool != NULL && spool[0] != '\0');
    log_event(LOG_INFO, "ready", "port", log_number(listener_port(server->listener)), "hooks",
              log_number((long long)server->reception.hooks.count), NULL);
    server_loop(server);
    store_look(server->reception.store, &state);
    log_event(LOG_INFO, state.waiting == 0 ? "drained" : "drain over: not everything is stored", "waiting",
              log_number((long long)state.waiting), NULL);
    if (server->is_broken) {
        log_event(LOG_ERROR, "the connection to the brokers is broken beyond repair: start again", NULL);
    }
    return server->is_broken ? EXIT_TEMPORARY : EXIT_OK;
}

int serve_run(const struct options *options)
{
    static const int wanted_signals[] = {SIGHUP, SIGTSTP, SIGCONT, SIGUSR1, 0};
    struct server server = {.loop = loop_new(NULL), .wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    const struct admin_view view = {server_is_healthy, server_why_not_ready, server_write_metrics, &server};
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
    store_close(server.reception.store);
    poll_close(server.reception.poll);
    listener_close(server.listener);
    listener_close(server.admin);
    hooks_clear(&server.reception.hooks);
    networks_clear(&server.reception.proxies);
    signals_unwatch(signals);
    loop_free(server.loop);
    close(server.wake_fd);
    return exit_code;
}
