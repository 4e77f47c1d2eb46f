/*
 * The body of the fuzzers of git hosts: whatever a payload is, an event that comes out of it can be read from the
 * topic, and the same payload says the same again.
 */
#pragma once

#include "producer/hosts/host.h"
#include "schemas/identity.h"
#include "tests/fuzz/fuzz.h"

#include <ctype.h>

static inline void event_promise(const struct host *host, const struct event *event, struct buffer *text)
{
    struct error err;
    char id[EVENT_ID_SIZE];
    AUTO(event) struct event *again = NULL;
    AUTO(buffer) struct buffer message;
    buffer_init(&message, MESSAGE_MAXIMUM_BYTES);
    event_format(event, &message);
    PROMISE(event_parse(buffer_slice(&message), &again, &err));
    identity_event(again, id);
    PROMISE(strcmp(id, event->envelope.id) == 0);
    PROMISE(strcmp(event->provider, host->name) == 0);
    PROMISE(text_starts_with(event->ref, "refs/heads/") || text_starts_with(event->ref, "refs/tags/"));
    PROMISE((event->kind == EVENT_REF_DELETED) == (event->after == NULL));
    PROMISE(event->after == NULL || !commit_is_absent(event->after));
    PROMISE(event->before == NULL || !commit_is_absent(event->before));
    for (const char *at = event->repository; *at != '\0'; at++) {
        PROMISE(!isupper((unsigned char)*at));
    }
    message_format_data(&event_codec, event, text);
}

/* All that was parsed as one text. */
static inline void changes_promise(const struct host *host, const struct changes *changes, struct buffer *text)
{
    PROMISE(changes->items.count > 0);
    for (size_t i = 0; i < changes->items.count; i++) {
        const struct change *change = (const struct change *)changes->items.items + i;
        PROMISE((change->event == NULL) == (change->reason != NULL));
        if (change->event != NULL) {
            event_promise(host, change->event, text);
        } else {
            PROMISE(change->reason[0] != '\0');
            buffer_append_text(text, change->reason);
        }
        buffer_append_char(text, '\n');
    }
    buffer_append_text(text, changes->moved_unnamed != NULL ? changes->moved_unnamed : "");
}

static inline int hook_fuzz(const struct host *host, const uint8_t *data, size_t size)
{
    const struct host_headers none = {0};
    struct buffer texts[2];
    for (size_t i = 0; i < 2; i++) {
        struct error err = {0};
        struct changes changes = {0};
        buffer_init(&texts[i], SIZE_MAX);
        if (host->parse(&none, slice_from(data, size), &changes, &err)) {
            changes_promise(host, &changes, &texts[i]);
        } else {
            PROMISE(err.action == ERROR_REJECT && err.text[0] != '\0');
        }
        changes_clear(&changes);
    }
    PROMISE(slice_equal(buffer_slice(&texts[0]), buffer_slice(&texts[1])));
    buffer_done(&texts[0]);
    buffer_done(&texts[1]);
    return 0;
}
