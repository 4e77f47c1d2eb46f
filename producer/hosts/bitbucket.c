/*
 * Bitbucket Cloud, `repo:push`: one delivery carries all changes of a push; branch and tag names come bare; `old` and
 * `new` are null where other hosts send zeros; of an annotated tag, `new.target.hash` is the commit.
 * https://support.atlassian.com/bitbucket-cloud/docs/event-payloads/#Push
 */
#include "producer/hosts/push.h"

static bool bitbucket_is_genuine(const struct secrets *secrets, const struct host_headers *headers, struct slice body,
                                 int64_t now_ms)
{
    (void)now_ms;
    return signature_check_hub(secrets, body, host_header_alone(headers, "X-Hub-Signature"));
}

static void change_read(const struct push *push, const cJSON *change, struct changes *changes)
{
    const cJSON *old = json_member(change, "old");
    const cJSON *new = json_member(change, "new");
    const cJSON *side = new != NULL ? new : old;
    const cJSON *target = json_member(new, "target");
    const char *type = json_text(side, "type");
    const char *name = json_text(side, "name");
    if (type == NULL || name == NULL) {
        changes_ignore(changes, "a change has neither new nor old with type and name");
        return;
    }
    bool is_tag = strcmp(type, "tag") == 0 || strcmp(type, "annotated_tag") == 0;
    if (!is_tag && strcmp(type, "branch") != 0 && strcmp(type, "named_branch") != 0) {
        changes_ignore(changes, "a change of type %.40s is neither a branch nor a tag", type);
        return;
    }
    AUTO(text) char *ref = text_format("refs/%s/%s", is_tag ? "tags" : "heads", name);
    struct move move = {
        .ref = ref,
        .before = json_text(json_member(old, "target"), "hash"),
        .after = json_text(target, "hash"),
        .committed_ms = date_read(json_member(target, "date")),
        .forced = cJSON_IsTrue(json_member(change, "forced")),
    };
    /* Without this, a payload that lacks the commit would be a deletion. */
    if (new != NULL && text_either(move.after, NULL) == NULL) {
        changes_ignore(changes, "new.target.hash of %.80s is missing", ref);
        return;
    }
    push_add(push, &move, changes);
}

void bitbucket_changes_read(const struct push *push, const cJSON *list, struct changes *changes)
{
    for (const cJSON *change = list->child; change != NULL; change = change->next) {
        change_read(push, change, changes);
    }
    if (changes->items.count == 0) {
        changes_ignore(changes, "the push has no changes");
    }
}

static bool push_read(const cJSON *root, const struct host_headers *headers, struct changes *changes, struct error *err)
{
    const cJSON *repository = json_member(root, "repository");
    const cJSON *list = json_member(json_member(root, "push"), "changes");
    const cJSON *actor = json_member(root, "actor");
    const char *attempt = host_header(headers, "X-Attempt-Number");
    const char *name = json_text(repository, "full_name");
    if (name == NULL || !cJSON_IsArray(list)) {
        return error_set(err, ERROR_REJECT,
                         "not a push of Bitbucket Cloud: repository.full_name and push.changes are needed");
    }
    AUTO(push)
    struct push push = {
        .actor = text_either(json_text(actor, "nickname"), json_text(actor, "display_name")),
        .delivery = host_header(headers, "X-Request-UUID"),
        .is_redelivered = attempt != NULL && strcmp(attempt, "1") != 0,
    };
    if (!push_begin(&push, &bitbucket_host, name, json_member(repository, "uuid"), err)) {
        return false;
    }
    bitbucket_changes_read(&push, list, changes);
    return true;
}

static bool bitbucket_parse(const struct host_headers *headers, struct slice body, struct changes *ret_changes,
                            struct error *err)
{
    const char *key;
    AUTO(json) cJSON *root = NULL;
    if (!payload_event(headers, "X-Event-Key", &key, err) || !payload_parse(body, &root, err)) {
        return false;
    }
    bool is_push = key != NULL ? strcmp(key, "repo:push") == 0 : json_member(root, "push") != NULL;
    if (!is_push) {
        changes_ignore(ret_changes, "%.60s is not a push", key != NULL ? key : "a payload without push");
        return true;
    }
    return push_read(root, headers, ret_changes, err);
}

const struct host bitbucket_host = {"bitbucket", bitbucket_is_genuine, bitbucket_parse, .sends_again = true};
