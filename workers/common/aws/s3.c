#include "workers/common/aws/s3.h"

#include "workers/common/aws/uri.h"
#include "workers/common/aws/xml.h"
#include "workers/common/base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PATH_MAXIMUM = 16 * 1024 * 1024, /* far more than a URL may have: nothing is cut here, the client refuses it */
    SOURCE_MAXIMUM = 8 * 1024,       /* of a header */
    LIST_ANSWER_MAXIMUM = 8 * 1024 * 1024,
    SMALL_ANSWER_MAXIMUM = 256 * 1024,
    LIST_TIMEOUT_MS = 30000,
    HEAD_TIMEOUT_MS = 15000,
    COPY_TIMEOUT_MS = 600000, /* S3 answers a copy of 5 GB when it is done */
    HEADERS_MAXIMUM = 8,
    PAGES_MAXIMUM = 100000,
};

struct s3_call {
    struct aws_client *client;
    struct aws_call *call;
    struct loop_timer *timer; /* of a call that is refused without being sent */
    struct error refused;
    void *on_done;
    void *context;
    /* of a listing */
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
    bool is_truncated;
    bool is_url_encoded; /* not every store does what encoding-type asks for, but all say so */
    struct s3_listing *listing;
    struct s3_object object; /* that is being read */
    /* of a copy */
    char *etag;
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

static void call_free(struct s3_call *call)
{
    aws_call_cancel(call->call);
    loop_timer_cancel(aws_client_loop(call->client), call->timer);
    free(call->bucket);
    free(call->region);
    free(call->owner);
    free(call->prefix);
    free(call->token);
    credentials_free(call->credentials);
    s3_listing_free(call->listing);
    object_clear(&call->object);
    free(call->etag);
    free(call);
}

void s3_cancel(struct s3_call *call)
{
    if (call != NULL) {
        call_free(call);
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

/* "/key", encoded. */
static void path_of_key(const char *key, struct buffer *path)
{
    buffer_append_char(path, '/');
    uri_encode_path(path, slice_of(key));
}

static size_t header_add(struct sigv4_header *headers, size_t count, const char *name, const char *value)
{
    if (value != NULL) {
        headers[count++] = (struct sigv4_header){name, value};
    }
    return count;
}

/* --- ListObjectsV2 --- */

static void list_send(struct s3_call *call);

static void listing_add(struct s3_listing *listing, struct s3_object *object)
{
    if ((listing->count & (listing->count - 1)) == 0) {
        size_t capacity = listing->count > 0 ? 2 * listing->count : 1;
        listing->objects = memory_resized(listing->objects, capacity * sizeof(*listing->objects));
    }
    listing->objects[listing->count++] = *object;
    *object = (struct s3_object){0};
}

static void list_element(void *context, const struct xml_element *element)
{
    struct s3_call *call = context;
    static const char root[] = "ListBucketResult/";
    const char *path = text_starts_with(element->path, root) ? element->path + strlen(root) : "";
    if (strcmp(path, "Contents/Key") == 0) {
        free(call->object.key);
        call->object.key = slice_copy(element->text);
    } else if (strcmp(path, "Contents/ETag") == 0) {
        free(call->object.etag);
        call->object.etag = slice_copy(element->text);
    } else if (strcmp(path, "Contents/Size") == 0) {
        call->object.size_bytes = strtoll(element->text.ptr, NULL, 10);
    } else if (strcmp(path, "Contents/LastModified") == 0) {
        (void)clock_parse(element->text.ptr, &call->object.modified_wall_ms);
    } else if (strcmp(path, "Contents") == 0 && call->object.key != NULL) {
        if (call->object.etag == NULL) {
            call->object.etag = text_copy("");
        }
        listing_add(call->listing, &call->object);
    } else if (strcmp(path, "EncodingType") == 0) {
        call->is_url_encoded = slice_equal_text(element->text, "url");
    } else if (strcmp(path, "IsTruncated") == 0) {
        call->is_truncated = slice_equal_text(element->text, "true");
    } else if (strcmp(path, "NextContinuationToken") == 0) {
        free(call->token);
        call->token = slice_copy(element->text);
    }
}

/* In listings a space is '+', as in forms, and a plus sign is %2B. */
static void object_decode_key(struct s3_object *object)
{
    AUTO(buffer) struct buffer key;
    buffer_init(&key, PATH_MAXIMUM);
    for (char *at = object->key; *at != '\0'; at++) {
        *at = *at == '+' ? ' ' : *at;
    }
    uri_decode(&key, slice_of(object->key));
    free(object->key);
    object->key = slice_copy(buffer_slice(&key));
}

static bool list_accept(void *context, const struct http_answer *answer, struct error *err)
{
    struct s3_call *call = context;
    struct s3_listing *page = memory_zeroed(1, sizeof(*page));
    struct s3_listing *all = call->listing;
    AUTO(text) char *token = TAKE(call->token);
    call->listing = page;
    call->is_truncated = false;
    call->is_url_encoded = false;
    object_clear(&call->object);
    bool is_read = xml_read(answer->body, list_element, call, err);
    AUTO(buffer) struct buffer root;
    buffer_init(&root, 256);
    is_read = is_read && ((xml_root(answer->body, &root) && strcmp(root.ptr, "ListBucketResult") == 0) ||
                          error_set(err, ERROR_RETRY, "the answer is not a ListBucketResult"));
    is_read = is_read && (!call->is_truncated || call->token != NULL ||
                          error_set(err, ERROR_RETRY, "the page says that more follows, but not where"));
    call->listing = all;
    if (!is_read) {
        free(call->token);
        call->token = TAKE(token);
        s3_listing_free(page);
        return false;
    }
    for (size_t i = 0; i < page->count; i++) {
        if (call->is_url_encoded) {
            object_decode_key(&page->objects[i]);
        }
        listing_add(all, &page->objects[i]);
    }
    s3_listing_free(page);
    return true;
}

static void list_end(struct s3_call *call, const struct aws_result *result)
{
    void (*on_done)(void *context, struct s3_list_result *result) =
        (void (*)(void *, struct s3_list_result *))call->on_done;
    void *context = call->context;
    struct aws_result whole = *result;
    whole.attempts = call->attempts;
    struct s3_list_result list = {.result = &whole, .pages = call->pages};
    if (whole.err.action == ERROR_NONE) {
        list.listing = TAKE(call->listing);
        if (list.listing->count > 0) {
            qsort(list.listing->objects, list.listing->count, sizeof(*list.listing->objects), object_order);
        }
    }
    call_free(call);
    on_done(context, &list);
    s3_listing_free(list.listing);
}

static void list_page_done(void *context, const struct aws_result *result)
{
    struct s3_call *call = context;
    call->call = NULL;
    call->pages++;
    call->attempts += result->attempts;
    struct aws_result end = *result;
    if (result->err.action == ERROR_NONE &&
        (call->listing->count > call->objects_maximum || call->pages >= PAGES_MAXIMUM)) {
        end.failure.kind = FAILURE_INVALID;
        end.answer = NULL;
        (void)error_set(&end.err, ERROR_REJECT, "ListObjectsV2 s3://%s/%s: more than %zu objects", call->bucket,
                        call->prefix, call->objects_maximum);
    } else if (result->err.action == ERROR_NONE && call->is_truncated) {
        list_send(call);
        return;
    }
    list_end(call, &end);
}

static void list_send(struct s3_call *call)
{
    AUTO(buffer) struct buffer query;
    buffer_init(&query, PATH_MAXIMUM);
    uri_add_parameter(&query, "list-type", "2");
    uri_add_parameter(&query, "encoding-type", "url");
    uri_add_parameter(&query, "prefix", call->prefix);
    if (call->token != NULL) {
        uri_add_parameter(&query, "continuation-token", call->token);
    }
    struct sigv4_header headers[HEADERS_MAXIMUM];
    size_t count = header_add(headers, 0, "x-amz-expected-bucket-owner", call->owner);
    AUTO(text) char *operation = text_format("ListObjectsV2 s3://%s/%s", call->bucket, call->prefix);
    struct aws_request request = {
        .service = AWS_S3,
        .region = call->region,
        .bucket = call->bucket,
        .method = "GET",
        .path = "",
        .query = query.ptr,
        .headers = headers,
        .header_count = count,
        .credentials = call->credentials,
        .attempt_timeout_ms = LIST_TIMEOUT_MS,
        .deadline_ms = call->deadline_ms,
        .answer_maximum_bytes = LIST_ANSWER_MAXIMUM,
        .operation = operation,
        .quota_key = call->bucket,
        .accept = list_accept,
        .accept_context = call,
    };
    call->call = aws_call_start(call->client, &request, list_page_done, call);
}

struct s3_call *s3_list_objects(struct aws_client *client, const struct s3_list_request *request,
                                void (*on_done)(void *context, struct s3_list_result *result), void *context)
{
    struct s3_call *call = memory_zeroed(1, sizeof(*call));
    call->client = client;
    call->on_done = (void *)on_done;
    call->context = context;
    call->bucket = text_copy(request->bucket.name);
    call->region = text_copy(request->bucket.region);
    call->owner = text_copy_or_null(request->bucket.owner);
    call->prefix = text_copy(request->prefix);
    call->credentials = credentials_copy(request->credentials);
    call->objects_maximum = request->objects_maximum;
    call->deadline_ms = request->deadline_ms;
    call->listing = memory_zeroed(1, sizeof(*call->listing));
    list_send(call);
    return call;
}

/* --- CopyObject --- */

static bool copy_accept(void *context, const struct http_answer *answer, struct error *err)
{
    struct s3_call *call = context;
    AUTO(buffer) struct buffer etag;
    buffer_init(&etag, 256);
    if (!xml_text_at(answer->body, "CopyObjectResult/ETag", &etag) || etag.len == 0) {
        return error_set(err, ERROR_RETRY, "a success without CopyObjectResult/ETag");
    }
    free(call->etag);
    call->etag = slice_copy(buffer_slice(&etag));
    return true;
}

static void copy_done(void *context, const struct aws_result *result)
{
    struct s3_call *call = context;
    void (*on_done)(void *context, const struct s3_copy_result *result) =
        (void (*)(void *, const struct s3_copy_result *))call->on_done;
    void *on_done_context = call->context;
    call->call = NULL;
    AUTO(text) char *etag = TAKE(call->etag);
    AUTO(text)
    char *version =
        result->answer != NULL ? slice_copy(http_answer_header(result->answer, "x-amz-version-id")) : text_copy("");
    AUTO(text)
    char *source_version = result->answer != NULL
                               ? slice_copy(http_answer_header(result->answer, "x-amz-copy-source-version-id"))
                               : text_copy("");
    struct s3_copy_result copy = {
        .result = result,
        .etag = result->err.action == ERROR_NONE ? etag : NULL,
        .version_id = version,
        .source_version_id = source_version,
    };
    call_free(call);
    on_done(on_done_context, &copy);
}

static void copy_refused(void *context)
{
    struct s3_call *call = context;
    call->timer = NULL;
    struct aws_result result = {.err = call->refused, .failure = {.kind = FAILURE_INVALID}};
    copy_done(call, &result);
}

struct s3_call *s3_copy_object(struct aws_client *client, const struct s3_copy_request *request,
                               void (*on_done)(void *context, const struct s3_copy_result *result), void *context)
{
    struct s3_call *call = memory_zeroed(1, sizeof(*call));
    call->client = client;
    call->on_done = (void *)on_done;
    call->context = context;
    AUTO(text)
    char *operation = text_format("CopyObject s3://%s/%s to s3://%s/%s", request->source.name, request->source_key,
                                  request->target.name, request->target_key);
    AUTO(buffer) struct buffer path;
    AUTO(buffer) struct buffer source;
    buffer_init(&path, PATH_MAXIMUM);
    buffer_init(&source, PATH_MAXIMUM);
    path_of_key(request->target_key, &path);
    buffer_append_format(&source, "/%s", request->source.name);
    path_of_key(request->source_key, &source);
    if (request->source_version != NULL) {
        buffer_append_text(&source, "?versionId=");
        uri_encode(&source, slice_of(request->source_version));
    }
    if (request->source_size_bytes > S3_COPY_MAXIMUM_BYTES) {
        (void)error_set(&call->refused, ERROR_REJECT, "%.300s: %" PRId64 " bytes; one copy takes at most 5 GB",
                        operation, request->source_size_bytes);
    } else if (source.is_overflowed || source.len > SOURCE_MAXIMUM) {
        (void)error_set(&call->refused, ERROR_REJECT, "%.300s: the source's key is too long", operation);
    }
    if (call->refused.action != ERROR_NONE) {
        call->timer = loop_after(aws_client_loop(client), 0, copy_refused, call);
        return call;
    }
    struct sigv4_header headers[HEADERS_MAXIMUM];
    size_t count = header_add(headers, 0, "x-amz-copy-source", source.ptr);
    count = header_add(headers, count, "x-amz-copy-source-if-match", request->source_etag);
    count = header_add(headers, count, "x-amz-expected-bucket-owner", request->target.owner);
    count = header_add(headers, count, "x-amz-source-expected-bucket-owner", request->source.owner);
    struct aws_request aws = {
        .service = AWS_S3,
        .region = request->target.region,
        .bucket = request->target.name,
        .method = "PUT",
        .path = path.ptr,
        .headers = headers,
        .header_count = count,
        .credentials = request->credentials,
        .attempt_timeout_ms = COPY_TIMEOUT_MS,
        .deadline_ms = request->deadline_ms,
        .answer_maximum_bytes = SMALL_ANSWER_MAXIMUM,
        .operation = operation,
        .quota_key = request->target.name,
        .accept = copy_accept,
        .accept_context = call,
    };
    call->call = aws_call_start(client, &aws, copy_done, call);
    return call;
}

/* --- HeadObject --- */

static void head_done(void *context, const struct aws_result *result)
{
    struct s3_call *call = context;
    void (*on_done)(void *context, const struct s3_head_result *result) =
        (void (*)(void *, const struct s3_head_result *))call->on_done;
    void *on_done_context = call->context;
    call->call = NULL;
    struct s3_head_result head = {.result = result};
    AUTO(text) char *etag = NULL;
    AUTO(text) char *version = NULL;
    if (result->answer != NULL) {
        AUTO(text) char *size = slice_copy(http_answer_header(result->answer, "Content-Length"));
        AUTO(text) char *modified = slice_copy(http_answer_header(result->answer, "Last-Modified"));
        etag = slice_copy(http_answer_header(result->answer, "ETag"));
        version = slice_copy(http_answer_header(result->answer, "x-amz-version-id"));
        head.etag = etag;
        head.version_id = version;
        head.size_bytes = strtoll(size, NULL, 10);
        (void)http_date_parse(modified, &head.modified_wall_ms);
    }
    call_free(call);
    on_done(on_done_context, &head);
}

struct s3_call *s3_head_object(struct aws_client *client, const struct s3_head_request *request,
                               void (*on_done)(void *context, const struct s3_head_result *result), void *context)
{
    struct s3_call *call = memory_zeroed(1, sizeof(*call));
    call->client = client;
    call->on_done = (void *)on_done;
    call->context = context;
    AUTO(buffer) struct buffer path;
    AUTO(buffer) struct buffer query;
    buffer_init(&path, PATH_MAXIMUM);
    buffer_init(&query, PATH_MAXIMUM);
    path_of_key(request->key, &path);
    if (request->version != NULL) {
        uri_add_parameter(&query, "versionId", request->version);
    }
    struct sigv4_header headers[HEADERS_MAXIMUM];
    size_t count = header_add(headers, 0, "x-amz-expected-bucket-owner", request->bucket.owner);
    AUTO(text) char *operation = text_format("HeadObject s3://%s/%s", request->bucket.name, request->key);
    struct aws_request aws = {
        .service = AWS_S3,
        .region = request->bucket.region,
        .bucket = request->bucket.name,
        .method = "HEAD",
        .path = path.ptr,
        .query = query.ptr,
        .headers = headers,
        .header_count = count,
        .credentials = request->credentials,
        .attempt_timeout_ms = HEAD_TIMEOUT_MS,
        .deadline_ms = request->deadline_ms,
        .answer_maximum_bytes = SMALL_ANSWER_MAXIMUM,
        .operation = operation,
        .quota_key = request->bucket.name,
    };
    call->call = aws_call_start(client, &aws, head_done, call);
    return call;
}
