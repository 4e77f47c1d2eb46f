#include "producer/map.h"

#include "schemas/map_entry.h"
#include "schemas/map_file.h"
#include "workers/common/base/auto.h"
#include "workers/common/base/file.h"
#include "workers/common/base/index.h"
#include "workers/common/kafka/publisher.h"
#include "workers/common/kafka/reader.h"

#include <stdio.h>
#include <stdlib.h>

enum { READ_TIMEOUT_MS = 15000, STORE_TIMEOUT_MS = 15000, FILE_MAXIMUM_BYTES = 64 * 1024 * 1024 };

static const struct texts no_accounts;

/* The map as the broker has it: tag -> struct map_entry. */
static void entry_free(void *value)
{
    map_entry_free(value);
}

static void entry_apply(struct index *map, const struct record *record)
{
    struct map_entry *entry = NULL;
    struct error err;
    if (record->value.ptr != NULL && !map_entry_parse(record->value, &entry, &err)) {
        (void)fprintf(stderr, "tagfleet map: entry \"%.*s\" cannot be read: %s\n", (int)record->key.len,
                      record->key.ptr != NULL ? record->key.ptr : "", err.text);
        return;
    }
    void *replaced = entry != NULL ? index_put(map, record->key, entry) : index_remove(map, record->key);
    if (replaced != NULL) {
        entry_free(replaced);
    }
}

static bool map_read(const struct options *options, struct index *map, struct error *err)
{
    AUTO(reader) struct reader *reader = NULL;
    if (!reader_open(options, "map", 0, READ_TIMEOUT_MS, &reader, err)) {
        return false;
    }
    for (;;) {
        struct record record = {0};
        switch (reader_next(reader, READ_TIMEOUT_MS, &record, err)) {
        case READER_MESSAGE:
            entry_apply(map, &record);
            record_free(&record);
            break;
        case READER_CAUGHT_UP:
            return true;
        case READER_TIMED_OUT:
            return error_set(err, ERROR_RETRY, "the map could not be read within %d ms", READ_TIMEOUT_MS);
        case READER_FAILED:
            return false;
        }
    }
}

static void index_auto(struct index *map)
{
    index_clear(map, entry_free);
}

/* --- changing --- */

static bool entry_store(struct publisher *publisher, const struct map_entry *before, const char *tag,
                        const struct texts *accounts, const char *reason, struct error *err)
{
    AUTO(map_entry) struct map_entry *entry = memory_zeroed(1, sizeof(*entry));
    entry->version = (before != NULL ? before->version : 0) + 1;
    AUTO(text) char *id = text_format("%s/%lld", tag, (long long)entry->version);
    envelope_fill(&entry->envelope, id, "tagfleet/map", tag);
    entry->tag = text_copy(tag);
    entry->reason = reason != NULL && reason[0] != '\0' ? text_copy(reason) : NULL;
    const char *user = getenv("USER");
    entry->actor = user != NULL && user[0] != '\0' ? text_copy(user) : NULL;
    for (size_t i = 0; i < accounts->count; i++) {
        texts_add(&entry->accounts, accounts->items[i]);
    }
    const char *wrong = map_entry_codec.check(entry);
    if (wrong != NULL) {
        return error_set(err, ERROR_REJECT, "\"%s\": %s", tag, wrong);
    }
    AUTO(output) struct output *output = message_output(&map_entry_codec, entry, "map", tag);
    return publisher_send_wait(publisher, output, NULL, err);
}

static bool entry_delete(struct publisher *publisher, const char *tag, struct error *err)
{
    AUTO(output) struct output *output = output_new("map", tag, slice_from(NULL, 0));
    return publisher_send_wait(publisher, output, NULL, err);
}

/* Those of one list that the other does not have. */
static void accounts_without(const struct texts *accounts, const struct texts *without, struct texts *rest)
{
    struct index index = {0};
    accounts_index(without, &index);
    for (size_t i = 0; i < accounts->count; i++) {
        if (index_get(&index, slice_of(accounts->items[i])) == NULL) {
            texts_add(rest, accounts->items[i]);
        }
    }
    index_clear(&index, NULL);
}

static void texts_auto(struct texts *texts)
{
    texts_clear(texts);
}

/* What differs between an entry before and after; both lists are without duplicates. */
struct difference {
    struct texts gone;
    struct texts come;
};

static void difference_auto(struct difference *difference)
{
    texts_clear(&difference->gone);
    texts_clear(&difference->come);
}

static void difference_print(const char *tag, const struct difference *difference)
{
    for (size_t i = 0; i < difference->gone.count; i++) {
        (void)printf("- %s %s\n", tag, difference->gone.items[i]);
    }
    for (size_t i = 0; i < difference->come.count; i++) {
        (void)printf("+ %s %s\n", tag, difference->come.items[i]);
    }
}

struct editing {
    const struct command_line *line;
    struct index map;
    struct publisher *publisher;
    bool is_dry_run;
    size_t changes;
};

static bool edit_open(struct editing *editing, const struct command_line *line, struct error *err)
{
    *editing = (struct editing){.line = line};
    return map_read(line->options, &editing->map, err) &&
           publisher_open(line->options, -1, STORE_TIMEOUT_MS, &editing->publisher, err);
}

static void editing_auto(struct editing *editing)
{
    publisher_close(editing->publisher);
    index_auto(&editing->map);
}

/* accounts NULL: delete the entry. */
static bool edit_entry(struct editing *editing, const char *tag, const struct texts *accounts, struct error *err)
{
    const struct map_entry *before = index_get(&editing->map, slice_of(tag));
    const struct texts *old = before != NULL ? &before->accounts : &no_accounts;
    AUTO(difference) struct difference difference = {0};
    accounts_without(old, accounts != NULL ? accounts : &no_accounts, &difference.gone);
    accounts_without(accounts != NULL ? accounts : &no_accounts, old, &difference.come);
    bool is_same = (before == NULL) == (accounts == NULL) && difference.gone.count + difference.come.count == 0;
    if (is_same) {
        return true;
    }
    editing->changes++;
    if (!editing->line->is_json) {
        difference_print(tag, &difference);
    }
    if (editing->is_dry_run) {
        return true;
    }
    if (accounts == NULL) {
        return entry_delete(editing->publisher, tag, err);
    }
    return entry_store(editing->publisher, before, tag, accounts, command_flag(editing->line, "reason"), err);
}

static void edit_report(const struct editing *editing)
{
    if (editing->line->is_json) {
        (void)printf("{\"changed\":%zu,\"stored\":%s}\n", editing->changes, editing->is_dry_run ? "false" : "true");
    } else if (editing->changes == 0) {
        (void)printf("nothing to change\n");
    } else {
        (void)printf("%zu %s %s\n", editing->changes, editing->changes == 1 ? "entry" : "entries",
                     editing->is_dry_run ? "would change" : "stored");
    }
}

enum edit { EDIT_SET, EDIT_ADD, EDIT_REMOVE };

/* The accounts of an entry after the edit. */
static void accounts_edit(const struct texts *before, const struct texts *named, enum edit edit, struct texts *after)
{
    if (edit == EDIT_REMOVE) {
        accounts_without(before, named, after);
        return;
    }
    if (edit == EDIT_ADD) {
        accounts_without(before, &no_accounts, after);
    }
    accounts_without(named, edit == EDIT_ADD ? before : &no_accounts, after);
}

static int map_edit(const struct command_line *line, enum edit edit)
{
    struct error err;
    AUTO(texts) struct texts named = {0};
    AUTO(texts) struct texts after = {0};
    if (line->argument_count < 2) {
        return command_usage(line, "name the tag and its accounts");
    }
    const char *tag = line->arguments[0];
    const char *wrong = check_deploy_tag(tag);
    if (wrong != NULL) {
        error_set(&err, ERROR_REJECT, "tag \"%.100s\" %s", tag, wrong);
        return command_fail(line, &err);
    }
    for (size_t i = 1; i < line->argument_count; i++) {
        if (!accounts_parse(line->arguments[i], &named, &err)) {
            return command_fail(line, &err);
        }
    }
    if (named.count == 0) {
        error_set(&err, ERROR_REJECT, "no account is named; `tagfleet map delete %.100s` removes the entry", tag);
        return command_fail(line, &err);
    }
    AUTO(editing) struct editing editing;
    if (!edit_open(&editing, line, &err)) {
        return command_fail(line, &err);
    }
    const struct map_entry *before = index_get(&editing.map, slice_of(tag));
    accounts_edit(before != NULL ? &before->accounts : &no_accounts, &named, edit, &after);
    if (!edit_entry(&editing, tag, before == NULL && after.count == 0 ? NULL : &after, &err)) {
        return command_fail(line, &err);
    }
    edit_report(&editing);
    return EXIT_OK;
}

static int map_set(const struct command_line *line)
{
    return map_edit(line, EDIT_SET);
}

static int map_add(const struct command_line *line)
{
    return map_edit(line, EDIT_ADD);
}

static int map_remove(const struct command_line *line)
{
    return map_edit(line, EDIT_REMOVE);
}

static int map_delete(const struct command_line *line)
{
    struct error err;
    if (line->argument_count != 1) {
        return command_usage(line, "name the tag");
    }
    AUTO(editing) struct editing editing;
    if (!edit_open(&editing, line, &err)) {
        return command_fail(line, &err);
    }
    if (index_get(&editing.map, slice_of(line->arguments[0])) == NULL) {
        error_set(&err, ERROR_REJECT, "\"%.100s\" is not in the map", line->arguments[0]);
        return command_fail(line, &err);
    }
    if (!edit_entry(&editing, line->arguments[0], NULL, &err)) {
        return command_fail(line, &err);
    }
    edit_report(&editing);
    return EXIT_OK;
}

struct prune {
    const struct map_file *file;
    struct texts tags;
};

static void prune_visit(const char *tag, void *value, void *context)
{
    (void)value;
    struct prune *prune = context;
    if (map_file_find(prune->file, tag) == NULL) {
        texts_add(&prune->tags, tag);
    }
}

static bool apply_file(struct editing *editing, const struct map_file *file, struct error *err)
{
    for (size_t i = 0; i < file->entries.count; i++) {
        const struct map_file_entry *entry = (const struct map_file_entry *)file->entries.items + i;
        if (!edit_entry(editing, entry->tag, &entry->accounts, err)) {
            return false;
        }
    }
    bool is_applied = true;
    struct prune prune = {.file = file};
    if (command_flag(editing->line, "prune") != NULL) {
        index_each(&editing->map, prune_visit, &prune);
    }
    for (size_t i = 0; i < prune.tags.count && is_applied; i++) {
        is_applied = edit_entry(editing, prune.tags.items[i], NULL, err);
    }
    texts_clear(&prune.tags);
    return is_applied;
}

static int map_apply(const struct command_line *line)
{
    struct error err;
    const char *path = command_flag(line, "file");
    AUTO(buffer) struct buffer body;
    buffer_init(&body, FILE_MAXIMUM_BYTES);
    if (path == NULL) {
        return command_usage(line, "name the file: -f FILE");
    }
    AUTO(map_file) struct map_file *file = NULL;
    if (!file_read(path, &body, &err) || !map_file_parse(buffer_slice(&body), &file, &err)) {
        error_prefix(&err, "%s", path);
        return command_fail(line, &err);
    }
    AUTO(editing) struct editing editing;
    bool is_applied = edit_open(&editing, line, &err);
    editing.is_dry_run = command_flag(line, "dry-run") != NULL;
    if (!is_applied || !apply_file(&editing, file, &err)) {
        return command_fail(line, &err);
    }
    edit_report(&editing);
    return EXIT_OK;
}

/* --- reading --- */

static void list_visit(const char *tag, void *value, void *context)
{
    const struct map_entry *entry = value;
    if (*(const bool *)context) {
        AUTO(buffer) struct buffer line;
        buffer_init(&line, MESSAGE_MAXIMUM_BYTES);
        message_format_data(&map_entry_codec, entry, &line);
        (void)puts(line.ptr);
        return;
    }
    (void)printf("%-24s %6zu account%s  version %lld%s%s\n", tag, entry->accounts.count,
                 entry->accounts.count == 1 ? " " : "s", (long long)entry->version, entry->reason != NULL ? "  " : "",
                 entry->reason != NULL ? entry->reason : "");
}

static int map_list(const struct command_line *line)
{
    struct error err;
    AUTO(index) struct index map = {0};
    if (!map_read(line->options, &map, &err)) {
        return command_fail(line, &err);
    }
    bool is_json = line->is_json;
    index_each(&map, list_visit, &is_json);
    return EXIT_OK;
}

static int map_show(const struct command_line *line)
{
    struct error err;
    AUTO(index) struct index map = {0};
    if (line->argument_count != 1) {
        return command_usage(line, "name the tag");
    }
    if (!map_read(line->options, &map, &err)) {
        return command_fail(line, &err);
    }
    struct map_entry *entry = index_get(&map, slice_of(line->arguments[0]));
    if (entry == NULL) {
        error_set(&err, ERROR_REJECT, "\"%.100s\" is not in the map", line->arguments[0]);
        return command_fail(line, &err);
    }
    bool is_json = line->is_json;
    list_visit(entry->tag, entry, &is_json);
    for (size_t i = 0; !is_json && i < entry->accounts.count; i++) {
        (void)printf("  %s\n", entry->accounts.items[i]);
    }
    return EXIT_OK;
}

static void export_visit(const char *tag, void *value, void *context)
{
    map_file_add(context, tag, &((const struct map_entry *)value)->accounts);
}

static int map_export(const struct command_line *line)
{
    struct error err;
    AUTO(index) struct index map = {0};
    if (!map_read(line->options, &map, &err)) {
        return command_fail(line, &err);
    }
    AUTO(map_file) struct map_file *file = memory_zeroed(1, sizeof(*file));
    AUTO(buffer) struct buffer text;
    buffer_init(&text, FILE_MAXIMUM_BYTES);
    index_each(&map, export_visit, file);
    map_file_format(file, &text);
    (void)fputs(text.ptr, stdout);
    return EXIT_OK;
}

static const struct flag edit_flags[] = {
    {"reason", "TEXT", "why, kept with the entry"},
    {0},
};

static const struct flag apply_flags[] = {
    {"file", "FILE", "the map: {\"qa\": [\"222222222222\"]} (also -f)"},
    {"dry-run", NULL, "only show what would change"},
    {"prune", NULL, "delete the entries that the file does not have"},
    {"reason", "TEXT", "why, kept with the entries"},
    {0},
};

static const char exit_codes[] = "Exit codes: 0 done, 1 refused or unknown, 111 the broker did not answer.";

const struct command map_list_command = {
    .name = "map list", .summary = "all entries", .run = map_list, .more = exit_codes};
const struct command map_show_command = {.name = "map show",
                                         .arguments = "TAG",
                                         .summary = "one entry with its accounts",
                                         .run = map_show,
                                         .more = exit_codes};
const struct command map_set_command = {.name = "map set",
                                        .arguments = "TAG ID[,ID...]",
                                        .summary = "the tag has exactly these accounts",
                                        .flags = edit_flags,
                                        .run = map_set,
                                        .more = exit_codes};
const struct command map_add_command = {.name = "map add",
                                        .arguments = "TAG ID[,ID...]",
                                        .summary = "the tag has these accounts too",
                                        .flags = edit_flags,
                                        .run = map_add,
                                        .more = exit_codes};
const struct command map_remove_command = {.name = "map remove",
                                           .arguments = "TAG ID[,ID...]",
                                           .summary = "the tag has these accounts no more",
                                           .flags = edit_flags,
                                           .run = map_remove,
                                           .more = exit_codes};
const struct command map_delete_command = {.name = "map delete",
                                           .arguments = "TAG",
                                           .summary = "remove the entry",
                                           .flags = edit_flags,
                                           .run = map_delete,
                                           .more = exit_codes};
const struct command map_apply_command = {.name = "map apply",
                                          .arguments = "-f FILE",
                                          .summary = "make the map as the file says; prints the difference",
                                          .flags = apply_flags,
                                          .run = map_apply,
                                          .more = exit_codes};
const struct command map_export_command = {
    .name = "map export", .summary = "the whole map as a file for `map apply`", .run = map_export, .more = exit_codes};
