/*
 * The notifier's memory of one deployment on `statuses` (compacted, key: deployment id): how its accounts have ended so
 * far, and what the git host was told of it last. Gone once the host knows how it ended.
 */
#pragma once

#include "schemas/codec.h"

enum commit_state { COMMIT_NONE, COMMIT_PENDING, COMMIT_SUCCESS, COMMIT_FAILURE, COMMIT_ERROR };

extern const char *const commit_state_names[];

struct commit_status {
    struct envelope envelope;
    char *deployment;
    char *repository;
    char *ref;
    char *tag; /* the map's key; absent: the ref's own name stands for it */
    char *commit;
    int64_t decided_ms; /* when the resolver had decided; 0: only skipped accounts are known, which come before that */
    bool waiting;       /* noted: its build is not published yet */
    int64_t accounts;
    int64_t succeeded;
    int64_t unchanged;
    int64_t failed;
    int64_t superseded;
    int64_t timed_out;
    int64_t skipped;
    int state;         /* enum commit_state: what was posted last */
    char *description; /* that was posted with it */
};

extern const struct codec commit_status_codec;

/* As message_parse, message_format and message_free. */
bool commit_status_parse(struct slice body, struct commit_status **ret_commit_status, struct error *err) MUST_CHECK;
void commit_status_format(const struct commit_status *commit_status, struct buffer *buffer);
void commit_status_free(struct commit_status *commit_status);
DEFINE_AUTO(commit_status, struct commit_status *);
