/*
 * Is what lies in the account what was built? Compares what both sides say of an object, from the strongest word to the
 * weakest: a checksum of all bytes, the ETag where it is one of the bytes, the size. Pure.
 */
#pragma once

#include "schemas/result.h"
#include "workers/common/aws/s3.h"

/* What one side says; "" and -1 for what it does not. */
struct judge_side {
    int64_t size_bytes;
    const char *etag;
    struct s3_checksums checksums; /* base64, of the whole object */
};

enum judge_verdict { JUDGE_OPEN, JUDGE_SAME, JUDGE_DIFFERENT };

struct judgement {
    enum judge_verdict verdict;
    enum result_check check; /* of JUDGE_SAME; for JUDGE_OPEN what is left: CHECK_SIZE or CHECK_ANSWER */
    char checksum[96];       /* as in a result; "" when none is known */
    char reason[256];        /* of JUDGE_DIFFERENT */
};

/* sha256: hex, that a manifest demands of the target; NULL: none. Sizes that agree leave the question open; those that
 * differ do not. */
struct judgement judge(const struct judge_side *source, const struct judge_side *target, const char *sha256);
