/*
 * The credentials that ECS and EKS (pod identity) give a container, over HTTP at an address in its environment. An
 * address given in full must be https, or this machine, or one of the two link-local addresses of ECS and EKS: anywhere
 * else the key would travel in the clear, and the token with it. A token in a file is read anew for every question,
 * because EKS replaces it.
 *
 * The rules are those of the AWS SDKs; stricter in one: of names only "localhost" counts as this machine.
 */
#pragma once

#include "workers/common/aws/credentials.h"
#include "workers/common/http/loop.h"

/* From AWS_CONTAINER_CREDENTIALS_RELATIVE_URI, which wins, and _FULL_URI (NULL: not set). The caller frees the text.
 * ERROR_REJECT when the address is not allowed. */
bool container_url(const char *relative_uri, const char *full_uri, char **ret_url, struct error *err) MUST_CHECK;

struct container_call;

/* Everything is copied. */
struct container_request {
    const char *url;
    const char *token;      /* the value of the Authorization header; NULL: none */
    const char *token_file; /* wins over token; NULL: none */
};

/* Answers from a later loop_dispatch, exactly once unless cancelled: with credentials, which the callee owns, or with
 * NULL and err. The handle is valid until then. Never NULL. */
struct container_call *
container_ask(struct loop *loop, const struct container_request *request,
              void (*on_done)(void *context, struct credentials *credentials, const struct error *err), void *context);
void container_cancel(struct container_call *call); /* NULL is fine */
