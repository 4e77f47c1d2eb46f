/*
 * The credentials of the role of the EC2 instance that we run on: instance metadata service, version 2 (a token first,
 * then the role's name, then the key). There is no way back to version 1, which any server-side request forgery can
 * read. Where no such service is, a question costs one time-out of a second.
 *
 * The service may go on serving a key that has expired while it has trouble getting a new one. AWS's services accept
 * such keys longer, so like the SDKs we use it and ask again soon (static stability): its expiration is put off by 5 to
 * 10 minutes.
 */
#pragma once

#include "workers/common/aws/credentials.h"
#include "workers/common/aws/environment.h"
#include "workers/common/http/loop.h"

/* The service's address, without a '/' at its end: AWS_EC2_METADATA_SERVICE_ENDPOINT, ec2_metadata_service_endpoint of
 * the profile, or that of AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE or ec2_metadata_service_endpoint_mode (IPv4, IPv6), in
 * this order; the profile's may be NULL. The caller frees the text. ERROR_REJECT for what is none. */
bool instance_url(const struct environment *environment, const char *profile_endpoint, const char *profile_mode,
                  char **ret_url, struct error *err) MUST_CHECK;

struct instance_call;

/* Answers from a later loop_dispatch, exactly once unless cancelled: with credentials, which the callee owns, or with
 * NULL and err. url is copied. The handle is valid until then. Never NULL. */
struct instance_call *
instance_ask(struct loop *loop, const char *url,
             void (*on_done)(void *context, struct credentials *credentials, const struct error *err), void *context);
void instance_cancel(struct instance_call *call); /* NULL is fine */
