/*
 * Our own small JSON, for any build system that has curl:
 *
 *     body='{"repository":"acme/app","ref":"refs/tags/v-1.4.0-prod","commit":"<commit id>","build":"<build id>"}'
 *     signature=$(printf %s "$body" | openssl dgst -sha256 -hmac "$SECRET" -r | cut -d' ' -f1)
 *     curl --fail -H 'Content-Type: application/json' -H "X-Tagfleet-Signature: sha256=$signature" \
 *         -d "$body" https://tagfleet.example/hooks/<name>
 *
 * repository   the host's full name
 * ref          refs/heads/<branch> or refs/tags/<tag>; heads/... and tags/... will do
 * commit       the commit's id; null when the ref was deleted
 * before       the commit that the ref pointed to; may be left out
 * build        where the artifacts of the commit lie; with it, a build was published
 * actor        who did it; may be left out
 *
 * It is written by hand, so it is taken by the letter: another field, or a value that cannot be right, is refused, and
 * the answer says what would be right. The repetition of a delivery is harmless, hence no time in the signature.
 */
#include "producer/hosts/push.h"

#include "schemas/ref.h"

static const char field_names[] = "repository, ref, commit, before, build, actor";

static bool generic_is_genuine(const struct secrets *secrets, const struct host_headers *headers, struct slice body,
                               int64_t now_ms)
{
    (void)now_ms;
    return signature_check_hub(secrets, body, host_header_alone(headers, "X-Tagfleet-Signature"));
}

static bool field_is_known(const char *name)
{
    struct slice rest = slice_of(field_names);
    struct slice known;
    while (slice_next_item(&rest, &known)) {
        if (slice_equal_text(known, name)) {
            return true;
        }
    }
    return false;
}

static bool fields_check(const cJSON *root, struct error *err)
{
    for (const cJSON *field = root->child; field != NULL; field = field->next) {
        if (!field_is_known(field->string)) {
            return error_set(err, ERROR_REJECT, "\"%.80s\" is not a field; known are %s", field->string, field_names);
        }
        bool may_be_null = strcmp(field->string, "repository") != 0 && strcmp(field->string, "ref") != 0;
        if (!cJSON_IsString(field) && !(may_be_null && cJSON_IsNull(field))) {
            return error_set(err, ERROR_REJECT, "%s must be a text", field->string);
        }
        if (cJSON_IsString(field) && field->valuestring[0] == '\0') {
            return error_set(err, ERROR_REJECT, "%s is empty", field->string);
        }
    }
    return true;
}

static bool move_check(const cJSON *root, const char *ref, struct error *err)
{
    const char *commit = json_text(root, "commit");
    const char *given = json_text(root, "ref");
    if (given == NULL) {
        return error_set(err, ERROR_REJECT, "ref is needed: refs/heads/<branch> or refs/tags/<tag>");
    }
    if (ref == NULL) {
        return error_set(err, ERROR_REJECT, "ref \"%.80s\" is not a full ref: refs/heads/<branch> or refs/tags/<tag>",
                         given);
    }
    if (cJSON_GetObjectItemCaseSensitive(root, "commit") == NULL) {
        return error_set(err, ERROR_REJECT, "commit is needed: the commit's id, or null when the ref was deleted");
    }
    if (commit != NULL && check_commit(commit) != NULL) {
        return error_set(err, ERROR_REJECT, "commit \"%.80s\" %s", commit, check_commit(commit));
    }
    if (commit == NULL && json_text(root, "build") != NULL) {
        return error_set(err, ERROR_REJECT, "a build of no commit: commit is null, so build must be left out");
    }
    return true;
}

static bool generic_parse(const struct host_headers *headers, struct slice body, struct changes *ret_changes,
                          struct error *err)
{
    (void)headers;
    AUTO(json) cJSON *root = NULL;
    if (!payload_parse(body, &root, err) || !fields_check(root, err)) {
        return false;
    }
    const char *repository = json_text(root, "repository");
    const char *given = json_text(root, "ref");
    AUTO(text) char *ref = given != NULL ? ref_full_name(given) : NULL;
    if (repository == NULL) {
        return error_set(err, ERROR_REJECT, "repository is needed: the host's full name, such as acme/app");
    }
    AUTO(push) struct push push = {.actor = json_text(root, "actor")};
    if (!move_check(root, ref, err) || !push_begin(&push, &generic_host, repository, NULL, err)) {
        return false;
    }
    struct move move = {
        .ref = ref,
        .before = json_text(root, "before"),
        .after = json_text(root, "commit"),
        .build = json_text(root, "build"),
    };
    push_add(&push, &move, ret_changes);
    const struct change *change = ret_changes->items.items;
    return change->event != NULL || error_set(err, ERROR_REJECT, "%.400s", change->reason);
}

const struct host generic_host = {"generic", generic_is_genuine, generic_parse, .sends_again = true};
