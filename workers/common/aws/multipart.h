/*
 * CopyObject for objects larger than it takes: an upload (aws/upload.h) whose parts are copied within S3, several at a
 * time, each pinned to the ETag of the source, so that no object is ever put together from two versions. Metadata and
 * tags do not come along by themselves: the caller reads them from the source and says them in write.
 *
 * Credentials that run out in its middle are asked for anew; what has been copied stays.
 */
#pragma once

#include "workers/common/aws/upload.h"

struct multipart;

struct multipart_request {
    struct s3_subject target;
    struct s3_copy_source source; /* etag and size must be known */
    const struct s3_write *write;
    int64_t part_size_bytes; /* as wanted; see upload_part_size */
    size_t parts_at_once;
    /* The store says that the credentials have expired: the copy waits for multipart_renew. */
    void (*on_expired)(void *context, const struct credentials *expired);
};

/* Everything is copied. done is called once with the answer of the completion, or of what failed; never from within
 * multipart_start. attempts are those of all requests together. context is that of done and on_expired. */
struct multipart *multipart_start(struct uploads *uploads, const struct multipart_request *request, s3_done *done,
                                  void *context);
void multipart_renew(struct multipart *multipart, const struct credentials *credentials);

/* Ends it without calling back; what was uploaded is aborted in the background. NULL is fine. */
void multipart_cancel(struct multipart *multipart);
