/*
 * Walks a chain (aws/chain.h): asks for the key of its first step and assumes the roles of the others, each with the
 * key of the one before. Without any cache: aws/role.h is what callers want.
 */
#pragma once

#include "workers/common/aws/chain.h"
#include "workers/common/aws/client.h"

struct source_call;

/* Texts are copied. What a step says itself goes first. */
struct source_settings {
    const char *region; /* of STS */
    const char *session_name;
    int64_t duration_seconds; /* 0: one hour */
    struct limiter *limiter;  /* of STS */
};

/* How it ended: credentials, which the callee takes (TAKE) or which are freed, or NULL with err. failure is of the STS
 * call that failed, kind FAILURE_NONE when it was none. */
struct source_result {
    struct credentials *credentials;
    struct error err;
    struct failure failure;
};

/* Takes the chain. Answers from a later loop_dispatch, exactly once unless cancelled. The handle is valid until then.
 * Never NULL. */
struct source_call *source_ask(struct aws_client *client, struct chain *chain, const struct source_settings *settings,
                               void (*on_done)(void *context, struct source_result *result), void *context);
void source_cancel(struct source_call *call); /* NULL is fine */
