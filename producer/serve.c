#include "producer/serve.h"

#include "producer/hosts/host.h"
#include "producer/poll/poll.h"
#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/command.h"
#include "workers/common/base/log.h"
#include "workers/common/http/listener.h"
#include "workers/common/http/loop.h"
#include "workers/common/http/signals.h"
#include "workers/common/kafka/publisher.h"

#include <stdlib.h>
#include <strings.h>
#include <sys/eventfd.h>

enum {
    /* Git hosts wait 5 to 10 seconds for an answer. */
    STORE_TIMEOUT_MS = 4000,
    DRAIN_TIMEOUT_MS = 5000,
    RETRY_AFTER_S = 10,
    ANSWER_MAXIMUM = 256 * 1024,
};

static const struct option hook_rows[] = {
    {.name = "name", .type = OPTION_TEXT, .is_required = true, .help = "the hook's path is /hooks/<name>"},
    {.name = "provider", .type = OPTION_TEXT, .is_required = true, .help = "the host that calls it: " HOST_NAMES},
    {.name = "secret_file", .type = OPTION_TEXT, .help = "file with the secret; a second line holds the previous one"},
    {.name = "secret_env", .type = OPTION_TEXT, .help = "environment variable with the secret"},
    {.name = "unsigned",
     .type = OPTION_BOOLEAN,
     .initial = "false",
     .help = "true: anybody who knows the path may deploy; must be said when there is no secret"},
    {.name = "status",
     .type = OPTION_BOOLEAN,
     .initial = "false",
     .help = "true: tagfleet notifier tells this host how deployments stand, as statuses of their commits"},
    {.name = "api_url",
     .type = OPTION_TEXT,
     .help = "with status: the host's address; not needed for github.com, gitlab.com and bitbucket.org"},
    {.name = "token_file",
     .type = OPTION_TEXT,
     .help = "with status: file with a token that may set statuses, or with user:password; read for every request"},
    {.name = "repositories",
     .type = OPTION_TEXTS,
     .initial = "*",
     .help = "with status: whose; * and ? match, and the first hook that matches is told"},
    {0},
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
     .help = "open connections; further ones wait"},
    {.name = "producer.hooks", .type = OPTION_GROUPS, .group = hook_rows, .help = "the webhooks that are taken"},
    {0},
};

struct hook {
    const char *name;
    const struct host *host;
    struct secrets secrets;
    bool is_unsigned;
};

struct server {
    struct loop *loop;
    struct listener *listener;
    struct publisher *publisher;
    struct poll *poll; /* NULL: nothing is polled */
    int wake_fd;
    struct hook *hooks;
    size_t hook_count;
    size_t pending_count; /* deliveries that wait for the broker */
    bool is_draining;
    bool is_broken; /* the publisher will never store anything again: a new process may */
};

/* A delivery that waits for the acknowledgements of its events. */
struct delivery {
    struct server *server;
    struct listener_request *request;
    struct buffer answer;
    size_t unacknowledged;
    size_t event_count;
    bool is_failed;
    struct error err;
};

/* --- hooks --- */

static bool hook_read(const struct options *group, struct hook *hook, struct error *err)
{
    hook->name = options_text(group, "name");
    hook->host = host_named(options_text(group, "provider"));
    hook->is_unsigned = options_boolean(group, "unsigned");
    const char *file = options_text(group, "secret_file");
    const char *variable = options_text(group, "secret_env");
    if (hook->host == NULL) {
        return error_set(err, ERROR_FATAL, "hook %s: provider %s is not known; known are " HOST_NAMES, hook->name,
                         options_text(group, "provider"));
    }
    if (file != NULL && !secrets_read_file(file, &hook->secrets, err)) {
        return error_prefix(err, "hook %s", hook->name);
    }
    if (variable != NULL) {
        const char *secret = getenv(variable);
        if (secret == NULL || secret[0] == '\0') {
            return error_set(err, ERROR_FATAL, "hook %s: the environment has no %s", hook->name, variable);
        }
        secrets_add(&hook->secrets, slice_of(secret));
    }
    if (hook->secrets.count == 0 && !hook->is_unsigned) {
        return error_set(err, ERROR_FATAL, "hook %s: secret_file or secret_env is needed, or unsigned = true",
                         hook->name);
    }
    return true;
}

static void hooks_free(struct hook *hooks, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        secrets_clear(&hooks[i].secrets);
    }
    free(hooks);
}

bool serve_check(const struct options *options, struct buffer *mistakes)
{
    size_t before = mistakes->len;
    for (size_t i = 0; i < options_groups(options, "producer.hooks"); i++) {
        struct hook hook = {0};
        struct error err;
        if (!hook_read(options_group(options, "producer.hooks", i), &hook, &err)) {
            buffer_append_format(mistakes, "producer.hooks: %s\n", err.text);
        }
        secrets_clear(&hook.secrets);
    }
    return mistakes->len == before;
}

static bool hooks_read(const struct options *options, struct server *server, struct error *err)
{
    size_t count = options_groups(options, "producer.hooks");
    server->hooks = memory_zeroed(count, sizeof(*server->hooks));
    for (size_t i = 0; i < count; i++) {
        struct hook *hook = &server->hooks[server->hook_count++];
        if (!hook_read(options_group(options, "producer.hooks", i), hook, err)) {
            return false;
        }
        if (hook->is_unsigned) {
            log_event(LOG_WARNING, "an unsigned hook: anybody who knows its path may deploy", "hook", hook->name, NULL);
        }
    }
    return true;
}

static const struct hook *hook_find(const struct server *server, const char *path)
{
    static const char prefix[] = "/hooks/";
    for (size_t i = 0; text_starts_with(path, prefix) && i < server->hook_count; i++) {
        if (strcmp(path + strlen(prefix), server->hooks[i].name) == 0) {
            return &server->hooks[i];
        }
    }
    return NULL;
}

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

static void refuse(struct listener_request *request, const char *hook, unsigned status, const char *text)
{
    log_event(LOG_WARNING, "delivery refused", "hook", hook, "status", log_number(status), "reason", text, NULL);
    answer_text(request, status, text);
}

static void delivery_end(struct delivery *delivery)
{
    struct listener_answer answer = {
        .status = 202,
        .content_type = "application/x-ndjson",
        .body = buffer_slice(&delivery->answer),
    };
    if (delivery->is_failed) {
        refuse(delivery->request, NULL, 503, delivery->err.text);
    } else {
        listener_answer(delivery->request, &answer);
    }
    delivery->server->pending_count--;
    buffer_done(&delivery->answer);
    free(delivery);
}

static void delivery_acknowledged(void *context, const struct error *err)
{
    struct delivery *delivery = context;
    if (err != NULL) {
        delivery->is_failed = true;
        delivery->err = *err;
    }
    if (delivery->is_failed && delivery->err.action == ERROR_FATAL) {
        delivery->server->is_broken = true;
        delivery->server->is_draining = true;
    }
    if (--delivery->unacknowledged == 0) {
        delivery_end(delivery);
    }
}

/* Sends every event of the delivery. One reference of `unacknowledged` is ours until all are on their way. */
static void delivery_send(struct delivery *delivery, const struct changes *changes)
{
    delivery->unacknowledged = 1;
    for (size_t i = 0; i < changes->items.count && !delivery->is_failed; i++) {
        const struct change *change = (const struct change *)changes->items.items + i;
        if (change->event == NULL) {
            continue;
        }
        AUTO(output)
        struct output *output = message_output(&event_codec, change->event, "events", change->event->repository);
        if (!publisher_send(delivery->server->publisher, output, delivery_acknowledged, delivery, &delivery->err)) {
            delivery->is_failed = true;
            break;
        }
        delivery->unacknowledged++;
        delivery->event_count++;
        message_format_data(&event_codec, change->event, &delivery->answer);
        buffer_append_char(&delivery->answer, '\n');
    }
    delivery_acknowledged(delivery, NULL);
}

static bool has_events(const struct changes *changes)
{
    for (size_t i = 0; i < changes->items.count; i++) {
        if (((const struct change *)changes->items.items + i)->event != NULL) {
            return true;
        }
    }
    return false;
}

static const char *find_header(void *context, const char *name, size_t *ret_count)
{
    *ret_count = listener_header_count(context, name);
    return listener_header(context, name);
}

static bool is_json(const char *content_type)
{
    return content_type != NULL && strncasecmp(content_type, "application/json", strlen("application/json")) == 0;
}

static void take_delivery(struct server *server, const struct hook *hook, struct listener_request *request)
{
    struct host_headers headers = {find_header, request};
    struct slice body = listener_body(request);
    struct error err;
    if (!hook->is_unsigned && !hook->host->is_genuine(&hook->secrets, &headers, body, clock_wall_ms())) {
        refuse(request, hook->name, 401, "the signature is missing or wrong: is the secret the same on both sides?");
        return;
    }
    struct changes changes = {0};
    if (!hook->host->parse(&headers, body, &changes, &err)) {
        refuse(request, hook->name, 400, err.text);
    } else if (!has_events(&changes)) {
        const struct change *first = changes.items.items;
        answer_text(request, 200, changes.items.count > 0 ? first->reason : "nothing to do");
    } else {
        struct delivery *delivery = memory_zeroed(1, sizeof(*delivery));
        delivery->server = server;
        delivery->request = request;
        buffer_init(&delivery->answer, ANSWER_MAXIMUM);
        server->pending_count++;
        log_event(LOG_INFO, "delivery taken", "hook", hook->name, "delivery", host_header(&headers, "X-Request-UUID"),
                  "changes", log_number((long long)changes.items.count), NULL);
        delivery_send(delivery, &changes);
    }
    changes_clear(&changes);
}

static void server_request(void *context, struct listener_request *request)
{
    struct server *server = context;
    const struct hook *hook = hook_find(server, listener_path(request));
    if (hook == NULL) {
        answer_text(request, 404, "no such hook");
    } else if (strcmp(listener_method(request), "POST") != 0) {
        answer_text(request, 405, "webhooks are posted");
    } else if (!is_json(listener_header(request, "Content-Type"))) {
        refuse(request, hook->name, 415, "set the webhook's content type to application/json");
    } else if (server->is_draining) {
        refuse(request, hook->name, 503, "going down: send it again");
    } else {
        take_delivery(server, hook, request);
    }
}

/* --- the process --- */

static void server_woken(void *context)
{
    struct server *server = context;
    uint64_t count;
    (void)!read(server->wake_fd, &count, sizeof(count));
}

static void server_signalled(void *context, int signal)
{
    (void)signal;
    struct server *server = context;
    server->is_draining = true;
}

static bool server_open(struct server *server, const struct options *options, struct error *err)
{
    struct listener_settings settings = {
        .address = options_text(options, "producer.listen"),
        .body_maximum_bytes = (size_t)options_integer(options, "producer.body_maximum"),
        .connections_maximum = (unsigned)options_integer(options, "producer.connections_maximum"),
        .head_maximum_bytes = 32 * 1024,
        .timeout_s = 30,
        .on_request = server_request,
        .context = server,
    };
    return hooks_read(options, server, err) &&
           publisher_open(options, server->wake_fd, STORE_TIMEOUT_MS, &server->publisher, err) &&
           poll_open(options, server->loop, server->publisher, &server->poll, err) &&
           listener_open(server->loop, &settings, &server->listener, err);
}

static void server_loop(struct server *server)
{
    int64_t deadline_ms = INT64_MAX;
    while (!server->is_draining || (server->pending_count > 0 && clock_monotonic_ms() < deadline_ms)) {
        loop_turn(server->loop, server->pending_count > 0 ? 50 : 1000);
        publisher_poll(server->publisher, 0);
        server->is_broken = server->is_broken || poll_is_broken(server->poll);
        server->is_draining = server->is_draining || server->is_broken;
        if (server->is_draining && deadline_ms == INT64_MAX) {
            deadline_ms = clock_monotonic_ms() + DRAIN_TIMEOUT_MS;
        }
    }
}

int serve_run(const struct options *options)
{
    struct server server = {.loop = loop_new(NULL), .wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    struct error err = {0};
    struct signals *signals = signals_watch(server.loop, 0, server_signalled, &server);
    loop_watch(server.loop, server.wake_fd, server_woken, &server);
    int exit_code = EXIT_OK;
    if (server_open(&server, options, &err)) {
        log_event(LOG_INFO, "ready", "port", log_number(listener_port(server.listener)), "hooks",
                  log_number((long long)server.hook_count), NULL);
        server_loop(&server);
        log_event(LOG_INFO, "drained", NULL);
        if (server.is_broken) {
            log_event(LOG_ERROR, "the connection to the brokers is broken beyond repair: start again", NULL);
            exit_code = EXIT_TEMPORARY;
        }
    } else {
        log_event(LOG_ERROR, "cannot start", "reason", err.text, NULL);
        exit_code = err.action == ERROR_RETRY ? EXIT_TEMPORARY : EXIT_PERMANENT;
    }
    /* First the publisher: what it still reports answers requests of the listener. */
    publisher_close(server.publisher);
    poll_close(server.poll);
    listener_close(server.listener);
    hooks_free(server.hooks, server.hook_count);
    signals_unwatch(signals);
    loop_free(server.loop);
    close(server.wake_fd);
    return exit_code;
}
