#include "workers/copier/sources.h"

#include "workers/common/base/clock.h"
#include "workers/common/base/index.h"

#include <stdlib.h>

enum {
    FRESH_MS = 60000,         /* builds do not change; those that are addressed by commit might */
    OBJECTS_MAXIMUM = 500000, /* of one prefix */
    ENTRIES_MAXIMUM = 64,     /* builds remembered at once */
};

struct entry {
    struct sources *sources;
    char *key;
    struct s3_listing *listing;
    int64_t read_at_ms;
    struct s3_call *call; /* in flight, asked for by the first wait */
    struct source_wait *first;
    struct loop_timer *answering; /* the waits are answered in the next turn */
};

struct source_wait {
    struct entry *entry;
    struct source_wait *next;
    char *bucket;
    char *region;
    char *owner;
    char *prefix;
    struct credentials *credentials;
    int64_t deadline_ms;
    source_found *found;
    void *context;
};

struct sources {
    struct aws_client *client;
    struct index entries;
};

struct sources *sources_new(struct aws_client *client)
{
    struct sources *sources = memory_zeroed(1, sizeof(*sources));
    sources->client = client;
    return sources;
}

static void wait_free(struct source_wait *wait)
{
    free(wait->bucket);
    free(wait->region);
    free(wait->owner);
    free(wait->prefix);
    credentials_free(wait->credentials);
    free(wait);
}

static void entry_free(void *value)
{
    struct entry *entry = value;
    s3_cancel(entry->call);
    loop_timer_cancel(aws_client_loop(entry->sources->client), entry->answering);
    while (entry->first != NULL) {
        struct source_wait *wait = entry->first;
        entry->first = wait->next;
        wait_free(wait);
    }
    s3_listing_free(entry->listing);
    free(entry->key);
    free(entry);
}

void sources_free(struct sources *sources)
{
    if (sources != NULL) {
        index_clear(&sources->entries, entry_free);
        free(sources);
    }
}

/* Takes the first wait out and answers it. */
static void entry_answer_first(struct entry *entry, const struct aws_result *result)
{
    struct source_wait *wait = entry->first;
    entry->first = wait->next;
    source_found *found = wait->found;
    void *context = wait->context;
    wait_free(wait);
    found(context, result == NULL ? entry->listing : NULL, result);
}

static void entry_answer_all(void *context)
{
    struct entry *entry = context;
    entry->answering = NULL;
    while (entry->first != NULL && entry->listing != NULL) {
        entry_answer_first(entry, NULL);
    }
}

static void entry_read(struct entry *entry);

static void entry_listed(void *context, struct s3_list_result *result)
{
    struct entry *entry = context;
    entry->call = NULL;
    if (result->listing != NULL) {
        entry->listing = TAKE(result->listing);
        entry->read_at_ms = clock_monotonic_ms();
        entry_answer_all(entry);
        return;
    }
    if (entry->first != NULL) {
        entry_answer_first(entry, result->result);
    }
    if (entry->first != NULL && entry->call == NULL) {
        entry_read(entry);
    }
}

static void entry_read(struct entry *entry)
{
    const struct source_wait *wait = entry->first;
    struct s3_list_request request = {
        .bucket = {wait->bucket, wait->region, wait->owner},
        .prefix = wait->prefix,
        .objects_maximum = OBJECTS_MAXIMUM,
        .credentials = wait->credentials,
        .deadline_ms = wait->deadline_ms,
    };
    entry->call = s3_list_objects(entry->sources->client, &request, entry_listed, entry);
}

static void idle_visit(const char *key, void *value, void *context)
{
    (void)key;
    const struct entry *entry = value;
    const struct entry **oldest = context;
    bool is_idle = entry->call == NULL && entry->first == NULL && entry->answering == NULL;
    if (is_idle && (*oldest == NULL || entry->read_at_ms < (*oldest)->read_at_ms)) {
        *oldest = entry;
    }
}

static void sources_make_room(struct sources *sources)
{
    struct entry *oldest = NULL;
    if (sources->entries.count >= ENTRIES_MAXIMUM) {
        index_each(&sources->entries, idle_visit, &oldest);
    }
    if (oldest != NULL) {
        (void)index_remove(&sources->entries, slice_of(oldest->key));
        entry_free(oldest);
    }
}

static struct entry *sources_entry(struct sources *sources, const char *bucket, const char *prefix)
{
    AUTO(text) char *key = text_format("%s/%s", bucket, prefix);
    struct entry *entry = index_get(&sources->entries, slice_of(key));
    if (entry == NULL) {
        sources_make_room(sources);
        entry = memory_zeroed(1, sizeof(*entry));
        entry->sources = sources;
        entry->key = TAKE(key);
        index_put(&sources->entries, slice_of(entry->key), entry);
    }
    return entry;
}

struct source_wait *sources_get(struct sources *sources, const struct source_request *request, source_found *found,
                                void *context)
{
    struct entry *entry = sources_entry(sources, request->bucket.name, request->prefix);
    struct source_wait *wait = memory_zeroed(1, sizeof(*wait));
    *wait = (struct source_wait){
        .entry = entry,
        .bucket = text_copy(request->bucket.name),
        .region = text_copy(request->bucket.region),
        .owner = request->bucket.owner != NULL ? text_copy(request->bucket.owner) : NULL,
        .prefix = text_copy(request->prefix),
        .credentials = credentials_copy(request->credentials),
        .deadline_ms = request->deadline_ms,
        .found = found,
        .context = context,
    };
    bool is_stale = entry->listing != NULL && clock_monotonic_ms() - entry->read_at_ms > FRESH_MS;
    if (is_stale && entry->first == NULL) {
        s3_listing_free(entry->listing);
        entry->listing = NULL;
    }
    struct source_wait **end = &entry->first;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = wait;
    if (entry->listing != NULL && entry->answering == NULL) {
        entry->answering = loop_after(aws_client_loop(sources->client), 0, entry_answer_all, entry);
    } else if (entry->listing == NULL && entry->call == NULL) {
        entry_read(entry);
    }
    return wait;
}

void source_wait_cancel(struct source_wait *wait)
{
    if (wait == NULL) {
        return;
    }
    struct entry *entry = wait->entry;
    bool is_asking = entry->first == wait && entry->call != NULL;
    struct source_wait **link = &entry->first;
    while (*link != wait) {
        link = &(*link)->next;
    }
    *link = wait->next;
    wait_free(wait);
    if (is_asking) {
        /* The question was asked with the credentials of the one that goes. */
        s3_cancel(entry->call);
        entry->call = NULL;
        if (entry->first != NULL) {
            entry_read(entry);
        }
    }
}

void sources_forget(struct sources *sources, const char *bucket, const char *prefix)
{
    AUTO(text) char *key = text_format("%s/%s", bucket, prefix);
    struct entry *entry = index_get(&sources->entries, slice_of(key));
    if (entry != NULL) {
        /* Not freed: somebody may be looking at it right now. */
        entry->read_at_ms = INT64_MIN / 2;
    }
}
