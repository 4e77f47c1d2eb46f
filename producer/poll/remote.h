/*
 * The refs of a repository by plain git, for hosts without an API we know: `git ls-remote --heads --tags`, as a child
 * of the loop. Git is asked in a way in which it cannot ask anybody back: no terminal, no passwords, no unknown host
 * keys, and no transport that would run a program of the address's choosing.
 *
 * A token goes to git through its environment, for this address alone and not across redirects; never onto its command
 * line, which everybody on the machine can read.
 */
#pragma once

#include "producer/api/listing.h"

struct remote;

/* What is wrong with the address, or NULL. */
const char *remote_check_url(const char *url);

/* The listing's rows from what ls-remote has printed. The peeled line of an annotated tag (tag^{}) takes the place of
 * the tag's own. ERROR_REJECT for anything that is no such output. */
bool remote_read(struct slice output, struct page *page, struct error *err) MUST_CHECK;

/* token_file may be NULL. As listing_start. */
struct remote *remote_start(struct loop *loop, const char *url, const char *token_file,
                            void (*on_done)(void *context, const struct listing *listing), void *context);
void remote_cancel(struct remote *remote); /* NULL is fine */
