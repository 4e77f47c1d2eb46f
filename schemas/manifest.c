#include "schemas/manifest.h"

#include "schemas/json.h"

#include <stdlib.h>
#include <string.h>

enum { SHA256_DIGITS = 64 };

void manifest_free(struct manifest *manifest)
{
    if (manifest == NULL) {
        return;
    }
    for (size_t i = 0; i < manifest->count; i++) {
        free(manifest->objects[i].key);
        free(manifest->objects[i].sha256);
    }
    free(manifest->objects);
    free(manifest);
}

static bool is_whole_number(const cJSON *value)
{
    double number = cJSON_IsNumber(value) ? value->valuedouble : -1;
    return number >= 0 && number <= 9007199254740991.0 && number == (double)(int64_t)number;
}

static bool object_read(const cJSON *item, size_t position, struct manifest_object *object, struct error *err)
{
    const char *key = json_text(item, "key");
    const cJSON *size = json_member(item, "size");
    const cJSON *sha256 = json_member(item, "sha256");
    if (key == NULL || key[0] == '\0') {
        return error_set(err, ERROR_REJECT, "manifest: object %zu has no key", position + 1);
    }
    if (size != NULL && !is_whole_number(size)) {
        return error_set(err, ERROR_REJECT, "manifest: size of \"%.200s\" is not a number of bytes", key);
    }
    if (sha256 != NULL && (!cJSON_IsString(sha256) || strlen(sha256->valuestring) != SHA256_DIGITS ||
                           strspn(sha256->valuestring, "0123456789abcdefABCDEF") != SHA256_DIGITS)) {
        return error_set(err, ERROR_REJECT, "manifest: sha256 of \"%.200s\" is not 64 hexadecimal digits", key);
    }
    object->key = text_copy(key);
    object->size_bytes = size != NULL ? (int64_t)size->valuedouble : -1;
    object->sha256 = sha256 != NULL ? text_lower(sha256->valuestring) : NULL;
    return true;
}

static int object_order(const void *a, const void *b)
{
    return strcmp(((const struct manifest_object *)a)->key, ((const struct manifest_object *)b)->key);
}

static bool keys_are_unique(const struct manifest *manifest, struct error *err)
{
    for (size_t i = 1; i < manifest->count; i++) {
        if (strcmp(manifest->objects[i - 1].key, manifest->objects[i].key) == 0) {
            return error_set(err, ERROR_REJECT, "manifest: \"%.200s\" is there twice", manifest->objects[i].key);
        }
    }
    return true;
}

bool manifest_parse(struct slice body, struct manifest **ret_manifest, struct error *err)
{
    AUTO(json) cJSON *root = NULL;
    AUTO(manifest) struct manifest *manifest = memory_zeroed(1, sizeof(*manifest));
    if (!json_parse(body, MANIFEST_MAXIMUM_BYTES, &root, err)) {
        return error_prefix(err, "manifest");
    }
    const cJSON *objects = json_member(root, "objects");
    if (!cJSON_IsArray(objects)) {
        return error_set(err, ERROR_REJECT, "manifest: \"objects\" is missing or not a list");
    }
    manifest->objects = memory_zeroed((size_t)cJSON_GetArraySize(objects), sizeof(*manifest->objects));
    for (const cJSON *item = objects->child; item != NULL; item = item->next) {
        if (!object_read(item, manifest->count, &manifest->objects[manifest->count], err)) {
            return false;
        }
        manifest->count++;
    }
    if (manifest->count > 0) {
        qsort(manifest->objects, manifest->count, sizeof(*manifest->objects), object_order);
    }
    if (!keys_are_unique(manifest, err)) {
        return false;
    }
    *ret_manifest = TAKE(manifest);
    return true;
}

const struct manifest_object *manifest_find(const struct manifest *manifest, const char *key)
{
    struct manifest_object probe = {.key = (char *)(uintptr_t)key};
    return manifest->count > 0
               ? bsearch(&probe, manifest->objects, manifest->count, sizeof(*manifest->objects), object_order)
               : NULL;
}
