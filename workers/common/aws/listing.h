/*
 * What lies below a prefix of a bucket (ListObjectsV2, all pages): asked for once, kept by as many as need it.
 */
#pragma once

#include "workers/common/aws/s3.h"

struct s3_object {
    char *key;
    char *etag; /* "" when the store gives none */
    int64_t size_bytes;
    int64_t modified_wall_ms; /* 0 when the store gives none */
};

/* In the order of the keys, as bytes. */
struct s3_listing {
    struct s3_object *objects;
    size_t count;
};

void s3_listing_free(struct s3_listing *listing); /* NULL is fine */
DEFINE_AUTO(s3_listing, struct s3_listing *);

/* By bisection; NULL when absent. */
const struct s3_object *s3_listing_find(const struct s3_listing *listing, const char *key);

struct s3_list_request {
    struct s3_bucket bucket;
    const char *prefix;     /* "" for all */
    size_t objects_maximum; /* more than that is ERROR_REJECT */
    const struct credentials *credentials;
    int64_t deadline_ms;  /* clock_monotonic_ms, for all pages together */
    bool is_region_fixed; /* as in struct s3_subject */
};

/* listing is set on success; whoever wants to keep it takes it (TAKE), else it is freed. */
struct s3_list_result {
    const struct aws_result *result;
    struct s3_listing *listing;
    unsigned pages;
};

struct s3_list;

/* Everything in the request is copied. on_done is called exactly once, from a later loop_dispatch, unless the list is
 * cancelled; the result is borrowed for the duration. */
struct s3_list *s3_list_objects(struct aws_client *client, const struct s3_list_request *request,
                                void (*on_done)(void *context, struct s3_list_result *result), void *context);
void s3_list_cancel(struct s3_list *list); /* NULL is fine */
