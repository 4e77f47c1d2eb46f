#include "workers/copier/judge.h"

#include "workers/common/aws/checksum.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static struct judgement judge_sha256(const char *expected, const char *found)
{
    struct judgement judgement = {JUDGE_SAME, CHECK_CHECKSUM, "", ""};
    (void)snprintf(judgement.checksum, sizeof(judgement.checksum), "sha256:%s", found);
    if (strcmp(expected, found) != 0) {
        judgement.verdict = JUDGE_DIFFERENT;
        (void)snprintf(judgement.reason, sizeof(judgement.reason), "has the SHA-256 %s where %s is expected", found,
                       expected);
    }
    return judgement;
}

static struct judgement judge_crc64nvme(const char *expected, const char *found)
{
    struct judgement judgement = {JUDGE_SAME, CHECK_CHECKSUM, "", ""};
    (void)snprintf(judgement.checksum, sizeof(judgement.checksum), "crc64nvme:%s", found);
    if (strcmp(expected, found) != 0) {
        judgement.verdict = JUDGE_DIFFERENT;
        (void)snprintf(judgement.reason, sizeof(judgement.reason),
                       "has the checksum crc64nvme:%s where the source has %s", found, expected);
    }
    return judgement;
}

struct judgement judge(const struct judge_side *source, const struct judge_side *target, const char *sha256)
{
    char source_sha256[CHECKSUM_SHA256_HEX_SIZE] = "";
    char target_sha256[CHECKSUM_SHA256_HEX_SIZE] = "";
    bool has_source_sha256 = sha256_hex_from_base64(source->checksums.sha256, source_sha256);
    bool has_target_sha256 = sha256_hex_from_base64(target->checksums.sha256, target_sha256);
    struct judgement judgement = {JUDGE_OPEN, CHECK_ANSWER, "", ""};
    if (source->size_bytes >= 0 && target->size_bytes >= 0) {
        judgement.check = CHECK_SIZE;
        if (source->size_bytes != target->size_bytes) {
            judgement.verdict = JUDGE_DIFFERENT;
            (void)snprintf(judgement.reason, sizeof(judgement.reason),
                           "has %" PRId64 " bytes where the source has %" PRId64, target->size_bytes,
                           source->size_bytes);
            return judgement;
        }
    }
    if (has_target_sha256 && (sha256 != NULL || has_source_sha256)) {
        return judge_sha256(sha256 != NULL ? sha256 : source_sha256, target_sha256);
    }
    if (sha256 != NULL && has_source_sha256 && strcmp(sha256, source_sha256) != 0) {
        return judge_sha256(sha256, source_sha256);
    }
    if (target->checksums.crc64nvme[0] != '\0' && source->checksums.crc64nvme[0] != '\0') {
        return judge_crc64nvme(source->checksums.crc64nvme, target->checksums.crc64nvme);
    }
    if (target->checksums.crc64nvme[0] != '\0') {
        (void)snprintf(judgement.checksum, sizeof(judgement.checksum), "crc64nvme:%s", target->checksums.crc64nvme);
    }
    if (source->etag[0] != '\0' && strcmp(source->etag, target->etag) == 0) {
        judgement.verdict = JUDGE_SAME;
        judgement.check = CHECK_ETAG;
    }
    return judgement;
}
