/*
 * Objects that S3 cannot copy by itself, because no single role may read the one side and write the other: read here
 * with the main account's credentials and written with each account's. A part of a source is read once and sent to all
 * targets that wait for it, in whatever order they come and go; parts of an upload may arrive in any order.
 *
 * Memory is parts_maximum times part_size_bytes, whatever the size of the objects and the number of targets: reading
 * waits until a part has gone to all. An account that lags behind the others is not waited for: its part is read again
 * when it is ready, and it never holds more than a share of the memory.
 *
 * What is read is compared with the checksum that the source's store keeps, where it keeps one, before an object is
 * completed; each part carries its MD5, which the target's store checks.
 */
#pragma once

#include "workers/common/aws/checksum.h"
#include "workers/common/aws/upload.h"

struct relay;
struct relay_copy;

struct relay_settings {
    int64_t part_size_bytes;
    size_t parts_maximum; /* in memory at once, at least 1 */
};

struct relay *relay_new(struct aws_client *client, struct uploads *uploads, const struct relay_settings *settings);
void relay_free(struct relay *relay); /* every copy must have ended; NULL is fine */

struct relay_request {
    struct s3_subject source; /* with the reader's credentials */
    const char *source_etag;
    const char *source_crc64nvme; /* base64; "": not known */
    int64_t size_bytes;
    struct s3_subject target; /* with the writer's */
    const struct s3_write *write;
    /* The target's store says that the writer's credentials have expired: the copy waits for relay_renew. */
    void (*on_expired)(void *context, const struct credentials *expired);
};

/* Everything is copied. done is called once, from a later turn, with the answer of what wrote the object or of what
 * failed; checksums are those of the bytes that were sent. context is that of done and on_expired. */
struct relay_copy *relay_start(struct relay *relay, const struct relay_request *request, s3_done *done, void *context);
void relay_renew(struct relay_copy *copy, const struct credentials *credentials);
void relay_cancel(struct relay_copy *copy); /* without calling back; NULL is fine */

/* Counts for metrics and tests. */
struct relay_statistics {
    uint64_t parts_read;
    uint64_t parts_sent;
    int64_t bytes_held; /* gauge */
};
void relay_statistics_read(const struct relay *relay, struct relay_statistics *ret_statistics);
