/*
 * A verb of the program: its flags, its help, its exit codes. The driver (workers/main.c) finds the command, reads the
 * flags and the configuration, and runs it; a command only does its work.
 */
#pragma once

#include "workers/common/base/options.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    EXIT_OK = 0,
    EXIT_NEGATIVE = 1, /* the answer is no, or some of it failed */
    EXIT_USAGE = 2,    /* the command line is wrong */
    EXIT_DROPPED = 3,  /* no such tag in the map */
    EXIT_REJECTED = 4, /* not a deployable tag */
    EXIT_SUPERSEDED = 5,
    EXIT_PERMANENT = 100, /* a mistake that trying again cannot mend */
    EXIT_TEMPORARY = 111, /* try again later */
    EXIT_TIMED_OUT = 124, /* as timeout(1) */
};

struct flag {
    const char *name;     /* without the dashes; NULL ends a table */
    const char *argument; /* what its argument is called in the help; NULL: it has none */
    const char *help;
};

enum { COMMAND_FLAGS_MAXIMUM = 24, COMMAND_SETS_MAXIMUM = 64 };

struct command_line;

/* Appends a line for each mistake in the options that their tables cannot see; true: there is none. */
typedef bool options_check(const struct options *options, struct buffer *mistakes);

struct command {
    const char *name;      /* one or two words: "emit", "map set" */
    const char *arguments; /* for the help: "TAG ID[,ID...]" */
    const char *summary;
    const struct flag *flags; /* may be NULL */
    /* May be NULL; ended by NULL. Nothing is run as long as there is a mistake of either kind. */
    options_check *const *checks;
    int (*run)(const struct command_line *line);
    const char *more; /* further help: exit codes, examples; may be NULL */
    bool is_offline;  /* runs without a configuration: a mistake in it does not matter */
};

struct command_line {
    const struct command *command;
    const struct options *options;
    const struct option *const *tables;
    const char *config_path;            /* as given or found; NULL: none */
    const struct option_override *sets; /* as given; for whoever runs the program again */
    size_t set_count;
    bool is_json;
    const char *values[COMMAND_FLAGS_MAXIMUM]; /* of the command's flags, by position; "" for one without argument */
    char **arguments;
    size_t argument_count;
};

/* The argument of a flag, NULL when it was not given. */
const char *command_flag(const struct command_line *line, const char *name);

/* Prints "tagfleet COMMAND: text" and a hint at --help on standard error; returns EXIT_USAGE. */
int command_usage(const struct command_line *line, const char *format, ...) FORMAT(2);

/* Prints the error; returns the exit code that goes with its action. */
int command_fail(const struct command_line *line, const struct error *err);

/* Runs the program's command line. commands is ended by a nameless one, tables by NULL. */
int command_main(const struct command *commands, const struct option *const *tables, int argc, char **argv);
