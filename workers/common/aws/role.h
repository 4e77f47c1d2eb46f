/*
 * Whose credentials to use: the one place that is asked. It answers with the main credentials, with those of a named
 * profile, or with those of a role assumed by the main ones, from a cache: one entry per (role, external id, region,
 * policy) or profile and one for the main credentials, one question in flight per entry however many wait, refreshed
 * early with jitter while the old key is still in use, and never dropped for a failed refresh as long as it is good.
 * What cannot be had is not asked for again at once: the failure is answered from memory for 1 s, growing to 1 min.
 *
 * Where main credentials and profiles come from is decided by aws/chain.h, anew at every refresh. STS (600 calls a
 * second for a whole account and Region) sees no more than a set number of attempts a second, however many roles are
 * asked for at once; the others wait their turn.
 */
#pragma once

#include "workers/common/aws/client.h"
#include "workers/common/aws/credentials.h"

struct roles;
struct role_wait;

enum { ROLES_CALLS_PER_SECOND_DEFAULT = 100 };

struct roles_settings {
    const char *main_profile; /* NULL: AWS_PROFILE, else the first source that is set up; see aws/chain.h */
    const char *session_name; /* who we are, in the accounts' audit trail; made valid by sts_session_name */
    const char *region;       /* of STS for roles of profiles, where neither AWS_REGION nor the profile says it; NULL:
                               * us-east-1 */
    int64_t duration_seconds; /* of a session; 0: one hour */
    int64_t calls_per_second; /* to STS at most; 0: ROLES_CALLS_PER_SECOND_DEFAULT */
    size_t entries_maximum;   /* remembered roles and profiles; 0: 20,000 */
};

/* Texts are copied. Nothing is read yet. client must outlive the roles. */
struct roles *roles_new(struct aws_client *client, const struct roles_settings *settings);
void roles_free(struct roles *roles); /* cancels everything without calling back; NULL is fine */

/* Exactly one of profile and role_arn, or none of them for the main credentials. Texts are copied. */
struct role_request {
    const char *profile;
    const char *role_arn;
    const char *external_id;    /* NULL: none */
    const char *region;         /* of the STS endpoint; needed with role_arn */
    const char *session_policy; /* NULL: none */
};

/* How a wait ended. credentials is NULL when err is set, and borrowed for the duration of the call. */
struct role_answer {
    const struct credentials *credentials;
    struct error err;
    struct failure failure; /* kind FAILURE_NONE when the failure was none of AWS's */
    int64_t retry_in_ms;    /* with an error: earlier questions get the same answer; 0: does not apply */
};

/* Answers from a later loop_dispatch, exactly once unless cancelled. The handle is valid until then. Never NULL. */
struct role_wait *roles_get(struct roles *roles, const struct role_request *request,
                            void (*on_answer)(void *context, const struct role_answer *answer), void *context);
void role_wait_cancel(struct role_wait *wait); /* NULL is fine; the others that wait are not affected */

/* The credentials if they are there and good, else NULL; borrowed until the next loop_dispatch. Saves a turn of the
 * loop per call. */
const struct credentials *roles_peek(struct roles *roles, const struct role_request *request);

/* The server said that these credentials have expired: drop them from the cache (not newer ones). */
void roles_forget(struct roles *roles, const struct role_request *request, const struct credentials *expired);

/* Counts for metrics. */
struct roles_statistics {
    size_t entries;    /* without that of the main credentials */
    uint64_t calls;    /* roles asked STS for, those within profiles not counted */
    uint64_t failures; /* keys that could not be had */
    uint64_t hits;     /* questions answered from memory */
};
void roles_statistics_read(const struct roles *roles, struct roles_statistics *ret_statistics);
