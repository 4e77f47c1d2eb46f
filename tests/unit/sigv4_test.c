/*
 * The vectors here are those of AWS's public documentation (S3: "Signature calculations for the Authorization header"
 * and "Authenticating requests: query parameters"; IAM: "Create a signed AWS API request"). The signing suite of 38
 * cases, each in two forms, is read from the fixtures.
 */
#include "workers/common/aws/sigv4.h"

#include "tests/support/fixtures.h"
#include "tests/support/unit.h"
#include "workers/common/aws/uri.h"
#include "workers/common/base/clock.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADERS_MAXIMUM = 24 };

#define S3_HOST "examplebucket.s3.amazonaws.com"

static int64_t wall_ms_of(const char *text)
{
    int64_t wall_ms = 0;
    assert_true(clock_parse(text, &wall_ms));
    return wall_ms;
}

static void the_documented_s3_requests_get_the_documented_signatures(void **state)
{
    (void)state;
    static const struct {
        const char *method;
        const char *path;
        const char *query;
        const char *body;
        struct sigv4_header headers[3];
        const char *signature;
    } cases[] = {
        {"GET",
         "/test.txt",
         NULL,
         "",
         {{"Range", "bytes=0-9"}},
         "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
        {"PUT",
         "/test%24file.text",
         NULL,
         "Welcome to Amazon S3.",
         {{"Date", "Fri, 24 May 2013 00:00:00 GMT"}, {"x-amz-storage-class", "REDUCED_REDUNDANCY"}},
         "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
        {"GET", "/", "lifecycle", "", {{0}}, "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
        {"GET",
         "/",
         "max-keys=2&prefix=J",
         "",
         {{0}},
         "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
        {"GET",
         "/",
         "prefix=J&max-keys=2",
         "",
         {{0}},
         "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
    };
    struct sigv4 *sigv4 = sigv4_new();
    struct credentials *key =
        credentials_new("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", NULL, 0, "documentation");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char hash[SIGV4_HASH_SIZE];
        sigv4_hash(slice_of(cases[i].body), hash);
        struct sigv4_header headers[5] = {{"Host", S3_HOST}, {"x-amz-content-sha256", hash}};
        size_t count = 2;
        for (size_t k = 0; cases[i].headers[k].name != NULL; k++) {
            headers[count++] = cases[i].headers[k];
        }
        struct sigv4_request request = {
            .form = SIGV4_HEADER,
            .method = cases[i].method,
            .path = cases[i].path,
            .query = cases[i].query,
            .headers = headers,
            .header_count = count,
            .payload_hash = hash,
            .region = "us-east-1",
            .service = "s3",
            .wall_ms = wall_ms_of("2013-05-24T00:00:00Z"),
            .credentials = key,
        };
        struct sigv4_signed result;
        sigv4_sign(sigv4, &request, &result);
        assert_string_equal(result.signature, cases[i].signature);
        assert_string_equal(result.date, "20130524T000000Z");
        assert_int_equal(result.query.len, 0);
    }
    credentials_free(key);
    sigv4_free(sigv4);
}

static void the_documented_presigned_url_comes_out_whole(void **state)
{
    (void)state;
    struct sigv4 *sigv4 = sigv4_new();
    struct credentials *key =
        credentials_new("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", NULL, 0, "documentation");
    static const struct sigv4_header headers[] = {{"host", S3_HOST}};
    struct sigv4_request request = {
        .form = SIGV4_QUERY,
        .method = "GET",
        .path = "/test.txt",
        .headers = headers,
        .header_count = 1,
        .payload_hash = SIGV4_UNSIGNED_PAYLOAD,
        .region = "us-east-1",
        .service = "s3",
        .wall_ms = wall_ms_of("2013-05-24T00:00:00Z"),
        .expires_seconds = 86400,
        .credentials = key,
    };
    struct sigv4_signed result;
    sigv4_sign(sigv4, &request, &result);
    assert_string_equal(result.query.ptr,
                        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2F"
                        "us-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&"
                        "X-Amz-SignedHeaders=host&X-Amz-Signature="
                        "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
    assert_int_equal(result.authorization.len, 0);
    credentials_free(key);
    sigv4_free(sigv4);
}

static void the_documented_iam_request_gets_every_documented_step(void **state)
{
    (void)state;
    struct sigv4 *sigv4 = sigv4_new();
    struct credentials *key =
        credentials_new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", NULL, 0, "documentation");
    static const struct sigv4_header headers[] = {
        {"Host", "iam.amazonaws.com"},
        {"Content-Type", "application/x-www-form-urlencoded; charset=utf-8"},
    };
    struct sigv4_request request = {
        .form = SIGV4_HEADER,
        .method = "GET",
        .path = "/",
        .query = "Action=ListUsers&Version=2010-05-08",
        .headers = headers,
        .header_count = 2,
        .payload_hash = SIGV4_EMPTY_PAYLOAD,
        .region = "us-east-1",
        .service = "iam",
        .wall_ms = wall_ms_of("2015-08-30T12:36:00Z"),
        .is_path_encoded_again = true,
        .is_path_normalized = true,
        .credentials = key,
    };
    struct sigv4_signed result;
    sigv4_sign(sigv4, &request, &result);
    assert_string_equal(result.canonical_request.ptr, "GET\n/\nAction=ListUsers&Version=2010-05-08\n"
                                                      "content-type:application/x-www-form-urlencoded; charset=utf-8\n"
                                                      "host:iam.amazonaws.com\nx-amz-date:20150830T123600Z\n\n"
                                                      "content-type;host;x-amz-date\n" SIGV4_EMPTY_PAYLOAD);
    assert_string_equal(result.string_to_sign.ptr,
                        "AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/iam/aws4_request\n"
                        "f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59");
    assert_string_equal(result.authorization.ptr,
                        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, "
                        "SignedHeaders=content-type;host;x-amz-date, "
                        "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7");
    credentials_free(key);
    sigv4_free(sigv4);
}

/* The second line of the canonical request. */
static char *canonical_path(const char *path, bool is_normalized, bool is_encoded_again)
{
    struct sigv4 *sigv4 = sigv4_new();
    struct credentials *key = credentials_new("AKIDEXAMPLE", "secret", NULL, 0, "test");
    static const struct sigv4_header headers[] = {{"host", "h"}};
    struct sigv4_request request = {
        .method = "GET",
        .path = path,
        .headers = headers,
        .header_count = 1,
        .payload_hash = SIGV4_EMPTY_PAYLOAD,
        .region = "r",
        .service = "s",
        .is_path_normalized = is_normalized,
        .is_path_encoded_again = is_encoded_again,
        .credentials = key,
    };
    struct sigv4_signed result;
    sigv4_sign(sigv4, &request, &result);
    const char *second = strchr(result.canonical_request.ptr, '\n') + 1;
    char *found = slice_copy(slice_from(second, strcspn(second, "\n")));
    credentials_free(key);
    sigv4_free(sigv4);
    return found;
}

static void the_path_of_s3_is_signed_as_it_is_sent(void **state)
{
    (void)state;
    static const char *const paths[] = {"/", "/a//b/../c/./d", "/a%20b%2Fc", "//", "/%F0%9F%98%80"};
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        AUTO(text) char *signed_path = canonical_path(paths[i], false, false);
        assert_string_equal(signed_path, paths[i]);
    }
}

static void other_paths_lose_their_dot_segments_and_are_encoded_again(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        const char *signed_path;
    } cases[] = {
        {"/", "/"},
        {"", "/"},
        {"/a", "/a"},
        {"/a/", "/a/"},
        {"/a/..", "/"},
        {"/a/../", "/"},
        {"/../../a", "/a"},
        {"/a/b/../c", "/a/c"},
        {"/a/./b/.", "/a/b/"},
        {"//a///b", "/a/b"},
        {"/a..b/...", "/a..b/..."},
        {"/a%20b", "/a%2520b"},
        {"/a b", "/a%20b"},
        {"/.", "/"},
        {"/a/b/../../..", "/"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO(text) char *signed_path = canonical_path(cases[i].path, true, true);
        assert_string_equal(signed_path, cases[i].signed_path);
    }
}

static void a_signer_is_not_disturbed_by_what_it_signed_before(void **state)
{
    (void)state;
    enum { SECRETS = 3000 }; /* more than the signer remembers keys */
    static const struct sigv4_header headers[] = {{"host", "h"}};
    struct sigv4 *busy = sigv4_new();
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < SECRETS; i += round == 0 ? 1 : 97) {
            AUTO(text) char *secret = text_format("secret-%d", i);
            AUTO(text) char *region = text_format("region-%d", i % 7);
            struct credentials *key = credentials_new("AKIDEXAMPLE", secret, i % 3 == 0 ? "token" : NULL, 0, "test");
            struct sigv4_request request = {
                .method = "GET",
                .path = "/",
                .headers = headers,
                .header_count = 1,
                .payload_hash = SIGV4_EMPTY_PAYLOAD,
                .region = region,
                .service = i % 2 == 0 ? "s3" : "sts",
                .wall_ms = wall_ms_of("2015-08-30T12:36:00Z") + (int64_t)(i % 5) * 86400000,
                .credentials = key,
            };
            struct sigv4 *fresh = sigv4_new();
            struct sigv4_signed expected;
            struct sigv4_signed result;
            if (round == 1) {
                sigv4_sign(fresh, &request, &expected);
            }
            sigv4_sign(busy, &request, &result);
            if (round == 1) {
                assert_string_equal(result.signature, expected.signature);
            }
            sigv4_free(fresh);
            credentials_free(key);
        }
    }
    sigv4_free(busy);
    sigv4_free(NULL);
}

/* ---- the suite ---- */

struct suite_request {
    char *text; /* changed by the parser */
    const char *method;
    const char *path;
    const char *query;
    const char *body;
    struct sigv4_header headers[HEADERS_MAXIMUM];
    size_t header_count;
};

/* request.txt is not quite HTTP: bare LF, raw blanks and UTF-8 in the target, folded lines. */
static void suite_request_parse(char *text, struct suite_request *ret_request)
{
    *ret_request = (struct suite_request){.text = text, .method = text, .body = ""};
    char *end = strstr(text, "\n\n");
    if (end != NULL) {
        *end = '\0';
        ret_request->body = end + 2;
    }
    char *line_end = strchr(text, '\n');
    char *headers = line_end != NULL ? line_end + 1 : NULL;
    if (line_end != NULL) {
        *line_end = '\0';
    }
    char *blank = strchr(text, ' ');
    char *version = strrchr(text, ' ');
    assert_true(blank != NULL && version > blank && strcmp(version, " HTTP/1.1") == 0);
    *blank = '\0';
    *version = '\0';
    char *query = strchr(blank + 1, '?');
    ret_request->path = blank + 1;
    if (query != NULL) {
        *query = '\0';
        ret_request->query = query + 1;
    }
    while (headers != NULL && *headers != '\0') {
        char *next = strchr(headers, '\n');
        while (next != NULL && (next[1] == ' ' || next[1] == '\t')) {
            next = strchr(next + 1, '\n');
        }
        if (next != NULL) {
            *next++ = '\0';
        }
        char *colon = strchr(headers, ':');
        assert_true(colon != NULL && ret_request->header_count < HEADERS_MAXIMUM - 1);
        *colon = '\0';
        ret_request->headers[ret_request->header_count++] = (struct sigv4_header){headers, colon + 1};
        headers = next;
    }
}

static char *suite_file(const char *name, const char *file)
{
    AUTO(text) char *path = text_format("sigv4/v4/%s/%s", name, file);
    char *text = fixture_read(path);
    if (text == NULL) {
        fail_msg("%s is missing", path);
    }
    return text;
}

static void suite_compare(const char *name, const char *form, const char *step, struct slice ours)
{
    AUTO(text) char *file = text_format("%s-%s.txt", form, step);
    AUTO(text) char *expected = suite_file(name, file);
    size_t length = strlen(expected);
    while (length > 0 && expected[length - 1] == '\n') {
        length--;
    }
    if (!slice_equal(slice_from(expected, length), ours)) {
        fail_msg("%s, %s:\n%.*s\n--- expected ---\n%s", name, file, (int)ours.len, ours.ptr, expected);
    }
}

/* The query as sent may be in any order, and the signature stands at its end: compared as a set of parameters. */
static int text_order(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *query_sorted(const char *query)
{
    AUTO(text) char *copy = text_copy(query);
    AUTO(buffer) struct buffer sorted;
    char *parts[64];
    size_t count = 0;
    char *rest = copy;
    buffer_init(&sorted, 1 << 16);
    for (char *part; count < 64 && (part = strsep(&rest, "&")) != NULL;) {
        parts[count++] = part;
    }
    qsort((void *)parts, count, sizeof(parts[0]), text_order);
    for (size_t i = 0; i < count; i++) {
        buffer_append_format(&sorted, "%s\n", parts[i]);
    }
    return slice_copy(buffer_slice(&sorted));
}

static void suite_case_run(const char *name)
{
    AUTO(text) char *context_text = suite_file(name, "context.json");
    AUTO(text) char *request_text = suite_file(name, "request.txt");
    cJSON *context = cJSON_Parse(context_text);
    assert_non_null(context);
    const cJSON *secrets = cJSON_GetObjectItem(context, "credentials");
    struct credentials *key = credentials_new(cJSON_GetStringValue(cJSON_GetObjectItem(secrets, "access_key_id")),
                                              cJSON_GetStringValue(cJSON_GetObjectItem(secrets, "secret_access_key")),
                                              cJSON_GetStringValue(cJSON_GetObjectItem(secrets, "token")), 0, "suite");
    struct suite_request parsed;
    suite_request_parse(request_text, &parsed);
    char hash[SIGV4_HASH_SIZE];
    sigv4_hash(slice_of(parsed.body), hash);
    bool is_normalized = cJSON_IsTrue(cJSON_GetObjectItem(context, "normalize"));
    struct sigv4_request request = {
        .form = SIGV4_HEADER,
        .method = parsed.method,
        .path = parsed.path,
        .query = parsed.query,
        .headers = parsed.headers,
        .header_count = parsed.header_count,
        .payload_hash = hash,
        .region = cJSON_GetStringValue(cJSON_GetObjectItem(context, "region")),
        .service = cJSON_GetStringValue(cJSON_GetObjectItem(context, "service")),
        .wall_ms = wall_ms_of(cJSON_GetStringValue(cJSON_GetObjectItem(context, "timestamp"))),
        .expires_seconds = (int64_t)cJSON_GetNumberValue(cJSON_GetObjectItem(context, "expiration_in_seconds")),
        .is_path_encoded_again = true,
        .is_path_normalized = is_normalized,
        .is_token_unsigned = cJSON_IsTrue(cJSON_GetObjectItem(context, "omit_session_token")),
        .credentials = key,
    };
    struct sigv4 *sigv4 = sigv4_new();
    struct sigv4_signed result;

    request.form = SIGV4_QUERY;
    sigv4_sign(sigv4, &request, &result);
    suite_compare(name, "query", "canonical-request", result.canonical_request);
    suite_compare(name, "query", "string-to-sign", result.string_to_sign);
    suite_compare(name, "query", "signature", slice_of(result.signature));
    AUTO(text) char *sent = suite_file(name, "query-signed-request.txt");
    *strstr(sent, " HTTP/1.1\n") = '\0';
    AUTO(text) char *expected_query = query_sorted(strchr(sent, '?') + 1);
    AUTO(text) char *our_query = query_sorted(result.query.ptr);
    /* What the request brought with it may be encoded otherwise there; what signing adds may not. */
    if (parsed.query == NULL && strcmp(our_query, expected_query) != 0) {
        fail_msg("%s, query as sent:\n%s--- expected ---\n%s", name, our_query, expected_query);
    }

    if (cJSON_IsTrue(cJSON_GetObjectItem(context, "sign_body"))) {
        parsed.headers[request.header_count++] = (struct sigv4_header){"x-amz-content-sha256", hash};
    }
    request.form = SIGV4_HEADER;
    sigv4_sign(sigv4, &request, &result);
    suite_compare(name, "header", "canonical-request", result.canonical_request);
    suite_compare(name, "header", "string-to-sign", result.string_to_sign);
    suite_compare(name, "header", "signature", slice_of(result.signature));
    AUTO(text) char *signed_request = suite_file(name, "header-signed-request.txt");
    AUTO(text) char *line = text_format("\nAuthorization:%s\n", result.authorization.ptr);
    if (strstr(signed_request, line) == NULL) {
        fail_msg("%s, Authorization:\n%s\n--- expected in ---\n%s", name, result.authorization.ptr, signed_request);
    }
    sigv4_free(sigv4);
    credentials_free(key);
    cJSON_Delete(context);
}

static void every_case_of_the_signing_suite_comes_out_step_by_step_in_both_forms(void **state)
{
    (void)state;
    if (!fixture_is_here("sigv4/v4", "sigv4 fixtures, 38 cases in two forms")) {
        skip();
    }
    AUTO(text) char *folder = fixture_path("sigv4/v4");
    DIR *cases = opendir(folder);
    size_t count = 0;
    assert_non_null(cases);
    for (const struct dirent *entry; (entry = readdir(cases)) != NULL;) {
        if (entry->d_type == DT_DIR && entry->d_name[0] != '.') {
            suite_case_run(entry->d_name);
            count++;
        }
    }
    closedir(cases);
    assert_int_equal(count, 38);
    (void)printf("sigv4 fixtures: %zu cases, header and query form\n", count);
}

static void the_s3_vectors_of_the_fixtures_come_out(void **state)
{
    (void)state;
    if (!fixture_is_here("sigv4/s3-vectors.json", "sigv4 fixtures, 2 vectors of S3")) {
        skip();
    }
    cJSON *vectors = fixture_json("sigv4/s3-vectors.json");
    struct sigv4 *sigv4 = sigv4_new();
    struct credentials *key = credentials_new(cJSON_GetStringValue(cJSON_GetObjectItem(vectors, "access_key_id")),
                                              cJSON_GetStringValue(cJSON_GetObjectItem(vectors, "secret_access_key")),
                                              NULL, 0, "documentation");
    const cJSON *vector;
    size_t count = 0;
    cJSON_ArrayForEach(vector, cJSON_GetObjectItem(vectors, "cases"))
    {
        struct sigv4_header headers[HEADERS_MAXIMUM] = {
            {"host", cJSON_GetStringValue(cJSON_GetObjectItem(vectors, "host"))},
            {"x-amz-content-sha256", SIGV4_EMPTY_PAYLOAD},
        };
        struct sigv4_request request = {
            .method = cJSON_GetStringValue(cJSON_GetObjectItem(vector, "method")),
            .path = cJSON_GetStringValue(cJSON_GetObjectItem(vector, "path")),
            .query = cJSON_GetStringValue(cJSON_GetObjectItem(vector, "query")),
            .headers = headers,
            .header_count = 2,
            .payload_hash = SIGV4_EMPTY_PAYLOAD,
            .region = cJSON_GetStringValue(cJSON_GetObjectItem(vectors, "region")),
            .service = cJSON_GetStringValue(cJSON_GetObjectItem(vectors, "service")),
            .wall_ms = wall_ms_of("2013-05-24T00:00:00Z"),
            .credentials = key,
        };
        const cJSON *header;
        cJSON_ArrayForEach(header, cJSON_GetObjectItem(vector, "headers"))
        {
            headers[request.header_count++] = (struct sigv4_header){header->string, header->valuestring};
        }
        struct sigv4_signed result;
        sigv4_sign(sigv4, &request, &result);
        assert_string_equal(result.signature, cJSON_GetStringValue(cJSON_GetObjectItem(vector, "signature")));
        count++;
    }
    assert_int_equal(count, 2);
    credentials_free(key);
    sigv4_free(sigv4);
    cJSON_Delete(vectors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_documented_s3_requests_get_the_documented_signatures),
        cmocka_unit_test(the_documented_presigned_url_comes_out_whole),
        cmocka_unit_test(the_documented_iam_request_gets_every_documented_step),
        cmocka_unit_test(the_path_of_s3_is_signed_as_it_is_sent),
        cmocka_unit_test(other_paths_lose_their_dot_segments_and_are_encoded_again),
        cmocka_unit_test(a_signer_is_not_disturbed_by_what_it_signed_before),
        cmocka_unit_test(every_case_of_the_signing_suite_comes_out_step_by_step_in_both_forms),
        cmocka_unit_test(the_s3_vectors_of_the_fixtures_come_out),
    };
    return cmocka_run_group_tests_name("sigv4", tests, NULL, NULL);
}
