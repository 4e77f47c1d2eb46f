/*
 * What is known of one account beyond its id, on `accounts` (compacted, key: account id). The directory is optional:
 * an account without an entry is active and uses the config's defaults.
 */
#pragma once

#include "schemas/codec.h"

enum account_state { ACCOUNT_ACTIVE, ACCOUNT_SUSPENDED };
enum account_credentials { CREDENTIALS_DEFAULT, CREDENTIALS_ASSUME_ROLE, CREDENTIALS_PROFILE };

extern const char *const account_state_names[];
extern const char *const account_credentials_names[];
extern const char *const account_mode_names[];

enum account_mode { MODE_DEFAULT, MODE_COPY, MODE_RELAY };

/* Where the config says `bucket`, this account uses `use`. */
struct account_bucket {
    char *bucket;
    char *use;
};

struct account {
    struct envelope envelope;
    char *account;
    char *alias;
    int state;       /* enum account_state */
    int credentials; /* enum account_credentials */
    char *region;
    char *role; /* a role ARN of this very account */
    char *external_id;
    char *profile;
    int mode;              /* enum account_mode */
    char *kms_key;         /* an ARN */
    struct groups buckets; /* of struct account_bucket */
    struct texts labels;
};

extern const struct codec account_codec;

/* As message_parse, message_format and message_free. */
bool account_parse(struct slice body, struct account **ret_account, struct error *err) MUST_CHECK;
void account_format(const struct account *account, struct buffer *buffer);
void account_free(struct account *account);
DEFINE_AUTO(account, struct account *);
