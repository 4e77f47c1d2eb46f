#include "producer/emit.h"

#include "producer/hosts/host.h"
#include "schemas/identity.h"
#include "schemas/ref.h"
#include "workers/common/base/auto.h"
#include "workers/common/kafka/publisher.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

enum { STORE_TIMEOUT_MS = 15000 };

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
    envelope_fill(&event->envelope, id, "tagfleet/emit", event->ref);
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

static const char *get_environment(const char *name)
{
    return getenv(name);
}

static int emit_store(const struct command_line *line, const struct event *event)
{
    struct error err;
    struct publisher *publisher;
    if (!publisher_open(line->options, -1, STORE_TIMEOUT_MS, &publisher, &err)) {
        return command_fail(line, &err);
    }
    // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): error_set always returns false.
    AUTO(output) struct output *output = message_output(&event_codec, event, "events", event->repository);
    bool is_stored = publisher_send_wait(publisher, output, &err);
    publisher_close(publisher);
    if (!is_stored) {
        return command_fail(line, &err);
    }
    if (line->is_json) {
        (void)printf("{\"event\":\"%s\",\"stored\":true}\n", event->envelope.id);
    } else {
        (void)printf("stored: event %s, %s of %s at %.12s%s%s\n", event->envelope.id, event->ref, event->repository,
                     event->after, event->build != NULL ? ", build " : "", event->build != NULL ? event->build : "");
    }
    return EXIT_OK;
}

static int emit(const struct command_line *line)
{
    struct emit_request request = {
        .repository = command_flag(line, "repository"),
        .ref = command_flag(line, "ref"),
        .commit = command_flag(line, "commit"),
        .build = command_flag(line, "build"),
        .before = command_flag(line, "before"),
        .actor = command_flag(line, "actor"),
    };
    if (line->argument_count > 0) {
        return command_usage(line, "unexpected argument %s", line->arguments[0]);
    }
    char scratch[1200];
    struct error err;
    AUTO(event) struct event *event = NULL;
    if (!emit_from_codebuild(get_environment, &request, scratch, sizeof(scratch), &err) ||
        !emit_event(&request, &event, &err)) {
        return command_fail(line, &err);
    }
    return emit_store(line, event);
}

static const struct flag flags[] = {
    {"repository", "NAME", "the host's full name (acme/app), or a clone URL"},
    {"ref", "REF", "refs/heads/<branch>, refs/tags/<tag>, or CodeBuild's branch/<branch>, tag/<tag>"},
    {"commit", "SHA", "the commit the ref points to"},
    {"build", "ID", "where the artifacts lie: the name that {build} stands for"},
    {"before", "SHA", "the commit the ref pointed to before, if known: it tells older builds from newer ones"},
    {"actor", "NAME", "who did it"},
    {0},
};

const struct command emit_command = {
    .name = "emit",
    .arguments = "[--repository R --ref REF --commit SHA] [--build ID] [--before SHA]",
    .summary = "say that a build was published, or that a ref has moved; without flags from CodeBuild's variables",
    .flags = flags,
    .run = emit,
    .more = "Exit codes: 0 stored by the broker, 1 refused, 111 not stored.",
};
