#include "schemas/result.h"

#include "schemas/trace.h"

const char *const result_outcome_names[] = {"succeeded", "unchanged", "failed", "superseded",
                                            "timed_out", "skipped",   NULL};
const char *const result_check_names[] = {"answer", "size", "etag", "checksum", NULL};

static const struct field object_fields[] = {
    MEMBER_TEXT(result_object, bucket, REQUIRED, check_not_empty),
    MEMBER_TEXT(result_object, key, REQUIRED, check_not_empty),
    MEMBER_INTEGER(result_object, bytes, REQUIRED),
    MEMBER_TEXT(result_object, etag, OPTIONAL, check_not_empty),
    MEMBER_TEXT(result_object, version, OPTIONAL, check_not_empty),
    MEMBER_BOOLEAN(result_object, unchanged),
    MEMBER_CHOICE_OR_FIRST(result_object, check, result_check_names),
    MEMBER_TEXT(result_object, checksum, OPTIONAL, check_not_empty),
    MEMBER_INTEGER(result_object, attempts, REQUIRED),
    {0},
};

static const char *result_check(const void *message)
{
    const struct result *result = message;
    bool needs_reason = result->outcome != RESULT_SUCCEEDED && result->outcome != RESULT_UNCHANGED;
    return needs_reason && result->reason == NULL ? "reason is missing: only success goes without" : NULL;
}

static const struct field result_fields[] = {
    MEMBER_TEXT(result, deployment, REQUIRED, check_deployment),
    MEMBER_TEXT(result, account, REQUIRED, check_account),
    MEMBER_TEXT(result, repository, OPTIONAL, check_repository),
    MEMBER_TEXT(result, application, OPTIONAL, check_not_empty),
    MEMBER_TEXT(result, ref, OPTIONAL, check_ref),
    MEMBER_TEXT(result, tag, OPTIONAL, check_deploy_tag),
    MEMBER_TEXT(result, commit, OPTIONAL, check_commit),
    MEMBER_TEXT(result, build, OPTIONAL, check_artifact_name),
    MEMBER_CHOICE(result, outcome, result_outcome_names),
    MEMBER_TEXT(result, reason, OPTIONAL, check_not_empty),
    MEMBER_INTEGER(result, attempts, REQUIRED),
    MEMBER_INTEGER(result, objects, REQUIRED),
    MEMBER_INTEGER(result, bytes, REQUIRED),
    MEMBER_INTEGER(result, left_out, OPTIONAL),
    MEMBER_TIME(result, started, REQUIRED),
    MEMBER_TIME(result, finished, REQUIRED),
    MEMBER_GROUPS(result, evidence, OPTIONAL, object_fields, result_object),
    {0},
};

const struct codec result_codec = {"tagfleet.result.v1", sizeof(struct result), result_fields, result_check};

bool result_parse(struct slice body, struct result **ret_result, struct error *err)
{
    void *message;
    if (!message_parse(&result_codec, body, &message, err)) {
        return error_prefix(err, "result");
    }
    *ret_result = message;
    return true;
}

void result_format(const struct result *result, struct buffer *buffer)
{
    message_format(&result_codec, result, buffer);
}

void result_free(struct result *result)
{
    message_free(&result_codec, result);
}

struct result *result_of_job(const struct job *job, const char *source, enum result_outcome outcome, const char *reason)
{
    struct result *result = memory_zeroed(1, sizeof(*result));
    envelope_fill(&result->envelope, job->envelope.id, source, job->account);
    envelope_trace(&result->envelope, job->envelope.traceparent);
    result->deployment = text_copy(job->deployment);
    result->account = text_copy(job->account);
    result->repository = text_copy(job->repository);
    result->application = text_copy(job->application);
    result->ref = text_copy(job->ref);
    result->tag = text_copy(job->tag);
    result->commit = text_copy(job->commit);
    result->build = text_copy_or_null(job->build);
    result->outcome = (int)outcome;
    result->reason = text_copy_or_null(reason);
    result->started_ms = result->envelope.time_ms;
    result->finished_ms = result->envelope.time_ms;
    return result;
}
