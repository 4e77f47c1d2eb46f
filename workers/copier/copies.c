#include "workers/copier/copies.h"

#include <stdlib.h>
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
        free(object->source_key);
        free(object->source_etag);
        free(object->target_key);
        free(object->etag);
        free(object->version);
    }
    free(copies->objects);
    *copies = (struct copies){0};
}

bool copies_source_is_there(const struct job_copy *rule, const struct s3_listing *source)
{
    return copy_rule_is_prefix(rule) || s3_listing_find(source, rule->source_key) != NULL;
}

static bool is_identical(const struct s3_object *source, const struct s3_object *target)
{
    return target->size_bytes == source->size_bytes && source->etag[0] != '\0' &&
           strcmp(source->etag, target->etag) == 0;
}

void copies_add(struct copies *copies, const struct job_copy *rule, const struct s3_listing *source,
                const struct s3_listing *target)
{
    bool is_prefix = copy_rule_is_prefix(rule);
    copies->objects = memory_resized(copies->objects, (copies->count + source->count + 1) * sizeof(*copies->objects));
    for (size_t i = 0; i < source->count; i++) {
        const struct s3_object *found = &source->objects[i];
        bool is_folder_mark = is_prefix && strcmp(found->key, rule->source_key) == 0;
        if (is_folder_mark || (!is_prefix && strcmp(found->key, rule->source_key) != 0)) {
            continue;
        }
        struct copy_object *object = &copies->objects[copies->count++];
        *object = (struct copy_object){.rule = rule, .size_bytes = found->size_bytes};
        object->source_key = text_copy(found->key);
        object->source_etag = text_copy(found->etag);
        object->target_key = is_prefix ? text_format("%s%s", rule->target_key, found->key + strlen(rule->source_key))
                                       : text_copy(rule->target_key);
        object->phase = copy_phase_of(rule, object->target_key);
        const struct s3_object *present = target != NULL ? s3_listing_find(target, object->target_key) : NULL;
        if (present != NULL && is_identical(found, present)) {
            object->unchanged = true;
            object->etag = text_copy(present->etag);
            object->modified_wall_ms = present->modified_wall_ms;
        }
    }
}

static int object_order(const void *a, const void *b)
{
    const struct copy_object *left = a;
    const struct copy_object *right = b;
    if (left->phase != right->phase) {
        return left->phase < right->phase ? -1 : 1;
    }
    return strcmp(left->target_key, right->target_key);
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
