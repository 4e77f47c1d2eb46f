/*
 * producer.repositories: what the config says about a repository's host, for whoever asks the host or tells it
 * something.
 */
#pragma once

#include "producer/api/api.h"
#include "workers/common/base/options.h"

extern const struct option repository_options[];

enum { REPOSITORY_PATTERNS_MAXIMUM = 64 };

/* Texts are borrowed from the options. */
struct repository_settings {
    const char *name;            /* in lower case, as in events */
    struct api_settings api;     /* provider "git": no API, see url */
    const char *url;             /* for git ls-remote; NULL unless the provider is git */
    int64_t poll_ms;             /* 0: not polled */
    const char *const *branches; /* patterns with * and ? */
    size_t branch_count;
    const char *const *tags;
    size_t tag_count;
};

size_t repositories_count(const struct options *options);
void repository_at(const struct options *options, size_t position, struct repository_settings *ret_settings);

/* Appends a line for each mistake; false when there was one. */
bool repositories_check(const struct options *options, struct buffer *mistakes);
