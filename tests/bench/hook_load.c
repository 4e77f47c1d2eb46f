/*
 * A crowd of git hosts: sends ready-made requests to a port over so many connections at once, each with the next
 * request as soon as the last is answered, and prints what it saw as one JSON object. One thread, epoll, blocking for
 * nothing.
 *
 *   hook_load PORT STATUS COUNT CONNECTIONS keep|new FILE     FILE: requests, each behind its length in a line
 *   hook_load PORT idle CONNECTIONS                            opens them, prints "open", holds them until stdin ends
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ANSWER_SIZE = 65536, EVENTS = 64, LINE_SIZE = 32, RUN_SECONDS = 120 };

struct request {
    char *bytes;
    size_t len;
};

struct connection {
    int descriptor;
    const struct request *request;
    size_t sent;
    char answer[ANSWER_SIZE];
    size_t received;
    int64_t began_ns;
};

struct load {
    struct sockaddr_in address;
    int epoll;
    int status;
    bool is_new_each;
    struct request *requests;
    size_t request_count;
    size_t begun;
    size_t wanted;
    size_t done;
    size_t wrong;
    int64_t *latencies_ns;
};

static int64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static _Noreturn void fail(const char *what)
{
    (void)fprintf(stderr, "hook_load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int connect_to(const struct sockaddr_in *address)
{
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0 || connect(descriptor, (const struct sockaddr *)address, sizeof(*address)) != 0) {
        fail("connect");
    }
    return descriptor;
}

static void requests_read(struct load *load, const char *path)
{
    char line[LINE_SIZE];
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        fail(path);
    }
    while (fgets(line, sizeof(line), file) != NULL) {
        load->requests = realloc(load->requests, (load->request_count + 1) * sizeof(struct request));
        struct request *request = &load->requests[load->request_count++];
        request->len = strtoul(line, NULL, 10);
        request->bytes = malloc(request->len);
        if (request->bytes == NULL || fread(request->bytes, 1, request->len, file) != request->len) {
            fail(path);
        }
    }
    (void)fclose(file);
}

static void connection_register(const struct load *load, struct connection *connection)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    if (epoll_ctl(load->epoll, EPOLL_CTL_ADD, connection->descriptor, &event) != 0) {
        fail("epoll_ctl");
    }
}

/* Requests are small, and the server reads before it answers: they fit into the socket's buffer. */
static void connection_send(struct load *load, struct connection *connection)
{
    connection->request = &load->requests[load->begun++ % load->request_count];
    connection->received = 0;
    connection->began_ns = now_ns();
    if (connection->descriptor < 0) {
        connection->descriptor = connect_to(&load->address);
        connection_register(load, connection);
    }
    if (send(connection->descriptor, connection->request->bytes, connection->request->len, MSG_NOSIGNAL) !=
        (ssize_t)connection->request->len) {
        fail("send");
    }
}

/* The status of a whole answer; 0: not whole yet. */
static int answer_status(struct connection *connection)
{
    connection->answer[connection->received] = '\0';
    const char *end = strstr(connection->answer, "\r\n\r\n");
    const char *length = end != NULL ? strcasestr(connection->answer, "\r\nContent-Length: ") : NULL;
    if (length == NULL || length > end) {
        return 0;
    }
    size_t whole = (size_t)(end + 4 - connection->answer) + strtoul(length + 18, NULL, 10);
    return connection->received >= whole ? (int)strtol(connection->answer + 9, NULL, 10) : 0;
}

static void connection_readable(struct load *load, struct connection *connection)
{
    ssize_t count = recv(connection->descriptor, connection->answer + connection->received,
                         ANSWER_SIZE - 1 - connection->received, 0);
    if (count <= 0) {
        fail("the server closed a connection");
    }
    connection->received += (size_t)count;
    int status = answer_status(connection);
    if (status == 0) {
        return;
    }
    load->wrong += status == load->status ? 0 : 1;
    load->latencies_ns[load->done++] = now_ns() - connection->began_ns;
    if (load->is_new_each) {
        close(connection->descriptor);
        connection->descriptor = -1;
    }
    if (load->begun < load->wanted) {
        connection_send(load, connection);
    }
}

static int compare(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a;
    int64_t right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static void load_run(struct load *load, size_t connection_count)
{
    struct connection *connections = calloc(connection_count, sizeof(*connections));
    load->latencies_ns = calloc(load->wanted, sizeof(int64_t));
    if (connections == NULL || load->latencies_ns == NULL) {
        fail("memory");
    }
    load->epoll = epoll_create1(EPOLL_CLOEXEC);
    int64_t began_ns = now_ns();
    for (size_t i = 0; i < connection_count && load->begun < load->wanted; i++) {
        connections[i].descriptor = -1;
        connection_send(load, &connections[i]);
    }
    while (load->done < load->wanted) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(load->epoll, events, EVENTS, RUN_SECONDS * 1000);
        if (count <= 0 && errno != EINTR) {
            fail("no answer");
        }
        for (int i = 0; i < count; i++) {
            connection_readable(load, events[i].data.ptr);
        }
    }
    double seconds = (double)(now_ns() - began_ns) / 1e9;
    qsort(load->latencies_ns, load->done, sizeof(int64_t), compare);
    (void)printf("{\"count\":%zu,\"wrong\":%zu,\"seconds\":%.6f,\"p50_us\":%.1f,\"p99_us\":%.1f}\n", load->done,
                 load->wrong, seconds, (double)load->latencies_ns[load->done / 2] / 1e3,
                 (double)load->latencies_ns[load->done * 99 / 100] / 1e3);
}

static void idle_run(const struct sockaddr_in *address, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        (void)connect_to(address);
    }
    (void)puts("open");
    (void)fflush(stdout);
    while (getchar() != EOF) {
    }
}

int main(int argument_count, char **arguments)
{
    struct rlimit limit = {.rlim_cur = 65536, .rlim_max = 65536};
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    struct load load = {.address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};
    if (argument_count == 4) {
        load.address.sin_port = htons((uint16_t)strtoul(arguments[1], NULL, 10));
        idle_run(&load.address, strtoul(arguments[3], NULL, 10));
        return 0;
    }
    if (argument_count != 7) {
        (void)fprintf(stderr, "usage: hook_load PORT STATUS COUNT CONNECTIONS keep|new FILE | PORT idle CONNECTIONS\n");
        return 2;
    }
    load.address.sin_port = htons((uint16_t)strtoul(arguments[1], NULL, 10));
    load.status = (int)strtol(arguments[2], NULL, 10);
    load.wanted = strtoul(arguments[3], NULL, 10);
    load.is_new_each = strcmp(arguments[5], "new") == 0;
    requests_read(&load, arguments[6]);
    load_run(&load, strtoul(arguments[4], NULL, 10));
    return load.wrong == 0 ? 0 : 1;
}
