#include "workers/resolver/plan_command.h"

#include "schemas/map_file.h"
#include "schemas/ref.h"
#include "schemas/report_line.h"
#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/file.h"
#include "workers/common/kafka/reader.h"
#include "workers/resolver/memory.h"
#include "workers/resolver/plan.h"

#include <stdio.h>

enum { READ_TIMEOUT_MS = 15000, FILE_MAXIMUM_BYTES = 64 * 1024 * 1024 };

/* Where nothing is said, the plan shows these. */
static const char unknown_commit[] = "0000000";
static const char unknown_repository[] = "repository";

static void memory_auto(struct memory **memory)
{
    memory_free(*memory);
}

/* Puts a map file's entries into a memory as if they had been read from the topic. */
static bool memory_fill_from_file(const char *path, struct memory *memory, struct error *err)
{
    AUTO(buffer) struct buffer body;
    buffer_init(&body, FILE_MAXIMUM_BYTES);
    AUTO(map_file) struct map_file *file = NULL;
    if (!file_read(path, &body, err) || !map_file_parse(buffer_slice(&body), &file, err)) {
        return error_prefix(err, "%s", path);
    }
    struct table_reader readers[MEMORY_COUNT];
    memory_readers(memory, readers);
    for (size_t i = 0; i < file->entries.count; i++) {
        const struct map_file_entry *entry = (const struct map_file_entry *)file->entries.items + i;
        AUTO(map_entry) struct map_entry *message = memory_zeroed(1, sizeof(*message));
        envelope_fill(&message->envelope, entry->tag, path, NULL);
        message->tag = text_copy(entry->tag);
        message->version = 1;
        for (size_t k = 0; k < entry->accounts.count; k++) {
            texts_add(&message->accounts, entry->accounts.items[k]);
        }
        AUTO(buffer) struct buffer text;
        buffer_init(&text, MESSAGE_MAXIMUM_BYTES);
        map_entry_format(message, &text);
        readers[MEMORY_DIRECTORY].apply(memory, slice_of(entry->tag), buffer_slice(&text));
    }
    return true;
}

static bool memory_fill_table(const struct options *options, const struct table_reader *table, struct error *err)
{
    AUTO(reader) struct reader *reader = NULL;
    if (!reader_open(options, table->topic, 0, READ_TIMEOUT_MS, &reader, err)) {
        return false;
    }
    for (;;) {
        struct record record = {0};
        switch (reader_next(reader, READ_TIMEOUT_MS, &record, err)) {
        case READER_MESSAGE:
            table->apply(table->context, record.key, record.value);
            record_free(&record);
            break;
        case READER_CAUGHT_UP:
            return true;
        case READER_TIMED_OUT:
            return error_set(err, ERROR_RETRY, "%s could not be read within %d ms", table->topic, READ_TIMEOUT_MS);
        case READER_FAILED:
            return false;
        }
    }
}

static bool memory_fill(const struct options *options, struct memory *memory, struct error *err)
{
    struct table_reader readers[MEMORY_COUNT];
    memory_readers(memory, readers);
    for (size_t i = 0; i < MEMORY_COUNT; i++) {
        if (!memory_fill_table(options, &readers[i], err)) {
            return false;
        }
    }
    return true;
}

static int plan_nothing(const struct command_line *line, const char *outcome, const char *ref, const char *tag,
                        const char *reason)
{
    if (line->is_json) {
        AUTO(buffer) struct buffer text;
        buffer_init(&text, 64 * 1024);
        report_no_plan_line(outcome, ref, tag, reason, &text);
        (void)puts(text.ptr);
    } else {
        (void)printf("%s: %s\n", outcome, reason);
    }
    return outcome[0] == 'r' ? EXIT_REJECTED : outcome[0] == 'd' ? EXIT_DROPPED : EXIT_OK;
}

static void plan_print_job(const struct command_line *line, const struct job *job)
{
    if (line->is_json) {
        AUTO(buffer) struct buffer text;
        buffer_init(&text, 1024 * 1024);
        report_plan_line(job, &text);
        (void)puts(text.ptr);
        return;
    }
    (void)printf("%s  %s\n", job->account, job->role != NULL ? job->role : job->profile);
    for (size_t i = 0; i < job->copies.count; i++) {
        const struct job_copy *copy = (const struct job_copy *)job->copies.items + i;
        (void)printf("    s3://%s/%s -> s3://%s/%s%s\n", copy->source_bucket, copy->source_key, copy->target_bucket,
                     copy->target_key, copy->trigger ? "  (trigger)" : "");
    }
}

/* What has been found out about the ref. */
struct planning {
    const struct command_line *line;
    const struct plan *plan;
    struct memory *memory;
    const char *repository;
    const char *commit; /* NULL: not said */
    const char *ref;
};

static int plan_accounts(const struct planning *planning, const struct tag_answer *tag, const struct map_entry *entry,
                         const char *build)
{
    struct plan_deployment deployment = {
        .deployment = "d-0000000000000000",
        .repository = planning->repository,
        .ref = planning->ref,
        .tag = tag->key,
        .version = tag->version,
        .commit = planning->commit != NULL ? planning->commit : unknown_commit,
        .build = build,
        .accepted_ms = clock_wall_ms(),
    };
    for (size_t i = 0; i < entry->accounts.count; i++) {
        const char *account = entry->accounts.items[i];
        AUTO(job)
        struct job *job = plan_job(planning->plan, &deployment, account, memory_account(planning->memory, account));
        plan_print_job(planning->line, job);
    }
    if (!planning->line->is_json) {
        (void)printf("%zu account%s by \"%s\"\n", entry->accounts.count, entry->accounts.count == 1 ? "" : "s",
                     tag->key);
    }
    return EXIT_OK;
}

static int plan_ref(const struct planning *planning)
{
    const struct command_line *line = planning->line;
    struct tag_map map = {memory_map_has, memory_map_each, planning->memory};
    struct tag_answer tag;
    tag_resolve(planning->ref, plan_tag_rule(planning->plan, planning->repository), &map, &tag);
    if (tag.outcome == TAG_MALFORMED) {
        return plan_nothing(line, "rejected", planning->ref, NULL, tag.reason);
    }
    if (tag.outcome == TAG_UNMAPPED) {
        return plan_nothing(line, "dropped", planning->ref, tag.key, tag.reason);
    }
    if (text_starts_with(planning->ref, "refs/heads/") &&
        !plan_branch_may_deploy(planning->plan, planning->repository, planning->ref + strlen("refs/heads/"))) {
        return plan_nothing(line, "dropped", planning->ref, tag.key, "the branch is not among resolver.branches");
    }
    const char *wrong;
    const struct map_entry *entry = memory_map(planning->memory, tag.key, &wrong);
    if (entry == NULL || entry->accounts.count == 0) {
        return plan_nothing(line, wrong != NULL ? "rejected" : "dropped", planning->ref, tag.key,
                            wrong != NULL ? wrong : "the map's entry has no accounts");
    }
    const struct build *build =
        planning->commit != NULL ? memory_build(planning->memory, planning->repository, planning->commit) : NULL;
    if (planning->commit != NULL && build == NULL && plan_needs_build(planning->plan, planning->repository) &&
        command_flag(line, "map") == NULL) {
        return plan_nothing(line, "noted", planning->ref, tag.key, "no build of this commit is published yet");
    }
    const char *named = command_flag(line, "build");
    return plan_accounts(planning, &tag, entry, named != NULL ? named : build != NULL ? build->build : "{build}");
}

static int plan_run(const struct command_line *line)
{
    struct error err;
    AUTO(buffer) struct buffer mistakes;
    buffer_init(&mistakes, 16 * 1024);
    if (line->argument_count != 1) {
        return command_usage(line, "name one ref");
    }
    AUTO(plan) struct plan *plan = NULL;
    if (!plan_read(line->options, &plan, &mistakes)) {
        (void)fputs(mistakes.ptr, stderr);
        return EXIT_PERMANENT;
    }
    AUTO(memory) struct memory *memory = memory_new();
    const char *file = command_flag(line, "map");
    if (!(file != NULL ? memory_fill_from_file(file, memory, &err) : memory_fill(line->options, memory, &err))) {
        return command_fail(line, &err);
    }
    AUTO(text) char *ref = ref_full_name(line->arguments[0]);
    const char *repository = command_flag(line, "repository");
    struct planning planning = {
        .line = line,
        .plan = plan,
        .memory = memory,
        .repository = repository != NULL ? repository : unknown_repository,
        .commit = command_flag(line, "commit"),
        .ref = ref != NULL ? ref : line->arguments[0],
    };
    return plan_ref(&planning);
}

static const struct flag flags[] = {
    {"repository", "NAME", "the repository, where the config has rules of its own for it"},
    {"commit", "SHA", "the commit: tells whether its build is known"},
    {"build", "ID", "the build that {build} stands for"},
    {"map", "FILE", "a map file in place of the live map: works offline"},
    {0},
};

const struct command plan_command = {
    .name = "plan",
    .arguments = "REF",
    .summary = "what would happen if this ref were set now",
    .flags = flags,
    .run = plan_run,
    .more = "REF is refs/heads/<branch>, refs/tags/<tag>, branch/<branch> or tag/<tag>.\n"
            "Exit codes: 0 deploys (or waits for its build), 3 dropped, 4 rejected.",
};
