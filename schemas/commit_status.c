#include "schemas/commit_status.h"

const char *const commit_state_names[] = {"none", "pending", "success", "failure", "error", NULL};

static const struct field commit_status_fields[] = {
    MEMBER_TEXT(commit_status, deployment, REQUIRED, check_deployment),
    MEMBER_TEXT(commit_status, repository, REQUIRED, check_repository),
    MEMBER_TEXT(commit_status, ref, REQUIRED, check_ref),
    MEMBER_TEXT(commit_status, tag, OPTIONAL, check_not_empty),
    MEMBER_TEXT(commit_status, commit, REQUIRED, check_commit),
    MEMBER_TIME(commit_status, decided, OPTIONAL),
    MEMBER_BOOLEAN(commit_status, waiting),
    MEMBER_INTEGER(commit_status, accounts, REQUIRED),
    MEMBER_INTEGER(commit_status, succeeded, REQUIRED),
    MEMBER_INTEGER(commit_status, unchanged, REQUIRED),
    MEMBER_INTEGER(commit_status, failed, REQUIRED),
    MEMBER_INTEGER(commit_status, superseded, REQUIRED),
    MEMBER_INTEGER(commit_status, timed_out, REQUIRED),
    MEMBER_INTEGER(commit_status, skipped, REQUIRED),
    MEMBER_CHOICE_OR_FIRST(commit_status, state, commit_state_names),
    MEMBER_TEXT(commit_status, description, OPTIONAL, check_not_empty),
    {0},
};

const struct codec commit_status_codec = {"tagfleet.commit-status.v1", sizeof(struct commit_status),
                                          commit_status_fields, NULL};

bool commit_status_parse(struct slice body, struct commit_status **ret_commit_status, struct error *err)
{
    void *message;
    if (!message_parse(&commit_status_codec, body, &message, err)) {
        return error_prefix(err, "commit status");
    }
    *ret_commit_status = message;
    return true;
}

void commit_status_format(const struct commit_status *commit_status, struct buffer *buffer)
{
    message_format(&commit_status_codec, commit_status, buffer);
}

void commit_status_free(struct commit_status *commit_status)
{
    message_free(&commit_status_codec, commit_status);
}
