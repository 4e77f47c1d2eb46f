/*
 * The JSON in which containers, instances and credential processes hand out a key: {"AccessKeyId", "SecretAccessKey",
 * "Token" or "SessionToken", "Expiration", ...}. Key and token must be visible ASCII, as they become header lines; an
 * answer with a code of its own other than "Success" is a refusal. Texts of errors show names, codes and messages of
 * the giver, never a value of a key; what the parser held is wiped.
 *
 * The rules are those of the AWS SDKs (names in any case; a process has "Version": 1 and may leave out token and
 * expiration). The only file of aws/ that reads JSON.
 */
#pragma once

#include "workers/common/aws/credentials.h"
#include "workers/common/base/slice.h"

enum key_giver {
    KEY_GIVER_SERVICE, /* a container's or an instance's endpoint: all four members */
    KEY_GIVER_PROCESS,
};

/* ERROR_RETRY for what is no such document (a server in trouble says anything), ERROR_REJECT for a refusal and for a
 * process. origin is copied. */
bool key_document_read(struct slice text, enum key_giver giver, const char *origin, struct credentials **ret_key,
                       struct error *err) MUST_CHECK;
