/*
 * GitHub     https://docs.github.com/en/rest/commits/statuses
 * GitLab     https://docs.gitlab.com/api/commits/#set-the-pipeline-status-of-a-commit
 * Gitea      POST /api/v1/repos/{owner}/{repo}/statuses/{sha}, as GitHub's
 * Bitbucket  https://developer.atlassian.com/cloud/bitbucket/rest/api-group-commit-statuses/
 * and its Data Center since 7.4: https://developer.atlassian.com/server/bitbucket/rest/ (builds)
 */
#include "producer/api/status.h"

#include "producer/api/page.h"
#include "schemas/json.h"
#include "workers/common/aws/checksum.h"
#include "workers/common/aws/uri.h"
#include "workers/common/base/utf8.h"

enum { NAME_MAXIMUM_BYTES = 1024, HASHED_CONTEXT_LENGTH = 40 };

/* What differs between the hosts. */
struct dialect {
    const char *provider;
    const char *states[5];     /* by enum commit_state */
    const char *context_field; /* what tells a commit's statuses apart */
    const char *name_field;    /* what people see beside it; NULL: the same field */
    const char *link_field;
    size_t context_maximum; /* characters */
    size_t description_maximum;
    bool needs_link;
};

#define GITHUB_STATES                                                                                                  \
    {                                                                                                                  \
        NULL, "pending", "success", "failure", "error"                                                                 \
    }
#define BITBUCKET_STATES                                                                                               \
    {                                                                                                                  \
        NULL, "INPROGRESS", "SUCCESSFUL", "FAILED", "FAILED"                                                           \
    }

static const struct dialect dialects[] = {
    {"github", GITHUB_STATES, "context", NULL, "target_url", 255, 140, false},
    {"gitea", GITHUB_STATES, "context", NULL, "target_url", 255, 255, false},
    {"gitlab", {NULL, "pending", "success", "failed", "failed"}, "name", NULL, "target_url", 255, 255, false},
    {"bitbucket", BITBUCKET_STATES, "key", "name", "url", 40, 255, true},
    {"bitbucket-server", BITBUCKET_STATES, "key", "name", "url", 255, 255, true},
};

static const struct dialect *dialect_of(const char *provider)
{
    size_t i = 0;
    while (strcmp(dialects[i].provider, provider) != 0) {
        i++;
    }
    return &dialects[i];
}

char *status_target(const char *provider, const struct status *status)
{
    AUTO(buffer) struct buffer path;
    buffer_init(&path, NAME_MAXIMUM_BYTES);
    AUTO(text) char *statuses = text_format("/statuses/%s", status->commit);
    if (strcmp(provider, "github") == 0) {
        return pair_target("/repos/", status->repository, "/", statuses);
    }
    if (strcmp(provider, "gitea") == 0) {
        return pair_target("/api/v1/repos/", status->repository, "/", statuses);
    }
    if (strcmp(provider, "gitlab") == 0) {
        uri_encode(&path, slice_of(status->repository));
        return text_format("/api/v4/projects/%s%s", path.ptr, statuses);
    }
    if (strcmp(provider, "bitbucket") == 0) {
        AUTO(text) char *build = text_format("/commit/%s/statuses/build", status->commit);
        return pair_target("/2.0/repositories/", status->repository, "/", build);
    }
    AUTO(text) char *builds = text_format("/commits/%s/builds", status->commit);
    return pair_target("/rest/api/latest/projects/", status->repository, "/repos/", builds);
}

/* The commit's page, for hosts that take no status without a link. */
static char *commit_page(const char *provider, const struct status *status)
{
    AUTO(text) char *commits = text_format("/commits/%s", status->commit);
    if (strcmp(provider, "bitbucket") == 0) {
        return pair_target("https://bitbucket.org/", status->repository, "/", commits);
    }
    AUTO(text) char *path = pair_target("/projects/", status->repository, "/repos/", commits);
    const char *origin = status->api_url != NULL ? status->api_url : "";
    size_t length = strlen(origin);
    return text_format("%.*s%s", (int)(length - (length > 0 && origin[length - 1] == '/')), origin, path);
}

/* At most so many characters; what is cut off is marked. Bytes that are no UTF-8 count as one each: they are replaced
 * when the JSON is written. */
static char *shortened(const char *text, size_t maximum)
{
    size_t length = strlen(text);
    size_t kept = 0; /* bytes of the first maximum - 3 characters */
    size_t at = 0;
    size_t characters = 0;
    for (; at < length; characters++) {
        if (characters + 3 == maximum) {
            kept = at;
        }
        size_t one = utf8_length(text + at, length - at);
        at += one > 0 ? one : 1;
    }
    return characters <= maximum ? text_copy(text) : text_format("%.*s...", (int)kept, text);
}

/* A context is never cut: two that begin alike would be one. */
static char *fitting_context(const char *context, size_t maximum)
{
    if (strlen(context) <= maximum) {
        return text_copy(context);
    }
    char hex[CHECKSUM_SHA256_HEX_SIZE];
    sha256_hex(slice_of(context), hex);
    return slice_copy(slice_from(hex, HASHED_CONTEXT_LENGTH));
}

void status_body(const char *provider, const struct status *status, struct buffer *body)
{
    const struct dialect *dialect = dialect_of(provider);
    AUTO(json) cJSON *root = cJSON_CreateObject();
    AUTO(text) char *context = fitting_context(status->context, dialect->context_maximum);
    AUTO(text) char *description = shortened(status->description, dialect->description_maximum);
    cJSON_AddStringToObject(root, "state", dialect->states[status->state]);
    cJSON_AddStringToObject(root, dialect->context_field, context);
    if (dialect->name_field != NULL) {
        AUTO(text) char *name = shortened(status->context, 255);
        cJSON_AddStringToObject(root, dialect->name_field, name);
    }
    cJSON_AddStringToObject(root, "description", description);
    if (status->link != NULL) {
        cJSON_AddStringToObject(root, dialect->link_field, status->link);
    } else if (dialect->needs_link) {
        AUTO(text) char *page = commit_page(provider, status);
        cJSON_AddStringToObject(root, dialect->link_field, page);
    }
    json_append(root, body);
}

bool status_is_there(const char *provider, int http_status, struct slice answer)
{
    static const char words[] = "Cannot transition status";
    return strcmp(provider, "gitlab") == 0 && http_status == 400 && answer.len > 0 &&
           memmem(answer.ptr, answer.len, words, strlen(words)) != NULL;
}
