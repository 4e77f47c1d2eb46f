#include "workers/recorder/report.h"

#include "schemas/ref.h"
#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/kafka/reader.h"
#include "workers/recorder/record.h"

#include <stdio.h>
#include <stdlib.h>

enum { READ_TIMEOUT_MS = 15000, WAIT_SLICE_MS = 250, STATUS_ROWS = 50 };

static void history_auto(struct history *history)
{
    history_clear(history);
}

/* --- printing --- */

static void account_print(const struct result *result, bool is_json)
{
    if (is_json) {
        AUTO(buffer) struct buffer line;
        buffer_init(&line, 1024 * 1024);
        report_account_line(result, &line);
        (void)puts(line.ptr);
    } else {
        (void)printf("  %s  %-10s  %lld object%s, %lld bytes, %lld ms%s%s\n", result->account,
                     result_outcome_names[result->outcome], (long long)result->objects, result->objects == 1 ? "" : "s",
                     (long long)result->bytes, (long long)(result->finished_ms - result->started_ms),
                     result->reason != NULL ? "  " : "", result->reason != NULL ? result->reason : "");
    }
    (void)fflush(stdout);
}

static void deployment_print_counts(const struct result_counts *counts)
{
    (void)printf("%zu account%s:", counts->accounts, counts->accounts == 1 ? "" : "s");
    size_t ended = 0;
    for (int i = 0; i < RESULT_OUTCOME_COUNT; i++) {
        ended += counts->by_outcome[i];
        if (counts->by_outcome[i] > 0) {
            (void)printf(" %zu %s", counts->by_outcome[i], result_outcome_names[i]);
        }
    }
    if (ended < counts->accounts) {
        (void)printf(" %zu running", counts->accounts - ended);
    }
    (void)printf("\n");
}

static void deployment_print(const struct recorded *recorded, bool is_json)
{
    const struct deployment *deployment = recorded->deployment;
    struct result_counts counts;
    recorded_count(recorded, &counts);
    if (is_json) {
        AUTO(buffer) struct buffer line;
        buffer_init(&line, 1024 * 1024);
        report_deployment_line(deployment, &counts, &line);
        (void)puts(line.ptr);
    } else if (deployment->outcome == DEPLOYMENT_ACCEPTED) {
        (void)printf("%s  %s %s at %.12s: ", deployment->deployment, deployment->repository, deployment->ref,
                     deployment->commit);
        deployment_print_counts(&counts);
    } else {
        (void)printf("%s  %s %s at %.12s: %s, %s\n", deployment->deployment,
                     deployment->repository != NULL ? deployment->repository : "-",
                     deployment->ref != NULL ? deployment->ref : "-",
                     deployment->commit != NULL ? deployment->commit : "-",
                     deployment_outcome_names[deployment->outcome], deployment->reason);
    }
    (void)fflush(stdout);
}

static void result_visit(const char *account, void *value, void *context)
{
    (void)account;
    account_print(value, *(const bool *)context);
}

/* --- status --- */

static bool history_read(const struct options *options, struct history *history, struct error *err)
{
    AUTO(reader) struct reader *reader = NULL;
    if (!reader_open(options, "results", 0, READ_TIMEOUT_MS, &reader, err)) {
        return false;
    }
    for (;;) {
        struct record record = {0};
        struct history_news news;
        switch (reader_next(reader, READ_TIMEOUT_MS, &record, err)) {
        case READER_MESSAGE:
            history_add(history, &record, &news);
            record_free(&record);
            break;
        case READER_CAUGHT_UP:
            return true;
        case READER_TIMED_OUT:
            return error_set(err, ERROR_RETRY, "the results could not be read within %d ms", READ_TIMEOUT_MS);
        case READER_FAILED:
            return false;
        }
    }
}

struct status_list {
    const struct recorded **rows;
    size_t count;
};

static void status_visit(const char *id, void *value, void *context)
{
    (void)id;
    struct status_list *list = context;
    const struct recorded *recorded = value;
    if (recorded->deployment != NULL) {
        list->rows[list->count++] = recorded;
    }
}

static int newest_first(const void *a, const void *b)
{
    const struct recorded *left = *(const struct recorded *const *)a;
    const struct recorded *right = *(const struct recorded *const *)b;
    return (left->deployment->envelope.time_ms < right->deployment->envelope.time_ms) -
           (left->deployment->envelope.time_ms > right->deployment->envelope.time_ms);
}

static void status_list_print(const struct history *history, bool is_json)
{
    struct status_list list = {memory_zeroed(history->deployments.count, sizeof(struct recorded *)), 0};
    index_each(&history->deployments, status_visit, &list);
    qsort((void *)list.rows, list.count, sizeof(struct recorded *), newest_first);
    for (size_t i = 0; i < list.count && (is_json || i < STATUS_ROWS); i++) {
        deployment_print(list.rows[i], is_json);
    }
    if (!is_json && list.count > STATUS_ROWS) {
        (void)printf("... and %zu older; --format json shows all\n", list.count - STATUS_ROWS);
    } else if (!is_json && list.count == 0) {
        (void)printf("no deployments yet\n");
    }
    free((void *)list.rows);
}

static int status(const struct command_line *line)
{
    struct error err;
    AUTO(history) struct history history = {0};
    if (line->argument_count > 1) {
        return command_usage(line, "at most one deployment can be named");
    }
    if (!history_read(line->options, &history, &err)) {
        return command_fail(line, &err);
    }
    if (line->argument_count == 0) {
        status_list_print(&history, line->is_json);
        return EXIT_OK;
    }
    const struct recorded *recorded = history_find(&history, line->arguments[0]);
    if (recorded == NULL || recorded->deployment == NULL) {
        error_set(&err, ERROR_REJECT, "no deployment %.60s is known", line->arguments[0]);
        return command_fail(line, &err);
    }
    bool is_json = line->is_json;
    index_each(&recorded->results, result_visit, &is_json);
    deployment_print(recorded, is_json);
    return EXIT_OK;
}

/* --- wait --- */

struct waiting {
    const struct command_line *line;
    const char *deployment; /* by id, or by the three others */
    char *repository;
    char *ref;
    char *commit;
    struct history history;
    struct index shown; /* accounts whose result was printed */
    bool has_shown_start;
    const struct recorded *found;
};

static void waiting_auto(struct waiting *waiting)
{
    history_clear(&waiting->history);
    index_clear(&waiting->shown, NULL);
    free(waiting->repository);
    free(waiting->ref);
    free(waiting->commit);
}

static void show_visit(const char *account, void *value, void *context)
{
    struct waiting *waiting = context;
    if (index_get(&waiting->shown, slice_of(account)) == NULL) {
        index_put(&waiting->shown, slice_of(account), waiting);
        account_print(value, waiting->line->is_json);
    }
}

/* Prints what is new of the awaited deployment. */
static void waiting_show(struct waiting *waiting)
{
    const struct recorded *found =
        waiting->deployment != NULL
            ? history_find(&waiting->history, waiting->deployment)
            : history_find_ref(&waiting->history, waiting->repository, waiting->ref, waiting->commit);
    if (found != waiting->found) {
        waiting->found = found;
        waiting->has_shown_start = false;
        index_clear(&waiting->shown, NULL);
    }
    if (found == NULL || found->deployment == NULL) {
        return;
    }
    if (!waiting->has_shown_start && !waiting->line->is_json && found->deployment->outcome == DEPLOYMENT_ACCEPTED) {
        waiting->has_shown_start = true;
        size_t count = found->deployment->accounts.count;
        (void)printf("%s  %s %s at %.12s -> %zu account%s\n", found->deployment->deployment,
                     found->deployment->repository, found->deployment->ref, found->deployment->commit, count,
                     count == 1 ? "" : "s");
    }
    index_each(&found->results, show_visit, waiting);
}

static const char *waiting_for_what(const struct recorded *found)
{
    if (found == NULL || found->deployment == NULL) {
        return "no such deployment has been seen";
    }
    bool is_noted = found->deployment->outcome == DEPLOYMENT_NOTED;
    return is_noted ? "no build of this commit has been published yet" : "not all accounts have a result yet";
}

static int wait_follow(struct waiting *waiting, int64_t timeout_ms)
{
    struct error err;
    AUTO(reader) struct reader *reader = NULL;
    int64_t deadline_ms = clock_monotonic_ms() + timeout_ms;
    if (!reader_open(waiting->line->options, "results", 0, READ_TIMEOUT_MS, &reader, &err)) {
        return command_fail(waiting->line, &err);
    }
    bool has_caught_up = false;
    while (clock_monotonic_ms() < deadline_ms) {
        struct record record = {0};
        struct history_news news;
        enum reader_outcome outcome = reader_next(reader, WAIT_SLICE_MS, &record, &err);
        if (outcome == READER_FAILED) {
            return command_fail(waiting->line, &err);
        }
        bool is_first_look = outcome == READER_CAUGHT_UP;
        has_caught_up = has_caught_up || is_first_look;
        news = (struct history_news){0};
        if (outcome == READER_MESSAGE) {
            history_add(&waiting->history, &record, &news);
            record_free(&record);
        }
        if (!has_caught_up) {
            continue;
        }
        if (is_first_look || news.deployment != NULL) {
            waiting_show(waiting);
        } else if (news.result != NULL && news.recorded == waiting->found) {
            show_visit(news.result->account, (void *)(uintptr_t)news.result, waiting);
        }
        if (waiting->found != NULL && recorded_is_finished(waiting->found)) {
            deployment_print(waiting->found, waiting->line->is_json);
            return recorded_exit_code(waiting->found);
        }
    }
    (void)fprintf(stderr, "tagfleet wait: timed out; %s\n", waiting_for_what(waiting->found));
    return EXIT_TIMED_OUT;
}

int wait_for_end(const struct command_line *line, const struct wait_request *request)
{
    AUTO(waiting)
    struct waiting waiting = {
        .line = line,
        .deployment = request->deployment,
        .repository = request->repository != NULL ? text_lower(request->repository) : NULL,
        .ref = request->ref != NULL ? text_copy(request->ref) : NULL,
        .commit = request->commit != NULL ? text_lower(request->commit) : NULL,
    };
    return wait_follow(&waiting, request->timeout_ms);
}

/* True when the record is what was awaited. */
static bool decision_read(const struct record *record, const char *event, struct decision *decision)
{
    AUTO(text) char *type = message_type(record->value);
    struct error err;
    void *message = NULL;
    if (type == NULL || strcmp(type, deployment_codec.type) != 0 ||
        !message_parse(&deployment_codec, record->value, &message, &err)) {
        return false;
    }
    const struct deployment *deployment = message;
    decision->is_known = deployment->event != NULL && strcmp(deployment->event, event) == 0;
    if (decision->is_known) {
        (void)snprintf(decision->deployment, sizeof(decision->deployment), "%s", deployment->deployment);
        decision->outcome = deployment->outcome;
        decision->reason = text_copy_or_null(deployment->reason);
        decision->accounts = deployment->accounts.count;
    }
    message_free(&deployment_codec, message);
    return decision->is_known;
}

bool decision_await(const struct options *options, const char *event, int64_t since_ms, int64_t timeout_ms,
                    struct decision *ret_decision, struct error *err)
{
    AUTO(reader) struct reader *reader = NULL;
    int64_t deadline_ms = clock_monotonic_ms() + timeout_ms;
    *ret_decision = (struct decision){0};
    if (!reader_open(options, "results", since_ms, READ_TIMEOUT_MS, &reader, err)) {
        return false;
    }
    while (!ret_decision->is_known && clock_monotonic_ms() < deadline_ms) {
        struct record record = {0};
        enum reader_outcome outcome = reader_next(reader, WAIT_SLICE_MS, &record, err);
        if (outcome == READER_FAILED) {
            return false;
        }
        if (outcome == READER_MESSAGE) {
            (void)decision_read(&record, event, ret_decision);
            record_free(&record);
        }
    }
    return true;
}

void decision_clear(struct decision *decision)
{
    free(decision->reason);
    *decision = (struct decision){0};
}

static int wait_run(const struct command_line *line)
{
    struct wait_request request = {
        .repository = command_flag(line, "repository"),
        .commit = command_flag(line, "commit"),
        .timeout_ms = WAIT_TIMEOUT_DEFAULT_MS,
    };
    const char *ref = command_flag(line, "ref");
    const char *timeout = command_flag(line, "timeout");
    AUTO(text) char *full_ref = ref != NULL ? ref_full_name(ref) : NULL;
    request.ref = full_ref;
    if (timeout != NULL && !duration_parse(timeout, &request.timeout_ms)) {
        return command_usage(line, "--timeout must be a duration such as 90s or 10m, not %s", timeout);
    }
    if (line->argument_count == 1 && request.repository == NULL && ref == NULL && request.commit == NULL) {
        request.deployment = line->arguments[0];
        const char *wrong = check_deployment(request.deployment);
        return wrong != NULL ? command_usage(line, "\"%s\" %s", request.deployment, wrong)
                             : wait_for_end(line, &request);
    }
    if (line->argument_count > 0 || request.repository == NULL || ref == NULL || request.commit == NULL) {
        return command_usage(line, "name a deployment, or --repository, --ref and --commit");
    }
    if (request.ref == NULL) {
        return command_usage(line, "--ref must be refs/heads/<branch> or refs/tags/<tag>, not %s", ref);
    }
    return wait_for_end(line, &request);
}

static const struct flag wait_flags[] = {
    {"repository", "NAME", "with --ref and --commit: the newest deployment of that commit on that ref"},
    {"ref", "REF", "refs/heads/<branch> or refs/tags/<tag>"},
    {"commit", "SHA", "the commit, or its beginning"},
    {"timeout", "DURATION", "give up after this time [10m]"},
    {0},
};

const struct command wait_command = {
    .name = "wait",
    .arguments = "DEPLOYMENT",
    .summary = "follow a deployment to its end",
    .flags = wait_flags,
    .run = wait_run,
    .more = "Exit codes: 0 all accounts are fine, 1 some failed, 3 dropped, 4 rejected, 5 superseded, 124 timed out.",
};

const struct command status_command = {
    .name = "status",
    .arguments = "[DEPLOYMENT]",
    .summary = "the newest deployments, or the accounts of one",
    .run = status,
    .more = "Exit codes: 0 found, 1 unknown.",
};
