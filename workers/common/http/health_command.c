#include "workers/common/http/health_command.h"

#include "workers/common/base/auto.h"
#include "workers/common/http/loop.h"

#include <stdio.h>

enum { ANSWER_TIMEOUT_MS = 3000, TURN_MS = 100, ANSWER_MAXIMUM_BYTES = 4 * 1024 * 1024, ROLES_MAXIMUM_BYTES = 256 };

static const char admin_suffix[] = ".admin";

bool health_url(const char *address, const char *path, char **ret_url, struct error *err)
{
    const char *colon = strrchr(address, ':');
    if (colon == NULL || colon[1] == '\0' || strspn(colon + 1, "0") == strlen(colon + 1)) {
        return error_set(err, ERROR_FATAL,
                         "\"%s\" says no port to ask at; give the role a fixed one, such as 127.0.0.1:9090", address);
    }
    struct slice host = slice_from(address, (size_t)(colon - address));
    if (slice_equal_text(host, "0.0.0.0")) {
        host = slice_of("127.0.0.1");
    } else if (slice_equal_text(host, "[::]") || slice_equal_text(host, "::")) {
        host = slice_of("[::1]");
    }
    *ret_url = text_format("http://%.*s%s%s", (int)host.len, host.ptr, colon, path);
    return true;
}

/* The length of the role's name when the option is a role's admin address, else 0. */
static size_t role_length(const struct option *option)
{
    size_t length = strlen(option->name);
    size_t suffix = strlen(admin_suffix);
    return length > suffix && strcmp(option->name + length - suffix, admin_suffix) == 0 ? length - suffix : 0;
}

/* The admin option of the role; NULL when there is no such role, and roles lists those that there are. */
static const char *role_option(const struct option *const *tables, const char *role, struct buffer *roles)
{
    for (size_t i = 0; tables[i] != NULL; i++) {
        for (const struct option *option = tables[i]; option->name != NULL; option++) {
            size_t length = role_length(option);
            if (length > 0 && slice_equal_text(slice_from(option->name, length), role)) {
                return option->name;
            }
            if (length > 0) {
                buffer_append_format(roles, "%s%.*s", roles->len > 0 ? ", " : "", (int)length, option->name);
            }
        }
    }
    return NULL;
}

struct inquiry {
    const char *url;
    bool is_done;
    bool is_well;
};

static void inquiry_answered(void *context, const struct http_answer *answer)
{
    struct inquiry *inquiry = context;
    inquiry->is_done = true;
    inquiry->is_well = answer->status == 200;
    if (answer->status == 0) {
        (void)fprintf(stderr, "tagfleet health: no answer from %s: %s\n", inquiry->url, answer->err.text);
    } else {
        (void)printf("%.*s", (int)answer->body.len, answer->body.ptr);
    }
}

static bool inquire(const char *url)
{
    struct inquiry inquiry = {.url = url};
    const struct http_request request = {
        .method = "GET",
        .url = url,
        .timeout_ms = ANSWER_TIMEOUT_MS,
        .answer_maximum_bytes = ANSWER_MAXIMUM_BYTES,
        .is_direct = true,
    };
    struct loop *loop = loop_new(NULL);
    (void)http_start(loop_http(loop), &request, inquiry_answered, &inquiry);
    while (!inquiry.is_done) {
        loop_turn(loop, TURN_MS);
    }
    loop_free(loop);
    return inquiry.is_well;
}

static int health_run(const struct command_line *line)
{
    AUTO(buffer) struct buffer roles;
    buffer_init(&roles, ROLES_MAXIMUM_BYTES);
    const char *role = line->argument_count == 1 ? line->arguments[0] : "";
    const char *option = role_option(line->tables, role, &roles);
    if (option == NULL) {
        return command_usage(line, "name one role: %s", roles.ptr);
    }
    AUTO(text) char *url = NULL;
    struct error err;
    const char *path = command_flag(line, "ready") != NULL ? "/readyz" : "/healthz";
    if (!health_url(options_text(line->options, option), path, &url, &err)) {
        (void)error_prefix(&err, "%s", option);
        return command_fail(line, &err);
    }
    return inquire(url) ? EXIT_OK : EXIT_NEGATIVE;
}

static const struct flag health_flags[] = {
    {"ready", NULL, "whether it takes work, instead of whether anything needs attention"},
    {0},
};

const struct command health_command = {
    .name = "health",
    .arguments = "ROLE",
    .summary = "ask the role that runs on this machine how it is",
    .flags = health_flags,
    .run = health_run,
    .more = "The address is the role's own, such as copier.admin; both read it from the same configuration.\n"
            "Exit codes: 0 all is well, 1 not or no answer within 3 s, 100 the role has no fixed address.",
};
