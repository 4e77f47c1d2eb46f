#include "workers/common/engine/worker.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/command.h"
#include "workers/common/base/log.h"
#include "workers/common/engine/engine.h"
#include "workers/common/engine/group.h"
#include "workers/common/engine/numbers.h"
#include "workers/common/engine/status.h"
#include "workers/common/engine/turn.h"
#include "workers/common/http/admin.h"
#include "workers/common/http/signals.h"
#include "workers/common/kafka/consumer.h"
#include "workers/common/kafka/transaction.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum {
    CLOSE_TIMEOUT_MS = 8000,
    REST_TURN_MS = 1000,
    REJOIN_FIRST_MS = 200,
    REJOIN_MAXIMUM_MS = 5000,
    REJOIN_MAXIMUM_ATTEMPTS = 10,
};

/* The loop has not turned for longer than anything in it may take. */
static void runner_watchdog(int signal)
{
    static const char text[] = "tagfleet: the worker's loop stands still; ending\n";
    (void)signal;
    (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
    _exit(EXIT_TEMPORARY);
}

static void runner_woken(void *context)
{
    uint64_t count;
    (void)!read(*(const int *)context, &count, sizeof(count));
}

/* The first asks for a drain, the second for the end. */
static void runner_end(struct engine *engine)
{
    engine->must_end_now = engine->is_ending;
    engine->is_ending = true;
    engine->is_draining = true;
    engine->drain_deadline_ms = clock_monotonic_ms() + engine->drain_ms;
    log_event(LOG_INFO, engine->must_end_now ? "ending now" : "draining", "running",
              log_number((long long)engine->running_count), NULL);
}

/* What runs may go on for as long as it takes; then the partitions are others'. */
static void runner_quiet(struct engine *engine)
{
    if (engine->is_quiet || engine->is_ending) {
        return;
    }
    engine->is_quiet = true;
    engine->is_draining = true;
    engine->drain_deadline_ms = INT64_MAX;
    log_event(LOG_INFO, "quiet: nothing new is taken until SIGCONT", "running",
              log_number((long long)engine->running_count), NULL);
}

/* A membership that has not ended yet goes on. */
static void runner_go_on(struct engine *engine)
{
    if (!engine->is_quiet || engine->is_ending) {
        return;
    }
    engine->is_quiet = false;
    engine->is_draining = false;
    group_keep(engine);
    log_event(LOG_INFO, "no longer quiet", NULL);
}

static void runner_signalled(void *context, int signal)
{
    struct engine *engine = context;
    switch (signal) {
    case SIGTSTP:
        runner_quiet(engine);
        break;
    case SIGCONT:
        runner_go_on(engine);
        break;
    case SIGUSR1:
        status_log_in_flight(engine);
        break;
    default:
        runner_end(engine);
    }
}

/* Between two memberships: for pause_ms, and as long as nothing is to be taken. */
static void runner_rest(struct engine *engine, int64_t pause_ms)
{
    int64_t over_at_ms = clock_monotonic_ms() + pause_ms;
    for (int64_t left_ms = pause_ms; !engine->is_ending && (engine->is_quiet || left_ms > 0);
         left_ms = over_at_ms - clock_monotonic_ms()) {
        if (engine->is_quiet) {
            engine->obstacle = (struct error){0};
        }
        loop_turn(engine->loop, engine->is_quiet || left_ms > REST_TURN_MS ? REST_TURN_MS : (int)left_ms);
    }
    engine->is_draining = engine->is_ending;
}

/* One membership, from joining to its end. */
static bool runner_session(struct engine *engine, const struct options *options, const char *id, bool is_static,
                           struct error *err)
{
    struct consumer_settings settings = {
        .group = engine->worker->name,
        .topic = engine->worker->input,
        .static_instance = is_static ? id : NULL,
        .wake_fd = engine->wake_fd,
    };
    engine->is_open = transaction_open(options, id, engine->wake_fd, &engine->transaction, err) &&
                      consumer_open(options, &settings, &engine->consumer, err);
    bool is_going = engine->is_open;
    engine->turned_at_ms = clock_monotonic_ms();
    engine->phase_since_us = clock_monotonic_us();
    engine->has_joined = false;
    engine->given_back_count = 0;
    engine->was_outside = false;
    engine->is_static = is_static;
    engine->counts.memberships++;
    while (is_going && !turn_may_be_last(engine)) {
        is_going = turn_take(engine, err);
    }
    group_drop_all(engine);
    transaction_close(engine->transaction);
    engine->transaction = NULL;
    bool is_closed = consumer_close(engine->consumer, CLOSE_TIMEOUT_MS);
    engine->consumer = NULL;
    (void)alarm(0);
    engine->has_leftover = engine->has_leftover || !is_closed;
    if (!is_closed && !(is_going && engine->is_ending)) {
        return error_set(err, ERROR_FATAL, "a member of the group does not end: this process must");
    }
    return is_going;
}

static void runner_log_counts(const struct engine *engine, const char *message)
{
    const struct engine_counts *counts = &engine->counts;
    log_event(LOG_INFO, message, "taken", log_number((long long)counts->taken), "settled",
              log_number((long long)counts->settled), "retried", log_number((long long)counts->retried), "rejected",
              log_number((long long)counts->rejected), "cancelled", log_number((long long)counts->cancelled), "commits",
              log_number((long long)counts->commits), "aborts", log_number((long long)counts->aborts), NULL);
}

/* Joins again after a membership has ended, with growing pauses; gives up when it never gets anywhere. */
static int runner_serve(struct engine *engine, const struct options *options, const char *id, bool is_static)
{
    unsigned failures = 0;
    while (!engine->is_ending) {
        struct error err = {0};
        uint64_t commits_before = engine->counts.commits;
        if (runner_session(engine, options, id, is_static, &err)) {
            bool is_complete = engine->has_let_go && engine->given_back_count == 0;
            runner_log_counts(engine, is_complete ? "drained" : "drain over: unfinished work is given back");
            runner_rest(engine, 0);
            continue;
        }
        if (err.action == ERROR_FATAL) {
            log_event(LOG_ERROR, "cannot go on", "reason", err.text, NULL);
            return engine->is_open ? EXIT_TEMPORARY : EXIT_PERMANENT;
        }
        failures = engine->counts.commits > commits_before ? 1 : failures + 1;
        if (failures > REJOIN_MAXIMUM_ATTEMPTS || engine->is_ending) {
            log_event(LOG_ERROR, "gives up", "reason", err.text, NULL);
            return EXIT_TEMPORARY;
        }
        engine->obstacle = err;
        log_event(LOG_WARNING, "joining again: everything in flight was dropped", "reason", err.text, NULL);
        runner_rest(engine, backoff_ms(failures - 1, REJOIN_FIRST_MS, REJOIN_MAXIMUM_MS));
    }
    return EXIT_OK;
}

static void runner_read_options(struct engine *engine, const struct options *options)
{
    const char *role = engine->worker->name;
    AUTO(text) char *tasks = text_format("%s.max_tasks", role);
    AUTO(text) char *ahead = text_format("%s.max_ahead", role);
    AUTO(text) char *rejected = text_format("%s.max_rejected", role);
    AUTO(text) char *running = text_format("%s.max_running", role);
    AUTO(text) char *drain = text_format("%s.drain", role);
    engine->max_tasks = (size_t)options_integer(options, tasks);
    engine->max_ahead = (size_t)options_integer(options, ahead);
    engine->valve.limit = (size_t)options_integer(options, rejected);
    engine->max_running = (size_t)options_integer(options, running);
    engine->drain_ms = options_duration_ms(options, drain);
}

static bool runner_is_healthy(const void *subject, struct buffer *text)
{
    return status_is_healthy(subject, text);
}

static const char *runner_why_not_ready(const void *subject)
{
    return status_why_not_ready(subject);
}

static void runner_write_metrics(const void *subject, struct buffer *text)
{
    numbers_write(subject, text);
}

/* Whoever has started it with nohup wants it to outlive the terminal. */
static int runner_hang_up(void)
{
    struct sigaction action;
    return sigaction(SIGHUP, NULL, &action) == 0 && action.sa_handler == SIG_IGN ? 0 : SIGHUP;
}

int worker_run(const struct worker *worker, const struct options *options, const char *instance)
{
    struct engine engine = {.worker = worker, .confirmed_at_ms = INT64_MIN / 2};
    runner_read_options(&engine, options);
    char host[64] = "host";
    (void)gethostname(host, sizeof(host) - 1);
    AUTO(text)
    char *id = instance != NULL ? text_format("%s.%s", worker->name, instance)
                                : text_format("%s.%s-%d", worker->name, host, (int)getpid());
    const int wanted_signals[] = {SIGTSTP, SIGCONT, SIGUSR1, runner_hang_up(), 0};
    struct error err = {0};
    engine.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    engine.loop = loop_new(NULL);
    struct signals *signals = signals_watch(engine.loop, wanted_signals, runner_signalled, &engine);
    loop_watch(engine.loop, engine.wake_fd, runner_woken, &engine.wake_fd);
    http_set_gate(loop_http(engine.loop), turn_may_act, &engine);
    (void)signal(SIGALRM, runner_watchdog);
    const struct admin_view view = {runner_is_healthy, runner_why_not_ready, runner_write_metrics, &engine};
    AUTO(text) char *admin = text_format("%s.admin", worker->name);
    struct listener *listener = NULL;
    int exit_code = EXIT_PERMANENT;
    if (!admin_open(engine.loop, options_text(options, admin), &view, &listener, &err)) {
        log_event(LOG_ERROR, "cannot start", "reason", err.text, NULL);
    } else if (worker->start(&engine, options, &engine.state, &err)) {
        exit_code = runner_serve(&engine, options, id, instance != NULL);
        if (worker->stop != NULL) {
            worker->stop(engine.state);
        }
    } else {
        log_event(LOG_ERROR, "cannot start", "reason", err.text, NULL);
        exit_code = err.action == ERROR_RETRY ? EXIT_TEMPORARY : EXIT_PERMANENT;
    }
    listener_close(listener);
    free((void *)engine.partitions);
    free(engine.partings);
    free((void *)engine.confirms);
    signals_unwatch(signals);
    loop_free(engine.loop);
    close(engine.wake_fd);
    if (engine.has_leftover) {
        _exit(exit_code); /* a thread that hangs in librdkafka would meet the libraries' destructors */
    }
    return exit_code;
}
