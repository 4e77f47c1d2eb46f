#include "workers/common/aws/failure.h"

#include "tests/fuzz/fuzz.h"

/* Two bytes of status, then headers and, behind an empty line, the body. Whatever it is, it is a failure of some kind
 * with whole texts, it says what to do, and people can be told. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    struct slice rest = slice_from(data + 2, size - 2);
    const char *split = rest.len > 0 ? memmem(rest.ptr, rest.len, "\n\n", 2) : NULL;
    size_t head_len = split != NULL ? (size_t)(split - rest.ptr) : 0;
    struct http_answer answer = {
        .status = (data[0] * 256 + data[1]) % 600,
        .header_lines = slice_from(rest.ptr, head_len),
        .body = split != NULL ? slice_from(split + 2, rest.len - head_len - 2) : rest,
        .is_timed_out = data[0] % 2 == 0,
    };
    if (answer.status == 0) {
        (void)error_set(&answer.err, data[1] % 2 == 0 ? ERROR_RETRY : ERROR_REJECT, "%.*s", (int)rest.len, rest.ptr);
    }
    for (int is_broken = 0; is_broken < 2; is_broken++) {
        struct failure failure;
        struct error err;
        failure_read(&answer, is_broken, &failure);
        PROMISE(failure.kind > FAILURE_NONE && failure.kind <= FAILURE_INVALID);
        PROMISE(failure.status == answer.status);
        PROMISE(strnlen(failure.code, sizeof(failure.code)) < sizeof(failure.code));
        PROMISE(strnlen(failure.message, sizeof(failure.message)) < sizeof(failure.message));
        PROMISE(strnlen(failure.request_id, sizeof(failure.request_id)) < sizeof(failure.request_id));
        PROMISE(strnlen(failure.region, sizeof(failure.region)) < sizeof(failure.region));
        PROMISE(!failure_describe(&failure, "HeadObject s3://a/b", "fuzzer", &err));
        PROMISE(err.action == failure_action(failure.kind) && err.action != ERROR_NONE);
        PROMISE(text_starts_with(err.text, "HeadObject s3://a/b: "));
        PROMISE(failure_kind_name(failure.kind)[0] != '\0');
    }
    (void)failure_is_in_body(answer.body);
    return 0;
}
