#include "producer/webhook.h"

#include "producer/hosts/host.h"
#include "schemas/change_line.h"
#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum { INPUT_MAXIMUM = 32 * 1024 * 1024, HEADERS_MAXIMUM = 64 * 1024 };

/* The headers' file as it was read: "Name: value" lines. Values are copied, so that they can be borrowed. */
struct header_file {
    struct buffer text;
    struct texts values;
};

static const char *header_find(void *context, const char *name, size_t *ret_count)
{
    struct header_file *file = context;
    size_t length = strlen(name);
    const char *found = NULL;
    *ret_count = 0;
    for (const char *line = file->text.ptr; *line != '\0';) {
        size_t line_len = strcspn(line, "\r\n");
        if (strncasecmp(line, name, length) == 0 && line[length] == ':' && (*ret_count)++ == 0) {
            AUTO(text) char *value = slice_copy(slice_trim(slice_from(line + length + 1, line_len - length - 1)));
            texts_add(&file->values, value);
            found = file->values.items[file->values.count - 1];
        }
        line += line_len;
        line += strspn(line, "\r\n");
    }
    return found;
}

static void header_file_done(struct header_file *file)
{
    texts_clear(&file->values);
    buffer_done(&file->text);
}

static void changes_print(const struct host *host, const struct changes *changes)
{
    for (size_t i = 0; i < changes->items.count; i++) {
        const struct change *change = (const struct change *)changes->items.items + i;
        AUTO(buffer) struct buffer line;
        buffer_init(&line, 1024 * 1024);
        change_line_format(host->name, change->event, change->reason, &line);
        (void)puts(line.ptr);
    }
}

static int parse_input(const struct command_line *line, const struct host *host, struct header_file *file)
{
    AUTO(buffer) struct buffer body;
    buffer_init(&body, INPUT_MAXIMUM);
    struct error err;
    if (!stream_read(stdin, &body, &err)) {
        error_prefix(&err, "standard input");
        return command_fail(line, &err);
    }
    struct host_headers headers = {header_find, file};
    const char *secret = command_flag(line, "secret");
    if (secret != NULL) {
        struct secrets secrets = {0};
        secrets_add(&secrets, slice_of(secret));
        bool is_genuine = host->is_genuine(&secrets, &headers, buffer_slice(&body), clock_wall_ms());
        secrets_clear(&secrets);
        if (!is_genuine) {
            (void)fprintf(stderr, "tagfleet webhook parse: the signature is missing or wrong\n");
            return EXIT_NEGATIVE;
        }
    }
    struct changes changes = {0};
    bool is_parsed = host->parse(&headers, buffer_slice(&body), &changes, &err);
    if (is_parsed) {
        changes_print(host, &changes);
    }
    changes_clear(&changes);
    return is_parsed ? EXIT_OK : command_fail(line, &err);
}

static int webhook_parse(const struct command_line *line)
{
    if (line->argument_count != 1) {
        return command_usage(line, "name the provider: " HOST_NAMES);
    }
    const struct host *host = host_named(line->arguments[0]);
    if (host == NULL) {
        return command_usage(line, "provider %s is not known; known are " HOST_NAMES, line->arguments[0]);
    }
    struct header_file file = {0};
    buffer_init(&file.text, HEADERS_MAXIMUM);
    struct error err;
    const char *path = command_flag(line, "headers");
    bool is_read = path == NULL || file_read(path, &file.text, &err);
    int exit_code = is_read ? parse_input(line, host, &file) : command_fail(line, &err);
    header_file_done(&file);
    return exit_code;
}

static const struct flag flags[] = {
    {"headers", "FILE", "the request's headers, one \"Name: value\" per line"},
    {"secret", "SECRET",
     "check the signature with this secret (for trying out: others can see it in the process list)"},
    {0},
};

const struct command webhook_parse_command = {
    .name = "webhook parse",
    .arguments = "PROVIDER",
    .summary = "read one webhook payload on standard input, print its events as JSON lines",
    .flags = flags,
    .run = webhook_parse,
    .more = "Exit codes: 0 parsed, 1 rejected. Providers: " HOST_NAMES ".",
    .is_offline = true,
};
