#include "workers/common/aws/source.h"

#include "workers/common/aws/container.h"
#include "workers/common/aws/instance.h"
#include "workers/common/aws/process.h"
#include "workers/common/aws/sts.h"
#include "workers/common/base/clock.h"

#include <stdlib.h>

enum { STEP_TIMEOUT_MS = 30000 };

struct source_call {
    struct aws_client *client;
    struct chain *chain;
    size_t position; /* of the step that is being taken */
    char *region;
    char *session_name;
    int64_t duration_seconds;
    struct limiter *limiter;
    struct credentials *credentials; /* of the step before */
    struct error err;                /* of a step that cannot be taken */

    /* The one that is asked at present; the others are NULL. */
    struct container_call *container;
    struct instance_call *instance;
    struct process_call *process;
    struct sts_call *sts;
    struct loop_timer *timer;

    void (*on_done)(void *context, struct source_result *result);
    void *context;
};

static void call_free(struct source_call *call)
{
    container_cancel(call->container);
    instance_cancel(call->instance);
    process_cancel(call->process);
    sts_cancel(call->sts);
    loop_timer_cancel(aws_client_loop(call->client), call->timer);
    credentials_free(call->credentials);
    chain_free(call->chain);
    free(call->region);
    free(call->session_name);
    free(call);
}

static void call_end(struct source_call *call, struct source_result *result)
{
    void (*on_done)(void *context, struct source_result *result) = call->on_done;
    void *context = call->context;
    if (result->credentials == NULL && call->chain->looked_in != NULL) {
        (void)error_prefix(&result->err, "%s", call->chain->looked_in);
    }
    call_free(call);
    on_done(context, result);
    credentials_free(result->credentials);
}

static void call_fail(struct source_call *call, const struct error *err, const struct failure *failure)
{
    struct source_result result = {.err = *err};
    if (failure != NULL) {
        result.failure = *failure;
    }
    call_end(call, &result);
}

static void step_take(struct source_call *call);

/* Goes on with the key of the step that is done; credentials are the call's from here on. */
static void call_advance(struct source_call *call, struct credentials *credentials)
{
    credentials_free(call->credentials);
    call->credentials = credentials;
    call->position++;
    if (call->position < call->chain->count) {
        step_take(call);
        return;
    }
    struct source_result result = {.credentials = TAKE(call->credentials)};
    call_end(call, &result);
}

static void key_given(void *context, struct credentials *credentials, const struct error *err)
{
    struct source_call *call = context;
    call->container = NULL;
    call->instance = NULL;
    call->process = NULL;
    if (credentials == NULL) {
        call_fail(call, err, NULL);
        return;
    }
    call_advance(call, credentials);
}

static void key_is_known(void *context)
{
    struct source_call *call = context;
    call->timer = NULL;
    call_advance(call, credentials_copy(call->chain->steps[call->position].key));
}

static void step_impossible(void *context)
{
    struct source_call *call = context;
    call->timer = NULL;
    call_fail(call, &call->err, NULL);
}

static void role_assumed(void *context, struct sts_result *result)
{
    struct source_call *call = context;
    call->sts = NULL;
    if (result->credentials == NULL) {
        call_fail(call, &result->result->err, &result->result->failure);
        return;
    }
    call_advance(call, TAKE(result->credentials));
}

static const char *session_name_of(const struct source_call *call, const struct chain_step *step)
{
    return step->session_name != NULL ? step->session_name : call->session_name;
}

static int64_t duration_of(const struct source_call *call, const struct chain_step *step)
{
    return step->duration_seconds > 0 ? step->duration_seconds : call->duration_seconds;
}

static void step_assume(struct source_call *call, const struct chain_step *step)
{
    struct sts_assume_role_request request = {
        .region = call->region,
        .role_arn = step->role_arn,
        .session_name = session_name_of(call, step),
        .external_id = step->external_id,
        .duration_seconds = duration_of(call, step),
        .caller = call->credentials,
        .limiter = call->limiter,
        .deadline_ms = clock_monotonic_ms() + STEP_TIMEOUT_MS,
    };
    call->sts = sts_assume_role(call->client, &request, role_assumed, call);
}

static void step_prove_identity(struct source_call *call, const struct chain_step *step)
{
    AUTO(secret) char *token = NULL;
    if (!secret_read(step->token_file, &token, &call->err)) {
        (void)error_prefix(&call->err, "AssumeRoleWithWebIdentity %.150s", step->role_arn);
        call->timer = loop_after(aws_client_loop(call->client), 0, step_impossible, call);
        return;
    }
    struct sts_web_identity_request request = {
        .region = call->region,
        .role_arn = step->role_arn,
        .session_name = session_name_of(call, step),
        .token = token,
        .duration_seconds = duration_of(call, step),
        .limiter = call->limiter,
        .deadline_ms = clock_monotonic_ms() + STEP_TIMEOUT_MS,
    };
    call->sts = sts_assume_role_with_web_identity(call->client, &request, role_assumed, call);
}

static void step_ask_container(struct source_call *call, const struct chain_step *step)
{
    struct container_request request = {.url = step->url, .token = step->token, .token_file = step->token_file};
    call->container = container_ask(aws_client_loop(call->client), &request, key_given, call);
}

static void step_take(struct source_call *call)
{
    const struct chain_step *step = &call->chain->steps[call->position];
    struct loop *loop = aws_client_loop(call->client);
    switch (step->kind) {
    case CHAIN_KEY:
        call->timer = loop_after(loop, 0, key_is_known, call);
        return;
    case CHAIN_WEB_IDENTITY:
        step_prove_identity(call, step);
        return;
    case CHAIN_PROCESS: {
        AUTO(text) char *origin = text_format("profile %s", step->profile);
        call->process = process_ask(loop, step->command, origin, STEP_TIMEOUT_MS, key_given, call);
        return;
    }
    case CHAIN_CONTAINER:
        step_ask_container(call, step);
        return;
    case CHAIN_INSTANCE:
        call->instance = instance_ask(loop, step->url, key_given, call);
        return;
    case CHAIN_ROLE:
        step_assume(call, step);
        return;
    }
}

struct source_call *source_ask(struct aws_client *client, struct chain *chain, const struct source_settings *settings,
                               void (*on_done)(void *context, struct source_result *result), void *context)
{
    struct source_call *call = memory_zeroed(1, sizeof(*call));
    call->client = client;
    call->chain = chain;
    call->region = text_copy(chain->region != NULL ? chain->region : settings->region);
    call->session_name = text_copy(settings->session_name);
    call->duration_seconds = settings->duration_seconds;
    call->limiter = settings->limiter;
    call->on_done = on_done;
    call->context = context;
    step_take(call);
    return call;
}

void source_cancel(struct source_call *call)
{
    if (call != NULL) {
        call_free(call);
    }
}
