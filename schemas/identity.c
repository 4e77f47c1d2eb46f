#include "schemas/identity.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>

bool commit_is_absent(const char *commit)
{
    return commit == NULL || commit[strspn(commit, "0")] == '\0';
}

/* Each part is ended by a NUL, which cannot occur in it: no two lists of parts give the same bytes. */
static void digest_parts(const char *const *parts, size_t count, char *ret_hex, size_t hex_size)
{
    unsigned char digest[SHA256_DIGEST_LENGTH];
    AUTO(buffer) struct buffer bytes;
    buffer_init(&bytes, MESSAGE_MAXIMUM_BYTES);
    for (size_t i = 0; i < count; i++) {
        buffer_append_text(&bytes, parts[i] != NULL ? parts[i] : "");
        buffer_append_char(&bytes, '\0');
    }
    if (EVP_Digest(bytes.ptr, bytes.len, digest, NULL, EVP_sha256(), NULL) != 1) {
        error_out_of_memory();
    }
    for (size_t i = 0; 2 * i + 2 < hex_size; i++) {
        (void)snprintf(ret_hex + 2 * i, 3, "%02x", digest[i]);
    }
}

void identity_event(const struct event *event, char ret_id[EVENT_ID_SIZE])
{
    const char *parts[] = {
        event->repository,
        event->ref,
        commit_is_absent(event->before) ? NULL : event->before,
        commit_is_absent(event->after) ? NULL : event->after,
        event->build,
        "baseline",
    };
    /* What is only to be remembered is another event than the same change told by somebody who wants it deployed. */
    size_t count = sizeof(parts) / sizeof(parts[0]);
    digest_parts(parts, event->baseline ? count : count - 1, ret_id, EVENT_ID_SIZE);
}

static void deployment_id(const char *const *parts, size_t count, char ret_id[DEPLOYMENT_ID_SIZE])
{
    ret_id[0] = 'd';
    ret_id[1] = '-';
    digest_parts(parts, count, ret_id + 2, DEPLOYMENT_ID_SIZE - 2);
}

void identity_deployment(const char *repository, const char *ref, const char *commit, const char *location,
                         int64_t generation, char ret_id[DEPLOYMENT_ID_SIZE])
{
    char number[24];
    (void)snprintf(number, sizeof(number), "%lld", (long long)generation);
    const char *parts[] = {repository, ref, commit, location, number};
    deployment_id(parts, sizeof(parts) / sizeof(parts[0]), ret_id);
}

void identity_unreadable(const char *topic, int32_t partition, int64_t offset, char ret_id[DEPLOYMENT_ID_SIZE])
{
    char place[64];
    (void)snprintf(place, sizeof(place), "%d/%lld", partition, (long long)offset);
    const char *parts[] = {"unreadable", topic, place};
    deployment_id(parts, sizeof(parts) / sizeof(parts[0]), ret_id);
}
