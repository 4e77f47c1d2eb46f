/*
 * The copies of one round under way: as many at once as may be, first the assets, then the pages, and then, only when
 * all the others are in place and its owner says so, the trigger.
 *
 *     COPIES assets -> COPIES pages -> AWAITS_WORD -> COPIES the trigger -> ended
 */
#pragma once

#include "workers/copier/pace.h"
#include "workers/copier/tally.h"
#include "workers/copier/transfer.h"

/* What all shipments of a copier share. */
struct shipment_shared {
    struct transfer_shared transfer;
    struct pace *pace;
    struct tally *tally;
    int64_t retry_for_ms;  /* counted from the last object that got there */
    size_t copies_at_once; /* of one job */
};

struct shipment;

/* All is borrowed until the shipment is freed, the writer until shipment_renew brings another. */
struct shipment_request {
    const struct job *job;
    struct copies *copies; /* sorted; each is told how it ended */
    const struct credentials *writer;
    const struct credentials *reader; /* of the source; NULL: the writer's */
    int64_t give_up_at_ms;            /* clock_monotonic_ms */
    bool may_read_target;             /* false: it has been refused before */
};

struct shipment_result {
    struct error err;       /* ERROR_NONE: nothing has failed */
    struct failure failure; /* with an error */
    int64_t give_up_at_ms;  /* as requested, or later when objects have got there */
    bool has_written;       /* even if a copy has failed */
    bool target_is_opaque;  /* the role may not read what it has written */
};

/* Who is asked and told; ended may free the shipment, and is the last of them. */
struct shipment_owner {
    /* Only the trigger is left: shipment_go_on copies it. */
    void (*asks_for_word)(void *context);
    /* The writer's credentials have expired in the middle of a copy: shipment_renew goes on. */
    void (*asks_for_credentials)(void *context, const struct credentials *expired);
    void (*ended)(void *context);
    void *context;
};

/* Nothing happens, and nobody is called, before the first shipment_go_on. */
struct shipment *shipment_new(const struct shipment_shared *shared, const struct shipment_request *request,
                              const struct shipment_owner *owner);
/* Begins, or copies the trigger. The owner may be called in it. */
void shipment_go_on(struct shipment *shipment);
/* What has come of it so far, all of it once it has ended; lives as long as the shipment. */
const struct shipment_result *shipment_result(const struct shipment *shipment);
void shipment_renew(struct shipment *shipment, const struct credentials *writer);
/* Drops what is under way. NULL is fine. */
void shipment_free(struct shipment *shipment);
