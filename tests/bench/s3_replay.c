/*
 * The yardstick of the copier's benchmarks: ready-signed CopyObject requests over libcurl, one thread, kept
 * connections, nothing else. Signing comes first and does not count.
 *
 *     s3_replay URL CONCURRENCY < requests
 *
 * One request per line: KEY-ID SECRET TOKEN TARGET-BUCKET TARGET-KEY SOURCE-BUCKET/KEY. A token of - is none. Keys are
 * taken as they stand (no blanks, nothing that needs encoding). Prints a line of JSON; an answer that is not 200 with
 * an ETag ends the run.
 */
#include "workers/common/aws/credentials.h"
#include "workers/common/aws/sigv4.h"
#include "workers/common/base/clock.h"

#include <curl/curl.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum { LINE_MAXIMUM = 4096, ANSWER_MAXIMUM = 16384, CONCURRENCY_MAXIMUM = 1024, WAIT_MS = 1000 };

struct copy {
    char *url;
    struct curl_slist *headers;
};

struct copies {
    struct copy *items;
    size_t count;
    size_t next;
    size_t done;
};

struct transfer {
    CURL *easy;
    size_t answer_len;
    char answer[ANSWER_MAXIMUM];
};

static void give_up(const char *what, const char *reason)
{
    (void)fprintf(stderr, "s3_replay: %s: %s\n", what, reason);
    exit(1);
}

static void add_header(struct copy *copy, const char *name, const char *value)
{
    char line[LINE_MAXIMUM];
    (void)snprintf(line, sizeof(line), "%s: %s", name, value);
    copy->headers = curl_slist_append(copy->headers, line);
}

static struct copy copy_sign(struct sigv4 *sigv4, const char *url, char *line)
{
    const char *words[6];
    for (size_t i = 0; i < 6; i++) {
        words[i] = strsep(&line, " \n");
        if (words[i] == NULL) {
            give_up("a line", "six words are needed");
        }
    }
    char path[LINE_MAXIMUM];
    char whole[2 * LINE_MAXIMUM];
    (void)snprintf(path, sizeof(path), "/%s/%s", words[3], words[4]);
    (void)snprintf(whole, sizeof(whole), "%s%s", url, path);
    const struct sigv4_header headers[] = {
        {"host", strstr(url, "://") + 3},
        {"x-amz-content-sha256", SIGV4_EMPTY_PAYLOAD},
        {"x-amz-copy-source", words[5]},
    };
    const char *token = strcmp(words[2], "-") != 0 ? words[2] : NULL;
    struct credentials *credentials = credentials_new(words[0], words[1], token, 0, "replay");
    struct sigv4_request request = {
        .form = SIGV4_HEADER,
        .method = "PUT",
        .path = path,
        .headers = headers,
        .header_count = sizeof(headers) / sizeof(headers[0]),
        .payload_hash = SIGV4_EMPTY_PAYLOAD,
        .region = "us-east-1",
        .service = "s3",
        .wall_ms = clock_wall_ms(),
        .credentials = credentials,
    };
    struct sigv4_signed signature;
    sigv4_sign(sigv4, &request, &signature);
    struct copy copy = {.url = strdup(whole)};
    for (size_t i = 1; i < request.header_count; i++) {
        add_header(&copy, headers[i].name, headers[i].value);
    }
    add_header(&copy, "x-amz-date", signature.date);
    if (token != NULL) {
        add_header(&copy, "x-amz-security-token", token);
    }
    add_header(&copy, "Authorization", signature.authorization.ptr);
    copy.headers = curl_slist_append(copy.headers, "Accept:");
    copy.headers = curl_slist_append(copy.headers, "Content-Type:");
    copy.headers = curl_slist_append(copy.headers, "Expect:");
    credentials_free(credentials);
    return copy;
}

static void read_copies(const char *url, struct copies *copies)
{
    struct sigv4 *sigv4 = sigv4_new();
    char line[LINE_MAXIMUM];
    size_t capacity = 0;
    while (fgets(line, sizeof(line), stdin) != NULL) {
        if (copies->count == capacity) {
            capacity = capacity > 0 ? 2 * capacity : 1024;
            copies->items = realloc(copies->items, capacity * sizeof(*copies->items));
            if (copies->items == NULL) {
                give_up("memory", "none left");
            }
        }
        copies->items[copies->count++] = copy_sign(sigv4, url, line);
    }
    sigv4_free(sigv4);
}

static size_t on_body(char *bytes, size_t size, size_t count, void *context)
{
    struct transfer *transfer = context;
    if (transfer->answer_len + size * count >= sizeof(transfer->answer)) {
        return 0;
    }
    memcpy(transfer->answer + transfer->answer_len, bytes, size * count);
    transfer->answer_len += size * count;
    transfer->answer[transfer->answer_len] = '\0';
    return size * count;
}

static void transfer_start(CURLM *multi, struct transfer *transfer, struct copies *copies)
{
    const struct copy *copy = &copies->items[copies->next++];
    transfer->answer_len = 0;
    (void)curl_easy_setopt(transfer->easy, CURLOPT_URL, copy->url);
    (void)curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, copy->headers);
    (void)curl_multi_add_handle(multi, transfer->easy);
}

static struct transfer *transfer_new(void)
{
    struct transfer *transfer = calloc(1, sizeof(*transfer));
    if (transfer == NULL || (transfer->easy = curl_easy_init()) == NULL) {
        give_up("memory", "none left");
        return NULL;
    }
    (void)curl_easy_setopt(transfer->easy, CURLOPT_NOSIGNAL, 1L);
    (void)curl_easy_setopt(transfer->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    (void)curl_easy_setopt(transfer->easy, CURLOPT_POST, 1L);
    (void)curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDS, "");
    (void)curl_easy_setopt(transfer->easy, CURLOPT_CUSTOMREQUEST, "PUT");
    (void)curl_easy_setopt(transfer->easy, CURLOPT_WRITEFUNCTION, on_body);
    (void)curl_easy_setopt(transfer->easy, CURLOPT_WRITEDATA, (void *)transfer);
    (void)curl_easy_setopt(transfer->easy, CURLOPT_PRIVATE, (void *)transfer);
    return transfer;
}

static void transfer_check(const struct transfer *transfer, CURLcode code)
{
    long status = 0;
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    if (code != CURLE_OK || status != 200 || strstr(transfer->answer, "<ETag>") == NULL) {
        (void)fprintf(stderr, "status %ld: %.300s\n", status, transfer->answer);
        give_up("an answer", curl_easy_strerror(code));
    }
}

static double cpu_seconds(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* Returns how many connections were opened. */
static long replay(CURLM *multi, struct copies *copies, size_t concurrency)
{
    long connections = 0;
    for (size_t i = 0; i < concurrency && copies->next < copies->count; i++) {
        transfer_start(multi, transfer_new(), copies);
    }
    while (copies->done < copies->count) {
        int running = 0;
        int left = 0;
        const CURLMsg *message;
        (void)curl_multi_perform(multi, &running);
        while ((message = curl_multi_info_read(multi, &left)) != NULL) {
            char *private_data = NULL;
            long opened = 0;
            (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &private_data);
            (void)curl_easy_getinfo(message->easy_handle, CURLINFO_NUM_CONNECTS, &opened);
            struct transfer *transfer = (struct transfer *)(void *)private_data;
            transfer_check(transfer, message->data.result);
            connections += opened;
            copies->done++;
            (void)curl_multi_remove_handle(multi, transfer->easy);
            if (copies->next < copies->count) {
                transfer_start(multi, transfer, copies);
            }
        }
        if (copies->done < copies->count) {
            (void)curl_multi_poll(multi, NULL, 0, WAIT_MS, NULL);
        }
    }
    return connections;
}

int main(int count, char **words)
{
    struct copies copies = {0};
    size_t concurrency = count == 3 ? (size_t)strtoul(words[2], NULL, 10) : 0;
    if (concurrency == 0 || concurrency > CONCURRENCY_MAXIMUM) {
        (void)fprintf(stderr, "usage: s3_replay URL CONCURRENCY < requests\n");
        return 2;
    }
    (void)curl_global_init(CURL_GLOBAL_DEFAULT);
    CURLM *multi = curl_multi_init();
    (void)curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)concurrency + 32);
    read_copies(words[1], &copies);
    double cpu = cpu_seconds();
    int64_t began_ms = clock_monotonic_ms();
    long connections = replay(multi, &copies, concurrency);
    double seconds = (double)(clock_monotonic_ms() - began_ms) / 1000;
    cpu = cpu_seconds() - cpu;
    (void)printf("{\"copies\": %zu, \"seconds\": %.3f, \"cpu_seconds\": %.3f, \"connections\": %ld}\n", copies.done,
                 seconds, cpu, connections);
    return 0;
}
