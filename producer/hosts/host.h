/*
 * A git host, as seen from a webhook: how its deliveries are signed, and how a payload becomes neutral events. One
 * file per host; the provider is fixed by the configured path, never guessed from the request. push.h has what the
 * hosts' parsers share.
 */
#pragma once

#include "producer/hosts/signature.h"
#include "schemas/event.h"

/* The headers of a request. `find` takes a name in any case, gives the first value (NULL when there is none, "" when it
 * is empty) and counts how often the name occurs. */
struct host_headers {
    const char *(*find)(void *context, const char *name, size_t *ret_count);
    void *context;
};

/* The value of a header, the first one if there are more. NULL when absent. For what decides nothing. */
const char *host_header(const struct host_headers *headers, const char *name);

/* The value of a header that occurs exactly once, NULL otherwise. For what decides: whoever stands between the host and
 * us might read the other one. */
const char *host_header_alone(const struct host_headers *headers, const char *name);

/* One change of a push: an event, or the reason why it is none. */
struct change {
    struct event *event; /* NULL when ignored */
    char *reason;        /* when ignored */
};

/* Who tells of a change: of a created ref some hosts send two deliveries, of which the creation knows less. */
enum telling { TOLD_ALONE, TOLD_BY_PUSH, TOLD_BY_CREATION };

struct changes {
    struct groups items; /* of struct change, in the order of the payload */
    /* A repository, in lower case, of which the host says that refs have moved without saying which: whoever can should
     * look there now. NULL: none. */
    char *moved_unnamed;
    enum telling telling;
};

struct host {
    const char *name; /* of the provider */
    /* Does somebody who knows a secret vouch for the body? now_ms: wall clock, where the scheme has a time. */
    bool (*is_genuine)(const struct secrets *secrets, const struct host_headers *headers, struct slice body,
                       int64_t now_ms);
    /* All changes of a delivery. ERROR_REJECT for a payload that is not what the host sends; the changes are to be
     * cleared in any case. A single change that cannot be an event is ignored with its reason, so that it does not take
     * the others with it. */
    bool (*parse)(const struct host_headers *headers, struct slice body, struct changes *ret_changes,
                  struct error *err);
    /* Is a delivery that was answered 503 sent again, by the host or by whoever sees the answer? */
    bool sends_again;
};

extern const struct host bitbucket_host;
extern const struct host bitbucket_server_host;
extern const struct host github_host;
extern const struct host gitlab_host;
extern const struct host gitea_host;
extern const struct host gogs_host;
extern const struct host generic_host;

/* For texts; what it says is what host_named knows. */
#define HOST_NAMES "bitbucket, bitbucket-server, github, gitlab, gitea (Forgejo too), gogs, generic"

extern const struct host *const hosts[]; /* ended by NULL */

const struct host *host_named(const char *provider); /* NULL when unknown */

void changes_clear(struct changes *changes);
