#include "workers/common/aws/s3.h"

#include "workers/common/aws/uri.h"
#include "workers/common/aws/xml.h"
#include "workers/common/base/clock.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    PATH_MAXIMUM = 16 * 1024 * 1024, /* far more than a URL may have: nothing is cut here, the client refuses it */
    SOURCE_MAXIMUM = 8 * 1024,       /* of a header */
    ANSWER_MAXIMUM = 256 * 1024,
    UPLOADS_ANSWER_MAXIMUM = 4 * 1024 * 1024,
    COMPLETE_MAXIMUM = 4 * 1024 * 1024,
    SMALL_TIMEOUT_MS = 30000,
    UNKNOWN_SIZE_TIMEOUT_MS = 600000,
    UNKNOWN_SIZE_MAXIMUM = 64 * 1024 * 1024,
    COPY_BYTES_PER_MS = 10000,    /* the slowest copy within the store that is waited for: 10 MB/s */
    TRANSFER_BYTES_PER_MS = 1000, /* the slowest transfer from or to us: 1 MB/s */
    PART_ATTEMPTS = 8,            /* giving up one part costs all the others */
    HEADERS_MAXIMUM = 20,         /* of one call, beside the object's own */
};

/* What an answer must hold. */
enum needs { NEEDS_NOTHING, NEEDS_ETAG_HEADER, NEEDS_ETAG_ELEMENT, NEEDS_UPLOAD_ID, NEEDS_ROOT };

struct operation {
    const char *name;
    const char *method;
    enum needs needs;
    const char *root; /* of the answer's document */
};

static const struct operation copy_object = {"CopyObject", "PUT", NEEDS_ETAG_ELEMENT, "CopyObjectResult"};
static const struct operation head_object = {"HeadObject", "HEAD", NEEDS_NOTHING, NULL};
static const struct operation get_object = {"GetObject", "GET", NEEDS_NOTHING, NULL};
static const struct operation put_object = {"PutObject", "PUT", NEEDS_ETAG_HEADER, NULL};
static const struct operation get_tags = {"GetObjectTagging", "GET", NEEDS_ROOT, "Tagging"};
static const struct operation create_upload = {"CreateMultipartUpload", "POST", NEEDS_UPLOAD_ID,
                                               "InitiateMultipartUploadResult"};
static const struct operation upload_part = {"UploadPart", "PUT", NEEDS_ETAG_HEADER, NULL};
static const struct operation upload_part_copy = {"UploadPartCopy", "PUT", NEEDS_ETAG_ELEMENT, "CopyPartResult"};
static const struct operation complete_upload = {"CompleteMultipartUpload", "POST", NEEDS_ETAG_ELEMENT,
                                                 "CompleteMultipartUploadResult"};
static const struct operation abort_upload = {"AbortMultipartUpload", "DELETE", NEEDS_NOTHING, NULL};
static const struct operation list_uploads = {"ListMultipartUploads", "GET", NEEDS_ROOT, "ListMultipartUploadsResult"};

struct s3_call {
    struct aws_client *client;
    struct aws_call *call;
    const struct operation *operation;
    struct loop_timer *timer; /* of a call that is refused without being sent */
    struct error refused;
    s3_done *done;
    void *context;
    struct buffer body;
    int64_t length_bytes; /* of a read; -1: any */
    char *range;          /* "bytes 0-9/": how the answer's Content-Range begins */
    char *expected_etag;  /* of a read; NULL: any */
    char *key;            /* of listed uploads */
    /* What the answer holds. */
    bool has_root;
    char *etag;
    char *upload_id;
    struct buffer tags;
    char *tag_key;
    char *listed_key;
    char *listed_id;
    char **upload_ids;
    size_t upload_count;
    struct s3_checksums checksums;
    bool is_composite; /* the checksums are of the parts' checksums */
};

static void answer_clear(struct s3_call *call)
{
    free(call->etag);
    free(call->upload_id);
    free(call->tag_key);
    free(call->listed_key);
    free(call->listed_id);
    for (size_t i = 0; i < call->upload_count; i++) {
        free(call->upload_ids[i]);
    }
    free(call->upload_ids);
    call->etag = call->upload_id = call->tag_key = call->listed_key = call->listed_id = NULL;
    call->upload_ids = NULL;
    call->upload_count = 0;
    call->has_root = false;
    call->is_composite = false;
    call->checksums = (struct s3_checksums){0};
    buffer_clear(&call->tags);
}

static void call_free(struct s3_call *call)
{
    aws_call_cancel(call->call);
    loop_timer_cancel(aws_client_loop(call->client), call->timer);
    answer_clear(call);
    buffer_done(&call->body);
    buffer_done(&call->tags);
    free(call->range);
    free(call->expected_etag);
    free(call->key);
    free(call);
}

void s3_cancel(struct s3_call *call)
{
    if (call != NULL) {
        call_free(call);
    }
}

/* --- reading answers --- */

static void text_set(char **text, struct slice value)
{
    free(*text);
    *text = slice_copy(value);
}

static void checksum_set(char *ret_text, size_t size, struct slice value)
{
    (void)snprintf(ret_text, size, "%.*s", value.len < size ? (int)value.len : 0, value.ptr != NULL ? value.ptr : "");
}

static void upload_listed(struct s3_call *call)
{
    if (call->listed_id != NULL && call->listed_key != NULL && strcmp(call->listed_key, call->key) == 0) {
        call->upload_ids = memory_resized(call->upload_ids, (call->upload_count + 1) * sizeof(*call->upload_ids));
        call->upload_ids[call->upload_count++] = TAKE(call->listed_id);
    }
}

static void answer_element(void *context, const struct xml_element *element)
{
    struct s3_call *call = context;
    size_t length = strlen(call->operation->root);
    if (!text_starts_with(element->path, call->operation->root)) {
        return;
    }
    const char *path = element->path + length;
    if (path[0] == '\0') {
        call->has_root = true;
    } else if (strcmp(path, "/ETag") == 0) {
        text_set(&call->etag, element->text);
    } else if (strcmp(path, "/UploadId") == 0) {
        text_set(&call->upload_id, element->text);
    } else if (strcmp(path, "/ChecksumCRC64NVME") == 0) {
        checksum_set(call->checksums.crc64nvme, sizeof(call->checksums.crc64nvme), element->text);
    } else if (strcmp(path, "/ChecksumSHA256") == 0) {
        checksum_set(call->checksums.sha256, sizeof(call->checksums.sha256), element->text);
    } else if (strcmp(path, "/ChecksumType") == 0) {
        call->is_composite = slice_equal_text(element->text, "COMPOSITE");
    } else if (strcmp(path, "/TagSet/Tag/Key") == 0) {
        text_set(&call->tag_key, element->text);
    } else if (strcmp(path, "/TagSet/Tag/Value") == 0 && call->tag_key != NULL) {
        uri_add_parameter(&call->tags, call->tag_key, element->text.ptr);
    } else if (strcmp(path, "/Upload/Key") == 0) {
        text_set(&call->listed_key, element->text);
    } else if (strcmp(path, "/Upload/UploadId") == 0) {
        text_set(&call->listed_id, element->text);
    } else if (strcmp(path, "/Upload") == 0) {
        upload_listed(call);
    }
}

static bool document_accept(struct s3_call *call, const struct http_answer *answer, struct error *err)
{
    if (!xml_read(answer->body, answer_element, call, err)) {
        err->action = ERROR_RETRY;
        return false;
    }
    return call->has_root || error_set(err, ERROR_RETRY, "the answer is not a %s", call->operation->root);
}

/* The answer to a read must be what was asked for, also of a store that does not know conditions. */
static bool length_accept(const struct s3_call *call, const struct http_answer *answer, struct error *err)
{
    AUTO(text) char *range = slice_copy(http_answer_header(answer, "Content-Range"));
    if (call->range != NULL && !text_starts_with(range, call->range)) {
        return error_set(err, ERROR_RETRY, "asked for %s the store answered %s", call->range,
                         range[0] != '\0' ? range : "without Content-Range");
    }
    struct slice etag = http_answer_header(answer, "ETag");
    if (call->expected_etag != NULL && etag.ptr != NULL && !slice_equal_text(etag, call->expected_etag)) {
        return error_set(err, ERROR_RETRY, "asked for the object %.100s the store answered with another one",
                         call->expected_etag);
    }
    return call->length_bytes < 0 || (int64_t)answer->body.len == call->length_bytes ||
           error_set(err, ERROR_RETRY, "%zu bytes came where %" PRId64 " were expected", answer->body.len,
                     call->length_bytes);
}

static bool call_accept(void *context, const struct http_answer *answer, struct error *err)
{
    struct s3_call *call = context;
    answer_clear(call);
    switch (call->operation->needs) {
    case NEEDS_NOTHING:
        return length_accept(call, answer, err);
    case NEEDS_ETAG_HEADER:
        text_set(&call->etag, http_answer_header(answer, "ETag"));
        break;
    case NEEDS_ETAG_ELEMENT:
    case NEEDS_UPLOAD_ID:
    case NEEDS_ROOT:
        if (!document_accept(call, answer, err)) {
            return false;
        }
        break;
    }
    bool needs_etag = call->operation->needs == NEEDS_ETAG_ELEMENT || call->operation->needs == NEEDS_ETAG_HEADER;
    if (needs_etag && (call->etag == NULL || call->etag[0] == '\0')) {
        return error_set(err, ERROR_RETRY, "a success without ETag");
    }
    if (call->operation->needs == NEEDS_UPLOAD_ID && (call->upload_id == NULL || call->upload_id[0] == '\0')) {
        return error_set(err, ERROR_RETRY, "a success without UploadId");
    }
    return true;
}

/* Content headers and metadata, as the store tells them. */
static void attributes_read(const struct http_answer *answer, struct headers *attributes)
{
    static const char *const names[] = {"content-type",
                                        "cache-control",
                                        "content-encoding",
                                        "expires",
                                        "content-disposition",
                                        "content-language",
                                        "x-amz-website-redirect-location"};
    static const char prefix[] = "x-amz-meta-";
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct slice value = http_answer_header(answer, names[i]);
        AUTO(text) char *text = slice_copy(value);
        headers_add(attributes, names[i], value.ptr != NULL ? text : NULL);
    }
    struct slice rest = answer->header_lines;
    while (rest.len > 0) {
        const char *end = memchr(rest.ptr, '\n', rest.len);
        size_t length = end != NULL ? (size_t)(end - rest.ptr) + 1 : rest.len;
        const char *colon = memchr(rest.ptr, ':', length);
        if (colon != NULL && length > strlen(prefix) && strncasecmp(rest.ptr, prefix, strlen(prefix)) == 0) {
            AUTO(text) char *raw = slice_copy(slice_from(rest.ptr, (size_t)(colon - rest.ptr)));
            AUTO(text) char *name = text_lower(raw);
            AUTO(text)
            char *value = slice_copy(slice_trim(slice_from(colon + 1, length - (size_t)(colon + 1 - rest.ptr))));
            headers_add(attributes, name, value);
        }
        rest = slice_from(rest.ptr + length, rest.len - length);
    }
}

static int64_t number_header(const struct http_answer *answer, const char *name)
{
    AUTO(text) char *text = slice_copy(http_answer_header(answer, name));
    return strtoll(text, NULL, 10);
}

static void head_read(const struct http_answer *http, struct s3_answer *answer)
{
    AUTO(text) char *modified = slice_copy(http_answer_header(http, "Last-Modified"));
    struct slice type = http_answer_header(http, "x-amz-checksum-type");
    answer->size_bytes = number_header(http, "Content-Length");
    answer->tag_count = (size_t)number_header(http, "x-amz-tagging-count");
    (void)http_date_parse(modified, &answer->modified_wall_ms);
    checksum_set(answer->checksums.crc64nvme, sizeof(answer->checksums.crc64nvme),
                 http_answer_header(http, "x-amz-checksum-crc64nvme"));
    checksum_set(answer->checksums.sha256, sizeof(answer->checksums.sha256),
                 http_answer_header(http, "x-amz-checksum-sha256"));
    if (slice_equal_text(type, "COMPOSITE") || strchr(answer->checksums.sha256, '-') != NULL) {
        answer->checksums = (struct s3_checksums){0};
    }
    attributes_read(http, &answer->attributes);
}

/* A store that refuses the question for checksums is asked without it from now on: the failure is worth another try. */
static void call_forgo_checksums(const struct s3_call *call, struct aws_result *result)
{
    if (call->operation == &head_object && result->failure.status == 501 &&
        !aws_client_forgoes_checksums(call->client)) {
        aws_client_forgo_checksums(call->client);
        result->failure.kind = FAILURE_TRANSIENT;
        result->err.action = ERROR_RETRY;
    }
}

static void call_done(void *context, const struct aws_result *ended)
{
    struct s3_call *call = context;
    struct aws_result changed = *ended;
    const struct aws_result *result = &changed;
    call_forgo_checksums(call, &changed);
    const struct http_answer *http = result->answer;
    struct s3_answer answer = {.result = result, .checksums = call->checksums};
    AUTO(text) char *etag = TAKE(call->etag);
    AUTO(text) char *version = http != NULL ? slice_copy(http_answer_header(http, "x-amz-version-id")) : text_copy("");
    AUTO(text)
    char *source_version =
        http != NULL ? slice_copy(http_answer_header(http, "x-amz-copy-source-version-id")) : text_copy("");
    if (http != NULL) {
        struct slice encryption = http_answer_header(http, "x-amz-server-side-encryption");
        answer.is_kms = encryption.len >= 7 && memcmp(encryption.ptr, "aws:kms", 7) == 0;
        answer.body = http->body;
        if (etag == NULL) {
            etag = slice_copy(http_answer_header(http, "ETag"));
        }
        answer.etag = etag;
        if (call->operation == &head_object) {
            head_read(http, &answer);
        }
    }
    if (call->is_composite) {
        answer.checksums = (struct s3_checksums){0};
    }
    answer.version_id = version;
    answer.source_version_id = source_version;
    answer.upload_id = call->upload_id != NULL ? call->upload_id : "";
    answer.tags = call->tags.ptr;
    answer.upload_ids = (const char *const *)call->upload_ids;
    answer.upload_count = call->upload_count;
    s3_done *done = call->done;
    void *done_context = call->context;
    call->call = NULL;
    done(done_context, &answer);
    headers_clear(&answer.attributes);
    call_free(call);
}

static void call_refused(void *context)
{
    struct s3_call *call = context;
    call->timer = NULL;
    struct aws_result result = {.err = call->refused, .failure = {.kind = FAILURE_INVALID}};
    call_done(call, &result);
}

/* --- sending --- */

static struct s3_call *call_new(struct aws_client *client, const struct operation *operation, s3_done *done,
                                void *context)
{
    struct s3_call *call = memory_zeroed(1, sizeof(*call));
    call->client = client;
    call->operation = operation;
    call->done = done;
    call->context = context;
    call->length_bytes = -1;
    buffer_init(&call->body, COMPLETE_MAXIMUM);
    buffer_init(&call->tags, ANSWER_MAXIMUM);
    return call;
}

/* What differs from call to call. */
struct sending {
    const char *query;
    struct sigv4_header headers[HEADERS_MAXIMUM]; /* borrowed texts */
    size_t header_count;
    const struct headers *attributes; /* to be sent, too; NULL: none */
    struct s3_body body;
    int64_t timeout_ms;
    size_t answer_maximum_bytes;         /* 0: ANSWER_MAXIMUM */
    unsigned attempts_maximum;           /* 0: the client's */
    const struct s3_copy_source *source; /* of a copy, for people */
};

static void sending_add(struct sending *sending, const char *name, const char *value)
{
    if (value != NULL) {
        assert(sending->header_count < HEADERS_MAXIMUM);
        sending->headers[sending->header_count++] = (struct sigv4_header){name, value};
    }
}

/* The call's own headers and the object's. */
static struct sigv4_header *sending_headers(const struct sending *sending, size_t *ret_count)
{
    size_t more = sending->attributes != NULL ? sending->attributes->count : 0;
    struct sigv4_header *all = memory_zeroed(sending->header_count + more, sizeof(*all));
    memcpy(all, sending->headers, sending->header_count * sizeof(*all));
    if (more > 0) {
        memcpy(all + sending->header_count, sending->attributes->items, more * sizeof(*all));
    }
    *ret_count = sending->header_count + more;
    return all;
}

/* "CopyObject s3://bucket/key from s3://source/key", for people. */
static void call_describe(const struct s3_call *call, const struct s3_subject *subject, const struct sending *sending,
                          struct buffer *operation)
{
    const struct s3_copy_source *source = sending->source;
    const char *const parts[] = {call->operation->name,
                                 " s3://",
                                 subject->bucket.name,
                                 "/",
                                 subject->key,
                                 source != NULL ? " from s3://" : "",
                                 source != NULL ? source->bucket.name : "",
                                 source != NULL ? "/" : "",
                                 source != NULL ? source->key : ""};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        buffer_append_text(operation, parts[i]);
    }
}

static struct s3_call *call_send(struct s3_call *call, const struct s3_subject *subject, struct sending *sending)
{
    AUTO(buffer) struct buffer path;
    AUTO(buffer) struct buffer operation;
    size_t header_count;
    buffer_init(&path, PATH_MAXIMUM);
    buffer_init(&operation, PATH_MAXIMUM);
    buffer_append_char(&path, '/');
    uri_encode_path(&path, slice_of(subject->key));
    call_describe(call, subject, sending, &operation);
    sending_add(sending, "x-amz-expected-bucket-owner", subject->bucket.owner);
    if (call->refused.action != ERROR_NONE) {
        (void)error_prefix(&call->refused, "%.300s", operation.ptr);
        call->timer = loop_after(aws_client_loop(call->client), 0, call_refused, call);
        return call;
    }
    struct sigv4_header *headers = sending_headers(sending, &header_count);
    struct aws_request aws = {
        .service = AWS_S3,
        .region = subject->bucket.region,
        .is_region_fixed = subject->is_region_fixed,
        .bucket = subject->bucket.name,
        .method = call->operation->method,
        .path = path.ptr,
        .query = sending->query,
        .headers = headers,
        .header_count = header_count,
        .body = sending->body.bytes,
        .body_sha256 = sending->body.sha256,
        .credentials = subject->credentials,
        .attempt_timeout_ms = sending->timeout_ms,
        .attempts_maximum = sending->attempts_maximum,
        .deadline_ms = subject->deadline_ms,
        .answer_maximum_bytes = sending->answer_maximum_bytes > 0 ? sending->answer_maximum_bytes : ANSWER_MAXIMUM,
        .answer_expected_bytes = call->length_bytes > 0 ? (size_t)call->length_bytes : 0,
        .is_content = call->length_bytes >= 0,
        .operation = operation.ptr,
        .quota_key = subject->bucket.name,
        .accept = call_accept,
        .accept_context = call,
    };
    call->call = aws_call_start(call->client, &aws, call_done, call);
    free(headers);
    return call;
}

static void sending_add_write(struct sending *sending, const struct s3_write *write)
{
    sending_add(sending, "x-amz-server-side-encryption", write->encryption);
    sending_add(sending, "x-amz-server-side-encryption-aws-kms-key-id", write->kms_key);
    sending_add(sending, "x-amz-server-side-encryption-bucket-key-enabled", write->is_bucket_key ? "true" : NULL);
    sending_add(sending, "x-amz-storage-class", write->storage_class);
    sending_add(sending, "x-amz-acl", write->acl);
    sending_add(sending, "x-amz-tagging", write->tags);
    sending->attributes = write->attributes;
}

/* path: for the text of the header, which must last until the call is sent. */
static void sending_add_source(struct s3_call *call, struct sending *sending, const struct s3_copy_source *source,
                               struct buffer *path)
{
    buffer_append_char(path, '/');
    uri_encode(path, slice_of(source->bucket.name));
    buffer_append_char(path, '/');
    uri_encode_path(path, slice_of(source->key));
    if (source->version != NULL) {
        buffer_append_text(path, "?versionId=");
        uri_encode(path, slice_of(source->version));
    }
    if (path->is_overflowed || path->len > SOURCE_MAXIMUM) {
        (void)error_set(&call->refused, ERROR_REJECT, "the source's key is too long");
    }
    sending_add(sending, "x-amz-copy-source", path->ptr);
    sending_add(sending, "x-amz-copy-source-if-match", source->etag);
    sending_add(sending, "x-amz-source-expected-bucket-owner", source->bucket.owner);
}

static int64_t copy_timeout_ms(int64_t size_bytes)
{
    return size_bytes < 0 ? UNKNOWN_SIZE_TIMEOUT_MS : SMALL_TIMEOUT_MS + size_bytes / COPY_BYTES_PER_MS;
}

static int64_t transfer_timeout_ms(int64_t size_bytes)
{
    return SMALL_TIMEOUT_MS + size_bytes / TRANSFER_BYTES_PER_MS;
}

struct s3_call *s3_copy_object(struct aws_client *client, const struct s3_subject *target,
                               const struct s3_copy_source *source, const struct s3_write *write, s3_done *done,
                               void *context)
{
    struct s3_call *call = call_new(client, &copy_object, done, context);
    struct sending sending = {.timeout_ms = copy_timeout_ms(source->size_bytes), .source = source};
    if (source->size_bytes > S3_COPY_MAXIMUM_BYTES) {
        (void)error_set(&call->refused, ERROR_REJECT, "%" PRId64 " bytes; one copy takes at most 5 GB",
                        source->size_bytes);
    }
    AUTO(buffer) struct buffer path;
    buffer_init(&path, PATH_MAXIMUM);
    sending_add_source(call, &sending, source, &path);
    sending_add_write(&sending, write);
    sending_add(&sending, "x-amz-metadata-directive", write->attributes != NULL ? "REPLACE" : NULL);
    sending_add(&sending, "x-amz-tagging-directive", write->tags != NULL ? "REPLACE" : NULL);
    sending_add(&sending, "x-amz-checksum-algorithm", write->checksum);
    sending_add(&sending, "if-none-match", write->is_new_only ? "*" : NULL);
    return call_send(call, target, &sending);
}

struct s3_call *s3_head_object(struct aws_client *client, const struct s3_subject *subject, const char *version,
                               s3_done *done, void *context)
{
    struct s3_call *call = call_new(client, &head_object, done, context);
    AUTO(buffer) struct buffer query;
    buffer_init(&query, PATH_MAXIMUM);
    if (version != NULL) {
        uri_add_parameter(&query, "versionId", version);
    }
    struct sending sending = {.query = query.ptr, .timeout_ms = SMALL_TIMEOUT_MS};
    sending_add(&sending, "x-amz-checksum-mode", aws_client_forgoes_checksums(client) ? NULL : "ENABLED");
    return call_send(call, subject, &sending);
}

struct s3_call *s3_get_object(struct aws_client *client, const struct s3_subject *subject, const char *etag,
                              int64_t first_byte, int64_t length_bytes, s3_done *done, void *context)
{
    struct s3_call *call = call_new(client, &get_object, done, context);
    struct sending sending = {
        .timeout_ms = transfer_timeout_ms(length_bytes),
        .answer_maximum_bytes = length_bytes < 0                ? UNKNOWN_SIZE_MAXIMUM
                                : length_bytes > ANSWER_MAXIMUM ? (size_t)length_bytes
                                                                : ANSWER_MAXIMUM,
    };
    call->length_bytes = length_bytes;
    call->expected_etag = text_copy_or_null(etag);
    sending_add(&sending, "if-match", etag);
    int64_t last_byte = first_byte + length_bytes - 1;
    AUTO(text) char *range = text_format("bytes=%" PRId64 "-%" PRId64, first_byte, last_byte);
    if (first_byte >= 0) {
        sending_add(&sending, "range", range);
        call->range = text_format("bytes %" PRId64 "-%" PRId64 "/", first_byte, last_byte);
    }
    return call_send(call, subject, &sending);
}

struct s3_call *s3_put_object(struct aws_client *client, const struct s3_subject *subject, const struct s3_body *body,
                              const struct s3_write *write, s3_done *done, void *context)
{
    struct s3_call *call = call_new(client, &put_object, done, context);
    struct sending sending = {.body = *body, .timeout_ms = transfer_timeout_ms((int64_t)body->bytes.len)};
    sending_add_write(&sending, write);
    sending_add(&sending, "content-md5", body->md5);
    sending_add(&sending, "if-none-match", write->is_new_only ? "*" : NULL);
    return call_send(call, subject, &sending);
}

struct s3_call *s3_get_tags(struct aws_client *client, const struct s3_subject *subject, s3_done *done, void *context)
{
    struct sending sending = {.query = "tagging", .timeout_ms = SMALL_TIMEOUT_MS};
    return call_send(call_new(client, &get_tags, done, context), subject, &sending);
}

/* --- multipart uploads --- */

struct s3_call *s3_create_upload(struct aws_client *client, const struct s3_subject *subject,
                                 const struct s3_write *write, s3_done *done, void *context)
{
    struct sending sending = {.query = "uploads", .timeout_ms = SMALL_TIMEOUT_MS};
    sending_add_write(&sending, write);
    return call_send(call_new(client, &create_upload, done, context), subject, &sending);
}

static void query_of_part(struct buffer *query, const char *upload_id, unsigned number)
{
    char digits[16];
    (void)snprintf(digits, sizeof(digits), "%u", number);
    uri_add_parameter(query, "partNumber", digits);
    uri_add_parameter(query, "uploadId", upload_id);
}

struct s3_call *s3_upload_part(struct aws_client *client, const struct s3_subject *subject, const char *upload_id,
                               unsigned number, const struct s3_body *body, s3_done *done, void *context)
{
    struct s3_call *call = call_new(client, &upload_part, done, context);
    AUTO(buffer) struct buffer query;
    buffer_init(&query, PATH_MAXIMUM);
    query_of_part(&query, upload_id, number);
    struct sending sending = {
        .query = query.ptr,
        .body = *body,
        .timeout_ms = transfer_timeout_ms((int64_t)body->bytes.len),
        .attempts_maximum = PART_ATTEMPTS,
    };
    sending_add(&sending, "content-md5", body->md5);
    return call_send(call, subject, &sending);
}

struct s3_call *s3_upload_part_copy(struct aws_client *client, const struct s3_subject *subject, const char *upload_id,
                                    unsigned number, const struct s3_copy_source *source, int64_t first_byte,
                                    int64_t length_bytes, s3_done *done, void *context)
{
    struct s3_call *call = call_new(client, &upload_part_copy, done, context);
    AUTO(text) char *range = text_format("bytes=%" PRId64 "-%" PRId64, first_byte, first_byte + length_bytes - 1);
    AUTO(buffer) struct buffer query;
    buffer_init(&query, PATH_MAXIMUM);
    query_of_part(&query, upload_id, number);
    struct sending sending = {
        .query = query.ptr,
        .timeout_ms = copy_timeout_ms(length_bytes),
        .attempts_maximum = PART_ATTEMPTS,
        .source = source,
    };
    AUTO(buffer) struct buffer path;
    buffer_init(&path, PATH_MAXIMUM);
    sending_add_source(call, &sending, source, &path);
    sending_add(&sending, "x-amz-copy-source-range", range);
    return call_send(call, subject, &sending);
}

/* An ETag has quotes, and nothing keeps a store from more. */
static void append_escaped(struct buffer *body, const char *text)
{
    for (; *text != '\0'; text++) {
        switch (*text) {
        case '&':
            buffer_append_text(body, "&amp;");
            break;
        case '<':
            buffer_append_text(body, "&lt;");
            break;
        case '"':
            buffer_append_text(body, "&quot;");
            break;
        default:
            buffer_append_char(body, *text);
        }
    }
}

struct s3_call *s3_complete_upload(struct aws_client *client, const struct s3_subject *subject, const char *upload_id,
                                   const char *const *etags, size_t count, const struct s3_write *write, s3_done *done,
                                   void *context)
{
    struct s3_call *call = call_new(client, &complete_upload, done, context);
    AUTO(buffer) struct buffer query;
    buffer_init(&query, PATH_MAXIMUM);
    uri_add_parameter(&query, "uploadId", upload_id);
    buffer_append_text(&call->body, "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for (size_t i = 0; i < count; i++) {
        buffer_append_text(&call->body, "<Part><ETag>");
        append_escaped(&call->body, etags[i]);
        buffer_append_format(&call->body, "</ETag><PartNumber>%zu</PartNumber></Part>", i + 1);
    }
    buffer_append_text(&call->body, "</CompleteMultipartUpload>");
    /* S3 may take minutes, and keeps the connection alive with blanks meanwhile. */
    struct sending sending = {
        .query = query.ptr,
        .body = {.bytes = buffer_slice(&call->body)},
        .timeout_ms = UNKNOWN_SIZE_TIMEOUT_MS,
        .attempts_maximum = PART_ATTEMPTS,
    };
    sending_add(&sending, "content-type", "application/xml");
    sending_add(&sending, "if-none-match", write->is_new_only ? "*" : NULL);
    return call_send(call, subject, &sending);
}

struct s3_call *s3_abort_upload(struct aws_client *client, const struct s3_subject *subject, const char *upload_id,
                                s3_done *done, void *context)
{
    AUTO(buffer) struct buffer query;
    buffer_init(&query, PATH_MAXIMUM);
    uri_add_parameter(&query, "uploadId", upload_id);
    struct sending sending = {.query = query.ptr, .timeout_ms = SMALL_TIMEOUT_MS};
    return call_send(call_new(client, &abort_upload, done, context), subject, &sending);
}

struct s3_call *s3_list_uploads(struct aws_client *client, const struct s3_subject *subject, s3_done *done,
                                void *context)
{
    struct s3_call *call = call_new(client, &list_uploads, done, context);
    call->key = text_copy(subject->key);
    AUTO(buffer) struct buffer query;
    buffer_init(&query, PATH_MAXIMUM);
    uri_add_parameter(&query, "prefix", subject->key);
    buffer_append_text(&query, "&uploads");
    struct sending sending = {
        .query = query.ptr,
        .timeout_ms = SMALL_TIMEOUT_MS,
        .answer_maximum_bytes = UPLOADS_ANSWER_MAXIMUM,
    };
    struct s3_subject bucket = *subject;
    bucket.key = "";
    return call_send(call, &bucket, &sending);
}
