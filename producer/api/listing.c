#include "producer/api/listing.h"

#include "producer/api/api_host.h"
#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/index.h"

#include <stdlib.h>

enum { ETAG_MAXIMUM_BYTES = 512 };

struct kept_page {
    char *etag; /* NULL: none that can be trusted */
    struct page page;
};

struct listing_cache {
    struct index pages; /* target -> struct kept_page */
};

struct listing_walk {
    struct loop *loop;
    struct api *api;
    const struct api_host *host;
    struct listing_cache *cache;
    char *repository;
    bool is_fresh;
    enum ref_kind kind;
    char *target; /* being asked for */
    struct api_call *call;
    struct loop_timer *deadline;
    struct index visited;      /* the pages of this walk, as in the cache */
    const struct page **pages; /* the same, in their order */
    struct listing listing;
    void (*on_done)(void *context, const struct listing *listing);
    void *context;
};

static void kept_page_free(void *value)
{
    struct kept_page *kept = value;
    free(kept->etag);
    page_clear(&kept->page);
    free(kept);
}

struct listing_cache *listing_cache_new(void)
{
    return memory_zeroed(1, sizeof(struct listing_cache));
}

void listing_cache_free(struct listing_cache *cache)
{
    if (cache != NULL) {
        index_clear(&cache->pages, kept_page_free);
        free(cache);
    }
}

const char *listing_check_name(const char *provider, const char *repository)
{
    const struct api_host *host = api_host_named(provider);
    return host != NULL ? host->check_name(repository) : NULL;
}

static void put_back(const char *target, void *value, void *context)
{
    struct listing_cache *cache = context;
    void *replaced = index_put(&cache->pages, slice_of(target), value);
    if (replaced != NULL) {
        kept_page_free(replaced);
    }
}

/* The cache holds the pages of the last whole walk, and whatever a broken one has seen anew. */
static void walk_free(struct listing_walk *walk)
{
    if (walk->listing.is_whole) {
        index_clear(&walk->cache->pages, kept_page_free);
    }
    index_each(&walk->visited, put_back, walk->cache);
    index_clear(&walk->visited, NULL);
    api_cancel(walk->call);
    loop_timer_cancel(walk->loop, walk->deadline);
    free((void *)walk->pages);
    free(walk->target);
    free(walk->repository);
    free(walk);
}

void listing_cancel(struct listing_walk *walk)
{
    if (walk != NULL) {
        walk_free(walk);
    }
}

/* The callback comes first: the listing borrows the pages. */
static void walk_end(struct listing_walk *walk)
{
    walk->listing.pages = walk->pages;
    walk->on_done(walk->context, &walk->listing);
    walk_free(walk);
}

static void walk_fail(struct listing_walk *walk, const struct error *err, int64_t again_ms)
{
    walk->listing.err = *err;
    walk->listing.again_ms = again_ms;
    walk_end(walk);
}

static void walk_late(void *context)
{
    struct listing_walk *walk = context;
    struct error err;
    walk->deadline = NULL;
    (void)error_set(&err, ERROR_RETRY, "the listing was not finished after %d s", LISTING_TIMEOUT_MS / 1000);
    walk_fail(walk, &err, 0);
}

static void walk_answered(void *context, const struct api_answer *answer);

static void walk_ask(struct listing_walk *walk)
{
    const struct kept_page *kept = index_get(&walk->cache->pages, slice_of(walk->target));
    struct api_request request = {
        .method = "GET",
        .target = walk->target,
        .etag = kept != NULL && !walk->is_fresh ? kept->etag : NULL,
    };
    walk->call = api_start(walk->api, &request, walk_answered, walk);
}

/* The page becomes part of the walk. False: it is one too many, or the host leads in a circle. */
static bool walk_add(struct listing_walk *walk, struct kept_page *kept, struct error *err)
{
    struct listing *listing = &walk->listing;
    void *twice = index_put(&walk->visited, slice_of(walk->target), kept);
    if (twice != NULL) {
        (void)index_put(&walk->visited, slice_of(walk->target), twice);
        kept_page_free(kept);
        return error_set(err, ERROR_REJECT, "its pages lead in a circle");
    }
    walk->pages = memory_resized((void *)walk->pages, (listing->page_count + 1) * sizeof(struct page *));
    walk->pages[listing->page_count++] = &kept->page;
    listing->row_count += kept->page.rows.count;
    listing->left_out += kept->page.left_out;
    if (listing->row_count > LISTING_REFS_MAXIMUM || listing->page_count > LISTING_PAGES_MAXIMUM) {
        return error_set(err, ERROR_REJECT, "it has more than %d refs or %d pages: more than can be compared",
                         LISTING_REFS_MAXIMUM, LISTING_PAGES_MAXIMUM);
    }
    return true;
}

/* A full page without a next one is not asked for by its ETag: the ref that comes after it would change its Link alone,
 * which the ETag of a body need not tell. */
static char *etag_of(const struct listing_walk *walk, const struct page *page, const struct http_answer *http)
{
    struct slice etag = http_answer_header(http, "ETag");
    bool is_full = page->rows.count + page->left_out >= walk->host->page_size;
    bool is_usable = etag.len > 0 && etag.len <= ETAG_MAXIMUM_BYTES && slice_is_visible(etag);
    return is_usable && !(is_full && page->next == NULL) ? slice_copy(etag) : NULL;
}

static struct kept_page *page_new(const struct listing_walk *walk, const struct http_answer *http, struct error *err)
{
    struct page_answer answer = {
        .kind = walk->kind,
        .target = walk->target,
        .body = http->body,
        .link = http_answer_header(http, "Link"),
        .next_page = http_answer_header(http, "X-Next-Page"),
        .total = http_answer_header(http, "X-Total-Count"),
    };
    struct kept_page *kept = memory_zeroed(1, sizeof(*kept));
    if (!walk->host->read_page(&answer, &kept->page, err)) {
        (void)error_prefix(err, "a page of %s", walk->kind == REF_TAG ? "tags" : "branches");
        kept_page_free(kept);
        return NULL;
    }
    kept->etag = etag_of(walk, &kept->page, http);
    return kept;
}

/* Takes the answer's page into the walk, read anew or as it was kept. */
static bool walk_take(struct listing_walk *walk, const struct api_answer *answer, struct error *err)
{
    struct kept_page *kept = index_remove(&walk->cache->pages, slice_of(walk->target));
    if (answer->outcome == API_UNCHANGED && kept != NULL) {
        walk->listing.unchanged++;
        return walk_add(walk, kept, err);
    }
    if (kept != NULL) {
        kept_page_free(kept);
    }
    if (answer->outcome == API_UNCHANGED || answer->http == NULL) {
        return error_set(err, ERROR_REJECT, "the host says 304 to a question without an ETag");
    }
    kept = page_new(walk, answer->http, err);
    return kept != NULL && walk_add(walk, kept, err);
}

/* On to the next page, or from the branches to the tags. False: that was all. */
static bool walk_advance(struct listing_walk *walk)
{
    const char *next = walk->pages[walk->listing.page_count - 1]->next;
    char *target = NULL;
    if (next != NULL) {
        target = text_copy(next);
    } else if (walk->kind == REF_BRANCH) {
        walk->kind = REF_TAG;
        target = walk->host->first_page(walk->repository, REF_TAG);
    }
    free(walk->target);
    walk->target = target;
    return target != NULL;
}

static void walk_answered(void *context, const struct api_answer *answer)
{
    struct listing_walk *walk = context;
    struct error err;
    walk->call = NULL;
    walk->listing.requests += answer->http != NULL ? 1 : 0;
    if (answer->outcome != API_OK && answer->outcome != API_UNCHANGED) {
        walk_fail(walk, &answer->err, answer->again_ms);
    } else if (!walk_take(walk, answer, &err)) {
        walk_fail(walk, &err, 0);
    } else if (walk_advance(walk)) {
        walk_ask(walk);
    } else {
        walk->listing.is_whole = true;
        walk_end(walk);
    }
}

struct listing_walk *listing_start(struct loop *loop, struct api *api, struct listing_cache *cache,
                                   const char *repository, bool is_fresh,
                                   void (*on_done)(void *context, const struct listing *listing), void *context)
{
    struct listing_walk *walk = memory_zeroed(1, sizeof(*walk));
    walk->loop = loop;
    walk->api = api;
    walk->host = api_host_named(api_provider(api));
    walk->cache = cache;
    walk->repository = text_copy(repository);
    walk->is_fresh = is_fresh;
    walk->kind = REF_BRANCH;
    walk->target = walk->host->first_page(repository, REF_BRANCH);
    walk->on_done = on_done;
    walk->context = context;
    walk->deadline = loop_after(loop, LISTING_TIMEOUT_MS, walk_late, walk);
    walk_ask(walk);
    return walk;
}
