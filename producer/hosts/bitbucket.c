/*
 * Bitbucket Cloud, `repo:push`: one delivery carries all changes of a push; branch and tag names come bare; `old` and
 * `new` are null where other hosts send zeros; of an annotated tag, `new.target.hash` is the commit.
 * https://support.atlassian.com/bitbucket-cloud/docs/event-payloads/#Push
 */
#include "producer/hosts/host.h"

#include "schemas/identity.h"
#include "schemas/json.h"
#include "workers/common/base/clock.h"

enum { PAYLOAD_MAXIMUM_BYTES = 32 * 1024 * 1024 };

static bool bitbucket_is_genuine(const struct secrets *secrets, const struct host_headers *headers, struct slice body)
{
    return signature_check_hub(secrets, body, host_header(headers, "X-Hub-Signature"));
}

/* What all changes of a delivery share. */
struct push {
    char *repository;
    const char *repository_id;
    const char *actor;
    const char *delivery;
    bool is_redelivered;
};

static const char *target_commit(const cJSON *side)
{
    return json_text(json_member(side, "target"), "hash");
}

static enum event_kind change_kind(bool is_tag, const cJSON *old, const cJSON *new)
{
    if (new == NULL) {
        return EVENT_REF_DELETED;
    }
    if (!is_tag) {
        return EVENT_BRANCH_UPDATED;
    }
    return old != NULL ? EVENT_TAG_MOVED : EVENT_TAG_CREATED;
}

static void change_fill(const struct push *push, const cJSON *change, bool is_tag, const char *name,
                        struct event *event)
{
    const cJSON *old = json_member(change, "old");
    const cJSON *new = json_member(change, "new");
    const char *date = json_text(json_member(new, "target"), "date");
    event->kind = (int)change_kind(is_tag, old, new);
    event->origin = ORIGIN_WEBHOOK;
    event->provider = text_copy(bitbucket_host.name);
    event->repository = text_copy(push->repository);
    event->repository_id = text_copy_or_null(push->repository_id);
    event->ref = text_format("refs/%s/%s", is_tag ? "tags" : "heads", name);
    event->before = commit_is_absent(target_commit(old)) ? NULL : text_copy(target_commit(old));
    event->after = commit_is_absent(target_commit(new)) ? NULL : text_copy(target_commit(new));
    event->forced = cJSON_IsTrue(json_member(change, "forced"));
    event->redelivered = push->is_redelivered;
    event->delivery = text_copy_or_null(push->delivery);
    event->actor = text_copy_or_null(push->actor);
    if (date != NULL) {
        (void)clock_parse(date, &event->committed_ms);
    }
}

/* What is wrong with an event of ours is wrong with the payload. */
static bool event_check(struct event *event, struct error *err)
{
    char id[EVENT_ID_SIZE];
    identity_event(event, id);
    AUTO(text) char *source = text_format("tagfleet/producer/%s", event->provider);
    envelope_fill(&event->envelope, id, source, event->ref);
    AUTO(buffer) struct buffer body;
    buffer_init(&body, MESSAGE_MAXIMUM_BYTES);
    event_format(event, &body);
    AUTO(event) struct event *again = NULL;
    return event_parse(buffer_slice(&body), &again, err);
}

static bool change_read(const struct push *push, const cJSON *change, struct changes *changes, struct error *err)
{
    const cJSON *side = json_member(change, "new") != NULL ? json_member(change, "new") : json_member(change, "old");
    const char *type = json_text(side, "type");
    const char *name = json_text(side, "name");
    if (type == NULL || name == NULL) {
        return error_set(err, ERROR_REJECT, "a change has neither new nor old with type and name");
    }
    bool is_tag = strcmp(type, "tag") == 0 || strcmp(type, "annotated_tag") == 0;
    if (!is_tag && strcmp(type, "branch") != 0 && strcmp(type, "named_branch") != 0) {
        AUTO(text) char *reason = text_format("a change of type %.40s is neither a branch nor a tag", type);
        changes_ignore(changes, reason);
        return true;
    }
    AUTO(event) struct event *event = memory_zeroed(1, sizeof(*event));
    change_fill(push, change, is_tag, name, event);
    if (event->after == NULL && event->kind != EVENT_REF_DELETED) {
        return error_set(err, ERROR_REJECT, "new.target.hash of %.80s is missing", event->ref);
    }
    if (!event_check(event, err)) {
        return false;
    }
    changes_add(changes, TAKE(event));
    return true;
}

static bool push_read(const cJSON *root, const struct host_headers *headers, struct changes *changes, struct error *err)
{
    const cJSON *repository = json_member(root, "repository");
    const cJSON *list = json_member(json_member(root, "push"), "changes");
    const char *name = json_text(repository, "full_name");
    if (name == NULL || !cJSON_IsArray(list)) {
        return error_set(err, ERROR_REJECT,
                         "not a push of Bitbucket Cloud: repository.full_name and push.changes are "
                         "needed");
    }
    const char *attempt = host_header(headers, "X-Attempt-Number");
    const cJSON *actor = json_member(root, "actor");
    AUTO(text) char *lower = text_lower(name);
    struct push push = {
        .repository = lower,
        .repository_id = json_text(repository, "uuid"),
        .actor = json_text(actor, "nickname") != NULL ? json_text(actor, "nickname") : json_text(actor, "display_name"),
        .delivery = host_header(headers, "X-Request-UUID"),
        .is_redelivered = attempt != NULL && strcmp(attempt, "1") != 0,
    };
    for (const cJSON *change = list->child; change != NULL; change = change->next) {
        if (!change_read(&push, change, changes, err)) {
            return false;
        }
    }
    if (changes->items.count == 0) {
        changes_ignore(changes, "the push has no changes");
    }
    return true;
}

static bool bitbucket_parse(const struct host_headers *headers, struct slice body, struct changes *ret_changes,
                            struct error *err)
{
    AUTO(json) cJSON *root = NULL;
    if (!json_parse(body, PAYLOAD_MAXIMUM_BYTES, &root, err)) {
        return false;
    }
    const char *key = host_header(headers, "X-Event-Key");
    bool is_push = key != NULL ? strcmp(key, "repo:push") == 0 : json_member(root, "push") != NULL;
    if (!is_push && !cJSON_IsObject(root)) {
        return error_set(err, ERROR_REJECT, "not an object");
    }
    if (!is_push) {
        AUTO(text) char *reason = text_format("%.60s is not a push", key != NULL ? key : "a payload without push");
        changes_ignore(ret_changes, reason);
        return true;
    }
    return push_read(root, headers, ret_changes, err);
}

const struct host bitbucket_host = {"bitbucket", bitbucket_is_genuine, bitbucket_parse};
