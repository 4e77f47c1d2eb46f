/*
 * Every call that the product makes to S3 and STS, as a table: for tests that put each of them through the same.
 */
#pragma once

#include "tests/support/scripted_aws.h"
#include "workers/common/aws/failure.h"

struct s3_ending {
    bool is_done;
    unsigned calls;
    struct error err;
    struct failure failure;
    unsigned attempts;
    bool has_answer; /* what a success brings was there */
    char etag[64];
    char region[32];
};

struct s3_call_case {
    const struct scripted_aws *aws;
    const char *bucket;
    int64_t deadline_ms;
    bool is_region_fixed;
    struct s3_ending ending;
};

struct s3_call_kind {
    const char *name;
    void (*start)(struct s3_call_case *call);
    struct http_script_answer good; /* what it is answered when all is well */
    unsigned attempts;              /* that a scripted client makes */
    bool is_head;                   /* its answers have no body */
    bool is_document;               /* its answer is read as a document */
    bool is_opaque;                 /* the body of its answer is content, whatever it looks like */
    bool has_region;                /* a bucket's, which may turn out to be another one */
};

extern const struct s3_call_kind s3_call_kinds[];
extern const size_t s3_call_kind_count;

/* Runs one call to its end. */
void s3_call_play(const struct s3_call_kind *kind, struct s3_call_case *call);

/* How many descriptors this process has open. */
size_t descriptors_open(void);
