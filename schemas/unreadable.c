#include "schemas/unreadable.h"

#include "schemas/dead_letter.h"
#include "schemas/deployment.h"
#include "schemas/identity.h"

struct output *unreadable_letter(const char *role, const char *topic, const struct record *record, const char *reason)
{
    AUTO(dead_letter) struct dead_letter *letter = dead_letter_of(role, topic, record, reason);
    bool is_key_kept = record->key.ptr != NULL && record->key.len <= DEAD_LETTER_ORIGINAL_MAXIMUM_BYTES;
    AUTO(text) char *key = is_key_kept ? slice_copy(record->key) : NULL;
    return message_output(&dead_letter_codec, letter, "dead", key);
}

struct output *unreadable_rejection(const char *role, const char *topic, const struct record *record,
                                    const char *reason)
{
    AUTO(text) char *source = text_format("tagfleet/%s", role);
    AUTO(text) char *place = text_format("%s/%d/%lld", topic, record->partition, (long long)record->offset);
    char id[DEPLOYMENT_ID_SIZE];
    identity_unreadable(topic, record->partition, record->offset, id);
    AUTO(deployment) struct deployment *deployment = memory_zeroed(1, sizeof(*deployment));
    envelope_fill(&deployment->envelope, place, source, id);
    deployment->deployment = text_copy(id);
    deployment->outcome = DEPLOYMENT_REJECTED;
    deployment->event = text_copy(place);
    deployment->reason = text_copy(reason);
    return message_output(&deployment_codec, deployment, "results", id);
}
