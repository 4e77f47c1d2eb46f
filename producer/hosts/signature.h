/*
 * Does a webhook come from the host it claims? HMAC over the bytes as they were received, compared in constant time.
 * Every check takes a claim as it was sent; NULL, which is an absent or a doubled header, is never genuine.
 */
#pragma once

#include "workers/common/base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

/* "sha256=<hex>" as Bitbucket and GitHub send it: lower case, nothing before or after. */
bool signature_check_hub(const struct secrets *secrets, struct slice body, const char *signature);

/* "<hex>" alone, as Gitea and Gogs send it. */
bool signature_check_hex(const struct secrets *secrets, struct slice body, const char *signature);

/* The secret itself, as GitLab sends it. Takes as long whatever the token is. A signing secret is no token. */
bool signature_check_token(const struct secrets *secrets, const char *token);

/* Standard Webhooks (standardwebhooks.com): the secret is "whsec_" and the key in base64; the signatures are a list of
 * "v1,<base64>" over "id.timestamp.body", of which one must be right. The sender's clock may be off by five minutes in
 * either direction; beyond, a delivery is taken for a recorded one. Other secrets of the hook do not count. */
enum { SIGNATURE_TOLERANCE_S = 300 };
struct standard_webhook {
    const char *id;
    const char *timestamp; /* seconds since 1970 */
    const char *signatures;
};
bool signature_check_standard(const struct secrets *secrets, struct slice body, const struct standard_webhook *webhook,
                              int64_t now_ms);

/* Does one of the secrets begin with "whsec_"? */
bool signature_has_signing_secret(const struct secrets *secrets);
/* Is what stands behind each "whsec_" a key? One that was cut while copying would never be genuine. */
bool signature_signing_secrets_are_whole(const struct secrets *secrets);
