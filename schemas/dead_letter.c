#include "schemas/dead_letter.h"

#include <openssl/evp.h>

static const struct field dead_letter_fields[] = {
    MEMBER_TEXT(dead_letter, role, REQUIRED, check_not_empty),
    MEMBER_TEXT(dead_letter, topic, REQUIRED, check_not_empty),
    MEMBER_INTEGER(dead_letter, partition, REQUIRED),
    MEMBER_INTEGER(dead_letter, offset, REQUIRED),
    MEMBER_TEXT(dead_letter, reason, REQUIRED, check_not_empty),
    MEMBER_TEXT(dead_letter, key_base64, OPTIONAL, check_base64),
    MEMBER_TEXT(dead_letter, value_base64, OPTIONAL, check_base64),
    {0},
};

const struct codec dead_letter_codec = {"tagfleet.dead-letter.v1", sizeof(struct dead_letter), dead_letter_fields,
                                        NULL};

bool dead_letter_parse(struct slice body, struct dead_letter **ret_dead_letter, struct error *err)
{
    void *message;
    if (!message_parse(&dead_letter_codec, body, &message, err)) {
        return error_prefix(err, "dead letter");
    }
    *ret_dead_letter = message;
    return true;
}

void dead_letter_format(const struct dead_letter *dead_letter, struct buffer *buffer)
{
    message_format(&dead_letter_codec, dead_letter, buffer);
}

void dead_letter_free(struct dead_letter *dead_letter)
{
    message_free(&dead_letter_codec, dead_letter);
}

static char *base64_of(struct slice bytes)
{
    if (bytes.ptr == NULL) {
        return NULL;
    }
    size_t size = 4 * ((bytes.len + 2) / 3) + 1;
    char *text = memory_zeroed(size, 1);
    (void)EVP_EncodeBlock((unsigned char *)text, (const unsigned char *)bytes.ptr, (int)bytes.len);
    return text;
}

struct dead_letter *dead_letter_of(const char *role, const char *topic, const struct record *record, const char *reason)
{
    struct dead_letter *letter = memory_zeroed(1, sizeof(*letter));
    AUTO(text) char *id = text_format("%s/%d/%lld", topic, record->partition, (long long)record->offset);
    AUTO(text) char *source = text_format("tagfleet/%s", role);
    envelope_fill(&letter->envelope, id, source, NULL);
    letter->role = text_copy(role);
    letter->topic = text_copy(topic);
    letter->partition = record->partition;
    letter->offset = record->offset;
    size_t size_bytes = record->key.len + record->value.len;
    if (size_bytes > DEAD_LETTER_ORIGINAL_MAXIMUM_BYTES) {
        letter->reason = text_format("%s (the original is not kept here, it has %zu bytes)", reason, size_bytes);
        return letter;
    }
    letter->reason = text_copy(reason);
    letter->key_base64 = base64_of(record->key);
    letter->value_base64 = base64_of(record->value);
    return letter;
}
