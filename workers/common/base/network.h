/*
 * Addresses and networks of clients: IPv4 and IPv6, as they come from sockets, from headers that proxies write, and
 * from the configuration ("10.0.0.0/8", "2001:db8::/32", or a single address). An IPv4 address that comes dressed as
 * IPv6 (::ffff:192.0.2.1) is the same address.
 */
#pragma once

#include "workers/common/base/slice.h"

#include <stdbool.h>

/* In the form of IPv6, IPv4 as ::ffff:a.b.c.d. */
struct address {
    unsigned char bytes[16];
};

enum { ADDRESS_TEXT_SIZE = 46 };

bool address_parse(struct slice text, struct address *ret_address);
void address_format(const struct address *address, char ret_text[ADDRESS_TEXT_SIZE]);

struct sockaddr;
bool address_of_socket(const struct sockaddr *socket_address, struct address *ret_address);

struct network {
    struct address address;
    unsigned prefix_bits; /* of the 128 */
};

/* ERROR_FATAL says what would be right, also when the address has bits beyond the prefix. */
bool network_parse(const char *text, struct network *ret_network, struct error *err) MUST_CHECK;

struct networks {
    struct network *items;
    size_t count;
};

/* Reads a list of the configuration; the caller clears it, also after a failure. */
bool networks_parse(const char *const *texts, size_t count, struct networks *ret_networks,
                    struct error *err) MUST_CHECK;
bool networks_contain(const struct networks *networks, const struct address *address);
void networks_clear(struct networks *networks);

/* Who is really asking: peer, unless it is one of the proxies; then the right-most address of the X-Forwarded-For
 * lists (in the order of the lines) that is not a proxy's own. What stands further left was written by the client.
 * False when a proxy wrote something that is not an address, or nothing. */
bool address_behind_proxies(const struct networks *proxies, const struct address *peer, struct slice forwarded_for,
                            struct address *ret_client);
