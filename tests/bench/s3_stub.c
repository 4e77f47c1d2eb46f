/*
 * S3 and STS that do nothing, fast: what is left of a run against it is the client's own cost. Not a store: a copy is
 * answered when its source is in the table, and forgotten.
 *
 *     s3_stub BUCKET [--delay-ms N] [KEY=BYTES ...]
 *
 * The source bucket, and its objects in the order of their keys. The first line on the standard output is the port.
 * SIGUSR1 prints the counts so far as a line of JSON, SIGTERM prints them and ends.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    HEAD_MAXIMUM = 16 << 10,
    ANSWER_MAXIMUM = 64 << 10,
    OBJECTS_MAXIMUM = 256,
    EVENTS_MAXIMUM = 256,
    FILL = 64 << 10,
    BODY_AT_ONCE = 1 << 20,
};

enum kind {
    LIST_SOURCE,
    LIST_TARGET,
    COPY,
    COPY_PART,
    HEAD,
    GET,
    PUT,
    PUT_PART,
    UPLOAD_BEGIN,
    UPLOAD_END,
    UPLOAD_ABORT,
    ASSUME_ROLE,
    REFUSED,
    KINDS
};

static const char *const kind_names[] = {
    [LIST_SOURCE] = "list_source",
    [LIST_TARGET] = "list_target",
    [COPY] = "copy",
    [COPY_PART] = "copy_part",
    [HEAD] = "head",
    [GET] = "get",
    [PUT] = "put",
    [PUT_PART] = "put_part",
    [UPLOAD_BEGIN] = "upload_begin",
    [UPLOAD_END] = "upload_end",
    [UPLOAD_ABORT] = "upload_abort",
    [ASSUME_ROLE] = "assume_role",
    [REFUSED] = "refused",
};

struct object {
    const char *key;
    long long bytes;
};

/* One request at a time on each, as HTTP/1.1 has it. */
struct connection {
    int fd;
    char in[HEAD_MAXIMUM];
    size_t in_len;
    long long body_left; /* of the request: read and thrown away */
    char *out;           /* NULL: no answer under way */
    size_t out_len;
    size_t out_sent;
    long long fill_left; /* of the answer's body: bytes that mean nothing */
    bool is_waiting;     /* the answer is ready, and not due yet */
    int64_t due_ns;
    struct connection *next_due;
};

static struct stub {
    const char *bucket;
    struct object objects[OBJECTS_MAXIMUM];
    size_t object_count;
    int64_t delay_ns;
    int epoll;
    struct connection *first_due; /* the delay is the same for all, so the order is that of arrival */
    struct connection *last_due;
    unsigned long long counts[KINDS];
    unsigned long long connections;
    unsigned long long open;
    unsigned long long open_most;
    unsigned long long bytes_in;
    unsigned long long bytes_out;
} stub;

static void give_up(const char *what)
{
    (void)fprintf(stderr, "s3_stub: %s: %s\n", what, strerror(errno));
    exit(1);
}

static int64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void print_counts(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    (void)printf(
        "{\"connections\": %llu, \"open_most\": %llu, \"bytes_in\": %llu, \"bytes_out\": %llu, \"cpu_seconds\": %.3f",
        stub.connections, stub.open_most, stub.bytes_in, stub.bytes_out,
        (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
            (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6);
    for (int kind = 0; kind < KINDS; kind++) {
        (void)printf(", \"%s\": %llu", kind_names[kind], stub.counts[kind]);
    }
    (void)printf("}\n");
    (void)fflush(stdout);
}

/* --- what was asked --- */

struct request {
    const char *method;
    char *path; /* "bucket/key", as sent */
    char *key;  /* "" for the bucket itself */
    const char *query;
    const char *copy_source; /* NULL: none */
    long long range_first;   /* -1: none */
    long long range_last;
    long long content_length;
};

static bool has_parameter(const char *query, const char *name)
{
    size_t length = strlen(name);
    for (const char *at = query; at != NULL; at = strchr(at, '&') != NULL ? strchr(at, '&') + 1 : NULL) {
        if (strncmp(at, name, length) == 0 && (at[length] == '=' || at[length] == '&' || at[length] == '\0')) {
            return true;
        }
    }
    return false;
}

static void read_header(struct request *request, char *line)
{
    char *value = strchr(line, ':');
    if (value == NULL) {
        return;
    }
    *value++ = '\0';
    value += strspn(value, " ");
    if (strcasecmp(line, "content-length") == 0) {
        request->content_length = strtoll(value, NULL, 10);
    } else if (strcasecmp(line, "x-amz-copy-source") == 0) {
        request->copy_source = value + (*value == '/');
    } else if (strcasecmp(line, "range") == 0 && strncmp(value, "bytes=", 6) == 0) {
        char *end;
        request->range_first = strtoll(value + 6, &end, 10);
        request->range_last = *end == '-' ? strtoll(end + 1, NULL, 10) : request->range_first;
    }
}

/* Cuts the head into its pieces. */
static bool read_head(char *head, struct request *request)
{
    *request = (struct request){.range_first = -1, .query = ""};
    char *rest = head;
    char *line = strsep(&rest, "\n");
    request->method = strsep(&line, " ");
    char *target = line != NULL ? strsep(&line, " ") : NULL;
    if (target == NULL || *target != '/') {
        return false;
    }
    request->path = target + 1;
    char *query = strchr(target, '?');
    if (query != NULL) {
        *query = '\0';
        request->query = query + 1;
    }
    while ((line = strsep(&rest, "\n")) != NULL) {
        line[strcspn(line, "\r")] = '\0';
        read_header(request, line);
    }
    return true;
}

static const struct object *object_named(const char *bucket_and_key)
{
    size_t length = strlen(stub.bucket);
    if (strncmp(bucket_and_key, stub.bucket, length) != 0 || bucket_and_key[length] != '/') {
        return NULL;
    }
    for (size_t i = 0; i < stub.object_count; i++) {
        if (strcmp(stub.objects[i].key, bucket_and_key + length + 1) == 0) {
            return &stub.objects[i];
        }
    }
    return NULL;
}

static enum kind kind_of(const struct request *request)
{
    bool has_key = request->key[0] != '\0';
    bool is_part = has_parameter(request->query, "uploadId");
    if (strcmp(request->method, "GET") == 0) {
        return has_key ? GET : strcmp(request->path, stub.bucket) == 0 ? LIST_SOURCE : LIST_TARGET;
    }
    if (strcmp(request->method, "HEAD") == 0) {
        return HEAD;
    }
    if (strcmp(request->method, "DELETE") == 0 && is_part) {
        return UPLOAD_ABORT;
    }
    if (strcmp(request->method, "POST") == 0) {
        return request->path[0] == '\0' ? ASSUME_ROLE : is_part ? UPLOAD_END : has_key ? UPLOAD_BEGIN : REFUSED;
    }
    if (strcmp(request->method, "PUT") != 0 || !has_key) {
        return REFUSED;
    }
    if (request->copy_source != NULL) {
        return is_part ? COPY_PART : COPY;
    }
    return is_part ? PUT_PART : PUT;
}

/* --- what is answered --- */

struct text {
    char bytes[ANSWER_MAXIMUM];
    size_t len;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int written = vsnprintf(text->bytes + text->len, sizeof(text->bytes) - text->len, format, arguments);
    va_end(arguments);
    text->len += (size_t)written;
    if (text->len >= sizeof(text->bytes)) {
        errno = ENOBUFS;
        give_up("an answer");
    }
}

static const char xml_head[] = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";
#define XMLNS "xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""
#define ETAG "9bb58f26192e4ba00f01e2e7b136bbd8"

static int hex_digit(char digit)
{
    return digit <= '9' ? digit - '0' : (digit | 0x20) - 'a' + 10;
}

static void decode(char *text)
{
    char *to = text;
    for (const char *at = text; *at != '\0'; at++) {
        bool is_encoded = *at == '%' && at[1] != '\0' && at[2] != '\0';
        *to++ = is_encoded ? (char)(hex_digit(at[1]) * 16 + hex_digit(at[2])) : *at;
        at += is_encoded ? 2 : 0;
    }
    *to = '\0';
}

static void add_listing(struct text *body, const struct request *request, bool is_source)
{
    char prefix[1024];
    const char *at = strstr(request->query, "prefix=");
    (void)snprintf(prefix, sizeof(prefix), "%.*s", at != NULL ? (int)strcspn(at + 7, "&") : 0,
                   at != NULL ? at + 7 : "");
    decode(prefix);
    size_t count = 0;
    add(body, "%s<ListBucketResult " XMLNS "><Name>%s</Name><Prefix>%s</Prefix><MaxKeys>1000</MaxKeys>", xml_head,
        request->path, prefix);
    for (size_t i = 0; is_source && i < stub.object_count; i++) {
        const struct object *object = &stub.objects[i];
        if (strncmp(object->key, prefix, strlen(prefix)) == 0) {
            add(body,
                "<Contents><Key>%s</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;" ETAG
                "&quot;</ETag><Size>%lld</Size><StorageClass>STANDARD</StorageClass></Contents>",
                object->key, object->bytes);
            count++;
        }
    }
    add(body, "<KeyCount>%zu</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>", count);
}

/* Each role gets a secret of its own, so that clients have as many signing keys as in real life. */
static void add_credentials(struct text *body)
{
    char expiration[32];
    time_t later = time(NULL) + 3600;
    struct tm utc;
    (void)strftime(expiration, sizeof(expiration), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&later, &utc));
    add(body,
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>"
        "<AccessKeyId>ASIASTUB%012llu</AccessKeyId><SecretAccessKey>secret%034llu</SecretAccessKey><SessionToken>",
        stub.counts[ASSUME_ROLE], stub.counts[ASSUME_ROLE]);
    for (int i = 0; i < 12; i++) {
        add(body, "FwoGZXIvYXdzEBYaDHqa0AP%012llu", stub.counts[ASSUME_ROLE] + (unsigned long long)i);
    }
    add(body, "</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>",
        expiration);
}

struct answer {
    int status;
    long long fill;   /* bytes of the body behind the text */
    bool is_headless; /* HEAD: the length alone */
    long long first;  /* of a range; with status 206 */
    long long whole;
    struct text body;
};

static void refuse(struct answer *answer, int status, const char *code)
{
    answer->status = status;
    answer->body.len = 0;
    add(&answer->body, "%s<Error><Code>%s</Code><Message>by the stub</Message></Error>", xml_head, code);
}

static void answer_object(struct answer *answer, const struct request *request, enum kind kind)
{
    const struct object *object = object_named(request->path);
    if (object == NULL) {
        refuse(answer, 404, "NoSuchKey");
        answer->body.len = kind == HEAD ? 0 : answer->body.len;
        return;
    }
    answer->fill = object->bytes;
    if (request->range_first >= 0) {
        answer->status = 206;
        answer->first = request->range_first;
        answer->whole = object->bytes;
        answer->fill = request->range_last - request->range_first + 1;
    }
    answer->is_headless = kind == HEAD;
}

static void answer_copy(struct answer *answer, const struct request *request, const char *root)
{
    if (object_named(request->copy_source) == NULL) {
        refuse(answer, 404, "NoSuchKey");
        return;
    }
    add(&answer->body,
        "%s<%s " XMLNS "><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;" ETAG "&quot;</ETag></%s>",
        xml_head, root, root);
}

static void answer_fill(struct answer *answer, const struct request *request, enum kind kind)
{
    *answer = (struct answer){.status = 200};
    switch (kind) {
    case LIST_SOURCE:
    case LIST_TARGET:
        add_listing(&answer->body, request, kind == LIST_SOURCE);
        break;
    case COPY:
        answer_copy(answer, request, "CopyObjectResult");
        break;
    case COPY_PART:
        answer_copy(answer, request, "CopyPartResult");
        break;
    case HEAD:
    case GET:
        answer_object(answer, request, kind);
        break;
    case PUT:
    case PUT_PART:
        break;
    case UPLOAD_BEGIN:
        add(&answer->body,
            "%s<InitiateMultipartUploadResult " XMLNS "><Bucket>%s</Bucket><Key>%s</Key>"
            "<UploadId>stub</UploadId></InitiateMultipartUploadResult>",
            xml_head, request->path, request->key);
        break;
    case UPLOAD_END:
        add(&answer->body,
            "%s<CompleteMultipartUploadResult " XMLNS "><ETag>&quot;" ETAG "-2&quot;</ETag>"
            "</CompleteMultipartUploadResult>",
            xml_head);
        break;
    case UPLOAD_ABORT:
        answer->status = 204;
        break;
    case ASSUME_ROLE:
        add_credentials(&answer->body);
        break;
    case REFUSED:
    case KINDS:
        refuse(answer, 405, "MethodNotAllowed");
        break;
    }
}

/* Formatted once a second. */
static const char *date_now(void)
{
    static char date[40];
    static time_t formatted;
    time_t now = time(NULL);
    struct tm utc;
    if (now != formatted) {
        (void)strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", gmtime_r(&now, &utc));
        formatted = now;
    }
    return date;
}

static void prepare_answer(struct connection *connection, const struct answer *answer)
{
    static unsigned long long number;
    static struct text whole;
    whole.len = 0;
    long long length = (long long)answer->body.len + answer->fill;
    add(&whole,
        "HTTP/1.1 %d Stub\r\nx-amz-id-2: stub\r\nx-amz-request-id: STUB%012llu\r\nDate: %s\r\nETag: \"" ETAG "\"\r\n"
        "Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: application/xml\r\nServer: stub\r\n",
        answer->status, ++number, date_now());
    if (answer->status == 206) {
        add(&whole, "Content-Range: bytes %lld-%lld/%lld\r\n", answer->first, answer->first + answer->fill - 1,
            answer->whole);
    }
    if (answer->status != 204) {
        add(&whole, "Content-Length: %lld\r\n", length);
    }
    add(&whole, "\r\n");
    add(&whole, "%.*s", (int)answer->body.len, answer->body.bytes);
    connection->out = malloc(whole.len);
    if (connection->out == NULL) {
        give_up("memory");
    }
    memcpy(connection->out, whole.bytes, whole.len);
    connection->out_len = whole.len;
    connection->out_sent = 0;
    connection->fill_left = answer->is_headless ? 0 : answer->fill;
}

/* --- connections --- */

static void connection_close(struct connection *connection)
{
    (void)close(connection->fd);
    stub.open--;
    free(connection->out);
    connection->out = NULL;
    connection->fd = -1;
    if (!connection->is_waiting) {
        free(connection);
    }
}

static void connection_listen(const struct connection *connection, uint32_t events, int operation)
{
    struct epoll_event event = {.events = events, .data.ptr = (void *)(uintptr_t)connection};
    if (epoll_ctl(stub.epoll, operation, connection->fd, &event) != 0) {
        give_up("epoll_ctl");
    }
}

/* Sends what can be sent; false when the connection is gone. */
static bool connection_send(struct connection *connection)
{
    static const char fill[FILL];
    while (connection->out_sent < connection->out_len || connection->fill_left > 0) {
        bool is_text = connection->out_sent < connection->out_len;
        size_t left = is_text ? connection->out_len - connection->out_sent
                              : (size_t)(connection->fill_left < FILL ? connection->fill_left : FILL);
        ssize_t sent =
            send(connection->fd, is_text ? connection->out + connection->out_sent : fill, left, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            connection_listen(connection, EPOLLOUT, EPOLL_CTL_MOD);
            return true;
        }
        if (sent < 0) {
            connection_close(connection);
            return false;
        }
        stub.bytes_out += (unsigned long long)sent;
        connection->out_sent += is_text ? (size_t)sent : 0;
        connection->fill_left -= is_text ? 0 : sent;
    }
    free(connection->out);
    connection->out = NULL;
    return true;
}

static void connection_delay(struct connection *connection)
{
    connection->is_waiting = true;
    connection->due_ns = now_ns() + stub.delay_ns;
    connection->next_due = NULL;
    if (stub.first_due == NULL) {
        stub.first_due = connection;
    } else {
        stub.last_due->next_due = connection;
    }
    stub.last_due = connection;
}

/* Takes a request out of what has been read. False: more must come first. */
static bool connection_take(struct connection *connection)
{
    size_t skipped =
        connection->body_left < (long long)connection->in_len ? (size_t)connection->body_left : connection->in_len;
    connection->body_left -= (long long)skipped;
    connection->in_len -= skipped;
    memmove(connection->in, connection->in + skipped, connection->in_len);
    if (connection->body_left > 0) {
        return false;
    }
    if (connection->out != NULL) {
        return true; /* the body of the request that is being answered has come */
    }
    char *end = memmem(connection->in, connection->in_len, "\r\n\r\n", 4);
    if (end == NULL) {
        return false;
    }
    static struct answer answer;
    struct request request;
    size_t head_len = (size_t)(end + 4 - connection->in);
    *end = '\0';
    if (!read_head(connection->in, &request)) {
        errno = EPROTO;
        give_up("a request");
    }
    char whole_path[HEAD_MAXIMUM];
    (void)snprintf(whole_path, sizeof(whole_path), "%s", request.path);
    char *slash = strchr(request.path, '/');
    request.key = slash != NULL ? slash + 1 : request.path + strlen(request.path);
    if (slash != NULL) {
        *slash = '\0';
    }
    enum kind kind = kind_of(&request);
    request.path = kind == GET || kind == HEAD ? whole_path : request.path;
    stub.counts[kind]++;
    answer_fill(&answer, &request, kind);
    prepare_answer(connection, &answer);
    connection->body_left = request.content_length;
    connection->in_len -= head_len;
    memmove(connection->in, connection->in + head_len, connection->in_len);
    return connection_take(connection);
}

/* What is left of a body never leaves the kernel. */
static ssize_t receive(struct connection *connection)
{
    if (connection->body_left > 0) {
        size_t wanted = connection->body_left < BODY_AT_ONCE ? (size_t)connection->body_left : BODY_AT_ONCE;
        ssize_t dropped = recv(connection->fd, NULL, wanted, MSG_TRUNC);
        connection->body_left -= dropped > 0 ? dropped : 0;
        return dropped;
    }
    ssize_t got =
        recv(connection->fd, connection->in + connection->in_len, sizeof(connection->in) - connection->in_len, 0);
    connection->in_len += got > 0 ? (size_t)got : 0;
    return got;
}

static void connection_read(struct connection *connection)
{
    ssize_t got = receive(connection);
    if (got < 0 && errno == EAGAIN) {
        return;
    }
    if (got <= 0) {
        connection_close(connection);
        return;
    }
    stub.bytes_in += (unsigned long long)got;
    if (!connection_take(connection)) {
        if (connection->in_len == sizeof(connection->in)) {
            connection_close(connection);
        }
        return;
    }
    if (stub.delay_ns > 0) {
        connection_delay(connection);
    } else {
        (void)connection_send(connection);
    }
}

static void answer_due(void)
{
    int64_t now = now_ns();
    while (stub.first_due != NULL && stub.first_due->due_ns <= now) {
        struct connection *connection = stub.first_due;
        stub.first_due = connection->next_due;
        connection->is_waiting = false;
        if (connection->fd < 0) {
            free(connection);
        } else {
            (void)connection_send(connection);
        }
    }
}

static int wait_ms(void)
{
    if (stub.first_due == NULL) {
        return -1;
    }
    int64_t left_ns = stub.first_due->due_ns - now_ns();
    return left_ns > 0 ? (int)((left_ns + 999999) / 1000000) : 0;
}

static void accept_all(int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *connection = calloc(1, sizeof(*connection));
        if (connection == NULL) {
            give_up("memory");
        }
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        connection->fd = fd;
        connection_listen(connection, EPOLLIN, EPOLL_CTL_ADD);
        stub.connections++;
        stub.open++;
        stub.open_most = stub.open > stub.open_most ? stub.open : stub.open_most;
    }
}

static void on_event(const struct epoll_event *event)
{
    struct connection *connection = event->data.ptr;
    if ((event->events & EPOLLOUT) != 0) {
        if (connection_send(connection) && connection->out == NULL) {
            connection_listen(connection, EPOLLIN, EPOLL_CTL_MOD);
        }
    } else {
        connection_read(connection);
    }
}

static int open_listener(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) != 0 || listen(listener, 4096) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) != 0) {
        give_up("listen");
    }
    (void)printf("%d\n", ntohs(address.sin_port));
    (void)fflush(stdout);
    return listener;
}

static int open_signals(void)
{
    sigset_t signals;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGUSR1);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &signals, NULL);
    int fd = signalfd(-1, &signals, SFD_CLOEXEC);
    return fd >= 0 ? fd : (give_up("signalfd"), -1);
}

static void read_arguments(int count, char **words)
{
    for (int i = 2; i < count; i++) {
        char *bytes = strrchr(words[i], '=');
        if (strcmp(words[i], "--delay-ms") == 0 && i + 1 < count) {
            stub.delay_ns = strtoll(words[++i], NULL, 10) * 1000000;
        } else if (bytes != NULL && stub.object_count < OBJECTS_MAXIMUM) {
            *bytes = '\0';
            stub.objects[stub.object_count++] = (struct object){words[i], strtoll(bytes + 1, NULL, 10)};
        } else {
            errno = EINVAL;
            give_up(words[i]);
        }
    }
}

/* The listener and the signals are told from connections by their addresses. */
int main(int count, char **words)
{
    static int listener;
    static int signals;
    if (count < 2) {
        (void)fprintf(stderr, "usage: s3_stub BUCKET [--delay-ms N] [KEY=BYTES ...]\n");
        return 2;
    }
    stub.bucket = words[1];
    read_arguments(count, words);
    signals = open_signals();
    stub.epoll = epoll_create1(EPOLL_CLOEXEC);
    listener = open_listener();
    struct epoll_event accepting = {.events = EPOLLIN, .data.ptr = &listener};
    struct epoll_event signalling = {.events = EPOLLIN, .data.ptr = &signals};
    if (epoll_ctl(stub.epoll, EPOLL_CTL_ADD, listener, &accepting) != 0 ||
        epoll_ctl(stub.epoll, EPOLL_CTL_ADD, signals, &signalling) != 0) {
        give_up("epoll_ctl");
    }
    for (;;) {
        struct epoll_event events[EVENTS_MAXIMUM];
        int ready = epoll_wait(stub.epoll, events, EVENTS_MAXIMUM, wait_ms());
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr == &listener) {
                accept_all(listener);
            } else if (events[i].data.ptr == &signals) {
                struct signalfd_siginfo info;
                (void)!read(signals, &info, sizeof(info));
                print_counts();
                if (info.ssi_signo == SIGTERM) {
                    return 0;
                }
            } else {
                on_event(&events[i]);
            }
        }
        answer_due();
    }
}
