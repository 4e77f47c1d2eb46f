#include "workers/common/aws/kept.h"

#include <stdlib.h>

static void drop(const void *owned)
{
    free((void *)(uintptr_t)owned);
}

struct s3_subject s3_subject_keep(const struct s3_subject *subject)
{
    return (struct s3_subject){
        .bucket = {text_copy(subject->bucket.name), text_copy(subject->bucket.region),
                   text_copy_or_null(subject->bucket.owner)},
        .key = text_copy(subject->key),
        .credentials = credentials_copy(subject->credentials),
        .deadline_ms = subject->deadline_ms,
        .is_region_fixed = subject->is_region_fixed,
    };
}

void s3_subject_renew(struct s3_subject *kept, const struct credentials *credentials)
{
    credentials_free((struct credentials *)(uintptr_t)kept->credentials);
    kept->credentials = credentials_copy(credentials);
}

void s3_subject_drop(struct s3_subject *kept)
{
    drop(kept->bucket.name);
    drop(kept->bucket.region);
    drop(kept->bucket.owner);
    drop(kept->key);
    credentials_free((struct credentials *)(uintptr_t)kept->credentials);
}

struct s3_write s3_write_keep(const struct s3_write *write, struct headers *attributes)
{
    if (write->attributes != NULL) {
        headers_add_all(attributes, write->attributes);
    }
    return (struct s3_write){
        .encryption = text_copy_or_null(write->encryption),
        .kms_key = text_copy_or_null(write->kms_key),
        .is_bucket_key = write->is_bucket_key,
        .storage_class = text_copy_or_null(write->storage_class),
        .acl = text_copy_or_null(write->acl),
        .is_new_only = write->is_new_only,
        .attributes = attributes,
        .tags = text_copy_or_null(write->tags),
    };
}

void s3_write_drop(struct s3_write *kept, struct headers *attributes)
{
    drop(kept->encryption);
    drop(kept->kms_key);
    drop(kept->storage_class);
    drop(kept->acl);
    drop(kept->tags);
    headers_clear(attributes);
}
