#include "schemas/ref_state.h"

static const struct field step_fields[] = {
    MEMBER_TEXT(ref_step, event, REQUIRED, check_not_empty),
    MEMBER_TEXT(ref_step, before, OPTIONAL, check_commit),
    MEMBER_TEXT(ref_step, after, OPTIONAL, check_commit),
    MEMBER_TEXT(ref_step, delivery, OPTIONAL, check_not_empty),
    MEMBER_BOOLEAN(ref_step, late),
    MEMBER_BOOLEAN(ref_step, polled),
    {0},
};

static const struct field ref_state_fields[] = {
    MEMBER_TEXT(ref_state, repository, REQUIRED, check_repository),
    MEMBER_TEXT(ref_state, ref, REQUIRED, check_ref),
    MEMBER_TEXT(ref_state, commit, OPTIONAL, check_commit),
    MEMBER_TIME(ref_state, committed, OPTIONAL),
    MEMBER_INTEGER(ref_state, generation, REQUIRED),
    MEMBER_BOOLEAN(ref_state, waiting),
    MEMBER_BOOLEAN(ref_state, polled),
    MEMBER_BOOLEAN(ref_state, baseline),
    MEMBER_TEXT(ref_state, deployment, OPTIONAL, check_not_empty),
    MEMBER_TEXT(ref_state, build, OPTIONAL, check_artifact_name),
    MEMBER_GROUPS(ref_state, steps, REQUIRED, step_fields, ref_step),
    {0},
};

const struct codec ref_state_codec = {"tagfleet.ref-state.v1", sizeof(struct ref_state), ref_state_fields, NULL};

bool ref_state_parse(struct slice body, struct ref_state **ret_ref_state, struct error *err)
{
    void *message;
    if (!message_parse(&ref_state_codec, body, &message, err)) {
        return error_prefix(err, "ref state");
    }
    *ret_ref_state = message;
    return true;
}

void ref_state_format(const struct ref_state *ref_state, struct buffer *buffer)
{
    message_format(&ref_state_codec, ref_state, buffer);
}

void ref_state_free(struct ref_state *ref_state)
{
    message_free(&ref_state_codec, ref_state);
}
