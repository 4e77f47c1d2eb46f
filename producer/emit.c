#include "producer/emit.h"

#include "producer/hosts/host.h"
#include "schemas/identity.h"
#include "schemas/ref.h"
#include "workers/common/base/auto.h"

#include <stdio.h>
#include <strings.h>

static const char emit_source[] = "tagfleet/emit";

/* "https://user@bitbucket.org/Acme/App.git" and "git@host:acme/app.git" name the repository in their path. */
static char *repository_name(const char *text)
{
    const char *path = text;
    const char *scheme = strstr(text, "://");
    if (scheme != NULL) {
        path = strchr(scheme + 3, '/');
        path = path != NULL ? path + 1 : "";
    } else if (strchr(text, '@') != NULL && strchr(text, ':') != NULL) {
        path = strchr(text, ':') + 1;
    }
    char *name = text_lower(path);
    size_t length = strlen(name);
    if (length > 4 && strcmp(name + length - 4, ".git") == 0) {
        name[length - 4] = '\0';
    }
    return name;
}

static bool ref_name(const char *text, char **ret_ref, struct error *err)
{
    *ret_ref = ref_full_name(text);
    return *ret_ref != NULL || error_set(err, ERROR_REJECT,
                                         "ref \"%.100s\" must be refs/heads/<branch>, refs/tags/<tag>, "
                                         "branch/<branch> or tag/<tag>",
                                         text);
}

/* What stands where a value should be when a script has not put it in. */
static bool is_placeholder(const char *text)
{
    static const char *const words[] = {"null", "none",    "nil",      "undefined",
                                        "todo", "unknown", "changeme", "placeholder"};
    size_t length = strlen(text);
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcasecmp(text, words[i]) == 0) {
            return true;
        }
    }
    return text[0] == '$' || strstr(text, "${") != NULL || strstr(text, "$(") != NULL || strstr(text, "{{") != NULL ||
           (length > 1 && text[0] == '<' && text[length - 1] == '>') ||
           (length > 2 && text[0] == '%' && text[length - 1] == '%');
}

static bool emit_is_filled_in(const struct emit_request *request, struct error *err)
{
    const struct {
        const char *name;
        const char *text;
    } values[] = {{"repository", request->repository}, {"ref", request->ref},       {"commit", request->commit},
                  {"build", request->build},           {"before", request->before}, {"actor", request->actor}};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        if (values[i].text != NULL && is_placeholder(values[i].text)) {
            return error_set(err, ERROR_REJECT, "%s \"%.100s\" is a placeholder, not a value: is a variable not set?",
                             values[i].name, values[i].text);
        }
    }
    return true;
}

static bool emit_check(const char *name, const char *text, const char *(*check)(const char *text), struct error *err)
{
    const char *wrong = check(text);
    return wrong == NULL || error_set(err, ERROR_REJECT, "%s \"%.100s\" %s", name, text, wrong);
}

bool emit_event(const struct emit_request *request, struct event **ret_event, struct error *err)
{
    if (request->repository == NULL || request->ref == NULL || request->commit == NULL) {
        return error_set(err, ERROR_REJECT, "--%s is missing (and CodeBuild's variables do not say it)",
                         request->repository == NULL ? "repository"
                         : request->ref == NULL      ? "ref"
                                                     : "commit");
    }
    if (!emit_is_filled_in(request, err)) {
        return false;
    }
    AUTO(event) struct event *event = memory_zeroed(1, sizeof(*event));
    event->repository = repository_name(request->repository);
    event->after = text_lower(request->commit);
    event->before = commit_is_absent(request->before) ? NULL : text_lower(request->before);
    event->build = request->build != NULL ? text_copy(request->build) : NULL;
    event->actor = request->actor != NULL ? text_copy(request->actor) : NULL;
    event->origin = ORIGIN_EMIT;
    if (!ref_name(request->ref, &event->ref, err) ||
        !emit_check("repository", event->repository, check_repository, err) ||
        !emit_check("ref", event->ref, check_ref, err) || !emit_check("commit", event->after, check_commit, err) ||
        (event->before != NULL && !emit_check("before", event->before, check_commit, err)) ||
        (event->build != NULL && !emit_check("build", event->build, check_artifact_name, err))) {
        return false;
    }
    bool is_tag = text_starts_with(event->ref, "refs/tags/");
    event->kind = event->build != NULL    ? EVENT_BUILD_PUBLISHED
                  : !is_tag               ? EVENT_BRANCH_UPDATED
                  : event->before != NULL ? EVENT_TAG_MOVED
                                          : EVENT_TAG_CREATED;
    char id[EVENT_ID_SIZE];
    identity_event(event, id);
    envelope_fill(&event->envelope, id, emit_source, event->ref);
    *ret_event = TAKE(event);
    return true;
}

static const char *first_of(const char *a, const char *b)
{
    return a != NULL ? a : b;
}

/* A variable that is set to something. */
static const char *get_text(const char *(*get)(const char *name), const char *name)
{
    const char *text = get(name);
    return text != NULL && text[0] != '\0' ? text : NULL;
}

bool emit_from_codebuild(const char *(*get)(const char *name), struct emit_request *request, char *scratch,
                         size_t scratch_size, struct error *err)
{
    const char *build_id = get_text(get, "CODEBUILD_BUILD_ID");
    const char *succeeding = get_text(get, "CODEBUILD_BUILD_SUCCEEDING");
    if (build_id == NULL) {
        return true;
    }
    if (succeeding != NULL && strcmp(succeeding, "1") != 0) {
        return error_set(err, ERROR_REJECT, "the build has failed (CODEBUILD_BUILD_SUCCEEDING=%s): nothing to deploy",
                         succeeding);
    }
    const char *colon = strchr(build_id, ':');
    const char *resolved = get_text(get, "CODEBUILD_RESOLVED_SOURCE_VERSION");
    const char *trigger =
        first_of(get_text(get, "CODEBUILD_WEBHOOK_TRIGGER"), get_text(get, "CODEBUILD_WEBHOOK_HEAD_REF"));
    request->repository = first_of(request->repository, get_text(get, "CODEBUILD_SOURCE_REPO_URL"));
    request->commit = first_of(request->commit, first_of(resolved, get_text(get, "CODEBUILD_SOURCE_VERSION")));
    request->before = first_of(request->before, get_text(get, "CODEBUILD_WEBHOOK_PREV_COMMIT"));
    request->actor = first_of(request->actor, get_text(get, "CODEBUILD_WEBHOOK_ACTOR_ACCOUNT_ID"));
    request->build = first_of(request->build, colon != NULL ? colon + 1 : build_id);
    if (request->ref == NULL && trigger == NULL) {
        return error_set(err, ERROR_REJECT,
                         "CODEBUILD_WEBHOOK_TRIGGER is empty: a build that was started by hand must "
                         "say its --ref");
    }
    if (request->ref == NULL) {
        (void)snprintf(scratch, scratch_size, "%s", trigger);
        request->ref = scratch;
    }
    return true;
}

/* What the generic webhook says, said by whoever runs the command. */
static void event_is_emitted(struct event *event)
{
    char id[EVENT_ID_SIZE];

    event->origin = ORIGIN_EMIT;
    free(TAKE(event->provider));
    identity_event(event, id);
    envelope_fill(&event->envelope, id, emit_source, event->ref);
}

bool emit_from_line(struct slice line, struct event **ret_event, struct error *err)
{
    static const struct host_headers none = {0};
    struct changes changes = {0};
    bool is_read = generic_host.parse(&none, line, &changes, err);
    struct event *event = is_read ? TAKE(((struct change *)changes.items.items)->event) : NULL;
    changes_clear(&changes);
    if (!is_read) {
        return false;
    }
    const struct emit_request said = {event->repository, event->ref,    event->after,
                                      event->build,      event->before, event->actor};
    if (!emit_is_filled_in(&said, err)) {
        event_free(event);
        return false;
    }
    event_is_emitted(event);
    *ret_event = event;
    return true;
}
