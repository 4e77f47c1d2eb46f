#include "workers/common/base/log.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/buffer.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LINE_MAXIMUM = 16384, VALUE_MAXIMUM = 4096 };

static enum log_level highest_level = LOG_INFO;
static bool writes_json;
static char role_name[32];

void log_setup(enum log_level level, bool is_json, const char *role)
{
    highest_level = level;
    writes_json = is_json;
    (void)snprintf(role_name, sizeof(role_name), "%s", role);
}

bool log_is_enabled(enum log_level level)
{
    return level <= highest_level;
}

static const char *level_name(enum log_level level)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    return names[level];
}

static bool is_control(const unsigned char *character)
{
    return character[0] < 0x20 || character[0] == 0x7f || (character[0] == 0xc2 && character[1] < 0xa0);
}

/* What is no UTF-8 becomes the replacement character; what is too long is cut. */
static void append_quoted(struct buffer *line, const char *value)
{
    const unsigned char *at = (const unsigned char *)value;
    const char *end = value + strlen(value);
    size_t start = line->len;
    buffer_append_char(line, '"');
    while (*at != '\0' && line->len - start < VALUE_MAXIMUM) {
        size_t length = utf8_length((const char *)at, (size_t)(end - (const char *)at));
        if (length == 0) {
            buffer_append_text(line, "\xef\xbf\xbd");
        } else if (*at == '"' || *at == '\\') {
            buffer_append_char(line, '\\');
            buffer_append_char(line, (char)*at);
        } else if (*at == '\n') {
            buffer_append_text(line, "\\n");
        } else if (is_control(at)) {
            buffer_append_format(line, "\\u%04x", at[length - 1]);
        } else {
            buffer_append(line, slice_from(at, length));
        }
        if (line->is_overflowed) {
            return;
        }
        at += length > 0 ? length : 1;
    }
    buffer_append_text(line, *at != '\0' ? "...\"" : "\"");
}

static bool needs_quotes(const char *value)
{
    const unsigned char *at = (const unsigned char *)value;
    const char *end = value + strlen(value);
    for (size_t length; *at != '\0'; at += length) {
        length = utf8_length((const char *)at, (size_t)(end - (const char *)at));
        if (length == 0 || is_control(at) || strchr(" \"=\\", *at) != NULL) {
            return true;
        }
    }
    size_t size = (size_t)((const char *)at - value);
    return size == 0 || size > VALUE_MAXIMUM;
}

static void append_pair(struct buffer *line, const char *name, const char *value)
{
    if (writes_json) {
        buffer_append_char(line, line->len > 1 ? ',' : ' ');
        append_quoted(line, name);
        buffer_append_char(line, ':');
        append_quoted(line, value);
        return;
    }
    buffer_append_format(line, "%s%s=", line->len > 0 ? " " : "", name);
    if (needs_quotes(value)) {
        append_quoted(line, value);
    } else {
        buffer_append_text(line, value);
    }
}

/* A pair for which the line has no room is left out. */
static void append_whole_pair(struct buffer *line, const char *name, const char *value)
{
    size_t len = line->len;
    append_pair(line, name, value);
    if (line->is_overflowed) {
        line->len = len;
        line->is_overflowed = false;
    }
}

void log_event(enum log_level level, const char *message, ...)
{
    if (!log_is_enabled(level)) {
        return;
    }
    AUTO(buffer) struct buffer line;
    buffer_init(&line, LINE_MAXIMUM);
    if (writes_json) {
        buffer_append_char(&line, '{');
    }
    char now[CLOCK_TEXT_SIZE];
    clock_format(clock_wall_ms(), now);
    append_pair(&line, "time", now);
    append_pair(&line, "level", level_name(level));
    if (role_name[0] != '\0') {
        append_pair(&line, "role", role_name);
    }
    append_pair(&line, "msg", message);
    va_list pairs;
    va_start(pairs, message);
    for (const char *name; (name = va_arg(pairs, const char *)) != NULL;) {
        const char *value = va_arg(pairs, const char *);
        if (value != NULL) {
            append_whole_pair(&line, name, value);
        }
    }
    va_end(pairs);
    line.maximum += strlen("}\n");
    buffer_append_text(&line, writes_json ? "}\n" : "\n");
    (void)!write(STDERR_FILENO, line.ptr, line.len);
}

const char *log_number(long long number)
{
    static __thread char texts[8][24];
    static __thread unsigned next;
    char *text = texts[next++ % 8];
    (void)snprintf(text, sizeof(texts[0]), "%lld", number);
    return text;
}
