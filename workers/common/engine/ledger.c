#include "workers/common/engine/ledger.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char map_version[] = "v1:";

void ledger_init(struct ledger *ledger)
{
    *ledger = (struct ledger){.end = -1};
}

void ledger_done(struct ledger *ledger)
{
    free(ledger->entries);
    free(ledger->restored);
    ledger_init(ledger);
}

struct ledger_entry *ledger_at(const struct ledger *ledger, size_t position)
{
    return &ledger->entries[(ledger->first + position) % ledger->capacity];
}

/* One item of the map, "7" or "7-9", as distances; moves the cursor behind it. */
static bool range_parse(const char **cursor, int64_t *ret_from, int64_t *ret_to)
{
    char *end;
    if (**cursor < '0' || **cursor > '9') {
        return false;
    }
    *ret_from = strtoll(*cursor, &end, 10);
    *ret_to = *ret_from;
    if (*end == '-') {
        const char *to = end + 1;
        if (*to < '0' || *to > '9') {
            return false;
        }
        *ret_to = strtoll(to, &end, 10);
    }
    *cursor = end;
    return *ret_to >= *ret_from;
}

bool ledger_restore(struct ledger *ledger, int64_t committed_offset, const char *metadata)
{
    ledger->restored_count = 0;
    if (metadata[0] == '\0') {
        return true;
    }
    if (strncmp(metadata, map_version, strlen(map_version)) != 0 || committed_offset < 0) {
        return false;
    }
    int64_t last = -1; /* ranges are in order and do not touch */
    const char *cursor = metadata + strlen(map_version);
    size_t count = 0;
    int64_t *ranges = memory_zeroed(strlen(metadata), 2 * sizeof(int64_t));
    for (;;) {
        int64_t from;
        int64_t to;
        if (!range_parse(&cursor, &from, &to) || (*cursor != ',' && *cursor != '\0') || from <= last ||
            to >= INT64_MAX - committed_offset) {
            free(ranges);
            return false;
        }
        ranges[2 * count] = committed_offset + from;
        ranges[2 * count + 1] = committed_offset + to;
        last = to;
        count++;
        if (*cursor++ == '\0') {
            break;
        }
    }
    free(ledger->restored);
    ledger->restored = ranges;
    ledger->restored_count = count;
    return true;
}

/* The first restored range that does not end before the offset. */
static size_t restored_position(const struct ledger *ledger, int64_t offset)
{
    size_t low = 0;
    size_t high = ledger->restored_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (offset > ledger->restored[2 * middle + 1]) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool ledger_is_restored(const struct ledger *ledger, int64_t offset)
{
    size_t position = restored_position(ledger, offset);
    return position < ledger->restored_count && offset >= ledger->restored[2 * position];
}

static void ledger_forget_head(struct ledger *ledger)
{
    while (ledger->count > 0 && ledger_at(ledger, 0)->mark == LEDGER_SETTLED) {
        ledger->first = (ledger->first + 1) % ledger->capacity;
        ledger->count--;
    }
}

static void ledger_grow(struct ledger *ledger)
{
    size_t capacity = ledger->capacity > 0 ? 2 * ledger->capacity : 64;
    struct ledger_entry *entries = memory_zeroed(capacity, sizeof(*entries));
    for (size_t i = 0; i < ledger->count; i++) {
        entries[i] = *ledger_at(ledger, i);
    }
    free(ledger->entries);
    ledger->entries = entries;
    ledger->capacity = capacity;
    ledger->first = 0;
}

bool ledger_push(struct ledger *ledger, int64_t offset, void *task)
{
    if (ledger->count == ledger->capacity) {
        ledger_grow(ledger);
    }
    bool is_new = !ledger_is_restored(ledger, offset);
    ledger->count++;
    *ledger_at(ledger, ledger->count - 1) = (struct ledger_entry){
        .offset = offset,
        .mark = is_new ? LEDGER_OPEN : LEDGER_SETTLED,
        .task = is_new ? task : NULL,
    };
    ledger_reach(ledger, offset + 1);
    ledger_forget_head(ledger);
    return is_new;
}

void ledger_reach(struct ledger *ledger, int64_t offset)
{
    if (offset > ledger->end) {
        ledger->end = offset;
    }
}

struct ledger_entry *ledger_find(const struct ledger *ledger, int64_t offset)
{
    size_t low = 0;
    size_t high = ledger->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (ledger_at(ledger, middle)->offset < offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool is_found = low < ledger->count && ledger_at(ledger, low)->offset == offset;
    return is_found ? ledger_at(ledger, low) : NULL;
}

int64_t ledger_commit_point(const struct ledger *ledger)
{
    return ledger->count > 0 ? ledger_at(ledger, 0)->offset : ledger->end;
}

static bool entry_counts(const struct ledger_entry *entry)
{
    return entry->mark == LEDGER_SETTLED || entry->mark == LEDGER_CHOSEN;
}

static void run_append(struct buffer *map, int64_t from, int64_t to)
{
    buffer_append_text(map, map->len == 0 ? map_version : ",");
    buffer_append_format(map, "%" PRId64, from);
    if (to > from) {
        buffer_append_format(map, "-%" PRId64, to);
    }
}

/* Appends the settled and chosen runs from a position on, and what the restored map says of messages that have not been
 * read again: it would be forgotten by this commit otherwise. */
static void map_append(const struct ledger *ledger, size_t from, int64_t base, struct buffer *map)
{
    const int64_t *restored = ledger->restored;
    size_t unread = ledger->end >= 0 ? restored_position(ledger, ledger->end) : ledger->restored_count;
    for (size_t i = from; i < ledger->count; i++) {
        if (!entry_counts(ledger_at(ledger, i))) {
            continue;
        }
        size_t last = i;
        while (last + 1 < ledger->count && entry_counts(ledger_at(ledger, last + 1))) {
            last++;
        }
        int64_t to = ledger_at(ledger, last)->offset;
        if (last + 1 == ledger->count && unread < ledger->restored_count && restored[2 * unread] <= ledger->end) {
            to = restored[2 * unread + 1];
            unread++;
        }
        run_append(map, ledger_at(ledger, i)->offset - base, to - base);
        i = last;
    }
    for (; unread < ledger->restored_count; unread++) {
        int64_t start = restored[2 * unread] > ledger->end ? restored[2 * unread] : ledger->end;
        run_append(map, start - base, restored[2 * unread + 1] - base);
    }
}

/* Chooses candidates at the head: they are covered by the offset itself. Returns the first position that is not. */
static size_t plan_head(struct ledger *ledger, size_t *most_chosen)
{
    size_t position = 0;
    for (; position < ledger->count; position++) {
        struct ledger_entry *entry = ledger_at(ledger, position);
        if (entry->mark == LEDGER_CANDIDATE && *most_chosen > 0) {
            entry->mark = LEDGER_CHOSEN;
            (*most_chosen)--;
        }
        if (!entry_counts(entry)) {
            break;
        }
    }
    return position;
}

static size_t decimal_digits(int64_t number)
{
    size_t digits = 1;
    for (; number >= 10; number /= 10) {
        digits++;
    }
    return digits;
}

int64_t ledger_plan(struct ledger *ledger, size_t most_chosen, size_t metadata_maximum, struct buffer *metadata,
                    size_t *ret_left_out)
{
    size_t head = plan_head(ledger, &most_chosen);
    int64_t base = head < ledger->count ? ledger_at(ledger, head)->offset : ledger->end;
    buffer_clear(metadata);
    map_append(ledger, head, base, metadata);
    /* One more candidate makes the text longer by at most a separator and a number: it begins a run of its own, extends
     * one, or joins two. The version is counted for the case that there is no text yet. */
    size_t cost = 1 + decimal_digits(ledger->end - base);
    size_t used = metadata->len > 0 ? metadata->len : strlen(map_version);
    size_t room = used < metadata_maximum ? (metadata_maximum - used) / cost : 0;
    *ret_left_out = 0;
    for (size_t i = head; i < ledger->count && most_chosen > 0; i++) {
        struct ledger_entry *entry = ledger_at(ledger, i);
        if (entry->mark != LEDGER_CANDIDATE) {
            continue;
        }
        if (room == 0) {
            (*ret_left_out)++;
            continue;
        }
        entry->mark = LEDGER_CHOSEN;
        room--;
        most_chosen--;
    }
    buffer_clear(metadata);
    map_append(ledger, head, base, metadata);
    return base;
}

int64_t ledger_map_end(const struct ledger *ledger)
{
    if (ledger->restored_count > 0 && ledger->restored[2 * ledger->restored_count - 1] >= ledger->end) {
        return ledger->restored[2 * ledger->restored_count - 1];
    }
    for (size_t i = ledger->count; i-- > 0;) {
        if (entry_counts(ledger_at(ledger, i))) {
            return ledger_at(ledger, i)->offset;
        }
    }
    return -1;
}

void ledger_settle(struct ledger *ledger)
{
    for (size_t i = 0; i < ledger->count; i++) {
        struct ledger_entry *entry = ledger_at(ledger, i);
        if (entry->mark == LEDGER_CHOSEN) {
            entry->mark = LEDGER_SETTLED;
            entry->task = NULL;
        }
    }
    ledger_forget_head(ledger);
}

void ledger_unplan(struct ledger *ledger)
{
    for (size_t i = 0; i < ledger->count; i++) {
        struct ledger_entry *entry = ledger_at(ledger, i);
        if (entry->mark == LEDGER_CHOSEN) {
            entry->mark = LEDGER_CANDIDATE;
        }
    }
}
