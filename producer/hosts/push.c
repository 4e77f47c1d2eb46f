#include "producer/hosts/push.h"

#include "schemas/identity.h"
#include "workers/common/base/clock.h"

#include <stdarg.h>
#include <stdio.h>

enum {
    /* Names of people, ids of repositories and deliveries: longer ones say nothing, and would fill the topic. */
    NOTE_MAXIMUM_BYTES = 256,
    REASON_MAXIMUM_BYTES = 1024,
};

bool payload_parse(struct slice body, cJSON **ret_root, struct error *err)
{
    AUTO(json) cJSON *root = NULL;
    if (!json_parse(body, PAYLOAD_MAXIMUM_BYTES, &root, err)) {
        return false;
    }
    if (!cJSON_IsObject(root)) {
        return error_set(err, ERROR_REJECT, "the body is JSON, but not an object");
    }
    *ret_root = TAKE(root);
    return true;
}

bool payload_event(const struct host_headers *headers, const char *name, const char **ret_event, struct error *err)
{
    *ret_event = host_header_alone(headers, name);
    return *ret_event != NULL || host_header(headers, name) == NULL ||
           error_set(err, ERROR_REJECT, "the header %s occurs more than once", name);
}

const char *text_either(const char *first, const char *second)
{
    return first != NULL && first[0] != '\0' ? first : second;
}

static char *note_copy(const char *text)
{
    return text != NULL && strlen(text) <= NOTE_MAXIMUM_BYTES ? text_copy_or_null(text) : NULL;
}

/* --- dates --- */

/* Data Center writes "+0300" where RFC 3339 has "+03:00". */
static int64_t date_text(const char *text)
{
    int64_t wall_ms = 0;
    size_t length = strlen(text);
    if (length < 5 || (text[length - 5] != '+' && text[length - 5] != '-')) {
        return clock_parse(text, &wall_ms) ? wall_ms : 0;
    }
    AUTO(text) char *standard = text_format("%.*s:%s", (int)(length - 2), text, text + length - 2);
    return clock_parse(standard, &wall_ms) ? wall_ms : 0;
}

int64_t date_read(const cJSON *date)
{
    static const double year_10000_ms = 253402300800000.0;
    if (cJSON_IsString(date)) {
        return date_text(date->valuestring);
    }
    return cJSON_IsNumber(date) && date->valuedouble >= 1 && date->valuedouble < year_10000_ms
               ? (int64_t)date->valuedouble
               : 0;
}

int64_t commit_date(const cJSON *commits, const char *commit)
{
    const cJSON *item = cJSON_IsArray(commits) ? commits->child : NULL;
    for (; item != NULL && commit != NULL; item = item->next) {
        const char *id = json_text(item, "id");
        if (id != NULL && strcmp(id, commit) == 0) {
            return date_read(json_member(item, "timestamp"));
        }
    }
    return 0;
}

/* --- the envelope --- */

static char *id_text(const cJSON *id)
{
    static const double exact_maximum = 9007199254740992.0;
    if (cJSON_IsNumber(id) && id->valuedouble >= 0 && id->valuedouble < exact_maximum &&
        (double)(int64_t)id->valuedouble == id->valuedouble) {
        return text_format("%.0f", id->valuedouble);
    }
    return note_copy(cJSON_GetStringValue(id));
}

bool push_begin(struct push *push, const struct host *host, const char *repository, const cJSON *id, struct error *err)
{
    AUTO(text) char *lower = text_lower(repository);
    const char *mistake = check_repository(lower);
    if (mistake != NULL) {
        return error_set(err, ERROR_REJECT, "the repository's name \"%.80s\" %s", lower, mistake);
    }
    push->host = host;
    push->repository = TAKE(lower);
    push->repository_id = id_text(id);
    return true;
}

void push_done(struct push *push)
{
    free(push->repository);
    free(push->repository_id);
    *push = (struct push){0};
}

/* --- changes --- */

static struct change *change_add(struct changes *changes)
{
    return groups_add(&changes->items, sizeof(struct change));
}

void changes_ignore(struct changes *changes, const char *format, ...)
{
    char reason[REASON_MAXIMUM_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    change_add(changes)->reason = text_copy(reason);
}

void changes_moved_unnamed(struct changes *changes, const struct push *push)
{
    free(changes->moved_unnamed);
    changes->moved_unnamed = text_copy(push->repository);
}

static char *commit_copy(const char *commit)
{
    return commit_is_absent(commit) ? NULL : text_copy(commit);
}

static enum event_kind move_kind(const struct event *event)
{
    if (event->after == NULL) {
        return EVENT_REF_DELETED;
    }
    if (event->build != NULL) {
        return EVENT_BUILD_PUBLISHED;
    }
    if (!text_starts_with(event->ref, "refs/tags/")) {
        return EVENT_BRANCH_UPDATED;
    }
    return event->before != NULL ? EVENT_TAG_MOVED : EVENT_TAG_CREATED;
}

static struct event *event_from(const struct push *push, const struct move *move)
{
    struct event *event = memory_zeroed(1, sizeof(*event));
    event->origin = ORIGIN_WEBHOOK;
    event->provider = text_copy(push->host->name);
    event->repository = text_copy(push->repository);
    event->repository_id = text_copy_or_null(push->repository_id);
    event->ref = text_copy(move->ref);
    event->before = commit_copy(move->before);
    event->after = commit_is_absent(move->after) ? NULL : commit_copy(text_either(move->commit, move->after));
    event->build = move->build != NULL ? text_copy(move->build) : NULL;
    event->kind = (int)move_kind(event);
    event->committed_ms = event->after != NULL ? move->committed_ms : 0;
    event->forced = move->forced;
    event->redelivered = push->is_redelivered;
    event->delivery = note_copy(push->delivery);
    event->actor = note_copy(push->actor);
    return event;
}

/* What nobody could read from the topic is not put there. */
static bool event_check(struct event *event, struct error *err)
{
    char id[EVENT_ID_SIZE];
    identity_event(event, id);
    AUTO(text) char *source = text_format("tagfleet/producer/%s", event->provider);
    envelope_fill(&event->envelope, id, source, event->ref);
    return message_check(&event_codec, event, err);
}

/* Hosts send it when somebody presses "test": a real-looking push of what was there before. */
static bool is_standing_still(const struct move *move)
{
    return move->build == NULL && strcmp(move->before, move->after) == 0;
}

void push_add(const struct push *push, const struct move *move, struct changes *changes)
{
    struct error err;
    bool has_before = !commit_is_absent(move->before);
    bool has_after = !commit_is_absent(move->after);
    if (!text_starts_with(move->ref, "refs/heads/") && !text_starts_with(move->ref, "refs/tags/")) {
        changes_ignore(changes, "%.80s is neither a branch nor a tag", move->ref);
        return;
    }
    if (has_before && has_after && is_standing_still(move)) {
        changes_ignore(changes, "%.80s has not moved: before and after are the same (a test?)", move->ref);
        return;
    }
    AUTO(event) struct event *event = event_from(push, move);
    if (!event_check(event, &err)) {
        static const char place[] = "data: ";
        const char *mistake = err.text + (text_starts_with(err.text, place) ? strlen(place) : 0);
        changes_ignore(changes, "%.80s cannot be deployed: %s", move->ref, mistake);
        return;
    }
    change_add(changes)->event = TAKE(event);
}

bool move_read(const cJSON *root, struct move *move, struct error *err)
{
    move->ref = json_text(root, "ref");
    move->before = json_text(root, "before");
    move->after = json_text(root, "after");
    bool is_whole = move->ref != NULL && move->before != NULL && move->after != NULL && move->after[0] != '\0';
    return is_whole || error_set(err, ERROR_REJECT, "not a push: ref, before and after are needed");
}
