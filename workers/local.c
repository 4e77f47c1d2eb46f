#include "workers/local.h"

#include "producer/serve.h"
#include "workers/common/base/auto.h"
#include "workers/common/base/log.h"
#include "workers/common/http/signals.h"
#include "workers/common/kafka/embedded_broker.h"
#include "workers/common/kafka/kafka.h"
#include "workers/copier/copier.h"
#include "workers/resolver/resolver.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROLES = 3, TICK_MS = 500, STOP_TIMEOUT_MS = 15000 };

/* The roles are this very program again, one process each, as they would be anywhere. */
static const char *const roles[ROLES] = {"producer", "resolver", "copier"};

struct fleet {
    pid_t pids[ROLES];
    bool is_ending;
    int exit_code; /* of the first role that has ended by itself */
};

/* The roles' broker is the one inside, whatever else is named: the environment says where. */
static bool set_is_for_roles(const struct option_override *set)
{
    static const char brokers[] = "kafka.brokers=";
    return strncmp(set->assignment, brokers, sizeof(brokers) - 1) != 0;
}

/* Runs the program again, with the options that this one was given. Returns only if that fails. */
static void role_exec(const char *role, const struct command_line *line)
{
    char *words[4 + 2 * COMMAND_SETS_MAXIMUM + 1] = {text_copy("tagfleet"), text_copy(role)};
    size_t count = 2;
    if (line->config_path != NULL) {
        words[count++] = text_copy("--config");
        words[count++] = text_copy(line->config_path);
    }
    for (size_t i = 0; i < line->set_count; i++) {
        if (set_is_for_roles(&line->sets[i])) {
            words[count++] = text_copy("--set");
            words[count++] = text_copy(line->sets[i].assignment);
        }
    }
    (void)execv("/proc/self/exe", words);
}

static pid_t role_start(const char *role, const struct command_line *line)
{
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid != 0) {
        return pid;
    }
    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) {
        _exit(EXIT_TEMPORARY);
    }
    /* A terminal's Ctrl-C would be a second word to end, beside fleet_run's. */
    (void)setpgid(0, 0);
    role_exec(role, line);
    _exit(EXIT_TEMPORARY);
}

static size_t fleet_alive(const struct fleet *fleet)
{
    size_t alive = 0;
    for (int i = 0; i < ROLES; i++) {
        alive += fleet->pids[i] > 0 ? 1 : 0;
    }
    return alive;
}

/* Notes which roles have ended. One that ends by itself ends the whole: there is nothing here that would mend it. */
static void fleet_reap(struct fleet *fleet)
{
    for (int i = 0; i < ROLES; i++) {
        int status;
        if (fleet->pids[i] > 0 && waitpid(fleet->pids[i], &status, WNOHANG) == fleet->pids[i]) {
            if (!fleet->is_ending) {
                fleet->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_TEMPORARY;
                (void)fprintf(stderr, "tagfleet local: the %s has ended with status %d\n", roles[i],
                              WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
            }
            fleet->pids[i] = 0;
            fleet->is_ending = true;
        }
    }
}

static void fleet_signal(const struct fleet *fleet, int signal)
{
    for (int i = 0; i < ROLES; i++) {
        if (fleet->pids[i] > 0) {
            (void)kill(fleet->pids[i], signal);
        }
    }
}

/* The first asks for a drain, which fleet_run begins; a second one is passed on, and the roles end at once. */
static void fleet_signalled(void *context, int signal)
{
    struct fleet *fleet = context;
    (void)signal;
    if (fleet->is_ending) {
        fleet_signal(fleet, SIGTERM);
    }
    fleet->is_ending = true;
}

static void fleet_run(struct fleet *fleet, struct loop *loop)
{
    while (!fleet->is_ending) {
        loop_turn(loop, TICK_MS);
        fleet_reap(fleet);
    }
    fleet_signal(fleet, SIGTERM);
    for (int waited_ms = 0; fleet_alive(fleet) > 0 && waited_ms < STOP_TIMEOUT_MS; waited_ms += TICK_MS) {
        loop_turn(loop, TICK_MS);
        fleet_reap(fleet);
    }
    fleet_signal(fleet, SIGKILL);
}

static int local_run(const struct command_line *line)
{
    struct error err;
    struct fleet fleet = {0};
    struct loop *loop = loop_new(NULL);
    struct signals *signals = signals_watch(loop, (const int[]){0}, fleet_signalled, &fleet);
    struct embedded_broker *broker = NULL;
    int exit_code = EXIT_OK;
    if (embedded_broker_open(line->options, &broker, &err)) {
        const char *address = embedded_broker_address(broker);
        (void)printf(
            "broker %s\n"
            "This broker lives in this process and keeps nothing: for trying out, never for real deployments.\n"
            "Other commands reach it with TAGFLEET_KAFKA_BROKERS=%s\n",
            address, address);
        (void)fflush(stdout);
        (void)setenv("TAGFLEET_KAFKA_BROKERS", address, 1);
        for (int i = 0; i < ROLES; i++) {
            fleet.pids[i] = role_start(roles[i], line);
        }
        fleet_run(&fleet, loop);
        exit_code = fleet.exit_code;
    } else {
        exit_code = command_fail(line, &err);
    }
    embedded_broker_close(broker);
    signals_unwatch(signals);
    loop_free(loop);
    return exit_code;
}

static bool local_check(const struct options *options, struct buffer *mistakes)
{
    const char *security = options_text(options, "kafka.security");
    if (strcmp(security, "plaintext") == 0) {
        return true;
    }
    buffer_append_format(
        mistakes, "kafka.security = \"%s\" is for brokers of your own: the one inside speaks plaintext\n", security);
    return false;
}

static options_check *const local_checks[] = {local_check,    kafka_check,  serve_check,
                                              resolver_check, copier_check, NULL};

const struct command local_command = {
    .name = "local",
    .summary = "run producer, resolver and copier with a broker inside that keeps nothing",
    .checks = local_checks,
    .run = local_run,
    .more = "For trying out on one machine.\n"
            "Exit codes: 0 drained after SIGTERM, 100 permanent (a mistake in the config), 111 temporary (start it "
            "again); a\n"
            "role that ends by itself ends the whole with its own.",
};
