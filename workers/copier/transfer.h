/*
 * One object on its way into an account: looked at when it may be there already, copied by whatever fits its size and
 * the job's mode, and compared with its source.
 *
 *     [AWAITS_SOURCE] -> [AWAITS_TARGET] -> COPIES -> [AWAITS_CHECK] -> ended
 *                                              \-> [AWAITS_DIAGNOSIS] -> ended
 *
 * Steps in brackets are taken only where the listings and the answer of the copy leave a question open, so that most
 * objects cost one request.
 */
#pragma once

#include "workers/common/aws/multipart.h"
#include "workers/copier/copies.h"
#include "workers/copier/relay.h"
#include "workers/copier/sources.h"

/* What all transfers of a copier share. */
struct transfer_shared {
    struct aws_client *client;
    struct uploads *uploads;
    struct sources *sources;
    struct relay *relay;
    int64_t multipart_threshold_bytes; /* larger objects are copied in parts */
    int64_t part_size_bytes;
    size_t parts_at_once; /* of one object */
    bool follows_region;  /* into a target's bucket that is in another region than the job says */
};

struct transfer;

struct transfer_request {
    const struct job *job;            /* borrowed until the transfer has ended */
    const struct copy_object *object; /* borrowed likewise */
    const struct credentials *writer; /* of the account */
    const struct credentials *reader; /* of the source: the same, or the main account's with JOB_RELAY */
    int64_t deadline_ms;              /* clock_monotonic_ms */
    bool may_read_target;             /* false: it has been refused before */
};

/* How it ended; borrowed for the duration of the callback. */
struct transfer_result {
    struct error err;
    struct failure failure;
    const char *etag; /* NULL on failure */
    const char *version;
    const char *checksum; /* NULL: not known */
    enum result_check check;
    bool is_unchanged;     /* it was there already */
    bool may_have_written; /* of a failure: the target may be there nevertheless */
    bool target_is_opaque; /* the role may not read what it has written */
    unsigned attempts;
};

typedef void transfer_done(void *context, const struct transfer_result *result);
/* The writer's credentials have expired in the middle: the transfer waits for transfer_renew. */
typedef void transfer_expired(void *context, const struct credentials *expired);

/* Both are called from later turns only; done exactly once, unless the transfer is cancelled. */
struct transfer *transfer_start(const struct transfer_shared *shared, const struct transfer_request *request,
                                transfer_done *done, transfer_expired *expired, void *context);
void transfer_renew(struct transfer *transfer, const struct credentials *writer);
void transfer_cancel(struct transfer *transfer); /* NULL is fine */
