/*
 * GitHub and GitHub Enterprise, `push`: one delivery for each ref. `after` of an annotated tag is the tag object;
 * `head_commit.id` is the commit, and null when the ref was deleted. `create` and `delete` double the push and carry
 * no commit. Of more than three tags, or 5,000 branches, pushed at once GitHub sends nothing at all: that is for the
 * poll.
 * https://docs.github.com/en/webhooks/webhook-events-and-payloads#push
 */
#include "producer/hosts/push.h"

static bool github_is_genuine(const struct secrets *secrets, const struct host_headers *headers, struct slice body,
                              int64_t now_ms)
{
    (void)now_ms;
    return signature_check_hub(secrets, body, host_header_alone(headers, "X-Hub-Signature-256"));
}

static bool push_read(const cJSON *root, const struct host_headers *headers, struct changes *changes, struct error *err)
{
    const cJSON *repository = json_member(root, "repository");
    const cJSON *head = json_member(root, "head_commit");
    const char *name = json_text(repository, "full_name");
    struct move move = {
        .commit = json_text(head, "id"),
        .committed_ms = date_read(json_member(head, "timestamp")),
        .forced = cJSON_IsTrue(json_member(root, "forced")),
    };
    if (name == NULL) {
        return error_set(err, ERROR_REJECT, "not a push of GitHub: repository.full_name is needed");
    }
    AUTO(push)
    struct push push = {
        .actor = text_either(json_text(json_member(root, "sender"), "login"),
                             json_text(json_member(root, "pusher"), "name")),
        .delivery = host_header(headers, "X-GitHub-Delivery"),
    };
    if (!move_read(root, &move, err) || !push_begin(&push, &github_host, name, json_member(repository, "id"), err)) {
        return false;
    }
    push_add(&push, &move, changes);
    return true;
}

static const char *event_of(const cJSON *root)
{
    if (json_member(root, "before") != NULL && json_member(root, "after") != NULL &&
        json_member(root, "pusher") != NULL) {
        return "push";
    }
    if (json_member(root, "zen") != NULL) {
        return "ping";
    }
    if (json_member(root, "ref_type") == NULL) {
        return "a payload without before and after";
    }
    return json_member(root, "master_branch") != NULL ? "create" : "delete";
}

static bool github_parse(const struct host_headers *headers, struct slice body, struct changes *ret_changes,
                         struct error *err)
{
    const char *event;
    AUTO(json) cJSON *root = NULL;
    if (!payload_event(headers, "X-GitHub-Event", &event, err) || !payload_parse(body, &root, err)) {
        return false;
    }
    event = event != NULL ? event : event_of(root);
    if (strcmp(event, "push") == 0) {
        return push_read(root, headers, ret_changes, err);
    }
    bool is_doubled = strcmp(event, "create") == 0 || strcmp(event, "delete") == 0;
    changes_ignore(ret_changes, "%.60s %s", event,
                   is_doubled ? "carries no commit: the push says the same" : "is not a push");
    return true;
}

const struct host github_host = {"github", github_is_genuine, github_parse, .sends_again = false};
