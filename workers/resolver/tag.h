/*
 * From a ref to the key of the map that names its accounts. Pure.
 *
 * A branch `refs/heads/X` looks up `branch/X`. A tag must be `v-<version>-<deploy tag>` with a version that starts with
 * a digit; since both may contain dashes, every split is tried and the longest deploy tag that the map has wins. The
 * reference system's own rule (the third part between dashes) can be chosen for tags that are well formed. A tag that
 * does not follow the grammar never deploys anything.
 */
#pragma once

#include "workers/common/base/error.h"

#include <stdbool.h>

enum tag_rule { TAG_RULE_LONGEST, TAG_RULE_REFERENCE };

enum tag_outcome {
    TAG_MAPPED,
    TAG_UNMAPPED,  /* key holds the one that was not in the map */
    TAG_MALFORMED, /* reason says what would have been right */
};

struct tag_answer {
    enum tag_outcome outcome;
    char key[160];
    char version[160]; /* "" for a branch */
    char reason[400];  /* unless mapped */
};

/* What the map has. */
struct tag_map {
    bool (*has)(void *context, const char *key);
    /* Calls visit for each key; may be NULL, then nothing is suggested. */
    void (*each)(void *context, void (*visit)(const char *key, void *visit_context), void *visit_context);
    void *context;
};

/* ref: full (refs/heads/..., refs/tags/...), or as the reference writes it (branch/..., tag/...). */
void tag_resolve(const char *ref, enum tag_rule rule, const struct tag_map *map, struct tag_answer *ret_answer);
