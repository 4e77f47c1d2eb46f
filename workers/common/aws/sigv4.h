/*
 * AWS Signature Version 4, pure: no clock, no network. In a header or in the query (presigned URL), with the two path
 * rules that services have: S3 signs the path as it is sent; all others encode it once more and take out dot segments.
 * Each step can be looked at, because a wrong signature says nothing about where it went wrong.
 *
 * libcurl's own signing is not usable in 7.88 (query not canonicalised, body signed as empty), so requests are signed
 * here and sent as they are. Source of the rules: AWS General Reference, "Create a signed AWS API request".
 *
 * A signer keeps its buffers, digest contexts and the signing keys of the last secrets it used (a key depends on
 * secret, day, region and service, and costs more than the rest). It wipes them when it is freed.
 */
#pragma once

#include "workers/common/aws/credentials.h"
#include "workers/common/base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SIGV4_DATE_SIZE = 17, SIGV4_HASH_SIZE = 65 }; /* "20150830T123600Z" and 64 hex digits, each with a NUL */

#define SIGV4_UNSIGNED_PAYLOAD "UNSIGNED-PAYLOAD"
#define SIGV4_EMPTY_PAYLOAD "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

struct sigv4_header {
    const char *name; /* any case */
    const char *value;
};

enum sigv4_form {
    SIGV4_HEADER, /* the caller sends the authorization header, x-amz-date and, if any, x-amz-security-token */
    SIGV4_QUERY,  /* the caller sends the query, and no header beyond those given */
};

struct sigv4_request {
    enum sigv4_form form;
    const char *method;
    const char *path;                   /* as sent, starting with '/' */
    const char *query;                  /* as sent, without '?'; may be NULL; any order */
    const struct sigv4_header *headers; /* all of these are signed; host must be among them; equal names are merged */
    size_t header_count;
    const char *payload_hash; /* SHA-256 of the body in hex, or SIGV4_UNSIGNED_PAYLOAD */
    const char *region;
    const char *service;
    int64_t wall_ms;
    int64_t expires_seconds;    /* SIGV4_QUERY only */
    bool is_path_encoded_again; /* every service but S3 */
    bool is_path_normalized;    /* every service but S3 */
    bool is_token_unsigned;     /* the session token is sent, but added after signing */
    const struct credentials *credentials;
};

/* What signing produced; borrowed from the signer until it signs again. */
struct sigv4_signed {
    const char *date;           /* for x-amz-date */
    const char *signature;      /* hex */
    struct slice authorization; /* SIGV4_HEADER: value of the header */
    struct slice query;         /* SIGV4_QUERY: the whole query with the signature */
    struct slice canonical_request;
    struct slice string_to_sign;
};

struct sigv4;

struct sigv4 *sigv4_new(void);
void sigv4_free(struct sigv4 *sigv4); /* NULL is fine */

void sigv4_sign(struct sigv4 *sigv4, const struct sigv4_request *request, struct sigv4_signed *ret_signed);

/* The payload hash of a body. */
void sigv4_hash(struct slice body, char ret_hash[SIGV4_HASH_SIZE]);
