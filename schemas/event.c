#include "schemas/event.h"

const char *const event_kind_names[] = {"branch_updated", "tag_created",     "tag_moved",
                                        "ref_deleted",    "build_published", NULL};
const char *const event_origin_names[] = {"webhook", "poll", "emit", "operator", NULL};

static const char *event_check(const void *message)
{
    const struct event *event = message;
    if (event->kind == EVENT_REF_DELETED) {
        return event->after == NULL ? NULL : "after must be absent when the ref was deleted";
    }
    if (event->after == NULL) {
        return "after is missing: only a deleted ref points to no commit";
    }
    if (event->kind == EVENT_BUILD_PUBLISHED && event->build == NULL) {
        return "build is missing: a published build has a name";
    }
    return NULL;
}

static const struct field event_fields[] = {
    MEMBER_CHOICE(event, kind, event_kind_names),
    MEMBER_CHOICE(event, origin, event_origin_names),
    MEMBER_TEXT(event, provider, OPTIONAL, check_not_empty),
    MEMBER_TEXT(event, repository, REQUIRED, check_repository),
    MEMBER_TEXT(event, repository_id, OPTIONAL, check_not_empty),
    MEMBER_TEXT(event, ref, REQUIRED, check_ref),
    MEMBER_TEXT(event, before, OPTIONAL, check_commit),
    MEMBER_TEXT(event, after, OPTIONAL, check_commit),
    MEMBER_TEXT(event, build, OPTIONAL, check_artifact_name),
    MEMBER_TIME(event, committed, OPTIONAL),
    MEMBER_BOOLEAN(event, forced),
    MEMBER_BOOLEAN(event, redelivered),
    MEMBER_TEXT(event, delivery, OPTIONAL, check_not_empty),
    MEMBER_TEXT(event, actor, OPTIONAL, check_not_empty),
    MEMBER_BOOLEAN(event, baseline),
    {0},
};

const struct codec event_codec = {"tagfleet.event.v1", sizeof(struct event), event_fields, event_check};

bool event_parse(struct slice body, struct event **ret_event, struct error *err)
{
    void *message;
    if (!message_parse(&event_codec, body, &message, err)) {
        return error_prefix(err, "event");
    }
    *ret_event = message;
    return true;
}

void event_format(const struct event *event, struct buffer *buffer)
{
    message_format(&event_codec, event, buffer);
}

void event_free(struct event *event)
{
    message_free(&event_codec, event);
}
