/*
 * Gogs, `push`, `create` and `delete`. Unlike Gitea it sends no push for a tag, and none for a deletion
 * (internal/database/actions.go): a tag comes as `create` with the object as `sha`, a deletion as `delete` without a
 * commit. Some bodies have a full ref where others have a bare one, and no repository id. Of an annotated tag Gogs
 * names only the tag object, nowhere the commit: use light tags with Gogs.
 * https://gogs.io/docs/features/webhook
 */
#include "producer/hosts/gitea.h"

static bool gogs_is_genuine(const struct secrets *secrets, const struct host_headers *headers, struct slice body,
                            int64_t now_ms)
{
    (void)now_ms;
    return signature_check_hex(secrets, body, host_header_alone(headers, "X-Gogs-Signature"));
}

static bool gogs_parse(const struct host_headers *headers, struct slice body, struct changes *ret_changes,
                       struct error *err)
{
    static const struct gitea_family family = {
        .host = &gogs_host,
        .event_headers = {"X-Gogs-Event"},
        .delivery_headers = {"X-Gogs-Delivery"},
    };
    return gitea_family_parse(&family, headers, body, ret_changes, err);
}

const struct host gogs_host = {"gogs", gogs_is_genuine, gogs_parse, .sends_again = false};
