/*
 * The configured webhooks: one path each, with its provider, its secrets, who may call it and how often. Paths,
 * providers and limits are those of the start; secrets are read again when asked, so that they can be changed while it
 * runs.
 */
#pragma once

#include "producer/hosts/host.h"
#include "workers/common/base/index.h"
#include "workers/common/base/network.h"
#include "workers/common/base/options.h"
#include "workers/common/base/rate.h"

extern const struct option hook_options[]; /* the rows of producer.hooks */

/* What becomes of a delivery; each has a counter. */
enum hook_outcome {
    HOOK_STORED,
    HOOK_SPOOLED,
    HOOK_NOTHING,       /* valid, nothing to do */
    HOOK_NOT_STORED,    /* 503: neither the brokers nor the disk took it, or the process ends */
    HOOK_BAD_METHOD,    /* 405 */
    HOOK_BAD_TYPE,      /* 415 */
    HOOK_BAD_ADDRESS,   /* 403 */
    HOOK_BAD_SIGNATURE, /* 401 */
    HOOK_BAD_PAYLOAD,   /* 400 */
    HOOK_TOO_OFTEN,     /* 503 */
    HOOK_OUTCOME_COUNT,
};

extern const char *const hook_outcome_names[HOOK_OUTCOME_COUNT];

struct hook {
    const char *name; /* borrowed from the options */
    const struct host *host;
    const char *secret_file;
    const char *secret_variable;
    struct secrets secrets;
    bool is_unsigned;
    bool may_spool;
    struct networks allowed; /* none: everybody */
    struct rate rate;        /* of genuine deliveries */
    struct index pushed;     /* repositories of which pushes come, where creations come beside them */
    uint64_t counts[HOOK_OUTCOME_COUNT];
};

struct hooks {
    struct hook *items;
    size_t count;
};

/* Reads producer.hooks. Appends a line for each mistake; false when there was one. The caller clears the hooks in any
 * case. */
bool hooks_read(const struct options *options, struct hooks *ret_hooks, struct buffer *mistakes) MUST_CHECK;
void hooks_clear(struct hooks *hooks);

/* Reads the secrets again, all hooks' own; a hook whose secrets cannot be read keeps what it has. Appends a line for
 * each of those; false when there was one. */
bool hooks_reread_secrets(struct hooks *hooks, struct buffer *mistakes) MUST_CHECK;

/* Is it a creation of a repository of which pushes come, too? They say the same, and more: of an annotated tag a
 * creation knows only the tag object. The repository of a push is remembered. */
bool hook_hears_twice(struct hook *hook, const struct changes *changes) MUST_CHECK;

/* The hook of a path as it was sent, "/hooks/<name>"; NULL: none. */
struct hook *hooks_find(const struct hooks *hooks, const char *path);
