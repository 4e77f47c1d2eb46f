#include "workers/common/aws/sigv4.h"

#include "workers/common/aws/uri.h"
#include "workers/common/base/buffer.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

enum {
    HASH_BYTES = 32,
    KEY_SLOTS = 1024,       /* a power of two; an entry is replaced when another one falls into its slot */
    TEXT_MAXIMUM = 1 << 20, /* of each text that is built; a request line or header is never near that */
};

#define ALGORITHM "AWS4-HMAC-SHA256"

/* A signing key with everything it was made from. */
struct signing_key {
    char *secret;
    char *region;
    char *service;
    char day[9];
    unsigned char key[HASH_BYTES];
};

/* A name and a value as places in the scratch buffer, which may move while it grows. */
struct pair {
    size_t name_offset;
    size_t name_len;
    size_t value_offset;
    size_t value_len;
};

struct sigv4 {
    EVP_MD *sha256;
    EVP_MD_CTX *digest;
    EVP_MAC *hmac;
    EVP_MAC_CTX *mac;
    struct signing_key *keys[KEY_SLOTS];

    struct pair *pairs;
    size_t pair_count;
    size_t pair_capacity;
    struct buffer scratch;

    char date[SIGV4_DATE_SIZE];
    char signature[SIGV4_HASH_SIZE];
    struct buffer scope; /* day/region/service/aws4_request */
    struct buffer signed_headers;
    struct buffer canonical_headers;
    struct buffer query;
    struct buffer canonical_request;
    struct buffer string_to_sign;
    struct buffer authorization;
};

static void must(bool is_done)
{
    if (!is_done) {
        error_out_of_memory(); /* the only way in which hashing with built-in algorithms fails */
    }
}

struct sigv4 *sigv4_new(void)
{
    struct sigv4 *sigv4 = memory_zeroed(1, sizeof(*sigv4));
    sigv4->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    sigv4->digest = EVP_MD_CTX_new();
    sigv4->hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    must(sigv4->sha256 != NULL && sigv4->digest != NULL && sigv4->hmac != NULL);
    sigv4->mac = EVP_MAC_CTX_new(sigv4->hmac);
    must(sigv4->mac != NULL);
    char digest_name[] = "SHA256";
    OSSL_PARAM parameters[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest_name, 0),
                               OSSL_PARAM_construct_end()};
    must(EVP_MAC_CTX_set_params(sigv4->mac, parameters) == 1);
    struct buffer *buffers[] = {&sigv4->scratch,           &sigv4->scope,        &sigv4->signed_headers,
                                &sigv4->canonical_headers, &sigv4->query,        &sigv4->canonical_request,
                                &sigv4->string_to_sign,    &sigv4->authorization};
    for (size_t i = 0; i < sizeof(buffers) / sizeof(buffers[0]); i++) {
        buffer_init(buffers[i], TEXT_MAXIMUM);
    }
    return sigv4;
}

static void signing_key_free(struct signing_key *key)
{
    if (key == NULL) {
        return;
    }
    OPENSSL_cleanse(key->secret, strlen(key->secret));
    OPENSSL_cleanse(key->key, sizeof(key->key));
    free(key->secret);
    free(key->region);
    free(key->service);
    free(key);
}

void sigv4_free(struct sigv4 *sigv4)
{
    if (sigv4 == NULL) {
        return;
    }
    for (size_t i = 0; i < KEY_SLOTS; i++) {
        signing_key_free(sigv4->keys[i]);
    }
    EVP_MAC_CTX_free(sigv4->mac);
    EVP_MAC_free(sigv4->hmac);
    EVP_MD_CTX_free(sigv4->digest);
    EVP_MD_free(sigv4->sha256);
    buffer_done(&sigv4->scratch);
    buffer_done(&sigv4->scope);
    buffer_done(&sigv4->signed_headers);
    buffer_done(&sigv4->canonical_headers);
    buffer_done(&sigv4->query);
    buffer_done(&sigv4->canonical_request);
    buffer_done(&sigv4->string_to_sign);
    buffer_done(&sigv4->authorization);
    free(sigv4->pairs);
    free(sigv4);
}

static void hash_to_hex(const unsigned char hash[HASH_BYTES], char ret_hex[SIGV4_HASH_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < HASH_BYTES; i++) {
        ret_hex[2 * i] = digits[hash[i] >> 4];
        ret_hex[2 * i + 1] = digits[hash[i] & 15];
    }
    ret_hex[2 * HASH_BYTES] = '\0';
}

void sigv4_hash(struct slice body, char ret_hash[SIGV4_HASH_SIZE])
{
    unsigned char hash[HASH_BYTES];
    if (body.len == 0) {
        memcpy(ret_hash, SIGV4_EMPTY_PAYLOAD, SIGV4_HASH_SIZE);
        return;
    }
    must(EVP_Digest(body.ptr, body.len, hash, NULL, EVP_sha256(), NULL) == 1);
    hash_to_hex(hash, ret_hash);
}

static void mac(struct sigv4 *sigv4, struct slice key, struct slice text, unsigned char ret_mac[HASH_BYTES])
{
    size_t len = 0;
    must(EVP_MAC_init(sigv4->mac, (const unsigned char *)key.ptr, key.len, NULL) == 1 &&
         EVP_MAC_update(sigv4->mac, (const unsigned char *)text.ptr, text.len) == 1 &&
         EVP_MAC_final(sigv4->mac, ret_mac, &len, HASH_BYTES) == 1);
}

static size_t slot_of(const char *secret, const char *day, const char *region, const char *service)
{
    const char *parts[] = {secret, day, region, service};
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        for (const char *at = parts[i]; *at != '\0'; at++) {
            hash = (hash ^ (unsigned char)*at) * UINT64_C(1099511628211);
        }
        hash = (hash ^ 0xff) * UINT64_C(1099511628211);
    }
    return (size_t)(hash ^ (hash >> 32)) % KEY_SLOTS;
}

static void signing_key_derive(struct sigv4 *sigv4, struct signing_key *key)
{
    struct buffer start;
    buffer_init(&start, TEXT_MAXIMUM);
    buffer_append_text(&start, "AWS4");
    buffer_append_text(&start, key->secret);
    unsigned char step[HASH_BYTES];
    mac(sigv4, buffer_slice(&start), slice_of(key->day), step);
    mac(sigv4, slice_from(step, HASH_BYTES), slice_of(key->region), step);
    mac(sigv4, slice_from(step, HASH_BYTES), slice_of(key->service), step);
    mac(sigv4, slice_from(step, HASH_BYTES), slice_of("aws4_request"), key->key);
    OPENSSL_cleanse(step, sizeof(step));
    OPENSSL_cleanse(start.ptr, start.len);
    buffer_done(&start);
}

static const struct signing_key *signing_key_get(struct sigv4 *sigv4, const struct sigv4_request *request)
{
    const char *secret = request->credentials->secret_key;
    char day[9];
    memcpy(day, sigv4->date, 8);
    day[8] = '\0';
    struct signing_key **slot = &sigv4->keys[slot_of(secret, day, request->region, request->service)];
    struct signing_key *key = *slot;
    if (key != NULL && strcmp(key->secret, secret) == 0 && strcmp(key->day, day) == 0 &&
        strcmp(key->region, request->region) == 0 && strcmp(key->service, request->service) == 0) {
        return key;
    }
    signing_key_free(key);
    key = memory_zeroed(1, sizeof(*key));
    key->secret = text_copy(secret);
    key->region = text_copy(request->region);
    key->service = text_copy(request->service);
    memcpy(key->day, day, sizeof(day));
    signing_key_derive(sigv4, key);
    *slot = key;
    return key;
}

static struct slice pair_name(const struct sigv4 *sigv4, const struct pair *pair)
{
    return slice_from(sigv4->scratch.ptr + pair->name_offset, pair->name_len);
}

static struct slice pair_value(const struct sigv4 *sigv4, const struct pair *pair)
{
    return slice_from(sigv4->scratch.ptr + pair->value_offset, pair->value_len);
}

static int slice_compare(struct slice a, struct slice b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common > 0 ? memcmp(a.ptr, b.ptr, common) : 0;
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

static struct pair *pair_add(struct sigv4 *sigv4)
{
    if (sigv4->pair_count == sigv4->pair_capacity) {
        sigv4->pair_capacity = sigv4->pair_capacity > 0 ? sigv4->pair_capacity * 2 : 32;
        sigv4->pairs = memory_resized(sigv4->pairs, sigv4->pair_capacity * sizeof(struct pair));
    }
    struct pair *pair = &sigv4->pairs[sigv4->pair_count++];
    *pair = (struct pair){0};
    return pair;
}

/* By insertion: it is stable, as repeated headers need, and there are few. */
static void pairs_sort(struct sigv4 *sigv4, bool is_by_value_too)
{
    for (size_t i = 1; i < sigv4->pair_count; i++) {
        struct pair moving = sigv4->pairs[i];
        size_t at = i;
        for (; at > 0; at--) {
            const struct pair *before = &sigv4->pairs[at - 1];
            int order = slice_compare(pair_name(sigv4, before), pair_name(sigv4, &moving));
            if (order == 0 && is_by_value_too) {
                order = slice_compare(pair_value(sigv4, before), pair_value(sigv4, &moving));
            }
            if (order <= 0) {
                break;
            }
            sigv4->pairs[at] = *before;
        }
        sigv4->pairs[at] = moving;
    }
}

static void header_add(struct sigv4 *sigv4, const char *name, const char *value)
{
    static const char blanks[] = " \t\r\n";
    struct buffer *scratch = &sigv4->scratch;
    struct pair *pair = pair_add(sigv4);
    pair->name_offset = scratch->len;
    buffer_append_text(scratch, name);
    for (char *at = scratch->ptr + pair->name_offset; *at != '\0'; at++) {
        *at = *at >= 'A' && *at <= 'Z' ? (char)(*at - 'A' + 'a') : *at;
    }
    pair->name_len = scratch->len - pair->name_offset;
    pair->value_offset = scratch->len;
    for (const char *at = value + strspn(value, blanks); *at != '\0';) {
        size_t word = strcspn(at, blanks);
        if (scratch->len > pair->value_offset) {
            buffer_append_char(scratch, ' ');
        }
        buffer_append(scratch, slice_from(at, word));
        at += word + strspn(at + word, blanks);
    }
    pair->value_len = scratch->len - pair->value_offset;
}

static bool has_header(const struct sigv4_request *request, const char *name)
{
    for (size_t i = 0; i < request->header_count; i++) {
        if (strcasecmp(request->headers[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

static void build_headers(struct sigv4 *sigv4, const struct sigv4_request *request)
{
    buffer_clear(&sigv4->scratch);
    buffer_clear(&sigv4->signed_headers);
    buffer_clear(&sigv4->canonical_headers);
    sigv4->pair_count = 0;
    for (size_t i = 0; i < request->header_count; i++) {
        header_add(sigv4, request->headers[i].name, request->headers[i].value);
    }
    if (request->form == SIGV4_HEADER) {
        if (!has_header(request, "x-amz-date")) {
            header_add(sigv4, "x-amz-date", sigv4->date);
        }
        const char *token = request->credentials->session_token;
        if (token != NULL && !request->is_token_unsigned && !has_header(request, "x-amz-security-token")) {
            header_add(sigv4, "x-amz-security-token", token);
        }
    }
    pairs_sort(sigv4, false);
    for (size_t i = 0; i < sigv4->pair_count; i++) {
        struct slice name = pair_name(sigv4, &sigv4->pairs[i]);
        if (i > 0 && slice_equal(name, pair_name(sigv4, &sigv4->pairs[i - 1]))) {
            buffer_append_char(&sigv4->canonical_headers, ',');
        } else {
            if (i > 0) {
                buffer_append_char(&sigv4->canonical_headers, '\n');
                buffer_append_char(&sigv4->signed_headers, ';');
            }
            buffer_append(&sigv4->signed_headers, name);
            buffer_append(&sigv4->canonical_headers, name);
            buffer_append_char(&sigv4->canonical_headers, ':');
        }
        buffer_append(&sigv4->canonical_headers, pair_value(sigv4, &sigv4->pairs[i]));
    }
    buffer_append_char(&sigv4->canonical_headers, '\n');
}

static void parameter_add(struct sigv4 *sigv4, struct slice name, struct slice value)
{
    struct pair *pair = pair_add(sigv4);
    pair->name_offset = sigv4->scratch.len;
    uri_encode(&sigv4->scratch, name);
    pair->name_len = sigv4->scratch.len - pair->name_offset;
    pair->value_offset = sigv4->scratch.len;
    uri_encode(&sigv4->scratch, value);
    pair->value_len = sigv4->scratch.len - pair->value_offset;
}

/* A query arrives encoded by whoever made it, perhaps not at all: decode, then encode in the one form. */
static void parameter_add_again(struct sigv4 *sigv4, struct slice name, struct slice value)
{
    struct buffer plain;
    buffer_init(&plain, TEXT_MAXIMUM);
    uri_decode(&plain, name);
    size_t name_len = plain.len;
    uri_decode(&plain, value);
    parameter_add(sigv4, slice_from(plain.ptr, name_len), slice_from(plain.ptr + name_len, plain.len - name_len));
    buffer_done(&plain);
}

static void parameters_split(struct sigv4 *sigv4, const char *query)
{
    const char *at = query != NULL ? query : "";
    while (*at != '\0') {
        size_t len = strcspn(at, "&");
        if (len > 0) {
            const char *equals = memchr(at, '=', len);
            size_t name_len = equals != NULL ? (size_t)(equals - at) : len;
            size_t value_at = equals != NULL ? name_len + 1 : len;
            parameter_add_again(sigv4, slice_from(at, name_len), slice_from(at + value_at, len - value_at));
        }
        at += len;
        at += *at == '&';
    }
}

static void build_query(struct sigv4 *sigv4, const struct sigv4_request *request)
{
    buffer_clear(&sigv4->scratch);
    buffer_clear(&sigv4->query);
    sigv4->pair_count = 0;
    parameters_split(sigv4, request->query);
    if (request->form == SIGV4_QUERY) {
        struct buffer credential;
        char expires[24];
        buffer_init(&credential, TEXT_MAXIMUM);
        buffer_append_format(&credential, "%s/%s", request->credentials->access_key, sigv4->scope.ptr);
        (void)snprintf(expires, sizeof(expires), "%lld", (long long)request->expires_seconds);
        parameter_add(sigv4, slice_of("X-Amz-Algorithm"), slice_of(ALGORITHM));
        parameter_add(sigv4, slice_of("X-Amz-Credential"), buffer_slice(&credential));
        parameter_add(sigv4, slice_of("X-Amz-Date"), slice_of(sigv4->date));
        parameter_add(sigv4, slice_of("X-Amz-Expires"), slice_of(expires));
        parameter_add(sigv4, slice_of("X-Amz-SignedHeaders"), buffer_slice(&sigv4->signed_headers));
        const char *token = request->credentials->session_token;
        if (token != NULL && !request->is_token_unsigned) {
            parameter_add(sigv4, slice_of("X-Amz-Security-Token"), slice_of(token));
        }
        buffer_done(&credential);
    }
    pairs_sort(sigv4, true);
    for (size_t i = 0; i < sigv4->pair_count; i++) {
        if (i > 0) {
            buffer_append_char(&sigv4->query, '&');
        }
        buffer_append(&sigv4->query, pair_name(sigv4, &sigv4->pairs[i]));
        buffer_append_char(&sigv4->query, '=');
        buffer_append(&sigv4->query, pair_value(sigv4, &sigv4->pairs[i]));
    }
}

/* RFC 3986 5.2.4, and repeated slashes become one. */
static void append_normalized_path(struct buffer *buffer, const char *path)
{
    size_t path_start = buffer->len;
    bool is_open = true; /* the last segment was a dot segment or a slash: the result ends in '/' */
    for (const char *at = path; *at != '\0';) {
        at += strspn(at, "/");
        size_t len = strcspn(at, "/");
        is_open = len == 0 || at[len] == '/';
        if (len == 0) {
            break;
        }
        if (len == 2 && at[0] == '.' && at[1] == '.') {
            while (buffer->len > path_start && buffer->ptr[--buffer->len] != '/') {
            }
            buffer->ptr[buffer->len] = '\0';
            is_open = true;
        } else if (len == 1 && at[0] == '.') {
            is_open = true;
        } else {
            buffer_append_char(buffer, '/');
            buffer_append(buffer, slice_from(at, len));
        }
        at += len;
    }
    if (is_open || buffer->len == path_start) {
        buffer_append_char(buffer, '/');
    }
}

static void build_canonical_request(struct sigv4 *sigv4, const struct sigv4_request *request)
{
    struct buffer *text = &sigv4->canonical_request;
    struct buffer path;
    buffer_init(&path, TEXT_MAXIMUM);
    if (request->is_path_normalized) {
        append_normalized_path(&path, request->path);
    } else {
        buffer_append_text(&path, request->path);
    }
    buffer_clear(text);
    buffer_append_text(text, request->method);
    buffer_append_char(text, '\n');
    if (request->is_path_encoded_again) {
        uri_encode_path(text, buffer_slice(&path));
    } else {
        buffer_append(text, buffer_slice(&path));
    }
    buffer_append_char(text, '\n');
    buffer_append(text, buffer_slice(&sigv4->query));
    buffer_append_char(text, '\n');
    buffer_append(text, buffer_slice(&sigv4->canonical_headers));
    buffer_append_char(text, '\n');
    buffer_append(text, buffer_slice(&sigv4->signed_headers));
    buffer_append_char(text, '\n');
    buffer_append_text(text, request->payload_hash);
    buffer_done(&path);
}

static void build_string_to_sign(struct sigv4 *sigv4)
{
    unsigned char hash[HASH_BYTES];
    char hex[SIGV4_HASH_SIZE];
    must(EVP_DigestInit_ex2(sigv4->digest, sigv4->sha256, NULL) == 1 &&
         EVP_DigestUpdate(sigv4->digest, sigv4->canonical_request.ptr, sigv4->canonical_request.len) == 1 &&
         EVP_DigestFinal_ex(sigv4->digest, hash, NULL) == 1);
    hash_to_hex(hash, hex);
    buffer_clear(&sigv4->string_to_sign);
    buffer_append_format(&sigv4->string_to_sign, ALGORITHM "\n%s\n%s\n%s", sigv4->date, sigv4->scope.ptr, hex);
}

static void build_result(struct sigv4 *sigv4, const struct sigv4_request *request)
{
    buffer_clear(&sigv4->authorization);
    if (request->form == SIGV4_HEADER) {
        buffer_append_format(&sigv4->authorization, ALGORITHM " Credential=%s/%s, SignedHeaders=%s, Signature=%s",
                             request->credentials->access_key, sigv4->scope.ptr, sigv4->signed_headers.ptr,
                             sigv4->signature);
        return;
    }
    if (request->credentials->session_token != NULL && request->is_token_unsigned) {
        uri_add_parameter(&sigv4->query, "X-Amz-Security-Token", request->credentials->session_token);
    }
    uri_add_parameter(&sigv4->query, "X-Amz-Signature", sigv4->signature);
}

void sigv4_sign(struct sigv4 *sigv4, const struct sigv4_request *request, struct sigv4_signed *ret_signed)
{
    time_t seconds = (time_t)(request->wall_ms / 1000);
    struct tm utc;
    must(gmtime_r(&seconds, &utc) != NULL);
    (void)strftime(sigv4->date, sizeof(sigv4->date), "%Y%m%dT%H%M%SZ", &utc);
    buffer_clear(&sigv4->scope);
    buffer_append_format(&sigv4->scope, "%.8s/%s/%s/aws4_request", sigv4->date, request->region, request->service);

    build_headers(sigv4, request);
    build_query(sigv4, request);
    build_canonical_request(sigv4, request);
    build_string_to_sign(sigv4);
    const struct signing_key *key = signing_key_get(sigv4, request);
    unsigned char signature[HASH_BYTES];
    mac(sigv4, slice_from(key->key, HASH_BYTES), buffer_slice(&sigv4->string_to_sign), signature);
    hash_to_hex(signature, sigv4->signature);
    build_result(sigv4, request);

    *ret_signed = (struct sigv4_signed){
        .date = sigv4->date,
        .signature = sigv4->signature,
        .authorization = buffer_slice(&sigv4->authorization),
        .query = request->form == SIGV4_QUERY ? buffer_slice(&sigv4->query) : slice_of(""),
        .canonical_request = buffer_slice(&sigv4->canonical_request),
        .string_to_sign = buffer_slice(&sigv4->string_to_sign),
    };
}
