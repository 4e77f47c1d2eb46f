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
    union {
        struct sockaddr any;
        struct sockaddr_in ipv4;
        struct sockaddr_in6 ipv6;
    } bound = {.any.sa_family = AF_UNSPEC};
    socklen_t size = sizeof(bound);
    if (getsockname(descriptor, &bound.any, &size) != 0) {
        return 0;
    }
    return bound.any.sa_family == AF_INET6 ? ntohs(bound.ipv6.sin6_port) : ntohs(bound.ipv4.sin_port);
}

/* -1 and errno when it cannot be. */
static int socket_listening(const struct addrinfo *address)
{
    static const int on = 1;
    int descriptor = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (descriptor < 0 ||
        (setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
         bind(descriptor, address->ai_addr, address->ai_addrlen) == 0 && listen(descriptor, BACKLOG) == 0)) {
        return descriptor;
    }
    int code = errno;
    close(descriptor);
    errno = code;
    return -1;
}

bool server_socket_open(const char *address, int *ret_socket, unsigned *ret_port, struct error *err)
{
    struct addrinfo *found = NULL;
    if (!address_resolve(address, &found, err) || found == NULL) {
        return false;
    }
    int descriptor = socket_listening(found);
    int code = errno;
    freeaddrinfo(found);
    if (descriptor < 0) {
        return error_set(err, ERROR_RETRY, "cannot listen on %s: %s", address, strerror(code));
    }
    *ret_port = socket_port(descriptor);
    *ret_socket = descriptor;
    return true;
}
