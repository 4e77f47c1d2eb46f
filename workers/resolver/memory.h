/*
 * What the resolver knows: the map and the directory of accounts, which operators write; the refs and the builds, which
 * only resolvers write. All four are tables (kafka/table.h). What this process has decided but not seen committed yet
 * lies over the tables, per input partition, and is forgotten with the partition: then somebody else decides.
 */
#pragma once

#include "schemas/account.h"
#include "schemas/build.h"
#include "schemas/map_entry.h"
#include "schemas/ref_state.h"
#include "workers/common/base/index.h"
#include "workers/common/kafka/table.h"

struct memory;

struct memory *memory_new(void);
void memory_free(struct memory *memory); /* NULL is fine */

/* The tables' readers, for tables_open: first the directory (map, accounts), then the resolver's own (refs, builds). */
enum { MEMORY_DIRECTORY = 0, MEMORY_DIRECTORY_COUNT = 2, MEMORY_OWN = 2, MEMORY_OWN_COUNT = 2, MEMORY_COUNT = 4 };
void memory_readers(struct memory *memory, struct table_reader ret_readers[MEMORY_COUNT]);

/* Borrowed until the next change. NULL when unknown. */
const struct ref_state *memory_ref(const struct memory *memory, const char *repository, const char *ref);
const struct build *memory_build(const struct memory *memory, const char *repository, const char *commit);
const struct account *memory_account(const struct memory *memory, const char *account);

/* *ret_wrong: why the entry cannot be used, or NULL. */
const struct map_entry *memory_map(const struct memory *memory, const char *tag, const char **ret_wrong);
bool memory_map_has(void *memory, const char *tag);
void memory_map_each(void *memory, void (*visit)(const char *tag, void *context), void *context);

/* Calls visit for each ref of a repository. visit must not change the memory. */
void memory_each_ref(const struct memory *memory, const char *repository,
                     void (*visit)(const struct ref_state *state, void *context), void *context);

/* Takes over what was decided for a message of that partition. */
void memory_put_ref(struct memory *memory, int32_t partition, struct ref_state *state);
void memory_put_build(struct memory *memory, int32_t partition, struct build *build);
void memory_forget_partition(struct memory *memory, int32_t partition);

/* Keys of the topics; the caller frees them. */
char *memory_key(const char *repository, const char *name);
