#include "workers/common/base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool error_set(struct error *err, enum error_action action, const char *format, ...)
{
    if (err != NULL) {
        va_list arguments;
        va_start(arguments, format);
        /* An argument may lie in err->text itself. */
        char text[sizeof(err->text)];
        (void)vsnprintf(text, sizeof(text), format, arguments);
        va_end(arguments);
        memcpy(err->text, text, sizeof(text));
        err->action = action;
    }
    return false;
}

bool error_prefix(struct error *err, const char *format, ...)
{
    if (err != NULL) {
        char context[sizeof(err->text)];
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(context, sizeof(context), format, arguments);
        va_end(arguments);
        error_set(err, err->action, "%s: %s", context, err->text);
    }
    return false;
}

const char *error_action_name(enum error_action action)
{
    switch (action) {
    case ERROR_RETRY:
        return "retry";
    case ERROR_REJECT:
        return "reject";
    case ERROR_FATAL:
        return "fatal";
    case ERROR_NONE:
        break;
    }
    return "none";
}

void error_out_of_memory(void)
{
    static const char line[] = "tagfleet: out of memory\n";
    (void)!write(STDERR_FILENO, line, sizeof(line) - 1);
    abort();
}

void *memory_zeroed(size_t count, size_t size_bytes)
{
    void *block = calloc(count > 0 ? count : 1, size_bytes > 0 ? size_bytes : 1);
    if (block == NULL) {
        error_out_of_memory();
    }
    return block;
}

void *memory_resized(void *block, size_t size_bytes)
{
    void *resized = realloc(block, size_bytes > 0 ? size_bytes : 1);
    if (resized == NULL) {
        error_out_of_memory();
    }
    return resized;
}

char *text_copy(const char *text)
{
    char *copy = strdup(text);
    if (copy == NULL) {
        error_out_of_memory();
    }
    return copy;
}

char *text_copy_or_null(const char *text)
{
    return text != NULL && text[0] != '\0' ? text_copy(text) : NULL;
}

char *text_lower(const char *text)
{
    char *lower = text_copy(text);
    for (char *at = lower; *at != '\0'; at++) {
        *at = (char)(*at >= 'A' && *at <= 'Z' ? *at - 'A' + 'a' : *at);
    }
    return lower;
}

char *text_format(const char *format, ...)
{
    char short_text[256];
    va_list arguments;
    va_list again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(short_text, sizeof(short_text), format, arguments);
    va_end(arguments);
    char *text = memory_resized(NULL, length >= 0 ? (size_t)length + 1 : 1);
    if (length >= 0 && (size_t)length < sizeof(short_text)) {
        memcpy(text, short_text, (size_t)length + 1);
    } else {
        (void)vsnprintf(text, (size_t)length + 1, format, again);
    }
    va_end(again);
    return text;
}
