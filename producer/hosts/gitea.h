/*
 * Gitea and Gogs, of which it is a fork: the payloads are the same, what is sent when is not.
 */
#pragma once

#include "producer/hosts/host.h"

struct gitea_family {
    const struct host *host;
    /* Names of headers, the one that counts first. Forgejo sends Gitea's beside its own. */
    const char *event_headers[2];
    const char *delivery_headers[2];
    bool has_tag_pushes; /* a deleted tag gives a push beside the delete */
};

/* As the host's own function. */
bool gitea_family_parse(const struct gitea_family *family, const struct host_headers *headers, struct slice body,
                        struct changes *ret_changes, struct error *err) MUST_CHECK;
