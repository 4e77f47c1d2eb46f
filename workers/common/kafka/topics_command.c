#include "workers/common/kafka/topics_command.h"

#include "workers/common/base/auto.h"
#include "workers/common/kafka/topics.h"

#include <stdio.h>
#include <stdlib.h>

enum { REPORT_MAXIMUM = 64 * 1024, PARTITIONS_MAXIMUM = 10000 };

static int topics_create_run(const struct command_line *line)
{
    struct error err;
    AUTO(buffer) struct buffer report;
    buffer_init(&report, REPORT_MAXIMUM);
    const char *text = command_flag(line, "partitions");
    long partitions = text != NULL ? strtol(text, NULL, 10) : 0;
    if (text != NULL && (partitions < 1 || partitions > PARTITIONS_MAXIMUM)) {
        return command_usage(line, "--partitions is a number from 1 to %d, not %s", PARTITIONS_MAXIMUM, text);
    }
    bool is_created = topics_create(line->options, (int)partitions, &report, &err);
    (void)fputs(report.ptr, stdout);
    if (is_created) {
        return EXIT_OK;
    }
    (void)command_fail(line, &err);
    return EXIT_NEGATIVE;
}

static int topics_check_run(const struct command_line *line)
{
    struct error err;
    size_t differences;
    AUTO(buffer) struct buffer report;
    buffer_init(&report, REPORT_MAXIMUM);
    if (!topics_check(line->options, &report, &differences, &err)) {
        (void)command_fail(line, &err);
        return EXIT_NEGATIVE;
    }
    (void)fputs(report.ptr, stdout);
    if (differences == 0) {
        (void)printf("all topics are as they should be\n");
    }
    return differences == 0 ? EXIT_OK : EXIT_NEGATIVE;
}

static const struct flag create_flags[] = {
    {"partitions", "N", "partitions of jobs: as many copiers can work at once [48]"},
    {0},
};

const struct command topics_create_command = {
    .name = "topics create",
    .summary = "create the topics that are missing, with the settings the fleet needs",
    .flags = create_flags,
    .run = topics_create_run,
    .more = "Exit codes: 0 all are there, 1 not.",
};

const struct command topics_check_command = {
    .name = "topics check",
    .summary = "report what differs from the settings the fleet needs",
    .run = topics_check_run,
    .more = "Exit codes: 0 nothing differs, 1 something does.",
};
