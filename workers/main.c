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

static bool producer_check(const struct options *options, struct buffer *mistakes)
{
    bool is_kafka_valid = kafka_check(options, mistakes);
    return serve_check(options, mistakes) && is_kafka_valid;
}

static bool resolver_role_check(const struct options *options, struct buffer *mistakes)
{
    bool is_kafka_valid = kafka_check(options, mistakes);
    return resolver_check(options, mistakes) && is_kafka_valid;
}

static bool copier_role_check(const struct options *options, struct buffer *mistakes)
{
    bool is_kafka_valid = kafka_check(options, mistakes);
    return copier_check(options, mistakes) && is_kafka_valid;
}

static bool notifier_role_check(const struct options *options, struct buffer *mistakes)
{
    bool is_kafka_valid = kafka_check(options, mistakes);
    return notifier_check(options, mistakes) && is_kafka_valid;
}

/* Of all roles; but what real jobs need and only a resolver does may be missing. */
static bool config_check(const struct options *options, struct buffer *mistakes)
{
    AUTO(plan) struct plan *plan = NULL;
    bool is_valid = kafka_check(options, mistakes);
    is_valid = plan_read(options, &plan, mistakes) && is_valid;
    is_valid = copier_check(options, mistakes) && is_valid;
    is_valid = notifier_check(options, mistakes) && is_valid;
    return serve_check(options, mistakes) && is_valid;
}

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
                                            .check = producer_check,
                                            .run = producer_run,
                                            .more = role_exit_codes};
    static const struct command resolver = {.name = "resolver",
                                            .summary = "run a resolver: events to deployments and jobs",
                                            .flags = role_flags,
                                            .check = resolver_role_check,
                                            .run = resolver_run,
                                            .more = role_exit_codes};
    static const struct command copier = {.name = "copier",
                                          .summary = "run a copier: jobs to objects in the accounts' buckets",
                                          .flags = role_flags,
                                          .check = copier_role_check,
                                          .run = copier_run,
                                          .more = role_exit_codes};
    static const struct command notifier = {.name = "notifier",
                                            .summary =
                                                "run a notifier: results to statuses of commits at the git hosts",
                                            .flags = role_flags,
                                            .check = notifier_role_check,
                                            .run = notifier_run,
                                            .more = role_exit_codes};
    static const struct command config = {.name = "config check",
                                          .summary = "read the configuration, report every mistake with its line",
                                          .check = config_check,
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
