#include "workers/copier/judge.h"

#include "tests/support/unit.h"

#include <string.h>

/* SHA-256 of nothing, and another. */
#define SUM_HEX "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define SUM_TEXT "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
#define OTHER_TEXT "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

static const struct {
    const char *name;
    struct judge_side source;
    struct judge_side target;
    const char *sha256;
    enum judge_verdict verdict;
    enum result_check check;
    const char *checksum;
    const char *reason;
} rows[] = {
    {"nothing is known", {-1, "", {"", ""}}, {-1, "", {"", ""}}, NULL, JUDGE_OPEN, CHECK_ANSWER, "", ""},
    {"equal ETags", {5, "\"e\"", {"", ""}}, {-1, "\"e\"", {"", ""}}, NULL, JUDGE_SAME, CHECK_ETAG, "", ""},
    {"unequal ETags prove nothing",
     {5, "\"e\"", {"", ""}},
     {-1, "\"f\"", {"", ""}},
     NULL,
     JUDGE_OPEN,
     CHECK_ANSWER,
     "",
     ""},
    {"equal sizes leave it open", {5, "\"e\"", {"", ""}}, {5, "\"f\"", {"", ""}}, NULL, JUDGE_OPEN, CHECK_SIZE, "", ""},
    {"unequal sizes do not",
     {5, "\"e\"", {"", ""}},
     {6, "\"e\"", {"", ""}},
     NULL,
     JUDGE_DIFFERENT,
     CHECK_SIZE,
     "",
     "has 6 bytes where the source has 5"},
    {"equal CRCs",
     {5, "\"e\"", {"AAAAAAAAAAA=", ""}},
     {5, "\"f-2\"", {"AAAAAAAAAAA=", ""}},
     NULL,
     JUDGE_SAME,
     CHECK_CHECKSUM,
     "crc64nvme:AAAAAAAAAAA=",
     ""},
    {"unequal CRCs, whatever the ETags say",
     {5, "\"e\"", {"AAAAAAAAAAA=", ""}},
     {5, "\"e\"", {"BBBBBBBBBBA=", ""}},
     NULL,
     JUDGE_DIFFERENT,
     CHECK_CHECKSUM,
     "crc64nvme:BBBBBBBBBBA=",
     "has the checksum crc64nvme:BBBBBBBBBBA= where the source has AAAAAAAAAAA="},
    {"one side's CRC is told, but proves nothing",
     {5, "\"e\"", {"", ""}},
     {5, "\"e\"", {"BBBBBBBBBBA=", ""}},
     NULL,
     JUDGE_SAME,
     CHECK_ETAG,
     "crc64nvme:BBBBBBBBBBA=",
     ""},
    {"both sides' SHA-256",
     {5, "", {"", SUM_TEXT}},
     {5, "", {"", SUM_TEXT}},
     NULL,
     JUDGE_SAME,
     CHECK_CHECKSUM,
     "sha256:" SUM_HEX,
     ""},
    {"the manifest's SHA-256 and the target's",
     {5, "", {"", ""}},
     {5, "", {"", SUM_TEXT}},
     SUM_HEX,
     JUDGE_SAME,
     CHECK_CHECKSUM,
     "sha256:" SUM_HEX,
     ""},
    {"the manifest is not what was written",
     {5, "\"e\"", {"", OTHER_TEXT}},
     {5, "\"e\"", {"", OTHER_TEXT}},
     SUM_HEX,
     JUDGE_DIFFERENT,
     CHECK_CHECKSUM,
     NULL,
     "has the SHA-256 0000000000000000000000000000000000000000000000000000000000000000 where " SUM_HEX " is expected"},
    {"the source is not what the manifest says, and the target is silent",
     {5, "\"e\"", {"", OTHER_TEXT}},
     {5, "\"e\"", {"", ""}},
     SUM_HEX,
     JUDGE_DIFFERENT,
     CHECK_CHECKSUM,
     NULL,
     NULL},
    {"a manifest that no store can judge",
     {5, "\"e\"", {"", ""}},
     {5, "\"e\"", {"", ""}},
     SUM_HEX,
     JUDGE_SAME,
     CHECK_ETAG,
     "",
     ""},
};

static void the_strongest_word_that_both_sides_have_decides(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct judgement judgement = judge(&rows[i].source, &rows[i].target, rows[i].sha256);
        if (judgement.verdict != rows[i].verdict || judgement.check != rows[i].check ||
            (rows[i].checksum != NULL && strcmp(judgement.checksum, rows[i].checksum) != 0) ||
            (rows[i].reason != NULL && strcmp(judgement.reason, rows[i].reason) != 0)) {
            fail_msg("%s: %d %d \"%s\" \"%s\"", rows[i].name, (int)judgement.verdict, (int)judgement.check,
                     judgement.checksum, judgement.reason);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_strongest_word_that_both_sides_have_decides)};
    return cmocka_run_group_tests_name("judge", tests, NULL, NULL);
}
