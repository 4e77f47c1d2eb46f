#include "workers/common/aws/s3.h"

#include "tests/fuzz/answer.h"

#include <string.h>

enum { LENGTH_BYTES = 5, KINDS = 12 };

struct ended {
    unsigned kind;
    unsigned calls;
};

static void on_answer(void *context, struct s3_answer *answer)
{
    struct ended *ended = context;
    const struct aws_result *result = answer->result;
    bool is_success = result->err.action == ERROR_NONE;
    ended->calls++;
    PROMISE((result->failure.kind == FAILURE_NONE) == is_success);
    PROMISE((answer->etag != NULL) == is_success);
    PROMISE(result->err.action == failure_action(result->failure.kind));
    PROMISE(strnlen(answer->checksums.crc64nvme, sizeof(answer->checksums.crc64nvme)) <
            sizeof(answer->checksums.crc64nvme));
    PROMISE(strnlen(answer->checksums.sha256, sizeof(answer->checksums.sha256)) < sizeof(answer->checksums.sha256));
    for (size_t i = 0; i < answer->attributes.count; i++) {
        PROMISE(answer->attributes.items[i].name[0] != '\0' && answer->attributes.items[i].value != NULL);
    }
    for (size_t i = 0; i < answer->upload_count; i++) {
        PROMISE(answer->upload_ids[i] != NULL);
    }
    if (is_success && ended->kind <= 4) {
        PROMISE(answer->etag[0] != '\0'); /* whatever writes an object or a part tells its ETag */
    }
    if (is_success && ended->kind == 5) {
        PROMISE(answer->upload_id[0] != '\0');
    }
    if (is_success && ended->kind == 6) {
        PROMISE(answer->body.len == LENGTH_BYTES);
    }
}

static struct s3_call *call_start(struct aws_client *client, const struct s3_subject *subject, struct ended *ended)
{
    static const struct s3_write write;
    static const struct s3_copy_source source = {.bucket = {"main", "us-east-1"}, .key = "a", .etag = "\"e\""};
    static const struct s3_body body = {.bytes = {"abc", 3}};
    static const char *const etags[] = {"\"1\""};
    switch (ended->kind) {
    case 0:
        return s3_copy_object(client, subject, &source, &write, on_answer, ended);
    case 1:
        return s3_put_object(client, subject, &body, &write, on_answer, ended);
    case 2:
        return s3_upload_part(client, subject, "U", 1, &body, on_answer, ended);
    case 3:
        return s3_upload_part_copy(client, subject, "U", 1, &source, 0, 9, on_answer, ended);
    case 4:
        return s3_complete_upload(client, subject, "U", etags, 1, &write, on_answer, ended);
    case 5:
        return s3_create_upload(client, subject, &write, on_answer, ended);
    case 6:
        return s3_get_object(client, subject, "\"e\"", 10, LENGTH_BYTES, on_answer, ended);
    case 7:
        return s3_get_object(client, subject, NULL, -1, -1, on_answer, ended);
    case 8:
        return s3_head_object(client, subject, NULL, on_answer, ended);
    case 9:
        return s3_get_tags(client, subject, on_answer, ended);
    case 10:
        return s3_abort_upload(client, subject, "U", on_answer, ended);
    default:
        return s3_list_uploads(client, subject, on_answer, ended);
    }
}

/* A byte for the call, one for the status, then the head and, behind an empty line, the body. Whatever it is, the call
 * ends once or tries again, and a success is one. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int statuses[] = {200, 206, 204, 301, 307, 400, 403, 404, 409, 412, 503, 0};
    if (size < 2) {
        return 0;
    }
    struct slice rest = slice_from(data + 2, size - 2);
    const char *split = rest.len > 0 ? memmem(rest.ptr, rest.len, "\n\n", 2) : NULL;
    size_t head_len = split != NULL ? (size_t)(split - rest.ptr) : rest.len;
    struct slice body = split != NULL ? slice_from(split + 2, rest.len - head_len - 2) : slice_of("");
    struct aws_client *client = aws_client_new(fuzz_loop(), NULL);
    struct credentials *credentials = credentials_new("AKID", "secret", "token", 0, "fuzzer");
    struct s3_subject subject = {
        .bucket = {"tenant", "us-east-1"},
        .key = "key",
        .credentials = credentials,
        .deadline_ms = clock_monotonic_ms() + 60000,
    };
    struct ended ended = {.kind = data[0] % KINDS};
    struct s3_call *call = call_start(client, &subject, &ended);
    PROMISE(answer_give(statuses[data[1] % (sizeof(statuses) / sizeof(statuses[0]))], slice_from(rest.ptr, head_len),
                        body));
    PROMISE(ended.calls <= 1);
    if (ended.calls == 0) {
        s3_cancel(call);
    }
    aws_client_free(client);
    credentials_free(credentials);
    return 0;
}
