/*
 * What became of an event, on `results` (key: deployment id): accepted with the list of its accounts, or one outcome
 * for the whole of it. After `accepted`, one result per account follows (result.h); that the deployment is finished
 * follows from counting.
 */
#pragma once

#include "schemas/codec.h"

enum deployment_outcome {
    DEPLOYMENT_ACCEPTED,
    DEPLOYMENT_DROPPED,    /* the map has no such tag */
    DEPLOYMENT_REJECTED,   /* not a deployable tag, or an event that cannot be read */
    DEPLOYMENT_NOTED,      /* pushed; waits for its build */
    DEPLOYMENT_SUPERSEDED, /* the ref has moved on to a newer commit */
    DEPLOYMENT_IGNORED,    /* nothing to deploy: the ref was deleted */
};

extern const char *const deployment_outcome_names[];

struct deployment {
    struct envelope envelope;
    char *deployment; /* d- and 16 hexadecimal digits */
    int outcome;      /* enum deployment_outcome */
    char *event;      /* id of the event that caused it */
    char *repository; /* absent when the event could not be read */
    char *ref;
    char *tag;
    char *version;
    char *commit;
    char *build;
    char *reason; /* for people; absent when accepted */
    char *actor;
    int64_t map_version;
    struct texts accounts; /* no duplicates; when accepted: each of them gets a result */
};

extern const struct codec deployment_codec;

/* As message_parse, message_format and message_free. */
bool deployment_parse(struct slice body, struct deployment **ret_deployment, struct error *err) MUST_CHECK;
void deployment_format(const struct deployment *deployment, struct buffer *buffer);
void deployment_free(struct deployment *deployment);
DEFINE_AUTO(deployment, struct deployment *);
