#include "schemas/build.h"

static const struct field build_fields[] = {
    MEMBER_TEXT(build, repository, REQUIRED, check_repository),
    MEMBER_TEXT(build, commit, REQUIRED, check_commit),
    MEMBER_TEXT(build, build, REQUIRED, check_artifact_name),
    MEMBER_TEXT(build, ref, OPTIONAL, check_ref),
    {0},
};

const struct codec build_codec = {"tagfleet.build.v1", sizeof(struct build), build_fields, NULL};

bool build_parse(struct slice body, struct build **ret_build, struct error *err)
{
    void *message;
    if (!message_parse(&build_codec, body, &message, err)) {
        return error_prefix(err, "build");
    }
    *ret_build = message;
    return true;
}

void build_format(const struct build *build, struct buffer *buffer)
{
    message_format(&build_codec, build, buffer);
}

void build_free(struct build *build)
{
    message_free(&build_codec, build);
}
