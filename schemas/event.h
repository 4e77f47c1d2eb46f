/*
 * What happened in a repository, as the producer puts it on `events` (key: repository): a ref points to another commit
 * now, or a build of a commit was published. Every host, the poll and the CI's `emit` write the same message. The
 * event id is the CloudEvent's id (see identity.h); the time is when the producer received it.
 */
#pragma once

#include "schemas/codec.h"

enum event_kind {
    EVENT_BRANCH_UPDATED,
    EVENT_TAG_CREATED,
    EVENT_TAG_MOVED,
    EVENT_REF_DELETED,
    EVENT_BUILD_PUBLISHED,
};

enum event_origin { ORIGIN_WEBHOOK, ORIGIN_POLL, ORIGIN_EMIT, ORIGIN_OPERATOR };

extern const char *const event_kind_names[];
extern const char *const event_origin_names[];

struct event {
    struct envelope envelope;
    int kind;             /* enum event_kind */
    int origin;           /* enum event_origin */
    char *provider;       /* bitbucket, github, ...; absent from emit */
    char *repository;     /* the host's full name in lower case, the key of the topic */
    char *repository_id;  /* the host's own id */
    char *ref;            /* refs/heads/... or refs/tags/... */
    char *before;         /* the commit the ref pointed to; absent when it did not exist or is not known */
    char *after;          /* the commit it points to; absent when it was deleted */
    char *build;          /* where the artifacts of `after` lie, as the build names it; absent for a mere push */
    int64_t committed_ms; /* when the commit was made, as the commit says; 0: not known */
    bool forced;
    bool redelivered; /* the host says that it has sent this before */
    char *delivery;   /* the host's id of this delivery */
    char *actor;
    bool baseline; /* the ref was there when the poll first looked: remembered, not deployed */
};

extern const struct codec event_codec;

/* As message_parse, message_format and message_free. */
bool event_parse(struct slice body, struct event **ret_event, struct error *err) MUST_CHECK;
void event_format(const struct event *event, struct buffer *buffer);
void event_free(struct event *event);
DEFINE_AUTO(event, struct event *);
