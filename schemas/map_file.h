/*
 * A map file as people write and keep it: a JSON object, deploy tag to list of account ids as texts,
 * {"branch/main": ["111111111111"], "qa": ["222222222222"]}. Numbers are refused: leading zeros would be lost.
 */
#pragma once

#include "schemas/codec.h"
#include "workers/common/base/index.h"

struct map_file_entry {
    char *tag;
    struct texts accounts; /* no duplicates */
};

struct map_file {
    struct groups entries; /* of struct map_file_entry, in the order of the file */
};

/* The caller frees the file with map_file_free. ERROR_REJECT names the tag and what is wrong. */
bool map_file_parse(struct slice body, struct map_file **ret_file, struct error *err) MUST_CHECK;
void map_file_add(struct map_file *file, const char *tag, const struct texts *accounts);
void map_file_format(const struct map_file *file, struct buffer *buffer); /* one tag per line, ended by a newline */
void map_file_free(struct map_file *file);                                /* NULL is fine */
DEFINE_AUTO(map_file, struct map_file *);

/* NULL when the file has no such tag. */
const struct map_file_entry *map_file_find(const struct map_file *file, const char *tag);

/* Adds the ids of a text such as "111111111111, 222222222222", the reference's form: trimmed, without duplicates. */
bool accounts_parse(const char *text, struct texts *accounts, struct error *err) MUST_CHECK;

/* Fills an index with the accounts, for looking them up; it borrows them and is cleared with index_clear(index, NULL).
 */
void accounts_index(const struct texts *accounts, struct index *index);
