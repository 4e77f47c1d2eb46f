#include "workers/common/engine/takeover.h"

#include <stdint.h>
#include <stdlib.h>

enum { LAST_LEVEL = 4 };

/* Level 0 has no window; the engine lets about so many finish between two commits. */
static const size_t windows[LAST_LEVEL + 1] = {16384, 256, 32, 4, 1};

/* The number behind a word such as ";level=", or 0. */
static unsigned number_behind(const char *text, const char *word)
{
    const char *found = strstr(text, word);
    unsigned long number = found != NULL ? strtoul(found + strlen(word), NULL, 10) : 0;
    return number <= 1000 ? (unsigned)number : 1000;
}

struct takeover takeover_read(const char *text)
{
    if (text == NULL) {
        return (struct takeover){0};
    }
    unsigned level = number_behind(text, ";level=");
    return (struct takeover){
        .is_held = strstr(text, ";held") != NULL,
        .level = level < LAST_LEVEL ? level : LAST_LEVEL,
        .alone = number_behind(text, ";alone="),
    };
}

void takeover_write(const struct takeover *takeover, struct buffer *text)
{
    if (takeover->is_held) {
        buffer_append_text(text, ";held");
    }
    if (takeover->level > 0) {
        buffer_append_format(text, ";level=%u", takeover->level);
    }
    if (takeover->alone > 0) {
        buffer_append_format(text, ";alone=%u", takeover->alone);
    }
}

size_t takeover_window(const struct takeover *takeover)
{
    return takeover->level > 0 ? windows[takeover->level] : SIZE_MAX;
}

bool takeover_is_alone(const struct takeover *takeover)
{
    return takeover->level == LAST_LEVEL;
}

void takeover_claim(struct takeover *takeover)
{
    if (takeover->is_held && takeover->level < LAST_LEVEL) {
        takeover->level++;
    }
    takeover->is_held = true;
    takeover->survived = 0;
}

static void takeover_relax(struct takeover *takeover)
{
    takeover->survived = 0;
    takeover->since_ms = 0;
    takeover->level--;
}

void takeover_survive(struct takeover *takeover, size_t settled, bool has_moved)
{
    if (has_moved) {
        takeover->alone = 0;
    }
    takeover->survived += settled;
    if (takeover->level > 0 && takeover->survived >= windows[takeover->level - 1]) {
        takeover_relax(takeover);
    }
}

void takeover_pass(struct takeover *takeover, int64_t now_ms)
{
    if (takeover->since_ms == 0) {
        takeover->since_ms = now_ms;
    }
    if (takeover->level > 0 && now_ms - takeover->since_ms >= TAKEOVER_LEVEL_MS) {
        takeover_relax(takeover);
        takeover->since_ms = now_ms;
    }
}
