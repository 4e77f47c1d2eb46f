#include "workers/common/aws/sigv4.h"

#include "tests/fuzz/fuzz.h"

enum { INPUT_MAXIMUM = 4096 };

/* The third line of the canonical request. The caller frees it. */
static char *canonical_query(struct sigv4 *sigv4, const char *query, char ret_signature[SIGV4_HASH_SIZE])
{
    static const struct sigv4_header headers[] = {{"host", "fuzz.example.com"}};
    struct credentials *key = credentials_new("AKIDEXAMPLE", "secret", NULL, 0, "fuzzer");
    struct sigv4_request request = {
        .form = SIGV4_HEADER,
        .method = "GET",
        .path = "/",
        .query = query,
        .headers = headers,
        .header_count = 1,
        .payload_hash = SIGV4_EMPTY_PAYLOAD,
        .region = "us-east-1",
        .service = "s3",
        .wall_ms = 1767323045678,
        .credentials = key,
    };
    struct sigv4_signed result;
    sigv4_sign(sigv4, &request, &result);
    (void)snprintf(ret_signature, SIGV4_HASH_SIZE, "%s", result.signature);
    const char *line = strchr(strchr(result.canonical_request.ptr, '\n') + 1, '\n') + 1;
    char *found = slice_copy(slice_from(line, strcspn(line, "\n")));
    credentials_free(key);
    return found;
}

/* The canonical query of any query is one already, and does not depend on the order of its parameters; two queries with
 * the same one get the same signature. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > INPUT_MAXIMUM) {
        return 0;
    }
    struct sigv4 *sigv4 = sigv4_new();
    char signatures[3][SIGV4_HASH_SIZE];
    AUTO(text) char *query = slice_copy(slice_from(data, size));
    AUTO(text) char *once = canonical_query(sigv4, query, signatures[0]);
    AUTO(text) char *twice = canonical_query(sigv4, once, signatures[1]);
    const char *rest = strchr(query, '&');
    AUTO(text)
    char *turned = rest != NULL ? text_format("%s&%.*s", rest + 1, (int)(rest - query), query) : text_copy(query);
    AUTO(text) char *turned_once = canonical_query(sigv4, turned, signatures[2]);
    PROMISE(strspn(once, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%=&") == strlen(once));
    PROMISE(strcmp(once, twice) == 0 && strcmp(signatures[0], signatures[1]) == 0);
    PROMISE(strcmp(once, turned_once) == 0 && strcmp(signatures[0], signatures[2]) == 0);
    sigv4_free(sigv4);
    return 0;
}
