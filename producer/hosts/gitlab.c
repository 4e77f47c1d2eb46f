/*
 * GitLab, push and tag push, from a project's hook, a group's or the instance's (a system hook may have `event_name`
 * and no `object_kind`): one delivery for each ref. `after` of an annotated tag is the tag object; `checkout_sha` is
 * the commit, and null when the ref was deleted. Of more than three refs pushed at once (push_event_hooks_limit) GitLab
 * sends no push at all; a system hook then still gets `repository_update`, which names the refs and not the commits of
 * tags: good enough to know where to look.
 * https://docs.gitlab.com/user/project/integrations/webhook_events/
 */
#include "producer/hosts/push.h"

enum { PUSH_EVENT_HOOKS_LIMIT = 3 };

static const char *gitlab_delivery(const struct host_headers *headers)
{
    return text_either(host_header(headers, "webhook-id"), text_either(host_header(headers, "Idempotency-Key"),
                                                                       host_header(headers, "X-Gitlab-Event-UUID")));
}

/* A hook may send both, the token and the signature. Once a signing token is configured the signature is demanded:
 * the plain token, which every delivery shows to whoever carries it, is no way around it, not even while both are
 * configured. */
static bool gitlab_is_genuine(const struct secrets *secrets, const struct host_headers *headers, struct slice body,
                              int64_t now_ms)
{
    if (!signature_has_signing_secret(secrets)) {
        return signature_check_token(secrets, host_header_alone(headers, "X-Gitlab-Token"));
    }
    struct standard_webhook webhook = {
        .id = host_header_alone(headers, "webhook-id"),
        .timestamp = host_header_alone(headers, "webhook-timestamp"),
        .signatures = host_header_alone(headers, "webhook-signature"),
    };
    return signature_check_standard(secrets, body, &webhook, now_ms);
}

static bool push_read(const struct push *push, const cJSON *root, struct changes *changes, struct error *err)
{
    struct move move = {.commit = json_text(root, "checkout_sha")};
    if (!move_read(root, &move, err)) {
        return false;
    }
    /* Null where the ref lives: the tag is one of a tree or a blob. Older versions do not send it. */
    bool is_commitless = cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(root, "checkout_sha"));
    if (is_commitless && strspn(move.after, "0") != strlen(move.after)) {
        changes_ignore(changes, "%.80s points to no commit: checkout_sha is null", move.ref);
        return true;
    }
    move.committed_ms = commit_date(json_member(root, "commits"), text_either(move.commit, move.after));
    push_add(push, &move, changes);
    return true;
}

static bool update_read(const struct push *push, const cJSON *root, struct changes *changes)
{
    if (cJSON_GetArraySize(json_member(root, "changes")) > PUSH_EVENT_HOOKS_LIMIT) {
        changes_moved_unnamed(changes, push);
        changes_ignore(changes, "repository_update: more refs of %s have moved than GitLab sends pushes for",
                       push->repository);
    } else {
        changes_ignore(changes, "repository_update: the pushes say the same, with the commits");
    }
    return true;
}

/* "Push Hook" of a project is "System Hook" of the instance, where the body tells them apart. */
static const char *event_of(const char *header, const cJSON *root)
{
    if (header == NULL || strcmp(header, "System Hook") == 0) {
        const char *kind = text_either(json_text(root, "object_kind"), json_text(root, "event_name"));
        return kind != NULL ? kind : "a payload without object_kind and event_name";
    }
    return strcmp(header, "Push Hook") == 0 ? "push" : strcmp(header, "Tag Push Hook") == 0 ? "tag_push" : header;
}

static bool gitlab_parse(const struct host_headers *headers, struct slice body, struct changes *ret_changes,
                         struct error *err)
{
    const char *header;
    AUTO(json) cJSON *root = NULL;
    if (!payload_event(headers, "X-Gitlab-Event", &header, err) || !payload_parse(body, &root, err)) {
        return false;
    }
    const char *event = event_of(header, root);
    bool is_push = strcmp(event, "push") == 0 || strcmp(event, "tag_push") == 0;
    if (!is_push && strcmp(event, "repository_update") != 0) {
        changes_ignore(ret_changes, "%.60s is not a push", event);
        return true;
    }
    const cJSON *project = json_member(root, "project");
    const char *name = json_text(project, "path_with_namespace");
    const cJSON *id = json_member(project, "id") != NULL ? json_member(project, "id") : json_member(root, "project_id");
    AUTO(push)
    struct push push = {
        .actor = text_either(json_text(root, "user_username"), json_text(root, "user_name")),
        .delivery = gitlab_delivery(headers),
    };
    if (name == NULL) {
        return error_set(err, ERROR_REJECT, "not a push of GitLab: project.path_with_namespace is needed");
    }
    if (!push_begin(&push, &gitlab_host, name, id, err)) {
        return false;
    }
    return is_push ? push_read(&push, root, ret_changes, err) : update_read(&push, root, ret_changes);
}

const struct host gitlab_host = {"gitlab", gitlab_is_genuine, gitlab_parse, .sends_again = false};
