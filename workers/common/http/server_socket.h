/*
 * A listening TCP socket from a text such as "127.0.0.1:8080", "[::]:8080" or "localhost:0".
 */
#pragma once

#include "workers/common/base/error.h"

/* Port 0 takes any free one. ERROR_FATAL: the text is wrong; ERROR_RETRY: the port is taken, or not ours to take. The
 * caller closes the socket. */
bool server_socket_open(const char *address, int *ret_socket, unsigned *ret_port, struct error *err) MUST_CHECK;
