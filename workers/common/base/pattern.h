/*
 * Names by pattern, as the config has them: * stands for any characters, a slash too, ? for one.
 */
#pragma once

#include <fnmatch.h>
#include <stdbool.h>
#include <stddef.h>

static inline bool pattern_matches(const char *pattern, const char *text)
{
    return fnmatch(pattern, text, 0) == 0;
}

static inline bool patterns_match(const char *const *patterns, size_t count, const char *text)
{
    for (size_t i = 0; i < count; i++) {
        if (pattern_matches(patterns[i], text)) {
            return true;
        }
    }
    return false;
}
