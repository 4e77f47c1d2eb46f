/*
 * What is read from a topic, and what is written to one.
 */
#pragma once

#include "workers/common/base/auto.h"
#include "workers/common/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

/* One message as it was read. It holds its own copy of the bytes: librdkafka's would keep the whole fetch in memory
 * that they came with. Key and value live as long as the record, each ended by a NUL that does not count. */
struct record {
    int32_t partition;
    int64_t offset;
    int64_t timestamp_ms;
    struct slice key;   /* ptr NULL: none */
    struct slice value; /* ptr NULL: none, a deletion in a compacted topic */
    char *bytes;        /* of both */
};

size_t record_size_bytes(const struct record *record);
void record_free(struct record *record); /* leaves it empty, and an empty one alone */

enum { OUTPUT_HEADERS_MAXIMUM = 8 };

/* One message to be written. Owned by whoever holds the pointer. */
struct output {
    char *topic; /* short name: "jobs"; the prefix is put before it when it is sent */
    char *key;
    char *value; /* NULL: a deletion */
    size_t value_len;
    struct {
        const char *name; /* a literal */
        char *value;
    } headers[OUTPUT_HEADERS_MAXIMUM];
    size_t header_count;
    struct output *next; /* free for the owner's list */
};

/* value may be NULL. The bytes are copied. */
struct output *output_new(const char *topic, const char *key, struct slice value);
void output_add_header(struct output *output, const char *literal_name, const char *value);
size_t output_size_bytes(const struct output *output);
void output_free(struct output *output); /* NULL is fine */
DEFINE_AUTO(output, struct output *);
