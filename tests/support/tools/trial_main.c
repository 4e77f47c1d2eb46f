/*
 * Runs the worker of trial_worker.c as main.c runs the others, and makes trouble for it. trial.trace names a file that
 * gets a line "ATTEMPT PID NANOSECONDS VALUE" for each task taken. When the file that trial.stall names is there, it is
 * removed and the process stands still for trial.stall_for. The verb "abort" crashes the process when the retries are
 * used up, "gobble" takes all the memory there is.
 */
#include "workers/common/base/command.h"
#include "workers/common/base/log.h"
#include "workers/common/engine/worker.h"
#include "workers/common/kafka/kafka.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

extern const struct worker trial_worker;

static const struct option trial_options[] = {
    WORKER_OPTIONS("trial"),
    {.name = "trial.trace", .type = OPTION_TEXT, .initial = "", .help = "file for a line per task taken"},
    {.name = "trial.stall", .type = OPTION_TEXT, .initial = "", .help = "file that stops the process"},
    {.name = "trial.stall_for", .type = OPTION_DURATION, .initial = "12s", .maximum = 600000, .help = "for how long"},
    {0},
};

static FILE *trace;
static const char *stall;
static int64_t stall_ms;

static bool watched_start(struct engine *engine, const struct options *options, void **ret_state, struct error *err)
{
    const char *path = options_text(options, "trial.trace");
    stall = options_text(options, "trial.stall");
    stall_ms = options_duration_ms(options, "trial.stall_for");
    trace = path[0] != '\0' ? fopen(path, "ae") : NULL;
    return trial_worker.start(engine, options, ret_state, err);
}

static void watched_take(void *loop, struct task *task)
{
    const struct slice value = task_record(task)->value;
    bool gobbles = memmem(value.ptr, value.len, " gobble ", 8) != NULL;
    if (trace != NULL) {
        struct timespec now;
        clock_gettime(CLOCK_BOOTTIME, &now);
        (void)fprintf(trace, "%u %d %lld%09ld %.*s\n", task_attempt(task), (int)getpid(), (long long)now.tv_sec,
                      now.tv_nsec, (int)value.len, value.ptr);
        (void)fflush(trace);
    }
    if (stall[0] != '\0' && unlink(stall) == 0) {
        usleep(1000 * (useconds_t)stall_ms);
    }
    char *rest;
    (void)strtoul(value.ptr, &rest, 10);
    if (strstr(value.ptr, " abort ") != NULL && task_attempt(task) > strtoul(rest, NULL, 10)) {
        abort();
    }
    while (gobbles) {
        memset(memory_zeroed(1, 1 << 20), 1, 1 << 20);
    }
    trial_worker.take(loop, task);
}

static int trial_run(const struct command_line *line)
{
    struct worker watched = trial_worker;
    watched.start = watched_start;
    watched.take = watched_take;
    log_setup(LOG_INFO, false, "trial");
    return worker_run(&watched, line->options, command_flag(line, "instance"));
}

static const struct flag trial_flags[] = {{"instance", "NAME", "a name that stays over restarts"}, {0}};

static const struct option *const tables[] = {kafka_options, trial_options, NULL};

int main(int argc, char **argv)
{
    const struct command commands[] = {
        {.name = "trial", .summary = "run the worker of the tests", .flags = trial_flags, .run = trial_run},
        {0},
    };
    return command_main(commands, tables, argc, argv);
}
