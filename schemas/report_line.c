#include "schemas/report_line.h"

#include "schemas/json.h"
#include "workers/common/base/clock.h"

static void text_put(cJSON *line, const char *name, const char *text)
{
    cJSON_AddItemToObject(line, name, text != NULL ? cJSON_CreateString(text) : cJSON_CreateNull());
}

static void text_put_if_any(cJSON *line, const char *name, const char *text)
{
    if (text != NULL && text[0] != '\0') {
        text_put(line, name, text);
    }
}

static void time_put(cJSON *line, const char *name, int64_t time_ms)
{
    char text[CLOCK_TEXT_SIZE];
    clock_format(time_ms, text);
    text_put(line, name, text);
}

void report_account_line(const struct result *result, struct buffer *buffer)
{
    AUTO(json) cJSON *line = cJSON_CreateObject();
    text_put(line, "deployment", result->deployment);
    text_put(line, "repository", result->repository);
    text_put(line, "ref", result->ref);
    text_put(line, "commit", result->commit);
    text_put(line, "account", result->account);
    text_put(line, "outcome", result_outcome_names[result->outcome]);
    text_put(line, "reason", result->reason);
    json_put_integer(line, "attempts", result->attempts);
    json_put_integer(line, "objects", result->objects);
    json_put_integer(line, "bytes", result->bytes);
    time_put(line, "started", result->started_ms);
    time_put(line, "finished", result->finished_ms);
    json_append(line, buffer);
}

void report_deployment_line(const struct deployment *deployment, const struct result_counts *counts,
                            struct buffer *buffer)
{
    bool is_accepted = deployment->outcome == DEPLOYMENT_ACCEPTED;
    size_t ended = 0;
    for (int i = 0; i < RESULT_OUTCOME_COUNT; i++) {
        ended += counts->by_outcome[i];
    }
    const char *progress = ended >= counts->accounts ? "finished" : "running";
    AUTO(json) cJSON *line = cJSON_CreateObject();
    text_put(line, "deployment", deployment->deployment);
    text_put(line, "outcome", is_accepted ? progress : deployment_outcome_names[deployment->outcome]);
    text_put(line, "repository", deployment->repository);
    text_put(line, "ref", deployment->ref);
    text_put(line, "commit", deployment->commit);
    text_put_if_any(line, "tag", deployment->tag);
    text_put_if_any(line, "build", deployment->build);
    if (!is_accepted) {
        text_put(line, "reason", deployment->reason);
    } else {
        json_put_integer(line, "accounts", (int64_t)counts->accounts);
        for (int i = 0; i < RESULT_OUTCOME_COUNT; i++) {
            json_put_integer(line, result_outcome_names[i], (int64_t)counts->by_outcome[i]);
        }
    }
    json_append(line, buffer);
}

static void url_put(cJSON *line, const char *name, const char *bucket, const char *key)
{
    AUTO(text) char *url = text_format("s3://%s/%s", bucket, key);
    text_put(line, name, url);
}

void report_plan_line(const struct job *job, struct buffer *buffer)
{
    AUTO(json) cJSON *line = cJSON_CreateObject();
    text_put(line, "outcome", "deploys");
    text_put(line, "tag", job->tag);
    text_put(line, "version", job->version);
    text_put(line, "account", job->account);
    text_put(line, "role", job->role);
    text_put_if_any(line, "profile", job->profile);
    cJSON *copies = cJSON_AddArrayToObject(line, "copies");
    for (size_t i = 0; i < job->copies.count; i++) {
        const struct job_copy *copy = (const struct job_copy *)job->copies.items + i;
        cJSON *item = cJSON_CreateObject();
        url_put(item, "source", copy->source_bucket, copy->source_key);
        url_put(item, "target", copy->target_bucket, copy->target_key);
        cJSON_AddBoolToObject(item, "trigger", copy->trigger);
        cJSON_AddItemToArray(copies, item);
    }
    json_append(line, buffer);
}

void report_no_plan_line(const char *outcome, const char *ref, const char *tag, const char *reason,
                         struct buffer *buffer)
{
    AUTO(json) cJSON *line = cJSON_CreateObject();
    text_put(line, "outcome", outcome);
    text_put(line, "ref", ref);
    text_put_if_any(line, "tag", tag);
    text_put(line, "reason", reason);
    json_append(line, buffer);
}
