#include "workers/common/aws/listing.h"

#include "workers/common/aws/uri.h"
#include "workers/common/aws/xml.h"
#include "workers/common/base/clock.h"

#include <stdlib.h>
#include <string.h>

enum {
    QUERY_MAXIMUM = 64 * 1024,
    KEY_MAXIMUM = 64 * 1024,
    ANSWER_MAXIMUM = 8 * 1024 * 1024,
    TIMEOUT_MS = 30000,
    PAGES_MAXIMUM = 100000,
};

struct s3_list {
    struct aws_client *client;
    struct aws_call *call;
    void (*on_done)(void *context, struct s3_list_result *result);
    void *context;
    char *bucket;
    char *region;
    char *owner;
    char *prefix;
    char *token; /* of the next page */
    struct credentials *credentials;
    size_t objects_maximum;
    int64_t deadline_ms;
    unsigned pages;
    unsigned attempts;
    bool is_region_fixed;
    bool is_truncated;
    bool has_wrong_size;
    bool is_url_encoded; /* not every store does what encoding-type asks for, but all say so */
    struct s3_listing *listing;
    struct s3_object object; /* that is being read */
};

static void object_clear(struct s3_object *object)
{
    free(object->key);
    free(object->etag);
    *object = (struct s3_object){0};
}

void s3_listing_free(struct s3_listing *listing)
{
    if (listing == NULL) {
        return;
    }
    for (size_t i = 0; i < listing->count; i++) {
        object_clear(&listing->objects[i]);
    }
    free(listing->objects);
    free(listing);
}

static void list_free(struct s3_list *list)
{
    aws_call_cancel(list->call);
    free(list->bucket);
    free(list->region);
    free(list->owner);
    free(list->prefix);
    free(list->token);
    credentials_free(list->credentials);
    s3_listing_free(list->listing);
    object_clear(&list->object);
    free(list);
}

void s3_list_cancel(struct s3_list *list)
{
    if (list != NULL) {
        list_free(list);
    }
}

static int object_order(const void *a, const void *b)
{
    return strcmp(((const struct s3_object *)a)->key, ((const struct s3_object *)b)->key);
}

const struct s3_object *s3_listing_find(const struct s3_listing *listing, const char *key)
{
    struct s3_object probe = {.key = (char *)(uintptr_t)key};
    return listing->count > 0
               ? bsearch(&probe, listing->objects, listing->count, sizeof(*listing->objects), object_order)
               : NULL;
}

static void list_send(struct s3_list *list);

static void listing_add(struct s3_listing *listing, struct s3_object *object)
{
    if ((listing->count & (listing->count - 1)) == 0) {
        size_t capacity = listing->count > 0 ? 2 * listing->count : 1;
        listing->objects = memory_resized(listing->objects, capacity * sizeof(*listing->objects));
    }
    listing->objects[listing->count++] = *object;
    *object = (struct s3_object){0};
}

static bool size_parse(struct slice text, int64_t *ret_size_bytes)
{
    enum { DIGITS_MAXIMUM = 18 };
    if (text.len == 0 || text.len > DIGITS_MAXIMUM || strspn(text.ptr, "0123456789") != text.len) {
        return false;
    }
    *ret_size_bytes = strtoll(text.ptr, NULL, 10);
    return true;
}

static void list_element(void *context, const struct xml_element *element)
{
    struct s3_list *list = context;
    static const char root[] = "ListBucketResult/";
    const char *path = text_starts_with(element->path, root) ? element->path + strlen(root) : "";
    if (strcmp(path, "Contents/Key") == 0) {
        free(list->object.key);
        list->object.key = slice_copy(element->text);
    } else if (strcmp(path, "Contents/ETag") == 0) {
        free(list->object.etag);
        list->object.etag = slice_copy(element->text);
    } else if (strcmp(path, "Contents/Size") == 0) {
        list->has_wrong_size = list->has_wrong_size || !size_parse(element->text, &list->object.size_bytes);
    } else if (strcmp(path, "Contents/LastModified") == 0) {
        (void)clock_parse(element->text.ptr, &list->object.modified_wall_ms);
    } else if (strcmp(path, "Contents") == 0 && list->object.key != NULL) {
        if (list->object.etag == NULL) {
            list->object.etag = text_copy("");
        }
        listing_add(list->listing, &list->object);
    } else if (strcmp(path, "EncodingType") == 0) {
        list->is_url_encoded = slice_equal_text(element->text, "url");
    } else if (strcmp(path, "IsTruncated") == 0) {
        list->is_truncated = slice_equal_text(element->text, "true");
    } else if (strcmp(path, "NextContinuationToken") == 0) {
        free(list->token);
        list->token = slice_copy(element->text);
    }
}

/* In listings a space is '+', as in forms, and a plus sign is %2B. */
static void object_decode_key(struct s3_object *object)
{
    AUTO(buffer) struct buffer key;
    buffer_init(&key, KEY_MAXIMUM);
    for (char *at = object->key; *at != '\0'; at++) {
        *at = *at == '+' ? ' ' : *at;
    }
    uri_decode(&key, slice_of(object->key));
    free(object->key);
    object->key = slice_copy(buffer_slice(&key));
}

/* token is the one that the page was asked with; NULL: it is the first. */
static bool page_is_sound(const struct s3_list *list, struct slice document, const char *token, struct error *err)
{
    AUTO(buffer) struct buffer root;
    buffer_init(&root, 256);
    if (!xml_root(document, &root) || strcmp(root.ptr, "ListBucketResult") != 0) {
        return error_set(err, ERROR_RETRY, "the answer is not a ListBucketResult");
    }
    if (list->is_truncated && list->token == NULL) {
        return error_set(err, ERROR_RETRY, "the page says that more follows, but not where");
    }
    if (list->is_truncated && token != NULL && strcmp(list->token, token) == 0) {
        return error_set(err, ERROR_RETRY, "the page says that it follows itself");
    }
    return !list->has_wrong_size || error_set(err, ERROR_RETRY, "an object's size is no number");
}

static bool list_accept(void *context, const struct http_answer *answer, struct error *err)
{
    struct s3_list *list = context;
    struct s3_listing *page = memory_zeroed(1, sizeof(*page));
    struct s3_listing *all = list->listing;
    AUTO(text) char *token = TAKE(list->token);
    list->listing = page;
    list->is_truncated = false;
    list->has_wrong_size = false;
    list->is_url_encoded = false;
    object_clear(&list->object);
    bool is_read = xml_read(answer->body, list_element, list, err);
    is_read = is_read && page_is_sound(list, answer->body, token, err);
    list->listing = all;
    if (!is_read) {
        free(list->token);
        list->token = TAKE(token);
        s3_listing_free(page);
        return false;
    }
    for (size_t i = 0; i < page->count; i++) {
        if (list->is_url_encoded) {
            object_decode_key(&page->objects[i]);
        }
        listing_add(all, &page->objects[i]);
    }
    s3_listing_free(page);
    return true;
}

static void list_end(struct s3_list *list, const struct aws_result *result)
{
    void (*on_done)(void *context, struct s3_list_result *result) = list->on_done;
    void *context = list->context;
    struct aws_result whole = *result;
    whole.attempts = list->attempts;
    struct s3_list_result ended = {.result = &whole, .pages = list->pages};
    if (whole.err.action == ERROR_NONE) {
        ended.listing = TAKE(list->listing);
        if (ended.listing->count > 0) {
            qsort(ended.listing->objects, ended.listing->count, sizeof(*ended.listing->objects), object_order);
        }
    }
    list_free(list);
    on_done(context, &ended);
    s3_listing_free(ended.listing);
}

static void list_page_done(void *context, const struct aws_result *result)
{
    struct s3_list *list = context;
    list->call = NULL;
    list->pages++;
    list->attempts += result->attempts;
    struct aws_result end = *result;
    if (result->err.action == ERROR_NONE &&
        (list->listing->count > list->objects_maximum || list->pages >= PAGES_MAXIMUM)) {
        end.failure.kind = FAILURE_INVALID;
        end.answer = NULL;
        (void)error_set(&end.err, ERROR_REJECT, "ListObjectsV2 s3://%s/%s: more than %zu objects", list->bucket,
                        list->prefix, list->objects_maximum);
    } else if (result->err.action == ERROR_NONE && list->is_truncated) {
        list_send(list);
        return;
    }
    list_end(list, &end);
}

static void list_send(struct s3_list *list)
{
    AUTO(buffer) struct buffer query;
    buffer_init(&query, QUERY_MAXIMUM);
    uri_add_parameter(&query, "list-type", "2");
    uri_add_parameter(&query, "encoding-type", "url");
    uri_add_parameter(&query, "prefix", list->prefix);
    if (list->token != NULL) {
        uri_add_parameter(&query, "continuation-token", list->token);
    }
    const struct sigv4_header owner = {"x-amz-expected-bucket-owner", list->owner};
    AUTO(text) char *operation = text_format("ListObjectsV2 s3://%s/%s", list->bucket, list->prefix);
    struct aws_request request = {
        .service = AWS_S3,
        .region = list->region,
        .is_region_fixed = list->is_region_fixed,
        .bucket = list->bucket,
        .method = "GET",
        .path = "",
        .query = query.ptr,
        .headers = &owner,
        .header_count = list->owner != NULL ? 1 : 0,
        .credentials = list->credentials,
        .attempt_timeout_ms = TIMEOUT_MS,
        .deadline_ms = list->deadline_ms,
        .answer_maximum_bytes = ANSWER_MAXIMUM,
        .operation = operation,
        .quota_key = list->bucket,
        .accept = list_accept,
        .accept_context = list,
    };
    list->call = aws_call_start(list->client, &request, list_page_done, list);
}

struct s3_list *s3_list_objects(struct aws_client *client, const struct s3_list_request *request,
                                void (*on_done)(void *context, struct s3_list_result *result), void *context)
{
    struct s3_list *list = memory_zeroed(1, sizeof(*list));
    list->client = client;
    list->on_done = on_done;
    list->context = context;
    list->bucket = text_copy(request->bucket.name);
    list->region = text_copy(request->bucket.region);
    list->owner = text_copy_or_null(request->bucket.owner);
    list->prefix = text_copy(request->prefix);
    list->credentials = credentials_copy(request->credentials);
    list->objects_maximum = request->objects_maximum;
    list->deadline_ms = request->deadline_ms;
    list->is_region_fixed = request->is_region_fixed;
    list->listing = memory_zeroed(1, sizeof(*list->listing));
    list_send(list);
    return list;
}
