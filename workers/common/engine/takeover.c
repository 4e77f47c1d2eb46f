#include "workers/common/engine/takeover.h"

#include <stdlib.h>

enum { LEVEL_FACTOR = 8 };

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
    return (struct takeover){
        .is_held = strstr(text, ";held") != NULL,
        .level = number_behind(text, ";level="),
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

size_t takeover_window(const struct takeover *takeover, size_t max_running)
{
    size_t window = max_running;
    for (unsigned level = 0; level < takeover->level && window > 1; level++) {
        window /= LEVEL_FACTOR;
    }
    return window > 0 ? window : 1;
}

bool takeover_is_alone(const struct takeover *takeover, size_t max_running)
{
    return takeover->level > 0 && takeover_window(takeover, max_running) == 1;
}

void takeover_claim(struct takeover *takeover, size_t max_running)
{
    if (takeover->is_held && !takeover_is_alone(takeover, max_running)) {
        takeover->level++;
    }
    takeover->is_held = true;
    takeover->survived = 0;
}

void takeover_survive(struct takeover *takeover, size_t settled, bool has_moved, size_t max_running)
{
    if (has_moved) {
        takeover->alone = 0;
    }
    takeover->survived += settled;
    while (takeover->level > 0 && takeover->survived >= takeover_window(takeover, max_running)) {
        takeover->survived -= takeover_window(takeover, max_running);
        takeover->level--;
    }
}
