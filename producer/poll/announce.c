#include "producer/poll/announce.h"

#include "schemas/identity.h"
#include "schemas/trace.h"

struct event *announce_event(const char *repository, const char *provider, const struct compare_change *change)
{
    struct event *event = memory_zeroed(1, sizeof(*event));
    event->kind = change->kind;
    event->origin = ORIGIN_POLL;
    event->provider = text_copy(provider);
    event->repository = text_copy(repository);
    event->ref = text_copy(change->ref);
    event->before = text_copy_or_null(change->before);
    event->after = text_copy_or_null(change->after);
    event->committed_ms = change->committed_ms;
    event->baseline = change->is_baseline;
    event->delivery =
        text_format("poll/%lld/%s", (long long)change->generation, change->before != NULL ? change->before : "none");
    char id[EVENT_ID_SIZE];
    identity_event(event, id);
    envelope_fill(&event->envelope, id, "tagfleet/poll", event->ref);
    envelope_trace(&event->envelope, NULL);
    return event;
}
