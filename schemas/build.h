/*
 * Where the artifacts of a commit lie, on `builds` (compacted, key: repository, blank, commit), once somebody has
 * published them. The newest build of a commit replaces the older one.
 */
#pragma once

#include "schemas/codec.h"

struct build {
    struct envelope envelope;
    char *repository;
    char *commit;
    char *build;
    char *ref; /* the ref it was built for, where that is known */
};

extern const struct codec build_codec;

/* As message_parse, message_format and message_free. */
bool build_parse(struct slice body, struct build **ret_build, struct error *err) MUST_CHECK;
void build_format(const struct build *build, struct buffer *buffer);
void build_free(struct build *build);
DEFINE_AUTO(build, struct build *);
