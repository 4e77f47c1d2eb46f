#include "workers/common/aws/listing.h"

#include "tests/fuzz/answer.h"

#include <string.h>

enum { OBJECTS_MAXIMUM = 100, PAGE_END = 0x1e };

struct ended {
    unsigned calls;
};

static void on_listed(void *context, struct s3_list_result *result)
{
    struct ended *ended = context;
    const struct s3_listing *listing = result->listing;
    ended->calls++;
    PROMISE((listing != NULL) == (result->result->err.action == ERROR_NONE));
    PROMISE(listing == NULL || listing->count <= OBJECTS_MAXIMUM);
    for (size_t i = 0; listing != NULL && i < listing->count; i++) {
        const struct s3_object *object = &listing->objects[i];
        const struct s3_object *found = s3_listing_find(listing, object->key);
        PROMISE(object->etag != NULL && object->size_bytes >= 0);
        PROMISE(i == 0 || strcmp(listing->objects[i - 1].key, object->key) <= 0);
        PROMISE(found != NULL && strcmp(found->key, object->key) == 0);
    }
}

/* Pages, one behind the other. Whatever they are, the listing ends once or asks again, and what it holds is found. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct aws_client *client = aws_client_new(fuzz_loop(), NULL);
    struct credentials *credentials = credentials_new("AKID", "secret", "token", 0, "fuzzer");
    struct s3_list_request request = {
        .bucket = {"main", "us-east-1"},
        .prefix = "builds/",
        .objects_maximum = OBJECTS_MAXIMUM,
        .credentials = credentials,
        .deadline_ms = clock_monotonic_ms() + 60000,
    };
    struct ended ended = {0};
    struct s3_list *list = s3_list_objects(client, &request, on_listed, &ended);
    struct slice rest = slice_from(data, size);
    bool is_asked = true;
    while (is_asked && ended.calls == 0 && rest.len > 0) {
        const char *end = memchr(rest.ptr, PAGE_END, rest.len);
        size_t page_len = end != NULL ? (size_t)(end - rest.ptr) : rest.len;
        is_asked = answer_give(200, slice_of(""), slice_from(rest.ptr, page_len));
        size_t taken = end != NULL ? page_len + 1 : page_len;
        rest = slice_from(rest.ptr + taken, rest.len - taken);
    }
    PROMISE(ended.calls <= 1);
    if (ended.calls == 0) {
        s3_list_cancel(list);
    }
    asked.on_done = NULL;
    aws_client_free(client);
    credentials_free(credentials);
    return 0;
}
