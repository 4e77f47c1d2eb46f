/*
 * The accounts of one deploy tag, on `map` (compacted, key: the tag, for instance `qa` or `branch/main`). A deleted
 * entry is a null value.
 */
#pragma once

#include "schemas/codec.h"

/* What depends on the number of accounts, such as the record of an accepted deployment, fits into a message. */
enum { MAP_ENTRY_ACCOUNTS_MAXIMUM = 200000 };

struct map_entry {
    struct envelope envelope;
    char *tag;
    struct texts accounts; /* 12 digits each, no duplicates */
    int64_t version;       /* counts up with every change of this entry */
    char *reason;
    char *actor;
};

extern const struct codec map_entry_codec;

/* As message_parse, message_format and message_free. */
bool map_entry_parse(struct slice body, struct map_entry **ret_map_entry, struct error *err) MUST_CHECK;
void map_entry_format(const struct map_entry *map_entry, struct buffer *buffer);
void map_entry_free(struct map_entry *map_entry);
DEFINE_AUTO(map_entry, struct map_entry *);
