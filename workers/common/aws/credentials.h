/*
 * An access key with its secret, and where it came from. Whoever needs credentials asks aws/role.h, which knows all the
 * ways to get them.
 *
 * Secrets are wiped when they are freed and appear in no error text.
 */
#pragma once

#include "workers/common/base/auto.h"
#include "workers/common/base/error.h"

#include <stdbool.h>
#include <stdint.h>

/* Does not change once it is made. */
struct credentials {
    unsigned holders;
    char *access_key;
    char *secret_key;
    char *session_token;     /* NULL: none */
    int64_t expires_wall_ms; /* 0: never */
    char *origin;            /* for people: "environment", "profile acme", or the role's ARN */
};

/* All texts are copied; session_token may be NULL. */
struct credentials *credentials_new(const char *access_key, const char *secret_key, const char *session_token,
                                    int64_t expires_wall_ms, const char *origin);
/* Another holder of the same: each frees what it holds, and the last one wipes it. One thread. */
struct credentials *credentials_copy(const struct credentials *credentials);
void credentials_free(struct credentials *credentials); /* NULL is fine */
DEFINE_AUTO(credentials, struct credentials *);

void secret_free(char *secret); /* wipes the text before it is freed; NULL is fine */
DEFINE_AUTO(secret, char *);

/* The token that a file holds: one line of visible ASCII, without the blanks around it. */
bool secret_read(const char *path, char **ret_secret, struct error *err) MUST_CHECK;
