/*
 * What the hosts' listings have in common: a JSON list, alone or as a member, of entries with a name, a commit and
 * perhaps its date. A host says what it calls them.
 */
#pragma once

#include "producer/api/page.h"
#include "schemas/json.h"

struct entry_shape {
    const char *list; /* the member that holds the entries; NULL: the list is all there is */
    const char *name;
    const char *target; /* the member of an entry that holds commit and date; NULL: the entry itself */
    const char *commit;
    const char *date; /* NULL: there is none */
};

/* Reads all entries into page's rows. What else the answer says is in *ret_root, which the caller frees, also after a
 * failure. */
bool entries_read(const struct page_answer *answer, const struct entry_shape *shape, struct page *page,
                  cJSON **ret_root, struct error *err) MUST_CHECK;
