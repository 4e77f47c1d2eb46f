/*
 * Every message of every topic is a C struct described by a table of fields. From this one table follow reading,
 * writing and freeing, so that they cannot disagree. On the wire a message is a CloudEvent 1.0.2 in structured JSON
 * mode; its schema is schemas/<message>.schema.json. Unknown fields are ignored, missing or ill-formed ones are
 * refused with ERROR_REJECT and a text that names the field.
 *
 * A message struct begins with struct envelope. Texts are owned by the message; an absent optional text is NULL.
 */
#pragma once

#include "schemas/check.h"
#include "workers/common/base/auto.h"
#include "workers/common/base/buffer.h"
#include "workers/common/base/slice.h"
#include "workers/common/kafka/record.h"

#include <stddef.h>
#include <stdint.h>

enum { MESSAGE_MAXIMUM_BYTES = 8 * 1024 * 1024 };

/* The context attributes of a CloudEvent. The type belongs to the codec. */
struct envelope {
    char *id;
    char *source;      /* a URI reference: which part of the fleet wrote it */
    char *subject;     /* optional */
    char *traceparent; /* optional: trace.h */
    int64_t time_ms;
};

enum field_kind {
    FIELD_TEXT,    /* char * */
    FIELD_INTEGER, /* int64_t, 0 .. 2^53 - 1: what a double holds exactly */
    FIELD_BOOLEAN, /* bool; absent means false */
    FIELD_TIME,    /* int64_t, wall clock in ms; RFC 3339 on the wire */
    FIELD_CHOICE,  /* int, an index into choices */
    FIELD_TEXTS,   /* struct texts */
    FIELD_GROUPS,  /* struct groups */
};

enum field_presence { OPTIONAL, REQUIRED };

struct texts {
    char **items;
    size_t count;
};

struct groups {
    void *items; /* count structs of the field's group_size */
    size_t count;
};

struct field {
    const char *name;
    enum field_kind kind;
    enum field_presence presence;
    size_t offset;
    /* FIELD_TEXT and FIELD_TEXTS: returns what is wrong with the text, or NULL. */
    const char *(*check)(const char *text);
    const char *const *choices; /* FIELD_CHOICE: ended by NULL */
    const struct field *group;  /* FIELD_GROUPS: the fields of one item, ended by a nameless field */
    size_t group_size;
};

/* Rows of a field table: the member's name is the field's name on the wire. */
#define MEMBER_TEXT(noun, member, presence, check)                                                                     \
    {                                                                                                                  \
#member, FIELD_TEXT, presence, offsetof(struct noun, member), check, NULL, NULL, 0                             \
    }
#define MEMBER_TEXTS(noun, member, presence, check)                                                                    \
    {                                                                                                                  \
#member, FIELD_TEXTS, presence, offsetof(struct noun, member), check, NULL, NULL, 0                            \
    }
#define MEMBER_INTEGER(noun, member, presence)                                                                         \
    {                                                                                                                  \
#member, FIELD_INTEGER, presence, offsetof(struct noun, member), NULL, NULL, NULL, 0                           \
    }
#define MEMBER_BOOLEAN(noun, member)                                                                                   \
    {                                                                                                                  \
#member, FIELD_BOOLEAN, OPTIONAL, offsetof(struct noun, member), NULL, NULL, NULL, 0                           \
    }
#define MEMBER_CHOICE(noun, member, choices)                                                                           \
    {                                                                                                                  \
#member, FIELD_CHOICE, REQUIRED, offsetof(struct noun, member), NULL, choices, NULL, 0                         \
    }
/* One that may be absent, which means the first choice. */
#define MEMBER_CHOICE_OR_FIRST(noun, member, choices)                                                                  \
    {                                                                                                                  \
#member, FIELD_CHOICE, OPTIONAL, offsetof(struct noun, member), NULL, choices, NULL, 0                         \
    }
#define MEMBER_GROUPS(noun, member, presence, fields, item)                                                            \
    {                                                                                                                  \
#member, FIELD_GROUPS, presence, offsetof(struct noun, member), NULL, NULL, fields, sizeof(struct item)        \
    }
/* The member is <name>_ms, the field <name>. */
#define MEMBER_TIME(noun, name, presence)                                                                              \
    {                                                                                                                  \
#name, FIELD_TIME, presence, offsetof(struct noun, name##_ms), NULL, NULL, NULL, 0                             \
    }

struct codec {
    const char *type; /* CloudEvents type, for instance "tagfleet.job.v1" */
    size_t size;
    const struct field *fields; /* ended by a nameless field */
    /* What no single field can tell: returns what is wrong with the whole message, or NULL. May be NULL. */
    const char *(*check)(const void *message);
};

/* On failure *ret_message is untouched. The caller frees the message with message_free. */
bool message_parse(const struct codec *codec, struct slice body, void **ret_message, struct error *err) MUST_CHECK;

/* Would message_parse take what message_format makes of it? For those who make a message of what strangers say. */
bool message_check(const struct codec *codec, const void *message, struct error *err) MUST_CHECK;

/* Appends the message as one line of JSON. */
void message_format(const struct codec *codec, const void *message, struct buffer *buffer);

/* Appends only the data, without the envelope. */
void message_format_data(const struct codec *codec, const void *message, struct buffer *buffer);

void message_free(const struct codec *codec, void *message); /* NULL is fine */

/* The type of a message without reading the rest: the caller frees it; NULL when the body is no CloudEvent. */
char *message_type(struct slice body);

/* Sets id, source, subject (NULL is fine) and the current time. */
void envelope_fill(struct envelope *envelope, const char *id, const char *source, const char *subject);

void texts_add(struct texts *texts, const char *text);
void texts_clear(struct texts *texts);
bool texts_are_unique(const struct texts *texts);

/* Makes room for one more zeroed group and returns it. */
void *groups_add(struct groups *groups, size_t group_size);

/* The message as it goes onto a topic (short name), with the CloudEvents headers of Kafka's protocol binding beside the
 * structured body, so that tools can filter without reading it. Every message is bounded by what goes into it; one
 * beyond MESSAGE_MAXIMUM_BYTES ends the process like memory that is gone. */
struct output *message_output(const struct codec *codec, const void *message, const char *topic, const char *key);
