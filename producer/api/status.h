/*
 * A commit's status as each host wants it told: the request that sets it. Pure.
 *
 * A later status of the same context takes the place of the one before it, on every host.
 */
#pragma once

#include "schemas/commit_status.h"

/* Borrowed. */
struct status {
    const char *repository;
    const char *commit;
    const char *context; /* which of a commit's statuses: tagfleet/qa; hashed where it is longer than the host takes */
    enum commit_state state; /* not COMMIT_NONE */
    const char *description; /* cut to what the host takes */
    const char *link;        /* NULL: none; where the host insists on one, the commit's own page */
    const char *api_url;     /* of the connection; NULL: the provider's public one */
};

/* "/path" beneath the API's address, encoded. The provider is one that api_host_named knows. The caller frees it. */
char *status_target(const char *provider, const struct status *status);

/* Appends the JSON body. */
void status_body(const char *provider, const struct status *status, struct buffer *body);

/* Does this refusal mean that the status is what it should be already? GitLab's way of saying so. */
bool status_is_there(const char *provider, int http_status, struct slice answer);
