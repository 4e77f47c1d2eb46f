/*
 * What a call of S3 is about and how it writes, kept for calls that follow later: copies of the borrowed structs of
 * aws/s3.h that own their texts.
 */
#pragma once

#include "workers/common/aws/s3.h"

struct s3_subject s3_subject_keep(const struct s3_subject *subject);
void s3_subject_renew(struct s3_subject *kept, const struct credentials *credentials);
void s3_subject_drop(struct s3_subject *kept);

/* attributes holds the kept attributes and must stay where it is; it may be added to. */
struct s3_write s3_write_keep(const struct s3_write *write, struct headers *attributes);
void s3_write_drop(struct s3_write *kept, struct headers *attributes);
