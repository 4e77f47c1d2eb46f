/*
 * tagfleet: the table of its subcommands.
 */
#include "producer/api/repository.h"
#include "producer/map.h"
#include "producer/serve.h"
#include "producer/status/notifier.h"
#include "producer/webhook.h"
#include "workers/common/aws/settings.h"
#include "workers/common/base/auto.h"
#include "workers/common/base/log.h"
#include "workers/common/http/health_command.h"
#include "workers/common/kafka/kafka.h"
#include "workers/common/kafka/topics_command.h"
#include "workers/copier/copier.h"
#include "workers/emit.h"
#include "workers/local.h"
#include "workers/recorder/report.h"
#include "workers/resolver/plan.h"
#include "workers/resolver/plan_command.h"
#include "workers/resolver/resolver.h"

#include <stdio.h>

static const struct option log_options[] = {
    {.name = "log.level",
     .type = OPTION_CHOICE,
     .initial = "info",
     .choices = "error|warning|info|debug",
     .help = "what is written to standard error"},
    {.name = "log.format",
     .type = OPTION_CHOICE,
     .initial = "logfmt",
     .choices = "logfmt|json",
     .help = "key=value pairs, or one JSON object per line"},
    {0},
};

static const struct option *const tables[] = {
    kafka_options,      aws_options,      producer_options,
    repository_options, resolver_options, copier_options,
    notifier_options,   log_options,      NULL,
};

static void log_start(const struct command_line *line)
{
    static const char *const levels[] = {"error", "warning", "info", "debug"};
    const char *wanted = options_text(line->options, "log.level");
    enum log_level level = LOG_ERROR;
    while (strcmp(levels[level], wanted) != 0) {
        level++;
    }
    log_setup(level, strcmp(options_text(line->options, "log.format"), "json") == 0, line->command->name);
    kafka_start_role(line->command->name);
}

/* What real jobs need and only a resolver does (resolver_check) may be missing. */
static bool plan_check(const struct options *options, struct buffer *mistakes)
{
    AUTO(plan) struct plan *plan = NULL;
    return plan_read(options, &plan, mistakes);
}

static options_check *const producer_checks[] = {kafka_check, serve_check, NULL};
static options_check *const resolver_checks[] = {kafka_check, resolver_check, NULL};
static options_check *const copier_checks[] = {kafka_check, copier_check, NULL};
static options_check *const notifier_checks[] = {kafka_check, notifier_check, NULL};
static options_check *const config_checks[] = {kafka_check,    plan_check,  copier_check,
                                               notifier_check, serve_check, NULL};

static int config_run(const struct command_line *line)
{
    (void)printf("%s: no mistakes\n", line->config_path != NULL ? line->config_path : "no file, defaults only");
    return EXIT_OK;
}

static int role_run(const struct command_line *line, const struct worker *worker)
{
    log_start(line);
    return worker_run(worker, line->options, command_flag(line, "instance"));
}

static int resolver_run(const struct command_line *line)
{
    return role_run(line, &resolver_worker);
}

static int copier_run(const struct command_line *line)
{
    return role_run(line, &copier_worker);
}

static int notifier_run(const struct command_line *line)
{
    return role_run(line, &notifier_worker);
}

static int producer_run(const struct command_line *line)
{
    log_start(line);
    return serve_run(line->options);
}

static const struct flag role_flags[] = {
    {"instance", "NAME", "a name that stays over restarts: its partitions come back without a rebalance"},
    {0},
};

static const char role_exit_codes[] =
    "Exit codes: 0 drained after SIGTERM, 100 permanent (a mistake in the config), 111 temporary (start it again).";

int main(int argc, char **argv)
{
    static const struct command producer = {.name = "producer",
                                            .summary = "run the webhooks' server",
                                            .checks = producer_checks,
                                            .run = producer_run,
                                            .more = role_exit_codes};
    static const struct command resolver = {.name = "resolver",
                                            .summary = "run a resolver: events to deployments and jobs",
                                            .flags = role_flags,
                                            .checks = resolver_checks,
                                            .run = resolver_run,
                                            .more = role_exit_codes};
    static const struct command copier = {.name = "copier",
                                          .summary = "run a copier: jobs to objects in the accounts' buckets",
                                          .flags = role_flags,
                                          .checks = copier_checks,
                                          .run = copier_run,
                                          .more = role_exit_codes};
    static const struct command notifier = {.name = "notifier",
                                            .summary =
                                                "run a notifier: results to statuses of commits at the git hosts",
                                            .flags = role_flags,
                                            .checks = notifier_checks,
                                            .run = notifier_run,
                                            .more = role_exit_codes};
    static const struct command config = {.name = "config check",
                                          .summary = "read the configuration, report every mistake with its line",
                                          .checks = config_checks,
                                          .run = config_run,
                                          .more = "Exit codes: 0 no mistakes, 100 mistakes."};
    const struct command commands[] = {
        producer,
        resolver,
        copier,
        notifier,
        local_command,
        health_command,
        topics_create_command,
        topics_check_command,
        emit_command,
        webhook_parse_command,
        map_list_command,
        map_show_command,
        map_set_command,
        map_add_command,
        map_remove_command,
        map_delete_command,
        map_apply_command,
        map_export_command,
        plan_command,
        wait_command,
        status_command,
        config,
        {0},
    };
    return command_main(commands, tables, argc, argv);
}
