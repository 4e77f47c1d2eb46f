#include "producer/status/link.h"

#include "workers/common/aws/uri.h"
#include "workers/common/base/auto.h"

enum { FILLED_MAXIMUM_BYTES = 8 * 1024 };

static const char *const names[] = {"{deployment}", "{repository}", "{ref}", "{commit}"};
enum { NAME_COUNT = sizeof(names) / sizeof(names[0]) };

/* The position of the placeholder that the text begins with; NAME_COUNT: none. */
static size_t name_at(const char *text)
{
    size_t i = 0;
    while (i < NAME_COUNT && !text_starts_with(text, names[i])) {
        i++;
    }
    return i;
}

const char *link_mistake(const char *template)
{
    size_t scheme = text_starts_with(template, "https://") ? 8 : text_starts_with(template, "http://") ? 7 : 0;
    if (scheme == 0 || strcspn(template + scheme, "/{") == 0 || !slice_is_visible(slice_of(template))) {
        return "must be https://host/path, perhaps with " LINK_PLACEHOLDERS;
    }
    if (strlen(template) > LINK_MAXIMUM_BYTES) {
        return "is longer than 1,024 bytes";
    }
    for (const char *at = strpbrk(template, "{}"); at != NULL; at = strpbrk(at, "{}")) {
        size_t name = name_at(at);
        if (name == NAME_COUNT) {
            return "has a placeholder that is not known; known are " LINK_PLACEHOLDERS;
        }
        at += strlen(names[name]);
    }
    return NULL;
}

char *link_fill(const char *template, const char *deployment, const char *repository, const char *ref,
                const char *commit)
{
    if (template == NULL) {
        return NULL;
    }
    const char *const values[NAME_COUNT] = {deployment, repository, ref, commit};
    AUTO(buffer) struct buffer filled;
    buffer_init(&filled, FILLED_MAXIMUM_BYTES);
    for (const char *at = template; *at != '\0';) {
        size_t name = name_at(at);
        if (name < NAME_COUNT) {
            uri_encode_path(&filled, slice_of(values[name]));
            at += strlen(names[name]);
        } else {
            buffer_append_char(&filled, *at++);
        }
    }
    return filled.is_overflowed ? NULL : text_copy(filled.ptr);
}
