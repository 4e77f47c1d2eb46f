/*
 * Bitbucket Data Center (and Server), `repo:refs_changed` and `mirror:repo_synchronized`: all changes of a push, full
 * refs, zeros for "none". `toHash` of an annotated tag is the tag object; the commit is `toCommit.id`, which newer
 * versions send when a push has one change. A mirror that had too much to tell says `refLimitExceeded` instead of the
 * refs. The third-party plug-in "Post Webhooks" sends Cloud's `push.changes` under Data Center's names of repositories.
 * https://confluence.atlassian.com/bitbucketserver/event-payload-938025882.html
 */
#include "producer/hosts/push.h"

static bool server_is_genuine(const struct secrets *secrets, const struct host_headers *headers, struct slice body,
                              int64_t now_ms)
{
    (void)now_ms;
    return signature_check_hub(secrets, body, host_header_alone(headers, "X-Hub-Signature"));
}

static void change_read(const struct push *push, const cJSON *change, const cJSON *commit, struct changes *changes)
{
    const char *ref = text_either(json_text(json_member(change, "ref"), "id"), json_text(change, "refId"));
    struct move move = {
        .ref = ref,
        .before = json_text(change, "fromHash"),
        .after = json_text(change, "toHash"),
        .commit = json_text(commit, "id"),
        .committed_ms = date_read(json_member(commit, "committerTimestamp")),
    };
    if (ref == NULL || move.after == NULL || move.after[0] == '\0') {
        changes_ignore(changes, "a change without ref.id or toHash");
        return;
    }
    push_add(push, &move, changes);
}

static void changes_read(const struct push *push, const cJSON *root, const cJSON *list, struct changes *changes)
{
    /* Of several changes, nothing says to which one the commit belongs. */
    const cJSON *commit = cJSON_GetArraySize(list) == 1 ? json_member(root, "toCommit") : NULL;
    for (const cJSON *change = list->child; change != NULL; change = change->next) {
        change_read(push, change, commit, changes);
    }
    if (cJSON_IsTrue(json_member(root, "refLimitExceeded"))) {
        changes_moved_unnamed(changes, push);
        changes_ignore(changes, "refLimitExceeded: refs of %s have moved without being named", push->repository);
    }
    if (changes->items.count == 0) {
        changes_ignore(changes, "the push has no changes");
    }
}

static bool push_read(const cJSON *root, const struct host_headers *headers, struct changes *changes, struct error *err)
{
    const cJSON *repository = json_member(root, "repository");
    const cJSON *list = json_member(root, "changes");
    const cJSON *cloud_list = json_member(json_member(root, "push"), "changes");
    const cJSON *actor = json_member(root, "actor");
    const char *project = json_text(json_member(repository, "project"), "key");
    const char *slug = json_text(repository, "slug");
    if (project == NULL || slug == NULL || (!cJSON_IsArray(list) && !cJSON_IsArray(cloud_list))) {
        return error_set(err, ERROR_REJECT,
                         "not a push of Bitbucket Data Center: repository.project.key, repository.slug and changes are "
                         "needed");
    }
    AUTO(text) char *name = text_format("%s/%s", project, slug);
    AUTO(push)
    struct push push = {
        .actor = text_either(json_text(actor, "name"), json_text(actor, "username")),
        .delivery = host_header(headers, "X-Request-Id"),
    };
    if (!push_begin(&push, &bitbucket_server_host, name, json_member(repository, "id"), err)) {
        return false;
    }
    if (cJSON_IsArray(list)) {
        changes_read(&push, root, list, changes);
    } else {
        bitbucket_changes_read(&push, cloud_list, changes);
    }
    return true;
}

static bool is_push(const char *key, const cJSON *root)
{
    if (key == NULL) {
        return json_member(root, "push") != NULL;
    }
    return strcmp(key, "repo:refs_changed") == 0 || strcmp(key, "mirror:repo_synchronized") == 0 ||
           strcmp(key, "repo:push") == 0;
}

static bool server_parse(const struct host_headers *headers, struct slice body, struct changes *ret_changes,
                         struct error *err)
{
    const char *header;
    AUTO(json) cJSON *root = NULL;
    if (!payload_event(headers, "X-Event-Key", &header, err) || !payload_parse(body, &root, err)) {
        return false;
    }
    const char *key = text_either(header, json_text(root, "eventKey"));
    if (!is_push(key, root)) {
        const char *what = json_member(root, "test") != NULL ? "a test of the connection" : "a payload without changes";
        changes_ignore(ret_changes, "%.60s is not a push", key != NULL ? key : what);
        return true;
    }
    return push_read(root, headers, ret_changes, err);
}

const struct host bitbucket_server_host = {"bitbucket-server", server_is_genuine, server_parse, .sends_again = false};
