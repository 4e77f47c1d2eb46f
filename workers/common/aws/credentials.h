/*
 * An access key with its secret, where it came from, and the sources that need no network: the environment and the
 * shared files. Sources that must be asked over HTTP (roles, containers, instances) end in the same struct; whoever
 * needs credentials asks aws/role.h, which knows all of them.
 *
 * Secrets are wiped when they are freed and appear in no error text.
 */
#pragma once

#include "workers/common/base/auto.h"
#include "workers/common/base/error.h"

#include <stdbool.h>
#include <stdint.h>

struct credentials {
    char *access_key;
    char *secret_key;
    char *session_token;     /* NULL: none */
    int64_t expires_wall_ms; /* 0: never */
    char *origin;            /* for people: "environment", "profile acme", or the role's ARN */
};

/* All texts are copied; session_token may be NULL. */
struct credentials *credentials_new(const char *access_key, const char *secret_key, const char *session_token,
                                    int64_t expires_wall_ms, const char *origin);
struct credentials *credentials_copy(const struct credentials *credentials);
void credentials_free(struct credentials *credentials); /* NULL is fine */
DEFINE_AUTO(credentials, struct credentials *);

/* AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN. ERROR_REJECT names the variable that is missing. */
bool credentials_from_environment(struct credentials **ret_credentials, struct error *err) MUST_CHECK;

/* A profile with a static key, from AWS_SHARED_CREDENTIALS_FILE (~/.aws/credentials) and AWS_CONFIG_FILE
 * (~/.aws/config). profile NULL: AWS_PROFILE, else "default". ERROR_REJECT says which files were looked at for what. */
bool credentials_from_profile(const char *profile, struct credentials **ret_credentials, struct error *err) MUST_CHECK;

/* What AWS tools do without being told: a named profile (argument, or AWS_PROFILE) first when there is one, else the
 * environment, else the default profile. */
bool credentials_find(const char *profile, struct credentials **ret_credentials, struct error *err) MUST_CHECK;
