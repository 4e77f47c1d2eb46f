/*
 * The codecs' verdict, for comparing it with the schemas': reads messages on standard input, one per line, and answers
 * each with "ok" or "refused: reason". With --fields it prints the codecs' tables instead: type, path and presence.
 */
#include "schemas/account.h"
#include "schemas/build.h"
#include "schemas/commit_status.h"
#include "schemas/dead_letter.h"
#include "schemas/deployment.h"
#include "schemas/event.h"
#include "schemas/job.h"
#include "schemas/map_entry.h"
#include "schemas/ref_state.h"
#include "schemas/result.h"

#include <stdio.h>

static const struct codec *const codecs[] = {
    &account_codec, &build_codec, &commit_status_codec, &dead_letter_codec, &deployment_codec,
    &event_codec,   &job_codec,   &map_entry_codec,     &ref_state_codec,   &result_codec,
};

static const struct codec *codec_find(const char *type)
{
    for (size_t i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++) {
        if (strcmp(codecs[i]->type, type) == 0) {
            return codecs[i];
        }
    }
    return NULL;
}

static bool line_check(struct slice body, struct error *err)
{
    AUTO(text) char *type = message_type(body);
    const struct codec *codec = type != NULL ? codec_find(type) : NULL;
    if (codec == NULL) {
        return error_set(err, ERROR_REJECT, "no message that a codec knows");
    }
    void *message;
    if (!message_parse(codec, body, &message, err)) {
        return false;
    }
    message_free(codec, message);
    return true;
}

// NOLINTNEXTLINE(misc-no-recursion): groups nest one level deep, by the tables.
static void fields_print(const struct field *fields, const char *type, const char *path)
{
    for (const struct field *field = fields; field->name != NULL; field++) {
        AUTO(text) char *name = text_format("%s%s", path, field->name);
        printf("%s %s %s\n", type, name, field->presence == REQUIRED ? "required" : "optional");
        if (field->kind == FIELD_GROUPS) {
            AUTO(text) char *inner = text_format("%s.", name);
            fields_print(field->group, type, inner);
        }
    }
}

int main(int count, char **arguments)
{
    if (count > 1 && strcmp(arguments[1], "--fields") == 0) {
        for (size_t i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++) {
            fields_print(codecs[i]->fields, codecs[i]->type, "");
        }
        return 0;
    }
    AUTO(text) char *line = NULL;
    size_t size = 0;
    for (ssize_t length; (length = getline(&line, &size, stdin)) > 0;) {
        struct error err;
        if (line_check(slice_from(line, (size_t)length), &err)) {
            puts("ok");
            continue;
        }
        for (char *at = err.text; *at != '\0'; at++) {
            *at = (unsigned char)*at < ' ' ? '?' : *at;
        }
        printf("refused: %s\n", err.text);
    }
    return 0;
}
