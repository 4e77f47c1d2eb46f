/*
 * How one account of a deployment ended, on `results` (key: deployment id): exactly one visible record per job, with
 * the evidence per object.
 */
#pragma once

#include "schemas/job.h"

enum result_outcome {
    RESULT_SUCCEEDED,
    RESULT_UNCHANGED, /* everything was already there and identical */
    RESULT_FAILED,
    RESULT_SUPERSEDED, /* a newer deployment of the same account and application took its place */
    RESULT_TIMED_OUT,  /* the artifact never appeared */
    RESULT_SKIPPED,    /* the account is suspended */
};

extern const char *const result_outcome_names[];

/* How far a written object was compared with its source: not at all beyond the store's own word, by size, by ETag, or
 * by a checksum of all its bytes. */
enum result_check { CHECK_ANSWER, CHECK_SIZE, CHECK_ETAG, CHECK_CHECKSUM };

extern const char *const result_check_names[];

/* At most this many objects are listed one by one; `objects` and `bytes` always count all. */
enum { RESULT_EVIDENCE_MAXIMUM = 2000 };

struct result_object {
    char *bucket;
    char *key;
    int64_t bytes;
    char *etag;    /* of the written object, as the store answered */
    char *version; /* version id, where the bucket keeps versions */
    bool unchanged;
    int check;      /* enum result_check */
    char *checksum; /* of all its bytes, where it is known: crc64nvme:<base64> or sha256:<hex> */
    int64_t attempts;
};

struct result {
    struct envelope envelope;
    char *deployment;
    char *account;
    char *repository; /* absent, like the other names, when the job could not be read */
    char *application;
    char *ref;
    char *tag;
    char *commit;
    char *build;
    int outcome;      /* enum result_outcome */
    char *reason;     /* for people; absent when succeeded or unchanged */
    int64_t attempts; /* how often the job was tried, 0 when it never ran */
    int64_t objects;  /* objects that are in place */
    int64_t bytes;
    int64_t left_out; /* objects of the build that its manifest does not name */
    int64_t started_ms;
    int64_t finished_ms;
    struct groups evidence; /* of struct result_object */
};

extern const struct codec result_codec;

/* As message_parse, message_format and message_free. */
bool result_parse(struct slice body, struct result **ret_result, struct error *err) MUST_CHECK;
void result_format(const struct result *result, struct buffer *buffer);
void result_free(struct result *result);
DEFINE_AUTO(result, struct result *);

/* A result with everything that the job says, begun and finished now. source: who writes it; reason may be NULL. */
struct result *result_of_job(const struct job *job, const char *source, enum result_outcome outcome,
                             const char *reason);
