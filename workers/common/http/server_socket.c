#include "workers/common/http/server_socket.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/slice.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>

enum { BACKLOG = 1024 };

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

static unsigned socket_port(int descriptor)
{
    struct sockaddr_storage bound;
    socklen_t size = sizeof(bound);
    if (getsockname(descriptor, (struct sockaddr *)&bound, &size) != 0) {
        return 0;
    }
    return bound.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)&bound)->sin6_port)
                                       : ntohs(((struct sockaddr_in *)&bound)->sin_port);
}

bool server_socket_open(const char *address, int *ret_socket, unsigned *ret_port, struct error *err)
{
    struct addrinfo *found = NULL;
    if (!address_resolve(address, &found, err) || found == NULL) {
        return false;
    }
    static const int on = 1;
    AUTO(descriptor)
    int descriptor = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool is_open = descriptor >= 0 && setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
                   bind(descriptor, found->ai_addr, found->ai_addrlen) == 0 && listen(descriptor, BACKLOG) == 0;
    int code = errno;
    freeaddrinfo(found);
    if (!is_open) {
        return error_set(err, ERROR_RETRY, "cannot listen on %s: %s", address, strerror(code));
    }
    *ret_port = socket_port(descriptor);
    *ret_socket = descriptor;
    descriptor = -1;
    return true;
}
