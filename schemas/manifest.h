/*
 * The list of what belongs to a build, which a build may put beside its artifacts:
 *
 *     {"objects": [{"key": "frontend/index.html", "size": 1024, "sha256": "<64 hex digits>"}]}
 *
 * Keys are relative to the manifest's own folder. size and sha256 may be left out; unknown members are ignored.
 */
#pragma once

#include "workers/common/base/auto.h"
#include "workers/common/base/error.h"
#include "workers/common/base/slice.h"

#include <stddef.h>
#include <stdint.h>

enum { MANIFEST_MAXIMUM_BYTES = 64 << 20 };

struct manifest_object {
    char *key;
    int64_t size_bytes; /* -1: not said */
    char *sha256;       /* lower-case hex; NULL: not said */
};

/* By key, as bytes. */
struct manifest {
    struct manifest_object *objects;
    size_t count;
};

/* ERROR_REJECT names the object and what is wrong with it; a key that is there twice is refused. */
bool manifest_parse(struct slice body, struct manifest **ret_manifest, struct error *err) MUST_CHECK;
void manifest_free(struct manifest *manifest); /* NULL is fine */
DEFINE_AUTO(manifest, struct manifest *);

const struct manifest_object *manifest_find(const struct manifest *manifest, const char *key); /* NULL when absent */
