/*
 * What the notifier knows: the table `statuses` of the deployments under way (kafka/table.h), and over it what this
 * process has decided but not seen committed yet, per input partition: forgotten with the partition. Beside it, which
 * deployment of a ref and of a status came last, so that an older one that was held up does not have the last word.
 */
#pragma once

#include "schemas/commit_status.h"
#include "workers/common/kafka/table.h"

enum { RECALL_TIMES_MAXIMUM = 50000 };

struct recall;

struct recall *recall_new(void);
void recall_free(struct recall *recall); /* NULL is fine */

struct table_reader recall_reader(struct recall *recall); /* for tables_open */

/* Borrowed until the next change; NULL: nothing is remembered. */
const struct commit_status *recall_get(const struct recall *recall, const char *deployment);

/* What was decided for a message of that partition; status NULL: nothing is to be remembered any more. Takes over. */
void recall_put(struct recall *recall, int32_t partition, const char *deployment, struct commit_status *status);
void recall_forget_partition(struct recall *recall, int32_t partition);

/* Calls visit for each deployment of the ref that waits for its build. visit must not change the recall. */
void recall_each_waiting(const struct recall *recall, const char *repository, const char *ref,
                         void (*visit)(const struct commit_status *status, void *context), void *context);

/* A deployment of the ref was decided then. commit may be NULL. */
void recall_note(struct recall *recall, const char *repository, const char *ref, const char *commit, const char *tag,
                 int64_t decided_ms);

/* When the last known deployment of the ref, or of the commit's status, was decided; 0: none is known. Only so many are
 * remembered, the latest at least RECALL_TIMES_MAXIMUM. */
int64_t recall_ref_ms(const struct recall *recall, const char *repository, const char *ref);
int64_t recall_slot_ms(const struct recall *recall, const char *repository, const char *commit, const char *slot);
