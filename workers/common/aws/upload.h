/*
 * One object put together from parts: opened, its parts copied within S3 or sent from here in any order, then completed
 * or aborted. Nothing is left behind: an upload that is given up on any way is aborted, at the latest when the process
 * ends; and opening one aborts what a process that died has left open for the same key.
 *
 * A completion whose answer was lost looks like an unknown upload when it is repeated; the object's metadata then tells
 * whether it was this one (each upload writes an id of its own into x-amz-meta-tagfleet-upload).
 *
 *     AWAITS_LEFTOVERS -> AWAITS_ID -> OPEN (parts) -> AWAITS_COMPLETION [-> AWAITS_HEAD] -> ended
 */
#pragma once

#include "workers/common/aws/s3.h"

/* All uploads of a client, and those that are being aborted after their owners have gone. */
struct uploads;

struct uploads *uploads_new(struct aws_client *client);
/* Aborts what is still to be aborted, for at_most_ms; what is left then is logged. Every upload must have been freed.
 * NULL is fine. */
void uploads_free(struct uploads *uploads, int64_t at_most_ms);

struct upload;

struct upload_request {
    struct s3_subject target;
    const struct s3_write *write;
    size_t part_count; /* at most S3_PARTS_MAXIMUM */
    int64_t size_bytes;
};

/* Everything is copied. opened is called once, from a later turn: on failure with the error, and then the upload can
 * only be freed. */
struct upload *upload_open(struct uploads *uploads, const struct upload_request *request, s3_done *opened,
                           void *context);

/* Parts count from 1; each of them once, and again only after it has failed. The body is borrowed until done. */
void upload_send_part(struct upload *upload, unsigned number, const struct s3_body *body, s3_done *done, void *context);
void upload_copy_part(struct upload *upload, unsigned number, const struct s3_copy_source *source, int64_t first_byte,
                      int64_t length_bytes, s3_done *done, void *context);

/* After every part has succeeded. After a failure for expired credentials it may be called again with new ones. */
void upload_complete(struct upload *upload, s3_done *done, void *context);

/* For everything from now on. */
void upload_renew(struct upload *upload, const struct credentials *credentials);

/* Gives the upload up, unless it was completed: cancels its calls, and has it aborted in the background. NULL is
 * fine. */
void upload_free(struct upload *upload);

/* The size of parts for an object: as wanted, but so that S3_PARTS_MAXIMUM suffice and S3 takes them. */
int64_t upload_part_size(int64_t size_bytes, int64_t wanted_bytes);
