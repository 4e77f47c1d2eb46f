#include "workers/copier/sources.h"

#include "workers/common/aws/checksum.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/index.h"

#include <openssl/evp.h>

#include <stdlib.h>
#include <string.h>

enum {
    FRESH_MS = 60000,         /* builds do not change; those that are addressed by commit might */
    OBJECTS_MAXIMUM = 500000, /* of one prefix */
    DIGEST_PIECE_BYTES = 8 << 20,
};

/* How many are remembered at once. A listing can be large, what an object carries is not. */
static const size_t entries_maximum[] = {
    [SOURCE_LISTING] = 64, [SOURCE_OBJECT] = 20000, [SOURCE_MANIFEST] = 64, [SOURCE_DIGEST] = 20000};

enum { KINDS = sizeof(entries_maximum) / sizeof(entries_maximum[0]) };

struct entry {
    struct sources *sources;
    enum source_kind kind;
    char *key; /* in the index */
    struct entry *older;
    struct entry *newer;
    struct source *source;
    int64_t read_at_ms;
    struct s3_list *list; /* in flight, asked for by the first wait */
    struct s3_call *call; /* or this */
    struct source *reading;
    EVP_MD_CTX *digest;
    int64_t digested_bytes;
    struct source_wait *first;
    struct source_wait *last;
    struct loop_timer *answering; /* the waits are answered in the next turn */
};

struct source_wait {
    struct entry *entry;
    struct source_wait *next;
    char *bucket;
    char *region;
    char *owner;
    char *key;
    char *etag;
    struct credentials *credentials;
    int64_t size_bytes;
    int64_t deadline_ms;
    source_found *found;
    void *context;
};

/* Entries of one kind, the longest unused first. */
struct pool {
    struct entry *oldest;
    struct entry *newest;
    size_t count;
};

struct sources {
    struct aws_client *client;
    struct index entries;
    struct pool pools[KINDS];
};

struct source *source_keep(struct source *source)
{
    source->keepers++;
    return source;
}

void source_release(struct source *source)
{
    if (source == NULL || --source->keepers > 0) {
        return;
    }
    for (size_t i = 0; source->verified_etags != NULL && i < source->manifest->count; i++) {
        free(source->verified_etags[i]);
    }
    free(source->verified_etags);
    free(source->sha256);
    s3_listing_free(source->listing);
    headers_clear(&source->attributes);
    manifest_free(source->manifest);
    free(source->tags);
    free(source->etag);
    free(source);
}

static struct source *source_new(enum source_kind kind)
{
    struct source *source = memory_zeroed(1, sizeof(*source));
    source->kind = kind;
    source->keepers = 1;
    return source;
}

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
    free(wait->key);
    free(wait->etag);
    credentials_free(wait->credentials);
    free(wait);
}

static void entry_stop_reading(struct entry *entry)
{
    s3_list_cancel(entry->list);
    s3_cancel(entry->call);
    source_release(entry->reading);
    EVP_MD_CTX_free(entry->digest);
    entry->list = NULL;
    entry->call = NULL;
    entry->reading = NULL;
    entry->digest = NULL;
}

static void entry_free(void *value)
{
    struct entry *entry = value;
    entry_stop_reading(entry);
    loop_timer_cancel(aws_client_loop(entry->sources->client), entry->answering);
    while (entry->first != NULL) {
        struct source_wait *wait = entry->first;
        entry->first = wait->next;
        wait_free(wait);
    }
    source_release(entry->source);
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

/* --- what is remembered --- */

static void pool_unlink(struct pool *pool, struct entry *entry)
{
    *(entry->older != NULL ? &entry->older->newer : &pool->oldest) = entry->newer;
    *(entry->newer != NULL ? &entry->newer->older : &pool->newest) = entry->older;
    pool->count--;
}

static void pool_link(struct pool *pool, struct entry *entry)
{
    entry->older = pool->newest;
    entry->newer = NULL;
    *(pool->newest != NULL ? &pool->newest->newer : &pool->oldest) = entry;
    pool->newest = entry;
    pool->count++;
}

static bool entry_is_idle(const struct entry *entry)
{
    return entry->list == NULL && entry->call == NULL && entry->first == NULL && entry->answering == NULL;
}

static void sources_make_room(struct sources *sources, enum source_kind kind)
{
    struct pool *pool = &sources->pools[kind];
    struct entry *oldest = pool->count >= entries_maximum[kind] ? pool->oldest : NULL;
    while (oldest != NULL && !entry_is_idle(oldest)) {
        oldest = oldest->newer;
    }
    if (oldest != NULL) {
        (void)index_remove(&sources->entries, slice_of(oldest->key));
        pool_unlink(pool, oldest);
        entry_free(oldest);
    }
}

static char *entry_key_of(enum source_kind kind, const char *bucket, const char *key, const char *etag)
{
    return text_format("%s/%s\n%d\n%s", bucket, key, (int)kind, etag != NULL ? etag : "");
}

static struct entry *sources_entry(struct sources *sources, const struct source_request *request)
{
    AUTO(text) char *key = entry_key_of(request->kind, request->bucket.name, request->key, request->etag);
    struct entry *entry = index_get(&sources->entries, slice_of(key));
    if (entry == NULL) {
        sources_make_room(sources, request->kind);
        entry = memory_zeroed(1, sizeof(*entry));
        entry->sources = sources;
        entry->kind = request->kind;
        entry->key = TAKE(key);
        index_put(&sources->entries, slice_of(entry->key), entry);
    } else {
        pool_unlink(&sources->pools[entry->kind], entry);
    }
    pool_link(&sources->pools[entry->kind], entry);
    return entry;
}

/* --- answering --- */

/* Takes the first wait out and answers it. */
static void entry_answer_first(struct entry *entry, const struct aws_result *result)
{
    struct source_wait *wait = entry->first;
    entry->first = wait->next;
    entry->last = entry->first != NULL ? entry->last : NULL;
    source_found *found = wait->found;
    void *context = wait->context;
    wait_free(wait);
    found(context, result == NULL ? entry->source : NULL, result);
}

static void entry_answer_all(void *context)
{
    struct entry *entry = context;
    entry->answering = NULL;
    while (entry->first != NULL && entry->source != NULL) {
        entry_answer_first(entry, NULL);
    }
}

static void entry_read(struct entry *entry);

static void entry_has_read(struct entry *entry)
{
    source_release(entry->source);
    entry->source = TAKE(entry->reading);
    EVP_MD_CTX_free(entry->digest);
    entry->digest = NULL;
    entry->read_at_ms = clock_monotonic_ms();
    entry_answer_all(entry);
}

static void entry_failed(struct entry *entry, const struct aws_result *result)
{
    entry_stop_reading(entry);
    if (entry->first != NULL) {
        entry_answer_first(entry, result);
    }
    if (entry->first != NULL && entry->reading == NULL) {
        entry_read(entry);
    }
}

/* --- reading --- */

static void entry_listed(void *context, struct s3_list_result *result)
{
    struct entry *entry = context;
    entry->list = NULL;
    if (result->listing == NULL) {
        entry_failed(entry, result->result);
        return;
    }
    entry->reading->listing = TAKE(result->listing);
    entry_has_read(entry);
}

static struct s3_subject wait_subject(const struct source_wait *wait)
{
    return (struct s3_subject){
        // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): while something is read, somebody waits for it.
        .bucket = {wait->bucket, wait->region, wait->owner},
        .key = wait->key,
        .credentials = wait->credentials,
        .deadline_ms = wait->deadline_ms,
    };
}

static void entry_tags_read(void *context, struct s3_answer *answer)
{
    struct entry *entry = context;
    entry->call = NULL;
    if (answer->result->err.action != ERROR_NONE) {
        entry_failed(entry, answer->result);
        return;
    }
    entry->reading->tags = text_copy_or_null(answer->tags);
    entry_has_read(entry);
}

static void entry_digest_on(struct entry *entry);

static void entry_piece_read(void *context, struct s3_answer *answer)
{
    struct entry *entry = context;
    entry->call = NULL;
    if (answer->result->err.action != ERROR_NONE) {
        entry_failed(entry, answer->result);
        return;
    }
    if (EVP_DigestUpdate(entry->digest, answer->body.len > 0 ? answer->body.ptr : "", answer->body.len) != 1) {
        error_out_of_memory();
    }
    entry->digested_bytes += (int64_t)answer->body.len;
    entry_digest_on(entry);
}

/* Piece by piece, so that memory is bounded whatever the size. */
static void entry_digest_on(struct entry *entry)
{
    const struct source_wait *wait = entry->first;
    int64_t left = wait->size_bytes - entry->digested_bytes;
    if (left > 0) {
        struct s3_subject subject = wait_subject(wait);
        int64_t length = left < DIGEST_PIECE_BYTES ? left : DIGEST_PIECE_BYTES;
        entry->call = s3_get_object(entry->sources->client, &subject, wait->etag, entry->digested_bytes, length,
                                    entry_piece_read, entry);
        return;
    }
    unsigned char sum[EVP_MAX_MD_SIZE];
    char hex[CHECKSUM_SHA256_HEX_SIZE];
    if (EVP_DigestFinal_ex(entry->digest, sum, NULL) != 1) {
        error_out_of_memory();
    }
    sha256_hex_from_bytes(sum, hex);
    entry->reading->sha256 = text_copy(hex);
    entry_has_read(entry);
}

/* Where the store has computed it, it need not be read. */
static void entry_digest(struct entry *entry)
{
    char hex[CHECKSUM_SHA256_HEX_SIZE];
    if (sha256_hex_from_base64(entry->reading->checksums.sha256, hex)) {
        entry->reading->sha256 = text_copy(hex);
        entry_has_read(entry);
        return;
    }
    entry->digest = EVP_MD_CTX_new();
    entry->digested_bytes = 0;
    if (entry->digest == NULL || EVP_DigestInit_ex(entry->digest, EVP_sha256(), NULL) != 1) {
        error_out_of_memory();
    }
    entry_digest_on(entry);
}

static void entry_headed(void *context, struct s3_answer *answer)
{
    struct entry *entry = context;
    struct source *source = entry->reading;
    entry->call = NULL;
    struct aws_result result = *answer->result;
    const char *expected = entry->first->etag;
    if (result.err.action == ERROR_NONE && expected != NULL && strcmp(expected, answer->etag) != 0) {
        result.failure.kind = FAILURE_PRECONDITION;
        (void)error_set(&result.err, ERROR_RETRY, "s3://%s/%s has changed since it was listed", entry->first->bucket,
                        entry->first->key);
    }
    if (result.err.action != ERROR_NONE) {
        entry_failed(entry, &result);
        return;
    }
    source->attributes = answer->attributes;
    answer->attributes = (struct headers){0};
    source->etag = text_copy(answer->etag);
    source->checksums = answer->checksums;
    if (entry->kind == SOURCE_DIGEST) {
        entry_digest(entry);
        return;
    }
    if (answer->tag_count > 0) {
        struct s3_subject subject = wait_subject(entry->first);
        entry->call = s3_get_tags(entry->sources->client, &subject, entry_tags_read, entry);
        return;
    }
    entry_has_read(entry);
}

static void entry_manifest_read(void *context, struct s3_answer *answer)
{
    struct entry *entry = context;
    struct aws_result result = *answer->result;
    entry->call = NULL;
    if (result.err.action == ERROR_NONE && manifest_parse(answer->body, &entry->reading->manifest, &result.err)) {
        entry->reading->verified_etags = memory_zeroed(entry->reading->manifest->count, sizeof(char *));
        entry_has_read(entry);
        return;
    }
    if (result.failure.kind == FAILURE_NONE) {
        (void)error_prefix(&result.err, "s3://%s/%s", entry->first->bucket, entry->first->key);
        result.failure.kind = FAILURE_INVALID;
    }
    entry_failed(entry, &result);
}

/* Asks with what the first wait brought. */
static void entry_read(struct entry *entry)
{
    const struct source_wait *wait = entry->first;
    struct aws_client *client = entry->sources->client;
    struct s3_subject subject = wait_subject(wait);
    struct s3_list_request list = {
        .bucket = subject.bucket,
        .prefix = wait->key,
        .objects_maximum = OBJECTS_MAXIMUM,
        .credentials = wait->credentials,
        .deadline_ms = wait->deadline_ms,
    };
    entry->reading = source_new(entry->kind);
    switch (entry->kind) {
    case SOURCE_LISTING:
        entry->list = s3_list_objects(client, &list, entry_listed, entry);
        return;
    case SOURCE_DIGEST:
    case SOURCE_OBJECT:
        entry->call = s3_head_object(client, &subject, NULL, entry_headed, entry);
        return;
    case SOURCE_MANIFEST:
        entry->call = s3_get_object(client, &subject, NULL, -1, -1, entry_manifest_read, entry);
        return;
    }
}

struct source_wait *sources_get(struct sources *sources, const struct source_request *request, source_found *found,
                                void *context)
{
    struct entry *entry = sources_entry(sources, request);
    struct source_wait *wait = memory_zeroed(1, sizeof(*wait));
    *wait = (struct source_wait){
        .entry = entry,
        .bucket = text_copy(request->bucket.name),
        .region = text_copy(request->bucket.region),
        .owner = text_copy_or_null(request->bucket.owner),
        .key = text_copy(request->key),
        .etag = text_copy_or_null(request->etag),
        .size_bytes = request->size_bytes,
        .credentials = credentials_copy(request->credentials),
        .deadline_ms = request->deadline_ms,
        .found = found,
        .context = context,
    };
    bool is_stale = entry->source != NULL && clock_monotonic_ms() - entry->read_at_ms > FRESH_MS;
    if (is_stale && entry->first == NULL) {
        source_release(entry->source);
        entry->source = NULL;
    }
    *(entry->last != NULL ? &entry->last->next : &entry->first) = wait;
    entry->last = wait;
    if (entry->source != NULL && entry->answering == NULL) {
        entry->answering = loop_after(aws_client_loop(sources->client), 0, entry_answer_all, entry);
    } else if (entry->source == NULL && entry->reading == NULL) {
        entry_read(entry);
    }
    return wait;
}

static void wait_unlink(struct entry *entry, struct source_wait *wait)
{
    struct source_wait *before = NULL;
    for (struct source_wait *at = entry->first; at != wait; at = at->next) {
        before = at;
    }
    *(before != NULL ? &before->next : &entry->first) = wait->next;
    entry->last = entry->last == wait ? before : entry->last;
}

void source_wait_cancel(struct source_wait *wait)
{
    if (wait == NULL) {
        return;
    }
    struct entry *entry = wait->entry;
    bool is_asking = entry->first == wait && entry->reading != NULL;
    wait_unlink(entry, wait);
    wait_free(wait);
    if (is_asking) {
        /* The question was asked with the credentials of the one that goes. */
        entry_stop_reading(entry);
        if (entry->first != NULL) {
            entry_read(entry);
        }
    }
}

void sources_forget(struct sources *sources, const char *bucket, const char *key)
{
    static const enum source_kind kinds[] = {SOURCE_LISTING, SOURCE_MANIFEST};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        AUTO(text) char *entry_key = entry_key_of(kinds[i], bucket, key, NULL);
        struct entry *entry = index_get(&sources->entries, slice_of(entry_key));
        if (entry != NULL) {
            /* Not freed: somebody may be waiting for it right now. */
            entry->read_at_ms = INT64_MIN / 2;
        }
    }
}
