/*
 * Does a webhook come from the host it claims? HMAC over the bytes as they were received, compared in constant time.
 */
#pragma once

#include "workers/common/base/slice.h"

#include <stdbool.h>
#include <stddef.h>

/* The secrets of a hook: the present one and, while it is being changed, the one before. */
enum { SECRETS_MAXIMUM = 2 };
struct secrets {
    char *items[SECRETS_MAXIMUM];
    size_t count;
};

/* Reads one secret per line, at most two. ERROR_FATAL when the file cannot be read or holds none. */
bool secrets_read_file(const char *path, struct secrets *ret_secrets, struct error *err) MUST_CHECK;
void secrets_add(struct secrets *secrets, struct slice secret);
void secrets_clear(struct secrets *secrets); /* wipes them */

/* "sha256=<hex>" as Bitbucket and GitHub send it. False for anything else, also for an absent or empty text. */
bool signature_check_hub(const struct secrets *secrets, struct slice body, const char *signature);
