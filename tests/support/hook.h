/*
 * For tests of git hosts: headers from a list, and changes that clean up behind themselves.
 */
#pragma once

#include "producer/hosts/host.h"
#include "tests/support/unit.h"

#include <strings.h>

/* Headers as name, value, name, value, ..., NULL. A NULL list has none. */
static inline const char *hook_header(void *context, const char *name, size_t *ret_count)
{
    const char *found = NULL;
    *ret_count = 0;
    for (const char *const *at = context; at != NULL && *at != NULL; at += 2) {
        if (strcasecmp(at[0], name) == 0 && (*ret_count)++ == 0) {
            found = at[1];
        }
    }
    return found;
}

static inline bool hook_parse(const struct host *host, struct slice body, const char *const *headers,
                              struct changes *changes, struct error *err)
{
    struct host_headers found = {hook_header, (void *)headers};
    return host->parse(&found, body, changes, err);
}

static inline bool hook_is_genuine(const struct host *host, const struct secrets *secrets, const char *body,
                                   const char *const *headers, int64_t now_ms)
{
    struct host_headers found = {hook_header, (void *)headers};
    return host->is_genuine(secrets, &found, slice_of(body), now_ms);
}

static inline void changes_auto(struct changes *changes)
{
    changes_clear(changes);
}

static inline void secrets_auto(struct secrets *secrets)
{
    secrets_clear(secrets);
}

/* Fails when there are not so many. */
static inline const struct change *change_at(const struct changes *changes, size_t position)
{
    assert_true(position < changes->items.count);
    return (const struct change *)changes->items.items + position;
}

static inline const struct event *event_at(const struct changes *changes, size_t position)
{
    const struct change *change = change_at(changes, position);
    if (change->event == NULL) {
        fail_msg("ignored: %s", change->reason);
    }
    return change->event;
}

static inline const char *reason_at(const struct changes *changes, size_t position)
{
    const struct change *change = change_at(changes, position);
    assert_null(change->event);
    return change->reason;
}
