#include "schemas/deployment.h"

const char *const deployment_outcome_names[] = {"accepted",   "dropped", "rejected", "noted",
                                                "superseded", "ignored", NULL};

static const char *deployment_check(const void *message)
{
    const struct deployment *deployment = message;
    if (!texts_are_unique(&deployment->accounts)) {
        return "accounts must not contain an account twice";
    }
    if (deployment->outcome == DEPLOYMENT_ACCEPTED) {
        return deployment->accounts.count > 0 ? NULL : "accounts must not be empty when accepted";
    }
    return deployment->reason != NULL ? NULL : "reason is missing: only accepted goes without";
}

static const struct field deployment_fields[] = {
    MEMBER_TEXT(deployment, deployment, REQUIRED, check_deployment),
    MEMBER_CHOICE(deployment, outcome, deployment_outcome_names),
    MEMBER_TEXT(deployment, event, REQUIRED, check_not_empty),
    MEMBER_TEXT(deployment, repository, OPTIONAL, check_repository),
    MEMBER_TEXT(deployment, ref, OPTIONAL, check_not_empty),
    MEMBER_TEXT(deployment, tag, OPTIONAL, check_not_empty),
    MEMBER_TEXT(deployment, version, OPTIONAL, check_not_empty),
    MEMBER_TEXT(deployment, commit, OPTIONAL, check_commit),
    MEMBER_TEXT(deployment, build, OPTIONAL, check_artifact_name),
    MEMBER_TEXT(deployment, reason, OPTIONAL, check_not_empty),
    MEMBER_TEXT(deployment, actor, OPTIONAL, check_not_empty),
    MEMBER_INTEGER(deployment, map_version, OPTIONAL),
    MEMBER_TEXTS(deployment, accounts, OPTIONAL, check_account),
    {0},
};

const struct codec deployment_codec = {"tagfleet.deployment.v1", sizeof(struct deployment), deployment_fields,
                                       deployment_check};

bool deployment_parse(struct slice body, struct deployment **ret_deployment, struct error *err)
{
    void *message;
    if (!message_parse(&deployment_codec, body, &message, err)) {
        return error_prefix(err, "deployment");
    }
    *ret_deployment = message;
    return true;
}

void deployment_format(const struct deployment *deployment, struct buffer *buffer)
{
    message_format(&deployment_codec, deployment, buffer);
}

void deployment_free(struct deployment *deployment)
{
    message_free(&deployment_codec, deployment);
}
