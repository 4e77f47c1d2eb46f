/*
 * The yardstick of the producer: libmicrohttpd alone, which reads a request and answers 200. Prints its port.
 */
#include <microhttpd.h>
#include <poll.h>
#include <stdio.h>

static enum MHD_Result on_access(void *context, struct MHD_Connection *connection, const char *url, const char *method,
                                 const char *version, const char *upload, size_t *upload_size, void **state)
{
    (void)context;
    (void)url;
    (void)method;
    (void)version;
    (void)upload;
    static int begun;
    if (*state == NULL) {
        *state = &begun;
        return MHD_YES;
    }
    if (*upload_size > 0) {
        *upload_size = 0;
        return MHD_YES;
    }
    struct MHD_Response *response = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    enum MHD_Result result = MHD_queue_response(connection, MHD_HTTP_OK, response);
    MHD_destroy_response(response);
    return result;
}

int main(void)
{
    struct MHD_Daemon *daemon =
        MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, on_access, NULL, MHD_OPTION_CONNECTION_LIMIT, 4096U,
                         MHD_OPTION_LISTEN_BACKLOG_SIZE, 1024U, MHD_OPTION_END);
    if (daemon == NULL) {
        return 1;
    }
    (void)printf("%u\n", MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_BIND_PORT)->port);
    (void)fflush(stdout);
    struct pollfd polled = {.fd = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd, .events = POLLIN};
    for (;;) {
        MHD_UNSIGNED_LONG_LONG timeout_ms = 1000;
        (void)MHD_get_timeout(daemon, &timeout_ms);
        (void)poll(&polled, 1, (int)timeout_ms);
        (void)MHD_run(daemon);
    }
}
