/*
 * All branches and tags of a repository, page by page. Pages are kept with their ETags, so that a repository in which
 * nothing has happened costs its host only answers without a body.
 *
 * A listing is whole or it is an error: what is missing from half a list looks like deleted. Pages, refs and bytes are
 * bounded, and so is its time as a whole.
 */
#pragma once

#include "producer/api/api.h"
#include "producer/api/page.h"

enum { LISTING_REFS_MAXIMUM = 50000, LISTING_PAGES_MAXIMUM = 1500, LISTING_TIMEOUT_MS = 120 * 1000 };

/* What a host says its refs are; borrowed for the duration of the callback. */
struct listing {
    const struct page *const *pages;
    size_t page_count;
    size_t row_count;
    size_t left_out;
    size_t requests;  /* that were sent */
    size_t unchanged; /* of these, answered 304 */

    /* When it is not whole: what happened, and not before when the host wants to be asked again (0: it does not say).
     */
    bool is_whole;
    struct error err;
    int64_t again_ms;
};

/* The pages of a repository. */
struct listing_cache;
struct listing_cache *listing_cache_new(void);
void listing_cache_free(struct listing_cache *cache); /* NULL is fine */

struct listing_walk;

/* is_fresh: without If-None-Match, for those who would rather not believe what was kept. Answers from a later
 * loop_dispatch, exactly once unless cancelled. One walk of a cache at a time. Never NULL. */
struct listing_walk *listing_start(struct loop *loop, struct api *api, struct listing_cache *cache,
                                   const char *repository, bool is_fresh,
                                   void (*on_done)(void *context, const struct listing *listing), void *context);
void listing_cancel(struct listing_walk *walk); /* NULL is fine */

/* What is wrong with the name of a repository at this provider, or NULL. */
const char *listing_check_name(const char *provider, const char *repository);
