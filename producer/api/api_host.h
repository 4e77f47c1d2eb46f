/*
 * What differs between the hosts' APIs. One file per host; the connection (api.c) and the listing (listing.c) know only
 * this table.
 */
#pragma once

#include "producer/api/api.h"
#include "producer/api/page.h"

struct api_host {
    const char *provider;
    const char *public_url;     /* NULL: it has none, api_url is needed */
    const char *token_header;   /* what stands before the token */
    const char *const *headers; /* further ones, "Name: value"; ended by NULL */
    size_t page_size;           /* what its first_page asks for */

    /* What is wrong with the name of a repository, or NULL. */
    const char *(*check_name)(const char *repository);
    /* The target of the first page of branches or tags. The caller frees it. */
    char *(*first_page)(const char *repository, enum ref_kind kind);
    bool (*read_page)(const struct page_answer *answer, struct page *page, struct error *err);
};

extern const struct api_host github_api;
extern const struct api_host gitlab_api;
extern const struct api_host gitea_api;
extern const struct api_host bitbucket_api;
extern const struct api_host bitbucket_server_api;

const struct api_host *api_host_named(const char *provider); /* NULL when unknown */
const char *api_host_names(void);                            /* for people */
