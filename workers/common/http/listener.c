#include "workers/common/http/listener.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/buffer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum { TICK_MS = 1000 };

struct listener {
    struct loop *loop;
    struct listener_settings settings;
    struct MHD_Daemon *daemon;
    struct loop_timer *tick;
    int descriptor;
    unsigned port;
    struct listener_request *suspended; /* those whose answer is still to come */
};

/* Lives from the first line of a request to its last byte; `answer` is set when it has been decided. */
struct listener_request {
    struct listener *listener;
    struct MHD_Connection *connection;
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

static void listener_run(void *context)
{
    struct listener *listener = context;
    (void)MHD_run(listener->daemon);
}

/* libmicrohttpd looks at its time-outs only when it runs. */
static void listener_tick(void *context)
{
    struct listener *listener = context;
    listener_run(listener);
    listener->tick = loop_after(listener->loop, TICK_MS, listener_tick, listener);
}

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
    enum MHD_Result result = MHD_queue_response(request->connection, request->status, request->response);
    MHD_destroy_response(request->response);
    request->response = NULL;
    return result;
}

static void request_answer_text(struct listener_request *request, unsigned status, const char *text)
{
    struct listener_answer answer = {.status = status, .content_type = "text/plain", .body = slice_of(text)};
    request_set_answer(request, &answer);
}

static struct listener_request *request_new(struct listener *listener, struct MHD_Connection *connection,
                                            const char *url, const char *method)
{
    struct listener_request *request = memory_zeroed(1, sizeof(*request));
    request->listener = listener;
    request->connection = connection;
    request->method = text_copy(method);
    request->path = text_copy(url);
    buffer_init(&request->body, listener->settings.body_maximum_bytes);
    return request;
}

static bool declares_too_much(const struct listener_request *request)
{
    const char *length = listener_header(request, "Content-Length");
    return length != NULL && strtoull(length, NULL, 10) > request->listener->settings.body_maximum_bytes;
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
    MHD_suspend_connection(request->connection);
}

static void request_resume(struct listener_request *request)
{
    *request->link = request->next;
    if (request->next != NULL) {
        request->next->link = request->link;
    }
    request->is_suspended = false;
    MHD_resume_connection(request->connection);
}

static enum MHD_Result on_access(void *context, struct MHD_Connection *connection, const char *url, const char *method,
                                 const char *version, const char *upload, size_t *upload_size, void **state)
{
    (void)version;
    struct listener *listener = context;
    struct listener_request *request = *state;
    if (request == NULL) {
        request = request_new(listener, connection, url, method);
        *state = request;
        if (declares_too_much(request)) {
            request_answer_text(request, MHD_HTTP_CONTENT_TOO_LARGE, "the body is too large\n");
            return request_queue_answer(request);
        }
        return MHD_YES;
    }
    if (*upload_size > 0) {
        buffer_append(&request->body, slice_from(upload, *upload_size));
        *upload_size = 0;
        return MHD_YES;
    }
    if (request->response == NULL && request->body.is_overflowed) {
        request_answer_text(request, MHD_HTTP_CONTENT_TOO_LARGE, "the body is too large\n");
    }
    if (request->response == NULL && !request->is_handed_over) {
        request->is_handed_over = true;
        listener->settings.on_request(listener->settings.context, request);
        if (request->response == NULL) {
            request_suspend(request);
            return MHD_YES;
        }
    }
    return request_queue_answer(request);
}

static void on_completed(void *context, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code)
{
    (void)context;
    (void)connection;
    (void)code;
    struct listener_request *request = *state;
    if (request == NULL) {
        return;
    }
    if (request->response != NULL) {
        MHD_destroy_response(request->response);
    }
    buffer_done(&request->body);
    free(request->method);
    free(request->path);
    free(request);
    *state = NULL;
}

/* "host:port" or "[host]:port". */
static bool address_resolve(const char *address, struct addrinfo **ret_found, struct error *err)
{
    const char *colon = strrchr(address, ':');
    if (colon == NULL || colon == address) {
        return error_set(err, ERROR_FATAL, "listen address \"%s\" must be host:port, such as 127.0.0.1:8080", address);
    }
    bool is_bracketed = address[0] == '[' && colon[-1] == ']';
    AUTO(text)
    char *host =
        slice_copy(slice_from(address + (is_bracketed ? 1 : 0), (size_t)(colon - address) - (is_bracketed ? 2 : 0)));
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    int code = getaddrinfo(host, colon + 1, &hints, ret_found);
    return code == 0 || error_set(err, ERROR_FATAL, "listen address \"%s\": %s", address, gai_strerror(code));
}

static void listener_free(struct listener *listener)
{
    listener_close(listener);
}
DEFINE_AUTO(listener, struct listener *);

bool listener_open(struct loop *loop, const struct listener_settings *settings, struct listener **ret_listener,
                   struct error *err)
{
    struct addrinfo *found = NULL;
    if (!address_resolve(settings->address, &found, err)) {
        return false;
    }
    AUTO(listener) struct listener *listener = memory_zeroed(1, sizeof(*listener));
    listener->loop = loop;
    listener->settings = *settings;
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_PEDANTIC_CHECKS |
                     // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): error_set always returns false.
                     (found->ai_family == AF_INET6 ? MHD_USE_IPv6 : 0U);
    listener->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, on_access, listener, MHD_OPTION_SOCK_ADDR, found->ai_addr, MHD_OPTION_CONNECTION_LIMIT,
        settings->connections_maximum, MHD_OPTION_CONNECTION_TIMEOUT, settings->idle_timeout_s,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, listener, MHD_OPTION_LISTENING_ADDRESS_REUSE, 1U, MHD_OPTION_END);
    freeaddrinfo(found);
    if (listener->daemon == NULL) {
        return error_set(err, ERROR_RETRY, "cannot listen on %s: %s", settings->address, strerror(errno));
    }
    listener->port = MHD_get_daemon_info(listener->daemon, MHD_DAEMON_INFO_BIND_PORT)->port;
    listener->descriptor = MHD_get_daemon_info(listener->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    loop_watch(loop, listener->descriptor, listener_run, listener);
    listener->tick = loop_after(loop, TICK_MS, listener_tick, listener);
    *ret_listener = TAKE(listener);
    return true;
}

void listener_close(struct listener *listener)
{
    if (listener == NULL) {
        return;
    }
    if (listener->daemon != NULL) {
        loop_timer_cancel(listener->loop, listener->tick);
        loop_unwatch(listener->loop, listener->descriptor);
        /* libmicrohttpd ends the process when it is stopped with a suspended connection. */
        while (listener->suspended != NULL) {
            request_resume(listener->suspended);
        }
        MHD_stop_daemon(listener->daemon);
    }
    free(listener);
}

unsigned listener_port(const struct listener *listener)
{
    return listener->port;
}

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
    return MHD_lookup_connection_value(request->connection, MHD_HEADER_KIND, name);
}

struct header_count {
    const char *name;
    size_t count;
};

static enum MHD_Result header_counted(void *context, enum MHD_ValueKind kind, const char *name, const char *value)
{
    (void)kind;
    (void)value;
    struct header_count *wanted = context;
    wanted->count += strcasecmp(wanted->name, name) == 0;
    return MHD_YES;
}

size_t listener_header_count(const struct listener_request *request, const char *name)
{
    struct header_count wanted = {name, 0};
    (void)MHD_get_connection_values(request->connection, MHD_HEADER_KIND, header_counted, &wanted);
    return wanted.count;
}

struct slice listener_body(const struct listener_request *request)
{
    return buffer_slice(&request->body);
}

void listener_answer(struct listener_request *request, const struct listener_answer *answer)
{
    request_set_answer(request, answer);
    if (request->is_suspended) {
        struct listener *listener = request->listener;
        request_resume(request);
        listener_run(listener);
    }
}
