/*
 * Is it a character? RFC 3629: no overlong forms, no surrogates, nothing above U+10FFFF.
 */
#pragma once

#include <stddef.h>

/* The length in bytes of the character that the text begins with, at most left; 0 when it begins none, or with NUL. */
size_t utf8_length(const char *text, size_t left);
