#include "workers/copier/copies.h"

#include "workers/common/aws/checksum.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool copy_rule_is_prefix(const struct job_copy *rule)
{
    size_t length = strlen(rule->source_key);
    return length == 0 || rule->source_key[length - 1] == '/';
}

enum copy_phase copy_phase_of(const struct job_copy *rule, const char *key)
{
    static const char *const pages[] = {".html", ".htm", ".xhtml", "/manifest.json", "/service-worker.js", "/sw.js"};
    if (rule->trigger) {
        return PHASE_TRIGGER;
    }
    size_t length = strlen(key);
    for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
        size_t suffix = strlen(pages[i]);
        if (length >= suffix && strcasecmp(key + length - suffix, pages[i]) == 0) {
            return PHASE_PAGES;
        }
    }
    return PHASE_ASSETS;
}

void copies_clear(struct copies *copies)
{
    for (size_t i = 0; i < copies->count; i++) {
        struct copy_object *object = &copies->objects[i];
        free(object->etag);
        free(object->version);
        free(object->checksum);
    }
    free(copies->objects);
    *copies = (struct copies){0};
}

char *copy_object_key(const struct copy_object *object)
{
    return text_format("%s%s", object->rule->target_key, object->suffix);
}

bool copies_source_is_there(const struct job_copy *rule, const struct s3_listing *source)
{
    return copy_rule_is_prefix(rule) || s3_listing_find(source, rule->source_key) != NULL;
}

/* Does the rule copy this key? The mark of the folder itself is nothing to copy. */
static bool rule_names(const struct job_copy *rule, const char *key)
{
    bool is_same = strcmp(key, rule->source_key) == 0;
    return copy_rule_is_prefix(rule) ? !is_same && text_starts_with(key, rule->source_key) : is_same;
}

char *copies_missing(const struct job_copy *rule, const struct s3_listing *source,
                     const struct copies_manifest *manifest)
{
    for (size_t i = 0; i < manifest->manifest->count; i++) {
        const struct manifest_object *named = &manifest->manifest->objects[i];
        AUTO(text) char *key = text_format("%s%s", manifest->folder, named->key);
        const struct s3_object *found = rule_names(rule, key) ? s3_listing_find(source, key) : NULL;
        if (rule_names(rule, key) && found == NULL) {
            return text_format("s3://%s/%s is in the manifest but not there", rule->source_bucket, key);
        }
        if (found != NULL && named->size_bytes >= 0 && found->size_bytes != named->size_bytes) {
            return text_format("s3://%s/%s has %" PRId64 " bytes where the manifest says %" PRId64, rule->source_bucket,
                               key, found->size_bytes, named->size_bytes);
        }
    }
    return NULL;
}

static const struct manifest_object *manifest_entry(const struct copies_manifest *manifest, const char *key)
{
    return text_starts_with(key, manifest->folder) ? manifest_find(manifest->manifest, key + strlen(manifest->folder))
                                                   : NULL;
}

static bool is_identical(const struct s3_object *source, const struct s3_object *target)
{
    return target->size_bytes == source->size_bytes && source->etag[0] != '\0' &&
           strcmp(source->etag, target->etag) == 0;
}

static void object_compare(struct copy_object *object, const char *key, const struct s3_listing *target)
{
    const struct s3_object *present = s3_listing_find(target, key);
    if (present == NULL) {
        return;
    }
    object->may_be_same =
        present->size_bytes == object->source->size_bytes && !etags_are_comparable(object->source->etag, present->etag);
    if (is_identical(object->source, present)) {
        object->unchanged = true;
        object->check = CHECK_ETAG;
        object->etag = text_copy(present->etag);
        object->modified_wall_ms = present->modified_wall_ms;
    }
}

void copies_add(struct copies *copies, const struct job_copy *rule, const struct s3_listing *source,
                const struct s3_listing *target, const struct copies_manifest *manifest)
{
    bool is_prefix = copy_rule_is_prefix(rule);
    copies->objects = memory_resized(copies->objects, (copies->count + source->count + 1) * sizeof(*copies->objects));
    for (size_t i = 0; i < source->count; i++) {
        const struct s3_object *found = &source->objects[i];
        const struct manifest_object *named = manifest != NULL ? manifest_entry(manifest, found->key) : NULL;
        if (!rule_names(rule, found->key)) {
            continue;
        }
        if (manifest != NULL && named == NULL) {
            copies->left_out++;
            continue;
        }
        struct copy_object *object = &copies->objects[copies->count++];
        *object = (struct copy_object){.rule = rule, .source = found};
        object->named = named;
        object->suffix = is_prefix ? found->key + strlen(rule->source_key) : "";
        AUTO(text) char *key = copy_object_key(object);
        object->phase = copy_phase_of(rule, key);
        if (target != NULL) {
            object_compare(object, key, target);
        }
    }
}

/* The order of the keys, without putting them together. */
static int key_order(const struct copy_object *left, const struct copy_object *right)
{
    const char *a = left->rule->target_key;
    const char *b = right->rule->target_key;
    for (bool is_a_whole = false, is_b_whole = false;; a++, b++) {
        if (*a == '\0' && !is_a_whole) {
            a = left->suffix;
            is_a_whole = true;
        }
        if (*b == '\0' && !is_b_whole) {
            b = right->suffix;
            is_b_whole = true;
        }
        if (*a != *b || *a == '\0') {
            return (int)(unsigned char)*a - (int)(unsigned char)*b;
        }
    }
}

static int object_order(const void *a, const void *b)
{
    const struct copy_object *left = a;
    const struct copy_object *right = b;
    return left->phase != right->phase ? (int)left->phase - (int)right->phase : key_order(left, right);
}

static bool trigger_was_last(const struct copies *copies, const struct copy_object *trigger)
{
    const struct copy_object *end = copies->objects + copies->count;
    for (const struct copy_object *other = copies->objects; other != end; other++) {
        bool is_younger = trigger->modified_wall_ms > 0 && other->modified_wall_ms > trigger->modified_wall_ms;
        if (!other->unchanged || (other->phase != PHASE_TRIGGER && is_younger)) {
            return false;
        }
    }
    return true;
}

void copies_sort(struct copies *copies, bool has_written)
{
    for (size_t i = 0; i < copies->count; i++) {
        struct copy_object *object = &copies->objects[i];
        if (object->phase == PHASE_TRIGGER && object->unchanged && (has_written || !trigger_was_last(copies, object))) {
            object->unchanged = false;
            free(object->etag);
            object->etag = NULL;
        }
    }
    if (copies->count > 0) {
        qsort(copies->objects, copies->count, sizeof(*copies->objects), object_order);
    }
}
