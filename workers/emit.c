#include "workers/emit.h"

#include "producer/emit.h"
#include "schemas/deployment.h"
#include "schemas/trace.h"
#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/file.h"
#include "workers/common/kafka/publisher.h"
#include "workers/recorder/report.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    STORE_TIMEOUT_MS = 15000,
    DECISION_TIMEOUT_MS = 2000,
    CLOCKS_APART_MS = 10000, /* between this machine and the brokers */
    FILE_MAXIMUM_BYTES = 64 * 1024 * 1024,
    REASONS_MAXIMUM_BYTES = 16 * 1024,
};

static void decision_auto(struct decision *decision)
{
    decision_clear(decision);
}

/* A CI system may have begun a trace, which it hands on in the environment. */
static struct output *event_output(struct event *event)
{
    envelope_trace(&event->envelope, getenv("TRACEPARENT"));
    return message_output(&event_codec, event, "events", event->repository);
}

/* --- one event --- */

static void decision_print(const struct decision *decision)
{
    if (!decision->is_known) {
        (void)printf("no deployment is known of it yet: no resolver runs, or it has seen this event before\n");
    } else if (decision->outcome == DEPLOYMENT_ACCEPTED) {
        (void)printf("deployment %s to %zu account%s\n", decision->deployment, decision->accounts,
                     decision->accounts == 1 ? "" : "s");
    } else {
        (void)printf("deployment %s: %s%s%s\n", decision->deployment, deployment_outcome_names[decision->outcome],
                     decision->reason != NULL ? ", " : "", decision->reason != NULL ? decision->reason : "");
    }
}

static void stored_print(const struct command_line *line, const struct event *event,
                         const struct publisher_place *place, const struct decision *decision)
{
    if (line->is_json) {
        const char *quote = decision->is_known ? "\"" : "";
        (void)printf("{\"event\":\"%s\",\"stored\":true,\"topic\":\"%sevents\",\"partition\":%d,\"offset\":%lld,"
                     "\"deployment\":%s%s%s,\"outcome\":%s%s%s}\n",
                     event->envelope.id, options_text(line->options, "kafka.prefix"), (int)place->partition,
                     (long long)place->offset, quote, decision->is_known ? decision->deployment : "null", quote, quote,
                     decision->is_known ? deployment_outcome_names[decision->outcome] : "null", quote);
        return;
    }
    (void)printf("stored: event %s, %s of %s at %.12s%s%s; %sevents, partition %d, offset %lld\n", event->envelope.id,
                 event->ref, event->repository, event->after != NULL ? event->after : "-",
                 event->build != NULL ? ", build " : "", event->build != NULL ? event->build : "",
                 options_text(line->options, "kafka.prefix"), (int)place->partition, (long long)place->offset);
    decision_print(decision);
}

/* A push that waits for its build ends under another deployment id, and an event seen before has no news: both are
 * found by what they are about. */
static int emit_wait(const struct command_line *line, const struct event *event, const struct decision *decision,
                     int64_t timeout_ms)
{
    struct wait_request request = {.timeout_ms = timeout_ms};
    if (decision->is_known && decision->outcome != DEPLOYMENT_NOTED) {
        request.deployment = decision->deployment;
    } else {
        request.repository = event->repository;
        request.ref = event->ref;
        request.commit = event->after;
    }
    return wait_for_end(line, &request);
}

static int emit_one(const struct command_line *line, struct event *event, int64_t wait_ms)
{
    struct error err;
    struct publisher_place place;
    struct publisher *publisher;
    AUTO(decision) struct decision decision = {0};
    int64_t since_ms = clock_wall_ms() - CLOCKS_APART_MS;
    if (!publisher_open(line->options, -1, STORE_TIMEOUT_MS, &publisher, &err)) {
        return command_fail(line, &err);
    }
    AUTO(output) struct output *output = event_output(event);
    bool is_stored = publisher_send_wait(publisher, output, &place, &err);
    publisher_close(publisher);
    if (!is_stored) {
        return command_fail(line, &err);
    }
    if (!decision_await(line->options, event->envelope.id, since_ms, DECISION_TIMEOUT_MS, &decision, &err)) {
        (void)fprintf(stderr, "tagfleet emit: it is stored, but the results cannot be read: %s\n", err.text);
    }
    stored_print(line, event, &place, &decision);
    (void)fflush(stdout);
    return wait_ms > 0 ? emit_wait(line, event, &decision, wait_ms) : EXIT_OK;
}

/* --- a file of events --- */

struct batch {
    struct event **events;
    size_t count;
    size_t stored;
    struct error err; /* of the last that was not stored */
};

static void batch_auto(struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        event_free(batch->events[i]);
    }
    free((void *)batch->events);
}

/* All lines or none: a mistake in the last is told before the first is stored. */
static bool batch_read(struct slice text, struct batch *batch, struct buffer *mistakes)
{
    size_t number = 0;
    while (text.len > 0) {
        const char *end = memchr(text.ptr, '\n', text.len);
        size_t taken = end != NULL ? (size_t)(end - text.ptr) : text.len;
        struct slice line = slice_trim(slice_from(text.ptr, taken));
        struct error err;
        number++;
        text = slice_from(text.ptr + taken + (end != NULL), text.len - taken - (end != NULL));
        if (line.len == 0) {
            continue;
        }
        batch->events = memory_resized((void *)batch->events, (batch->count + 1) * sizeof(struct event *));
        if (emit_from_line(line, &batch->events[batch->count], &err)) {
            batch->count++;
        } else {
            buffer_append_format(mistakes, "line %zu: %s\n", number, err.text);
        }
    }
    return mistakes->len == 0 && !mistakes->is_overflowed;
}

static void batch_stored(void *context, const struct error *err)
{
    struct batch *batch = context;
    if (err == NULL) {
        batch->stored++;
    } else {
        batch->err = *err;
    }
}

static bool batch_send(struct publisher *publisher, struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        AUTO(output)
        struct output *output = event_output(batch->events[i]);
        struct error err;
        /* ERROR_RETRY: the local queue is full, and what is in it is stored or given up within its time-out; or a right
         * is missing, and another handle is about to take the event and say so. */
        while (!publisher_send(publisher, output, batch_stored, batch, &err)) {
            if (err.action != ERROR_RETRY || batch->err.action != ERROR_NONE) {
                batch->err = err;
                return false;
            }
            publisher_poll(publisher, 100);
        }
        publisher_poll(publisher, 0);
    }
    while (batch->stored < batch->count && batch->err.action == ERROR_NONE) {
        publisher_poll(publisher, 100);
    }
    return batch->err.action == ERROR_NONE;
}

static int emit_batch(const struct command_line *line, struct batch *batch)
{
    struct error err;
    struct publisher *publisher;
    if (!publisher_open(line->options, -1, STORE_TIMEOUT_MS, &publisher, &err)) {
        return command_fail(line, &err);
    }
    bool is_stored = batch_send(publisher, batch);
    publisher_close(publisher);
    if (!is_stored) {
        error_prefix(&batch->err, "%zu of %zu events are known to be stored; all of them may be sent again",
                     batch->stored, batch->count);
        return command_fail(line, &batch->err);
    }
    for (size_t i = 0; line->is_json && i < batch->count; i++) {
        (void)printf("{\"event\":\"%s\",\"stored\":true}\n", batch->events[i]->envelope.id);
    }
    if (!line->is_json) {
        (void)printf("stored: %zu events in %sevents\n", batch->count, options_text(line->options, "kafka.prefix"));
    }
    return EXIT_OK;
}

static int emit_from_file(const struct command_line *line, const char *path)
{
    AUTO(buffer) struct buffer text;
    AUTO(buffer) struct buffer mistakes;
    AUTO(batch) struct batch batch = {0};
    struct error err = {0};
    buffer_init(&text, FILE_MAXIMUM_BYTES);
    buffer_init(&mistakes, REASONS_MAXIMUM_BYTES);
    bool is_read = strcmp(path, "-") == 0 ? stream_read(stdin, &text, &err) : file_read(path, &text, &err);
    if (!is_read) {
        error_prefix(&err, "%s", path);
        return command_fail(line, &err);
    }
    if (!batch_read(buffer_slice(&text), &batch, &mistakes)) {
        (void)fprintf(stderr, "tagfleet emit: nothing was stored:\n%s", mistakes.ptr);
        return EXIT_NEGATIVE;
    }
    if (batch.count == 0) {
        (void)fprintf(stderr, "tagfleet emit: %s holds no events\n", path);
        return EXIT_NEGATIVE;
    }
    return emit_batch(line, &batch);
}

/* --- the command --- */

static const char *get_environment(const char *name)
{
    return getenv(name);
}

static int emit_from_flags(const struct command_line *line, int64_t wait_ms)
{
    struct emit_request request = {
        .repository = command_flag(line, "repository"),
        .ref = command_flag(line, "ref"),
        .commit = command_flag(line, "commit"),
        .build = command_flag(line, "build"),
        .before = command_flag(line, "before"),
        .actor = command_flag(line, "actor"),
    };
    char scratch[1200];
    struct error err;
    AUTO(event) struct event *event = NULL;
    if (!emit_from_codebuild(get_environment, &request, scratch, sizeof(scratch), &err) ||
        !emit_event(&request, &event, &err)) {
        return command_fail(line, &err);
    }
    return emit_one(line, event, wait_ms);
}

static int emit(const struct command_line *line)
{
    const char *path = command_flag(line, "from-file");
    const char *timeout = command_flag(line, "timeout");
    int64_t wait_ms = command_flag(line, "wait") != NULL ? WAIT_TIMEOUT_DEFAULT_MS : 0;
    if (line->argument_count > 0) {
        return command_usage(line, "unexpected argument %s", line->arguments[0]);
    }
    if (timeout != NULL && (wait_ms == 0 || !duration_parse(timeout, &wait_ms) || wait_ms == 0)) {
        return command_usage(line, "--timeout goes with --wait and is a duration such as 90s or 10m, not %s", timeout);
    }
    if (path == NULL) {
        return emit_from_flags(line, wait_ms);
    }
    for (const struct flag *flag = line->command->flags; flag->name != NULL; flag++) {
        if (strcmp(flag->name, "from-file") != 0 && command_flag(line, flag->name) != NULL) {
            return command_usage(line, "--from-file stands alone: --%s goes with a single event", flag->name);
        }
    }
    return emit_from_file(line, path);
}

static const struct flag flags[] = {
    {"repository", "NAME", "the host's full name (acme/app), or a clone URL"},
    {"ref", "REF", "refs/heads/<branch>, refs/tags/<tag>, or CodeBuild's branch/<branch>, tag/<tag>"},
    {"commit", "SHA", "the commit the ref points to"},
    {"build", "ID", "where the artifacts lie: the name that {build} stands for"},
    {"before", "SHA", "the commit the ref pointed to before, if known: it tells older builds from newer ones"},
    {"actor", "NAME", "who did it"},
    {"wait", NULL, "follow the deployment to its end, with the exit codes of `tagfleet wait`"},
    {"timeout", "DURATION", "with --wait: give up after this time [10m]"},
    {"from-file", "FILE",
     "many events, a line each: {\"repository\",\"ref\",\"commit\",\"before\",\"build\",\"actor\"}; - is "
     "standard input"},
    {0},
};

const struct command emit_command = {
    .name = "emit",
    .arguments = "[--repository R --ref REF --commit SHA] [--build ID] [--before SHA]",
    .summary = "say that a build was published, or that a ref has moved; without flags from CodeBuild's variables",
    .flags = flags,
    .run = emit,
    .more =
        "Exit codes: 0 stored by the broker, 1 refused, 111 not stored. With --wait, once stored: 0 all accounts are "
        "fine, 1 some failed, 3 dropped, 4 rejected, 5 superseded, 124 timed out.",
};
