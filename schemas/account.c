#include "schemas/account.h"

const char *const account_state_names[] = {"active", "suspended", NULL};
const char *const account_credentials_names[] = {"default", "assume_role", "profile", NULL};
const char *const account_mode_names[] = {"default", "copy", "relay", NULL};

static const struct field bucket_fields[] = {
    MEMBER_TEXT(account_bucket, bucket, REQUIRED, check_not_empty),
    MEMBER_TEXT(account_bucket, use, REQUIRED, check_not_empty),
    {0},
};

static const struct field account_fields[] = {
    MEMBER_TEXT(account, account, REQUIRED, check_account),
    MEMBER_TEXT(account, alias, OPTIONAL, check_not_empty),
    MEMBER_CHOICE(account, state, account_state_names),
    MEMBER_CHOICE(account, credentials, account_credentials_names),
    MEMBER_TEXT(account, region, OPTIONAL, check_not_empty),
    MEMBER_TEXT(account, role, OPTIONAL, check_not_empty),
    MEMBER_TEXT(account, external_id, OPTIONAL, check_not_empty),
    MEMBER_TEXT(account, profile, OPTIONAL, check_not_empty),
    MEMBER_CHOICE_OR_FIRST(account, mode, account_mode_names),
    MEMBER_TEXT(account, kms_key, OPTIONAL, check_arn),
    MEMBER_GROUPS(account, buckets, OPTIONAL, bucket_fields, account_bucket),
    MEMBER_TEXTS(account, labels, OPTIONAL, check_not_empty),
    {0},
};

const struct codec account_codec = {"tagfleet.account.v1", sizeof(struct account), account_fields, NULL};

bool account_parse(struct slice body, struct account **ret_account, struct error *err)
{
    void *message;
    if (!message_parse(&account_codec, body, &message, err)) {
        return error_prefix(err, "account");
    }
    *ret_account = message;
    return true;
}

void account_format(const struct account *account, struct buffer *buffer)
{
    message_format(&account_codec, account, buffer);
}

void account_free(struct account *account)
{
    message_free(&account_codec, account);
}
