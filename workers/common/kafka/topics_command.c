#include "workers/common/kafka/topics_command.h"

#include "workers/common/base/auto.h"
#include "workers/common/kafka/topics.h"

#include <stdio.h>
#include <stdlib.h>

enum { REPORT_MAXIMUM = 64 * 1024, PARTITIONS_MAXIMUM = 10000 };

/* A number given with a flag; 0 when it was not given. False: the usage was told. */
static bool number_read(const struct command_line *line, const char *flag, long maximum, long *ret_number)
{
    const char *text = command_flag(line, flag);
    char *end = NULL;
    *ret_number = text != NULL ? strtol(text, &end, 10) : 0;
    if (text != NULL && (*end != '\0' || *ret_number < 1 || *ret_number > maximum)) {
        (void)command_usage(line, "--%s is a number from 1 to %ld, not %s", flag, maximum, text);
        return false;
    }
    return true;
}

static int topics_create_run(const struct command_line *line)
{
    struct error err;
    AUTO(buffer) struct buffer report;
    buffer_init(&report, REPORT_MAXIMUM);
    long partitions;
    long accounts;
    if (!number_read(line, "partitions", PARTITIONS_MAXIMUM, &partitions) ||
        !number_read(line, "accounts", TOPICS_ACCOUNTS_MAXIMUM, &accounts)) {
        return EXIT_USAGE;
    }
    if (partitions > 0 && accounts > 0) {
        return command_usage(line, "--accounts says how many partitions there are to be: leave out --partitions");
    }
    if (accounts > 0) {
        partitions = topics_partitions_for(accounts);
        (void)printf("%ld partitions of jobs for %ld accounts\n", partitions, accounts);
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
    long accounts;
    AUTO(buffer) struct buffer report;
    buffer_init(&report, REPORT_MAXIMUM);
    if (!number_read(line, "accounts", TOPICS_ACCOUNTS_MAXIMUM, &accounts)) {
        return EXIT_USAGE;
    }
    if (!topics_check(line->options, accounts > 0 ? topics_partitions_for(accounts) : 0, &report, &differences, &err)) {
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
    {"accounts", "N", "as many partitions of jobs as so many accounts need"},
    {0},
};

static const struct flag check_flags[] = {
    {"accounts", "N", "also say whether jobs has enough partitions for so many accounts"},
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
    .summary = "report what differs from the settings the fleet needs, and what mends it; changes nothing",
    .flags = check_flags,
    .run = topics_check_run,
    .more = "Exit codes: 0 nothing differs, 1 something does.",
};
