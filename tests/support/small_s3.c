#include "tests/support/small_s3.h"

#include "tests/support/unit.h"
#include "workers/common/aws/checksum.h"
#include "workers/common/aws/uri.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PARTS = 10001 };

static const char source_target[] = "/main/source";

void small_s3_source(struct buffer *buffer, int64_t first_byte, int64_t size_bytes)
{
    /* Of a length that no part begins at, so that a part in the wrong place has other bytes. */
    enum { PERIOD = 65521 };
    static char period[PERIOD];
    for (int64_t at = 0; period[1] == 0 && at < PERIOD; at++) {
        period[at] = (char)((at * 31 + at / 251) & 0xff);
    }
    for (int64_t at = first_byte; at < first_byte + size_bytes;) {
        int64_t offset = at % PERIOD;
        int64_t left = first_byte + size_bytes - at;
        int64_t count = PERIOD - offset < left ? PERIOD - offset : left;
        buffer_append(buffer, slice_from(period + offset, (size_t)count));
        at += count;
    }
}

/* --- reading requests --- */

static char *parameter(const struct http_script_request *request, const char *name)
{
    AUTO(text) char *wanted = text_format("%s=", name);
    const char *at = strchr(request->target, '?');
    while (at != NULL && strncmp(at + 1, wanted, strlen(wanted)) != 0) {
        at = strchr(at + 1, '&');
    }
    return at != NULL ? slice_copy(slice_from(at + 1 + strlen(wanted), strcspn(at + 1 + strlen(wanted), "&"))) : NULL;
}

static bool has_header(const struct http_script_request *request, const char *name)
{
    AUTO(text) char *value = http_script_request_header(request, name);
    return value != NULL;
}

static enum small_s3_operation operation_of(const struct http_script_request *request)
{
    const char *query = strchr(request->target, '?');
    query = query != NULL ? query : "";
    bool has_id = strstr(query, "uploadId=") != NULL;
    if (strcmp(request->method, "HEAD") == 0) {
        return SMALL_S3_HEAD;
    }
    if (strcmp(request->method, "DELETE") == 0) {
        return SMALL_S3_ABORT;
    }
    if (strcmp(request->method, "POST") == 0) {
        return has_id ? SMALL_S3_COMPLETE : SMALL_S3_CREATE;
    }
    if (strcmp(request->method, "PUT") == 0) {
        return !has_id ? SMALL_S3_PUT : has_header(request, "x-amz-copy-source") ? SMALL_S3_PART_COPY : SMALL_S3_PART;
    }
    return strstr(query, "&uploads") != NULL      ? SMALL_S3_UPLOADS
           : strstr(query, "tagging") != NULL     ? SMALL_S3_TAGS
           : strstr(query, "list-type=2") != NULL ? SMALL_S3_LIST
                                                  : SMALL_S3_GET;
}

static void asker_of(const struct http_script_request *request, char *ret_key, size_t size)
{
    AUTO(text) char *authorization = http_script_request_header(request, "Authorization");
    const char *at = authorization != NULL ? strstr(authorization, "Credential=") : NULL;
    at = at != NULL ? at + strlen("Credential=") : "";
    (void)snprintf(ret_key, size, "%.*s", (int)strcspn(at, "/"), at);
}

static void range_of(const struct http_script_request *request, const char *name, int64_t whole, int64_t *ret_first,
                     int64_t *ret_size)
{
    AUTO(text) char *range = http_script_request_header(request, name);
    *ret_first = 0;
    *ret_size = whole;
    if (range != NULL) {
        char *end;
        *ret_first = strtoll(range + strlen("bytes="), &end, 10);
        *ret_size = strtoll(end + 1, NULL, 10) - *ret_first + 1;
    }
}

/* --- the store --- */

static struct small_s3_upload *upload_add(struct small_s3 *store, const char *target, const char *token)
{
    struct small_s3_upload *upload = &store->uploads[store->upload_count++];
    if (store->upload_count > SMALL_S3_UPLOADS_MAXIMUM) {
        abort();
    }
    (void)snprintf(upload->target, sizeof(upload->target), "%s", target);
    (void)snprintf(upload->token, sizeof(upload->token), "%s", token != NULL ? token : "");
    upload->is_open = true;
    upload->parts = memory_zeroed(PARTS, sizeof(*upload->parts));
    return upload;
}

/* "U3" is the third upload; NULL when it is not open, or of another key. */
static struct small_s3_upload *upload_of(struct small_s3 *store, const struct http_script_request *request)
{
    AUTO(text) char *id = parameter(request, "uploadId");
    size_t number = id != NULL && id[0] == 'U' ? strtoul(id + 1, NULL, 10) : 0;
    struct small_s3_upload *upload = number > 0 && number <= store->upload_count ? &store->uploads[number - 1] : NULL;
    size_t length = strcspn(request->target, "?");
    bool is_its = upload != NULL && upload->is_open && strlen(upload->target) == length &&
                  strncmp(upload->target, request->target, length) == 0;
    return is_its ? upload : NULL;
}

static struct small_s3_object *object_at(struct small_s3 *store, const char *target)
{
    for (size_t i = 0; i < store->object_count; i++) {
        if (strcmp(store->objects[i].target, target) == 0) {
            return &store->objects[i];
        }
    }
    return NULL;
}

static struct small_s3_object *object_put(struct small_s3 *store, const char *target)
{
    struct small_s3_object *object = object_at(store, target);
    if (object == NULL) {
        object = &store->objects[store->object_count++];
        if (store->object_count > SMALL_S3_OBJECTS_MAXIMUM) {
            abort();
        }
    }
    *object = (struct small_s3_object){0};
    (void)snprintf(object->target, sizeof(object->target), "%s", target);
    return object;
}

/* --- answering --- */

static void answer_error(struct http_script_answer *answer, int status, const char *body)
{
    *answer = (struct http_script_answer){.status = status, .body = body};
}

static void answer_uploads(struct small_s3 *store, const struct http_script_request *request, struct buffer *text)
{
    AUTO(text) char *prefix = parameter(request, "prefix");
    AUTO(buffer) struct buffer key;
    buffer_init(&key, 1024);
    uri_decode(&key, slice_of(prefix));
    AUTO(text) char *bucket = slice_copy(slice_from(request->target, strcspn(request->target + 1, "/?") + 1));
    AUTO(text) char *target = text_format("%s/%s", bucket, key.ptr);
    buffer_append_text(text, "<ListMultipartUploadsResult>");
    for (size_t i = 0; i < store->upload_count; i++) {
        if (store->uploads[i].is_open && text_starts_with(store->uploads[i].target, target)) {
            buffer_append_format(text, "<Upload><Key>%s</Key><UploadId>U%zu</UploadId></Upload>",
                                 store->uploads[i].target + strlen(bucket) + 1, i + 1);
        }
    }
    buffer_append_text(text, "</ListMultipartUploadsResult>");
}

static void answer_part(struct small_s3 *store, const struct http_script_request *request, struct buffer *text,
                        struct http_script_answer *answer)
{
    struct small_s3_upload *upload = upload_of(store, request);
    AUTO(text) char *number = parameter(request, "partNumber");
    AUTO(text) char *condition = http_script_request_header(request, "x-amz-copy-source-if-match");
    if (upload == NULL) {
        answer_error(answer, 404, "<Error><Code>NoSuchUpload</Code></Error>");
        return;
    }
    if (condition != NULL && strcmp(condition, store->source_etag) != 0) {
        answer_error(answer, 412, "<Error><Code>PreconditionFailed</Code></Error>");
        return;
    }
    struct small_s3_part *part = &upload->parts[strtoul(number, NULL, 10)];
    part->attempts++;
    if (has_header(request, "x-amz-copy-source")) {
        range_of(request, "x-amz-copy-source-range", store->source_size_bytes, &part->first_byte, &part->size_bytes);
        buffer_append_format(text, "<CopyPartResult><ETag>\"%s-%u\"</ETag></CopyPartResult>", number, part->attempts);
    } else {
        part->size_bytes = (int64_t)request->body.len;
        part->crc = crc64nvme(request->body);
        buffer_append_format(text, "ETag: \"%s-%u\"\r\n", number, part->attempts);
        answer->headers = text->ptr;
        answer->body = "";
    }
}

/* The list of the request must name the last attempt of each part, in order. */
static bool parts_are_right(const struct small_s3_upload *upload, const char *body, size_t *ret_count)
{
    *ret_count = 0;
    for (const char *at = strstr(body, "<Part>"); at != NULL; at = strstr(at + 1, "<Part>")) {
        size_t number = ++*ret_count;
        AUTO(text)
        char *expected = text_format("<Part><ETag>&quot;%zu-%u&quot;</ETag><PartNumber>%zu</PartNumber></Part>", number,
                                     upload->parts[number].attempts, number);
        if (upload->parts[number].attempts == 0 || !text_starts_with(at, expected)) {
            return false;
        }
    }
    return *ret_count > 0 && upload->parts[*ret_count + 1].attempts == 0;
}

static void answer_complete(struct small_s3 *store, const struct http_script_request *request, struct buffer *text,
                            struct http_script_answer *answer)
{
    struct small_s3_upload *upload = upload_of(store, request);
    AUTO(text) char *body = slice_copy(request->body);
    size_t count;
    if (upload == NULL) {
        answer_error(answer, 404, "<Error><Code>NoSuchUpload</Code></Error>");
        return;
    }
    if (!parts_are_right(upload, body, &count)) {
        answer_error(answer, 400, "<Error><Code>InvalidPart</Code></Error>");
        return;
    }
    struct small_s3_object *object = object_put(store, upload->target);
    object->is_whole = true;
    memcpy(object->token, upload->token, sizeof(object->token));
    for (size_t i = 1; i <= count; i++) {
        const struct small_s3_part *part = &upload->parts[i];
        object->is_whole = object->is_whole && (part->crc != 0 || part->first_byte == object->size_bytes);
        object->crc = crc64nvme_join(object->crc, part->crc, (uint64_t)part->size_bytes);
        object->size_bytes += part->size_bytes;
    }
    upload->is_open = false;
    buffer_append_format(
        text, "<CompleteMultipartUploadResult><ETag>\"whole-%zu\"</ETag></CompleteMultipartUploadResult>", count);
}

static void answer_head(struct small_s3 *store, const struct http_script_request *request, struct buffer *text,
                        struct http_script_answer *answer)
{
    const struct small_s3_object *object = object_at(store, request->target);
    if (strcmp(request->target, source_target) == 0) {
        buffer_append_format(text, "ETag: %s\r\nContent-Length: %" PRId64 "\r\n%s", store->source_etag,
                             store->source_size_bytes, store->source_headers != NULL ? store->source_headers : "");
    } else if (object != NULL) {
        buffer_append_format(text,
                             "ETag: \"whole\"\r\nContent-Length: %" PRId64 "\r\nx-amz-meta-tagfleet-upload: %s\r\n",
                             object->size_bytes, object->token);
    } else {
        answer->status = 404;
        return;
    }
    answer->headers = text->ptr;
}

static void answer_get(struct small_s3 *store, const struct http_script_request *request, struct buffer *text,
                       struct http_script_answer *answer)
{
    int64_t first;
    int64_t size;
    AUTO(text) char *condition = http_script_request_header(request, "if-match");
    if (condition != NULL && strcmp(condition, store->source_etag) != 0) {
        answer_error(answer, 412, "<Error><Code>PreconditionFailed</Code></Error>");
        return;
    }
    range_of(request, "range", store->source_size_bytes, &first, &size);
    bool is_range = has_header(request, "range");
    buffer_append_format(text, "HTTP/1.1 %d OK\r\nETag: %s\r\nContent-Length: %" PRId64 "\r\n", is_range ? 206 : 200,
                         store->source_etag, size);
    if (is_range) {
        buffer_append_format(text, "Content-Range: bytes %" PRId64 "-%" PRId64 "/%" PRId64 "\r\n", first,
                             first + size - 1, store->source_size_bytes);
    }
    buffer_append_text(text, "\r\n");
    small_s3_source(text, first, size);
    answer->raw = text->ptr;
    answer->raw_length = text->len;
}

static void answer_put(struct small_s3 *store, const struct http_script_request *request,
                       struct http_script_answer *answer)
{
    struct small_s3_object *object = object_put(store, request->target);
    object->size_bytes = (int64_t)request->body.len;
    object->crc = crc64nvme(request->body);
    object->is_whole = true;
    answer->headers = "ETag: \"put\"\r\n";
}

static void carry_out(struct small_s3 *store, enum small_s3_operation operation,
                      const struct http_script_request *request, struct buffer *text, struct http_script_answer *answer)
{
    AUTO(text) char *target = slice_copy(slice_from(request->target, strcspn(request->target, "?")));
    AUTO(text) char *token = http_script_request_header(request, "x-amz-meta-tagfleet-upload");
    struct small_s3_upload *upload = upload_of(store, request);
    *answer = (struct http_script_answer){.status = 200};
    switch (operation) {
    case SMALL_S3_UPLOADS:
        answer_uploads(store, request, text);
        break;
    case SMALL_S3_CREATE:
        (void)upload_add(store, target, token);
        buffer_append_format(text,
                             "<InitiateMultipartUploadResult><UploadId>U%zu</UploadId>"
                             "</InitiateMultipartUploadResult>",
                             store->upload_count);
        break;
    case SMALL_S3_PART:
    case SMALL_S3_PART_COPY:
        answer_part(store, request, text, answer);
        break;
    case SMALL_S3_COMPLETE:
        answer_complete(store, request, text, answer);
        break;
    case SMALL_S3_ABORT:
        if (upload != NULL) {
            upload->is_open = false;
            answer->status = 204;
        } else {
            answer_error(answer, 404, "<Error><Code>NoSuchUpload</Code></Error>");
        }
        break;
    case SMALL_S3_HEAD:
        answer_head(store, request, text, answer);
        break;
    case SMALL_S3_GET:
        answer_get(store, request, text, answer);
        break;
    case SMALL_S3_PUT:
        answer_put(store, request, answer);
        break;
    case SMALL_S3_TAGS:
        buffer_append_text(text, "<Tagging><TagSet><Tag><Key>a</Key><Value>b c</Value></Tag></TagSet></Tagging>");
        break;
    case SMALL_S3_LIST:
        buffer_append_text(text, "<ListBucketResult><Contents><Key>source</Key><Size>1</Size></Contents>"
                                 "</ListBucketResult>");
        break;
    case SMALL_S3_OPERATIONS:
        abort();
    }
    if (answer->status == 200 && answer->body == NULL && answer->headers == NULL && answer->raw == NULL) {
        answer->body = text->ptr;
    }
}

static const struct small_s3_fault *fault_of(const struct small_s3 *store, enum small_s3_operation operation,
                                             const char *target)
{
    for (size_t i = 0; i < store->fault_count; i++) {
        const struct small_s3_fault *fault = &store->faults[i];
        unsigned occurrence = store->counts[operation];
        if (fault->operation == operation && occurrence >= fault->from && occurrence - fault->from < fault->count &&
            (fault->target == NULL || strstr(target, fault->target) != NULL)) {
            return fault;
        }
    }
    return NULL;
}

static void small_s3_answer(void *context, const struct http_script_request *request, struct buffer *scratch,
                            struct http_script_answer *ret_answer)
{
    struct small_s3 *store = context;
    enum small_s3_operation operation = operation_of(request);
    pthread_mutex_lock(&store->lock);
    store->counts[operation]++;
    char *asker = store->askers[operation];
    asker_of(request, asker, sizeof(store->askers[operation]));
    const struct small_s3_fault *fault = fault_of(store, operation, request->target);
    unsigned parts = store->counts[SMALL_S3_PART] + store->counts[SMALL_S3_PART_COPY] + store->counts[SMALL_S3_PUT];
    bool begins = operation == SMALL_S3_UPLOADS || operation == SMALL_S3_CREATE;
    bool is_expired = store->expired_key != NULL && parts > store->expired_after && !begins;
    if (is_expired && strcmp(asker, store->expired_key) == 0) {
        answer_error(ret_answer, 400, "<Error><Code>ExpiredToken</Code></Error>");
    } else if (fault == NULL || fault->is_carried_out) {
        carry_out(store, operation, request, scratch, ret_answer);
    }
    if (fault != NULL) {
        *ret_answer = fault->answer;
    }
    pthread_mutex_unlock(&store->lock);
}

/* --- for tests --- */

void small_s3_start(struct small_s3 *store, struct scripted_aws *aws)
{
    store->source_etag = store->source_etag != NULL ? store->source_etag : "\"source\"";
    assert_int_equal(pthread_mutex_init(&store->lock, NULL), 0);
    scripted_aws_start_choosing(aws, small_s3_answer, store);
}

void small_s3_stop(struct small_s3 *store, struct scripted_aws *aws)
{
    scripted_aws_stop(aws);
    for (size_t i = 0; i < store->upload_count; i++) {
        free(store->uploads[i].parts);
    }
    /* The lock stays: what the store has counted may be asked for afterwards. */
}

void small_s3_leave_open(struct small_s3 *store, const char *target)
{
    pthread_mutex_lock(&store->lock);
    (void)upload_add(store, target, "another");
    pthread_mutex_unlock(&store->lock);
}

unsigned small_s3_count(struct small_s3 *store, enum small_s3_operation operation)
{
    pthread_mutex_lock(&store->lock);
    unsigned count = store->counts[operation];
    pthread_mutex_unlock(&store->lock);
    return count;
}

size_t small_s3_open_uploads(struct small_s3 *store)
{
    size_t count = 0;
    pthread_mutex_lock(&store->lock);
    for (size_t i = 0; i < store->upload_count; i++) {
        count += store->uploads[i].is_open;
    }
    pthread_mutex_unlock(&store->lock);
    return count;
}

bool small_s3_find(struct small_s3 *store, const char *target, struct small_s3_object *ret_object)
{
    pthread_mutex_lock(&store->lock);
    const struct small_s3_object *object = object_at(store, target);
    if (object != NULL) {
        *ret_object = *object;
    }
    pthread_mutex_unlock(&store->lock);
    return object != NULL;
}
