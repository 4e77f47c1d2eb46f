/*
 * The configuration: one libconfig file for all roles, environment variables over it, `--set section.key=value` over
 * those. Every option is a row of a table (name, type, default, bounds, help); validation, `--help` and the check of
 * config/tagfleet.cfg follow from the rows. Each room that has options exports its table; the program joins them.
 *
 * Reading never stops at the first mistake: all are collected, each with its file and line, and nothing is started
 * while there is one.
 */
#pragma once

#include "workers/common/base/auto.h"
#include "workers/common/base/buffer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum option_type {
    OPTION_TEXT,
    OPTION_INTEGER,
    OPTION_BOOLEAN,
    OPTION_DURATION, /* "500ms", "30s", "10m": kept in milliseconds */
    OPTION_CHOICE,   /* one of the names in choices */
    OPTION_TEXTS,    /* a list of texts; "a,b" in the environment and in --set */
    OPTION_PAIRS,    /* a group whose names are free (in the file _ stands for .); "a=1,b=2" elsewhere, added to it */
    OPTION_GROUPS,   /* a list of groups, each with the options of the table `group`; in the file only */
};

struct option {
    const char *name; /* "section.key"; "key" within a group; NULL ends a table */
    enum option_type type;
    const char *initial; /* as it would stand in --set; NULL: not set (or, in a group, required) */
    int64_t minimum;     /* of integers and of durations in ms; both 0: unbounded */
    int64_t maximum;
    const char *choices;     /* "a|b|c" */
    const char *environment; /* a second environment variable, by another convention (AWS_REGION) */
    const char *help;
    const struct option *group;
    bool is_required; /* in a group: must be set */
};

struct options;

/* One `--set` as given. */
struct option_override {
    const char *assignment; /* "section.key=value" */
};

/* Reads file_path (NULL: no file), the environment and the overrides. tables is ended by NULL. Returns false and
 * appends every mistake as one line to mistakes. *ret_options is what could be read all the same, so that further
 * mistakes can be looked for: an option with a mistake has its default, a group with one is left out; NULL when the
 * file cannot be read at all. The caller frees it with options_free. */
bool options_load(const struct option *const *tables, const char *file_path, const struct option_override *overrides,
                  size_t override_count, struct options **ret_options, struct buffer *mistakes) MUST_CHECK;
void options_free(struct options *options); /* NULL is fine */
DEFINE_AUTO(options, struct options *);

/* The name must be a row of a table; anything else is a bug. Texts are borrowed from the options. */
const char *options_text(const struct options *options, const char *name); /* NULL when not set */
int64_t options_integer(const struct options *options, const char *name);
int64_t options_duration_ms(const struct options *options, const char *name);
bool options_boolean(const struct options *options, const char *name);
size_t options_texts(const struct options *options, const char *name, const char *const **ret_items);

/* Calls visit for each pair of an OPTION_PAIRS. */
void options_pairs(const struct options *options, const char *name,
                   void (*visit)(const char *key, const char *value, void *context), void *context);

/* The items of an OPTION_GROUPS, each readable like options of its own. */
size_t options_groups(const struct options *options, const char *name);
const struct options *options_group(const struct options *options, const char *name, size_t position);

/* Appends the table for people: name, default, help. */
void options_describe(const struct option *const *tables, struct buffer *buffer);
