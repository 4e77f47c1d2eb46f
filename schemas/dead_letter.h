/*
 * What could not be understood, on `dead` (key: as the original): where it came from, why it was put aside, and the
 * original bytes, so that it can be looked at and sent again.
 */
#pragma once

#include "schemas/codec.h"

/* An original with more bytes in key and value is left where it lies: in base64 it would not fit into a message. */
enum { DEAD_LETTER_ORIGINAL_MAXIMUM_BYTES = 3 * 1024 * 1024 };

struct dead_letter {
    struct envelope envelope;
    char *role; /* who put it aside */
    char *topic;
    int64_t partition;
    int64_t offset;
    char *reason;
    char *key_base64;
    char *value_base64; /* absent when the original had no value, and like the key when it was too large */
};

extern const struct codec dead_letter_codec;

/* As message_parse, message_format and message_free. */
bool dead_letter_parse(struct slice body, struct dead_letter **ret_dead_letter, struct error *err) MUST_CHECK;
void dead_letter_format(const struct dead_letter *dead_letter, struct buffer *buffer);
void dead_letter_free(struct dead_letter *dead_letter);
DEFINE_AUTO(dead_letter, struct dead_letter *);

/* Fills a dead letter from a record that could not be understood; the reason tells when the original is too large to be
 * kept. topic: full name. */
struct dead_letter *dead_letter_of(const char *role, const char *topic, const struct record *record,
                                   const char *reason);
