#include "workers/common/http/listener.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/buffer.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/file.h"
#include "workers/common/http/server_socket.h"

#include <fcntl.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>

enum {
    TICK_MS = 1000,
    /* What libmicrohttpd may hold beyond our own maximum, while those that are sent away say good-bye. */
    LEAVING_MAXIMUM = 64,
    HEADERS_MAXIMUM = 100,
    /* Of one client's bytes before the others have their turn. */
    ROUNDS_MAXIMUM = 16,
    MEMORY_INCREMENT_BYTES = 4096,
    PEM_MAXIMUM_BYTES = 256 * 1024,
    REFUSAL_TEXT_SIZE = 200,
};

static const char tls_versions[] = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2";

/* One server of libmicrohttpd. A new certificate needs a new one, on the same socket; the old one ends when its last
 * connection has. */
struct server {
    struct listener *listener;
    struct MHD_Daemon *daemon;
    int descriptor;
    size_t connection_count;
    bool is_retiring;
    struct loop_timer *again;
    struct server *next;
};

/* In the list of those that keep us waiting, the longest first, while it is the client's turn. */
struct connection {
    struct server *server;
    int descriptor;
    struct address peer;
    int64_t deadline_ms;
    bool is_awaited;
    bool is_ending; /* nothing more is to be expected of it, and nothing to be told */
    struct connection *earlier;
    struct connection *later;
};

struct listener {
    struct loop *loop;
    struct listener_settings settings;
    char *certificate_file;
    char *key_file;
    int socket;
    unsigned port;
    struct server *servers; /* the present one first */
    struct loop_timer *tick;
    struct connection *first_awaited;
    struct connection *last_awaited;
    size_t connection_count;
    size_t told_count; /* refusals that are told already, and whose connections libmicrohttpd is going to close */
    struct listener_request *suspended; /* those whose answer is still to come */
};

static void server_again(void *context);

/* Lives from the first line of a request to its last byte; `response` is set when it has been decided. */
struct listener_request {
    struct listener *listener;
    struct MHD_Connection *mhd;
    struct connection *connection;
    char *method;
    char *path;
    struct buffer body;
    bool is_suspended;
    struct listener_request *next; /* of the suspended ones */
    struct listener_request **link;
    bool is_handed_over;
    struct MHD_Response *response;
    unsigned status;
};

static void listener_refused(const struct listener *listener, unsigned status, const char *reason,
                             const struct address *client)
{
    if (listener->settings.on_refused != NULL) {
        listener->settings.on_refused(listener->settings.context, status, reason, client);
    }
}

/* --- connections --- */

static void connection_no_longer_awaited(struct connection *connection)
{
    struct listener *listener = connection->server->listener;
    if (!connection->is_awaited) {
        return;
    }
    *(connection->earlier != NULL ? &connection->earlier->later : &listener->first_awaited) = connection->later;
    *(connection->later != NULL ? &connection->later->earlier : &listener->last_awaited) = connection->earlier;
    connection->is_awaited = false;
}

/* All have the same time-out, so the list stays in the order of the deadlines. */
static void connection_awaited(struct connection *connection)
{
    struct listener *listener = connection->server->listener;
    connection_no_longer_awaited(connection);
    connection->deadline_ms = clock_monotonic_ms() + 1000LL * listener->settings.timeout_s;
    connection->earlier = listener->last_awaited;
    connection->later = NULL;
    *(listener->last_awaited != NULL ? &listener->last_awaited->later : &listener->first_awaited) = connection;
    listener->last_awaited = connection;
    connection->is_awaited = true;
}

/* libmicrohttpd notices that the socket has ended, and lets go of the connection. */
static void connection_cut(struct connection *connection, const char *reason)
{
    listener_refused(connection->server->listener, 0, reason, &connection->peer);
    connection_no_longer_awaited(connection);
    connection->is_ending = true;
    (void)shutdown(connection->descriptor, SHUT_RDWR);
}

/* What was closed from our side without a word was no HTTP at all, or a handshake that failed. */
static void connection_closed(struct connection *connection)
{
    struct listener *listener = connection->server->listener;
    char byte;
    bool is_closed_by_client = recv(connection->descriptor, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
    if (!connection->is_ending && !is_closed_by_client && listener->told_count > 0) {
        listener->told_count--;
    } else if (!connection->is_ending && !is_closed_by_client) {
        listener_refused(listener, 0, "not a request as HTTP/1 has it, or not TLS", &connection->peer);
    }
    connection_no_longer_awaited(connection);
    connection->server->connection_count--;
    listener->connection_count--;
    free(connection);
}

static void on_connection(void *context, struct MHD_Connection *mhd, void **state,
                          enum MHD_ConnectionNotificationCode code)
{
    struct server *server = context;
    struct listener *listener = server->listener;
    struct connection *connection = *state;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        connection_closed(connection);
        *state = NULL;
        return;
    }
    connection = memory_zeroed(1, sizeof(*connection));
    connection->server = server;
    connection->descriptor = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
    (void)address_of_socket(MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS)->client_addr,
                            &connection->peer);
    *state = connection;
    server->connection_count++;
    listener->connection_count++;
    if (listener->connection_count > listener->settings.connections_maximum && listener->first_awaited != NULL) {
        connection_cut(listener->first_awaited, "too many connections: the one that waited longest was closed");
    }
    connection_awaited(connection);
}

static void connections_cut_late(struct listener *listener)
{
    int64_t now_ms = clock_monotonic_ms();
    while (listener->first_awaited != NULL && listener->first_awaited->deadline_ms <= now_ms) {
        connection_cut(listener->first_awaited, "no whole request within the time-out");
    }
}

/* --- requests --- */

static void request_set_answer(struct listener_request *request, const struct listener_answer *answer)
{
    request->response =
        MHD_create_response_from_buffer(answer->body.len, (void *)(uintptr_t)answer->body.ptr, MHD_RESPMEM_MUST_COPY);
    if (request->response == NULL) {
        error_out_of_memory();
    }
    request->status = answer->status;
    if (answer->content_type != NULL) {
        (void)MHD_add_response_header(request->response, "Content-Type", answer->content_type);
    }
    if (answer->allow != NULL) {
        (void)MHD_add_response_header(request->response, "Allow", answer->allow);
    }
    if (answer->retry_after_s > 0) {
        char seconds[16];
        (void)snprintf(seconds, sizeof(seconds), "%u", answer->retry_after_s);
        (void)MHD_add_response_header(request->response, "Retry-After", seconds);
    }
}

static enum MHD_Result request_queue_answer(struct listener_request *request)
{
    if (request->connection->server->is_retiring) {
        request->connection->is_ending = true;
        (void)MHD_add_response_header(request->response, "Connection", "close");
    }
    connection_awaited(request->connection);
    enum MHD_Result result = MHD_queue_response(request->mhd, request->status, request->response);
    MHD_destroy_response(request->response);
    request->response = NULL;
    return result;
}

/* Closes the connection, since what may still come on it is not worth reading. */
static enum MHD_Result request_refuse(struct listener_request *request, unsigned status, const char *text)
{
    AUTO(text) char *line = text_format("%s\n", text);
    struct listener_answer answer = {.status = status, .content_type = "text/plain", .body = slice_of(line)};
    listener_refused(request->listener, status, text, &request->connection->peer);
    request_set_answer(request, &answer);
    request->connection->is_ending = true;
    (void)MHD_add_response_header(request->response, "Connection", "close");
    return request_queue_answer(request);
}

static struct listener_request *request_new(struct listener *listener, struct MHD_Connection *mhd, const char *path,
                                            const char *method)
{
    struct listener_request *request = memory_zeroed(1, sizeof(*request));
    request->listener = listener;
    request->mhd = mhd;
    request->connection = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
    request->method = text_copy(method);
    request->path = text_copy(path);
    buffer_init(&request->body, listener->settings.body_maximum_bytes);
    return request;
}

static void request_suspend(struct listener_request *request)
{
    struct listener *listener = request->listener;
    request->is_suspended = true;
    request->next = listener->suspended;
    request->link = &listener->suspended;
    if (request->next != NULL) {
        request->next->link = &request->next;
    }
    listener->suspended = request;
    MHD_suspend_connection(request->mhd);
}

static void request_resume(struct listener_request *request)
{
    *request->link = request->next;
    if (request->next != NULL) {
        request->next->link = request->link;
    }
    request->is_suspended = false;
    MHD_resume_connection(request->mhd);
}

/* The head has come. Two readings of where the body ends (RFC 9112 6.3) are how requests are smuggled past proxies. */
static enum MHD_Result request_begun(struct listener_request *request, const char *version)
{
    const char *length = listener_header(request, "Content-Length");
    const char *connection = listener_header(request, "Connection");
    request->connection->is_ending =
        strcmp(version, MHD_HTTP_VERSION_1_1) != 0 || (connection != NULL && strcasecmp(connection, "close") == 0);
    connection_awaited(request->connection);
    if (listener_header_count(request, "Content-Length") + listener_header_count(request, "Transfer-Encoding") > 1) {
        return request_refuse(request, MHD_HTTP_BAD_REQUEST, "the length of the body is said more than once");
    }
    if (length != NULL && strtoull(length, NULL, 10) > request->listener->settings.body_maximum_bytes) {
        return request_refuse(request, MHD_HTTP_CONTENT_TOO_LARGE, "the body is too large");
    }
    if (MHD_get_connection_values(request->mhd, MHD_HEADER_KIND, NULL, NULL) > HEADERS_MAXIMUM) {
        return request_refuse(request, MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE, "too many headers");
    }
    return MHD_YES;
}

static enum MHD_Result request_complete(struct listener_request *request)
{
    struct listener *listener = request->listener;
    if (!request->is_handed_over && request->body.is_overflowed) {
        request->is_handed_over = true;
        return request_refuse(request, MHD_HTTP_CONTENT_TOO_LARGE, "the body is too large");
    }
    if (!request->is_handed_over) {
        request->is_handed_over = true;
        connection_no_longer_awaited(request->connection);
        listener->settings.on_request(listener->settings.context, request);
    }
    if (request->response == NULL) {
        request_suspend(request);
        return MHD_YES;
    }
    return request_queue_answer(request);
}

static enum MHD_Result on_access(void *context, struct MHD_Connection *mhd, const char *url, const char *method,
                                 const char *version, const char *upload, size_t *upload_size, void **state)
{
    struct server *server = context;
    struct listener_request *request = *state;
    if (request == NULL) {
        request = request_new(server->listener, mhd, url, method);
        *state = request;
        return request_begun(request, version);
    }
    if (*upload_size > 0) {
        buffer_append(&request->body, slice_from(upload, *upload_size));
        *upload_size = 0;
        return MHD_YES;
    }
    return request_complete(request);
}

static void on_completed(void *context, struct MHD_Connection *mhd, void **state, enum MHD_RequestTerminationCode code)
{
    (void)context;
    (void)mhd;
    (void)code;
    struct listener_request *request = *state;
    if (request == NULL) {
        return;
    }
    connection_awaited(request->connection);
    if (request->response != NULL) {
        MHD_destroy_response(request->response);
    }
    buffer_done(&request->body);
    free(request->method);
    free(request->path);
    free(request);
    *state = NULL;
}

/* Paths are compared as they are sent: an escaped NUL must not end one early. */
static size_t on_unescape(void *context, struct MHD_Connection *mhd, char *text)
{
    (void)context;
    (void)mhd;
    return strlen(text);
}

/* What libmicrohttpd answers by itself it tells in its log alone. */
static void on_log(void *context, const char *format, va_list arguments)
{
    static const char marker[] = "HTTP response code is ";
    const struct server *server = context;
    char text[REFUSAL_TEXT_SIZE];
    // NOLINTNEXTLINE(clang-diagnostic-format-nonliteral): the format is libmicrohttpd's own.
    (void)vsnprintf(text, sizeof(text), format, arguments);
    const char *status = strstr(text, marker);
    if (status != NULL) {
        unsigned code = (unsigned)strtoul(status + strlen(marker), NULL, 10);
        server->listener->told_count++;
        listener_refused(server->listener, code, "not a request as HTTP/1 has it", NULL);
    }
}

/* --- the server --- */

/* Its descriptor tells of news alone: what libmicrohttpd has left lying, a body larger than one reading say, it wants
 * to be asked about again. */
static void server_run(void *context)
{
    struct server *server = context;
    MHD_UNSIGNED_LONG_LONG wait_ms = 0;
    (void)MHD_run(server->daemon);
    for (int i = 0; i < ROUNDS_MAXIMUM; i++) {
        if (MHD_get_timeout(server->daemon, &wait_ms) != MHD_YES || wait_ms > 0) {
            return;
        }
        (void)MHD_run(server->daemon);
    }
    if (server->again == NULL) {
        server->again = loop_after(server->listener->loop, 0, server_again, server);
    }
}

static void server_again(void *context)
{
    struct server *server = context;
    server->again = NULL;
    server_run(server);
}

static bool pem_read(const char *path, struct buffer *pem, struct error *err)
{
    return file_read(path, pem, err) || error_prefix(err, "%s", path);
}

/* strerror after MHD_start_daemon may tell of something else entirely; a wrong certificate is by far the likeliest. */
static bool server_start(struct server *server, const char *certificate, const char *key, struct error *err)
{
    struct listener *listener = server->listener;
    const struct listener_settings *settings = &listener->settings;
    const struct MHD_OptionItem tls[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)certificate},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)key},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)tls_versions},
        {MHD_OPTION_END, 0, NULL},
    };
    /* libmicrohttpd closes the socket it is given, also when it does not start: it gets one of its own. */
    int own_socket = fcntl(listener->socket, F_DUPFD_CLOEXEC, 0);
    const struct MHD_OptionItem none[] = {{MHD_OPTION_END, 0, NULL}};
    unsigned flags =
        MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG | (certificate != NULL ? MHD_USE_TLS : 0U);
    server->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_access, server, MHD_OPTION_EXTERNAL_LOGGER, on_log, server, MHD_OPTION_LISTEN_SOCKET,
        own_socket, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_CONNECTION_MEMORY_LIMIT, settings->head_maximum_bytes,
        MHD_OPTION_CONNECTION_LIMIT, settings->connections_maximum + LEAVING_MAXIMUM,
        MHD_OPTION_CONNECTION_MEMORY_INCREMENT, (size_t)MEMORY_INCREMENT_BYTES, MHD_OPTION_CONNECTION_TIMEOUT,
        settings->timeout_s, MHD_OPTION_NOTIFY_COMPLETED, on_completed, server, MHD_OPTION_NOTIFY_CONNECTION,
        on_connection, server, MHD_OPTION_UNESCAPE_CALLBACK, on_unescape, server, MHD_OPTION_ARRAY,
        certificate != NULL ? tls : none, MHD_OPTION_END);
    if (server->daemon == NULL) {
        return error_set(err, ERROR_FATAL, "%s",
                         certificate != NULL ? "the certificate and the key are not PEM, or do not belong together"
                                             : "libmicrohttpd does not start");
    }
    server->descriptor = MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    loop_watch(listener->loop, server->descriptor, server_run, server);
    return true;
}

static bool server_add(struct listener *listener, struct error *err)
{
    AUTO(buffer) struct buffer certificate;
    AUTO(buffer) struct buffer key;
    buffer_init(&certificate, PEM_MAXIMUM_BYTES);
    buffer_init(&key, PEM_MAXIMUM_BYTES);
    bool is_tls = listener->certificate_file != NULL;
    if (is_tls &&
        (!pem_read(listener->certificate_file, &certificate, err) || !pem_read(listener->key_file, &key, err))) {
        return false;
    }
    struct server *server = memory_zeroed(1, sizeof(*server));
    server->listener = listener;
    bool is_started = server_start(server, is_tls ? certificate.ptr : NULL, is_tls ? key.ptr : NULL, err);
    explicit_bzero(key.ptr, key.len);
    if (!is_started) {
        free(server);
        return false;
    }
    server->next = listener->servers;
    listener->servers = server;
    return true;
}

/* libmicrohttpd ends the process when it is stopped with a suspended connection: there must be none. */
static void server_stop(struct server *server)
{
    loop_unwatch(server->listener->loop, server->descriptor);
    loop_timer_cancel(server->listener->loop, server->again);
    MHD_stop_daemon(server->daemon);
    free(server);
}

/* libmicrohttpd looks at its time-outs only when it runs. */
static void listener_tick(void *context)
{
    struct listener *listener = context;
    connections_cut_late(listener);
    for (struct server **link = &listener->servers; *link != NULL;) {
        struct server *server = *link;
        server_run(server);
        if (server->is_retiring && server->connection_count == 0) {
            *link = server->next;
            server_stop(server);
        } else {
            link = &server->next;
        }
    }
    listener->tick = loop_after(listener->loop, TICK_MS, listener_tick, listener);
}

static void listener_free(struct listener *listener)
{
    listener_close(listener);
}
DEFINE_AUTO(listener, struct listener *);

bool listener_open(struct loop *loop, const struct listener_settings *settings, struct listener **ret_listener,
                   struct error *err)
{
    AUTO(listener) struct listener *listener = memory_zeroed(1, sizeof(*listener));
    listener->loop = loop;
    listener->settings = *settings;
    listener->certificate_file = text_copy_or_null(settings->tls_certificate_file);
    listener->key_file = text_copy_or_null(settings->tls_key_file);
    if (!server_socket_open(settings->address, &listener->socket, &listener->port, err) || !server_add(listener, err)) {
        return false;
    }
    listener->tick = loop_after(loop, TICK_MS, listener_tick, listener);
    *ret_listener = TAKE(listener);
    return true;
}

bool listener_reload(struct listener *listener, struct error *err)
{
    struct server *old = listener->servers;
    if (listener->certificate_file == NULL) {
        return true;
    }
    if (!server_add(listener, err)) {
        return false;
    }
    close(MHD_quiesce_daemon(old->daemon));
    old->is_retiring = true;
    return true;
}

void listener_close(struct listener *listener)
{
    if (listener == NULL) {
        return;
    }
    loop_timer_cancel(listener->loop, listener->tick);
    while (listener->suspended != NULL) {
        request_resume(listener->suspended);
    }
    while (listener->servers != NULL) {
        struct server *server = listener->servers;
        listener->servers = server->next;
        server_stop(server);
    }
    if (listener->socket > 0) {
        close(listener->socket);
    }
    free(listener->certificate_file);
    free(listener->key_file);
    free(listener);
}

unsigned listener_port(const struct listener *listener)
{
    return listener->port;
}

/* --- what a request says --- */

const char *listener_method(const struct listener_request *request)
{
    return request->method;
}

const char *listener_path(const struct listener_request *request)
{
    return request->path;
}

const char *listener_header(const struct listener_request *request, const char *name)
{
    return MHD_lookup_connection_value(request->mhd, MHD_HEADER_KIND, name);
}

/* The values of one header, in the order of their lines. */
struct header_values {
    const char *name;
    size_t count;
    struct buffer *joined; /* NULL: only counted */
};

static enum MHD_Result header_visit(void *context, enum MHD_ValueKind kind, const char *name, const char *value)
{
    (void)kind;
    struct header_values *values = context;
    if (strcasecmp(name, values->name) == 0) {
        if (values->joined != NULL) {
            buffer_append_text(values->joined, values->count > 0 ? "," : "");
            buffer_append_text(values->joined, value != NULL ? value : "");
        }
        values->count++;
    }
    return MHD_YES;
}

size_t listener_header_count(const struct listener_request *request, const char *name)
{
    struct header_values values = {.name = name};
    (void)MHD_get_connection_values(request->mhd, MHD_HEADER_KIND, header_visit, &values);
    return values.count;
}

void listener_header_join(const struct listener_request *request, const char *name, struct buffer *joined)
{
    struct header_values values = {.name = name, .joined = joined};
    (void)MHD_get_connection_values(request->mhd, MHD_HEADER_KIND, header_visit, &values);
}

struct slice listener_body(const struct listener_request *request)
{
    return buffer_slice(&request->body);
}

const struct address *listener_peer(const struct listener_request *request)
{
    return &request->connection->peer;
}

void listener_answer(struct listener_request *request, const struct listener_answer *answer)
{
    request_set_answer(request, answer);
    if (request->is_suspended) {
        struct server *server = request->connection->server;
        request_resume(request);
        server_run(server);
    }
}
