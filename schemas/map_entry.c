#include "schemas/map_entry.h"

static const struct field map_entry_fields[] = {
    MEMBER_TEXT(map_entry, tag, REQUIRED, check_deploy_tag),
    MEMBER_TEXTS(map_entry, accounts, REQUIRED, check_account),
    MEMBER_INTEGER(map_entry, version, REQUIRED),
    MEMBER_TEXT(map_entry, reason, OPTIONAL, check_not_empty),
    MEMBER_TEXT(map_entry, actor, OPTIONAL, check_not_empty),
    {0},
};

static const char *map_entry_check(const void *message)
{
    const struct map_entry *entry = message;
    if (entry->accounts.count > MAP_ENTRY_ACCOUNTS_MAXIMUM) {
        return "accounts must not be more than 200,000";
    }
    return texts_are_unique(&entry->accounts) ? NULL : "accounts must not contain an account twice";
}

const struct codec map_entry_codec = {"tagfleet.map-entry.v1", sizeof(struct map_entry), map_entry_fields,
                                      map_entry_check};

bool map_entry_parse(struct slice body, struct map_entry **ret_map_entry, struct error *err)
{
    void *message;
    if (!message_parse(&map_entry_codec, body, &message, err)) {
        return error_prefix(err, "map entry");
    }
    *ret_map_entry = message;
    return true;
}

void map_entry_format(const struct map_entry *map_entry, struct buffer *buffer)
{
    message_format(&map_entry_codec, map_entry, buffer);
}

void map_entry_free(struct map_entry *map_entry)
{
    message_free(&map_entry_codec, map_entry);
}
