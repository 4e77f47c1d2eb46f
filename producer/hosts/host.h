/*
 * A git host, as seen from a webhook: how its deliveries are signed, and how a payload becomes neutral events. One
 * file per host; the provider is fixed by the configured path, never guessed from the request.
 */
#pragma once

#include "producer/hosts/signature.h"
#include "schemas/event.h"

/* The headers of a request, by name in any case; NULL when absent. */
struct host_headers {
    const char *(*find)(void *context, const char *name);
    void *context;
};

/* One change of a push: an event, or the reason why it is none. */
struct change {
    struct event *event; /* NULL when ignored */
    char *reason;        /* when ignored */
};

struct changes {
    struct groups items; /* of struct change, in the order of the payload */
};

struct host {
    const char *name; /* of the provider */
    bool (*is_genuine)(const struct secrets *secrets, const struct host_headers *headers, struct slice body);
    /* All changes of a delivery. ERROR_REJECT for a payload that is not what the host sends. */
    bool (*parse)(const struct host_headers *headers, struct slice body, struct changes *ret_changes,
                  struct error *err);
};

extern const struct host bitbucket_host;

const struct host *host_named(const char *provider); /* NULL when unknown */
const char *host_header(const struct host_headers *headers, const char *name);

/* For the hosts' parsers. */
void changes_add(struct changes *changes, struct event *event);
void changes_ignore(struct changes *changes, const char *reason);
void changes_clear(struct changes *changes);
