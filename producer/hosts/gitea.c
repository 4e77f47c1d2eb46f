/*
 * Gitea and Forgejo, `push`, `create` and `delete`: one delivery for each ref. What their sources do
 * (services/repository/push.go):
 * - a push of an annotated tag has the tag object as `after`; `head_commit.id` is the commit;
 * - `before` of a tag is zeros even when the tag was moved;
 * - a created ref, and a moved tag, give a push and a create, with the object as `sha` and a bare name. Of an annotated
 *   tag the create knows only the tag object, and nothing in it says so. All else makes one event with one id of both.
 *   So where pushes come, creates are left alone (hook_hears_twice); the first push of a repository comes before the
 *   create of a tag, or the hook is left at "push events", as it is by default;
 * - a deleted tag gives a push and a delete; a deleted branch gives the delete alone.
 * Old versions have the hook's secret in the body: nothing of the body but names goes into reasons.
 */
#include "producer/hosts/gitea.h"

#include "producer/hosts/push.h"

static bool gitea_is_genuine(const struct secrets *secrets, const struct host_headers *headers, struct slice body,
                             int64_t now_ms)
{
    (void)now_ms;
    static const char gitea[] = "X-Gitea-Signature"; /* Forgejo sends it, too, so far */
    static const char forgejo[] = "X-Forgejo-Signature";
    const char *name = host_header(headers, forgejo) != NULL ? forgejo : gitea;
    return signature_check_hex(secrets, body, host_header_alone(headers, name));
}

static bool push_read(const struct push *push, const cJSON *root, struct changes *changes, struct error *err)
{
    const cJSON *head = json_member(root, "head_commit");
    struct move move = {.commit = json_text(head, "id"), .committed_ms = date_read(json_member(head, "timestamp"))};
    if (!move_read(root, &move, err)) {
        return false;
    }
    if (head == NULL) {
        move.committed_ms = commit_date(json_member(root, "commits"), move.after);
    }
    push_add(push, &move, changes);
    return true;
}

static bool type_is_tag(const cJSON *root)
{
    const char *type = json_text(root, "ref_type");
    return type != NULL && strcmp(type, "tag") == 0;
}

/* "v1" of type tag is refs/tags/v1; some bodies of Gogs have the full name already. */
static char *ref_of_type(const cJSON *root)
{
    const char *ref = json_text(root, "ref");
    const char *type = json_text(root, "ref_type");
    if (ref == NULL || type == NULL) {
        return NULL;
    }
    if (text_starts_with(ref, "refs/")) {
        return text_copy(ref);
    }
    const char *folder = strcmp(type, "branch") == 0 ? "heads" : type;
    return text_format("refs/%s/%s", type_is_tag(root) ? "tags" : folder, ref);
}

static bool create_read(const struct push *push, const cJSON *root, struct changes *changes, struct error *err)
{
    AUTO(text) char *ref = ref_of_type(root);
    struct move move = {.ref = ref, .after = json_text(root, "sha")};
    if (ref == NULL) {
        return error_set(err, ERROR_REJECT, "not a creation: ref and ref_type are needed");
    }
    if (text_either(move.after, NULL) == NULL) {
        changes_ignore(changes, "create of %.80s carries no commit: the push says the same", ref);
        return true;
    }
    push_add(push, &move, changes);
    return true;
}

static bool delete_read(const struct push *push, const cJSON *root, struct changes *changes, struct error *err)
{
    AUTO(text) char *ref = ref_of_type(root);
    struct move move = {.ref = ref};
    if (ref == NULL) {
        return error_set(err, ERROR_REJECT, "not a deletion: ref and ref_type are needed");
    }
    push_add(push, &move, changes);
    return true;
}

static const char *event_of(const cJSON *root)
{
    if (json_member(root, "ref") != NULL && json_member(root, "before") != NULL && json_member(root, "after") != NULL) {
        return "push";
    }
    if (json_member(root, "ref_type") == NULL) {
        return "a payload without before and after";
    }
    /* Of the two, only a deletion has it. */
    return json_member(root, "pusher_type") != NULL ? "delete" : "create";
}

static bool event_read(const struct gitea_family *family, const struct push *push, const char *event, const cJSON *root,
                       struct changes *changes, struct error *err)
{
    if (strcmp(event, "push") == 0) {
        changes->telling = family->has_tag_pushes ? TOLD_BY_PUSH : TOLD_ALONE;
        return push_read(push, root, changes, err);
    }
    if (strcmp(event, "create") == 0) {
        changes->telling = family->has_tag_pushes ? TOLD_BY_CREATION : TOLD_ALONE;
        return create_read(push, root, changes, err);
    }
    if (family->has_tag_pushes && type_is_tag(root)) {
        changes_ignore(changes, "delete of a tag: the push says the same, with the commit");
        return true;
    }
    return delete_read(push, root, changes, err);
}

static bool header_event(const struct gitea_family *family, const struct host_headers *headers, const char **ret_event,
                         struct error *err)
{
    *ret_event = NULL;
    for (size_t i = 0; i < 2 && family->event_headers[i] != NULL && *ret_event == NULL; i++) {
        if (!payload_event(headers, family->event_headers[i], ret_event, err)) {
            return false;
        }
    }
    return true;
}

static const char *delivery_id(const struct gitea_family *family, const struct host_headers *headers)
{
    const char *first = host_header(headers, family->delivery_headers[0]);
    const char *name = family->delivery_headers[1];
    return first != NULL || name == NULL ? first : host_header(headers, name);
}

bool gitea_family_parse(const struct gitea_family *family, const struct host_headers *headers, struct slice body,
                        struct changes *ret_changes, struct error *err)
{
    const char *event;
    AUTO(json) cJSON *root = NULL;
    if (!header_event(family, headers, &event, err) || !payload_parse(body, &root, err)) {
        return false;
    }
    event = event != NULL ? event : event_of(root);
    if (strcmp(event, "push") != 0 && strcmp(event, "create") != 0 && strcmp(event, "delete") != 0) {
        changes_ignore(ret_changes, "%.60s is not a push", event);
        return true;
    }
    const cJSON *repository = json_member(root, "repository");
    const cJSON *sender = json_member(root, "sender");
    const char *name = json_text(repository, "full_name");
    AUTO(push)
    struct push push = {
        .actor = text_either(json_text(sender, "login"), json_text(sender, "username")),
        .delivery = delivery_id(family, headers),
    };
    if (name == NULL) {
        return error_set(err, ERROR_REJECT, "not a push of %s: repository.full_name is needed", family->host->name);
    }
    return push_begin(&push, family->host, name, json_member(repository, "id"), err) &&
           event_read(family, &push, event, root, ret_changes, err);
}

static bool gitea_parse(const struct host_headers *headers, struct slice body, struct changes *ret_changes,
                        struct error *err)
{
    static const struct gitea_family family = {
        .host = &gitea_host,
        .event_headers = {"X-Forgejo-Event", "X-Gitea-Event"},
        .delivery_headers = {"X-Forgejo-Delivery", "X-Gitea-Delivery"},
        .has_tag_pushes = true,
    };
    return gitea_family_parse(&family, headers, body, ret_changes, err);
}

const struct host gitea_host = {"gitea", gitea_is_genuine, gitea_parse, .sends_again = false};
