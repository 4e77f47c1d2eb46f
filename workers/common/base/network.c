#include "workers/common/base/network.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdlib.h>

static const unsigned char ipv4_prefix[12] = {[10] = 0xff, [11] = 0xff};

enum { IPV4_OFFSET = 12, IPV4_BITS = 32, IPV6_BITS = 128 };

static void address_set_ipv4(struct address *address, const void *four_bytes)
{
    memcpy(address->bytes, ipv4_prefix, IPV4_OFFSET);
    memcpy(address->bytes + IPV4_OFFSET, four_bytes, 4);
}

static bool address_is_ipv4(const struct address *address)
{
    return memcmp(address->bytes, ipv4_prefix, IPV4_OFFSET) == 0;
}

bool address_parse(struct slice text, struct address *ret_address)
{
    char copy[ADDRESS_TEXT_SIZE];
    struct in_addr ipv4;
    if (text.len == 0 || text.len >= sizeof(copy) || memchr(text.ptr, '\0', text.len) != NULL) {
        return false;
    }
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    if (inet_pton(AF_INET, copy, &ipv4) == 1) {
        address_set_ipv4(ret_address, &ipv4);
        return true;
    }
    return inet_pton(AF_INET6, copy, ret_address->bytes) == 1;
}

void address_format(const struct address *address, char ret_text[ADDRESS_TEXT_SIZE])
{
    if (address_is_ipv4(address)) {
        (void)inet_ntop(AF_INET, address->bytes + IPV4_OFFSET, ret_text, ADDRESS_TEXT_SIZE);
    } else {
        (void)inet_ntop(AF_INET6, address->bytes, ret_text, ADDRESS_TEXT_SIZE);
    }
}

bool address_of_socket(const struct sockaddr *socket_address, struct address *ret_address)
{
    if (socket_address != NULL && socket_address->sa_family == AF_INET) {
        address_set_ipv4(ret_address, &((const struct sockaddr_in *)(const void *)socket_address)->sin_addr);
        return true;
    }
    if (socket_address != NULL && socket_address->sa_family == AF_INET6) {
        memcpy(ret_address->bytes, &((const struct sockaddr_in6 *)(const void *)socket_address)->sin6_addr,
               sizeof(ret_address->bytes));
        return true;
    }
    return false;
}

static void address_keep_prefix(struct address *address, unsigned prefix_bits)
{
    for (unsigned i = 0; i < sizeof(address->bytes); i++) {
        unsigned kept = prefix_bits > 8 * i ? prefix_bits - 8 * i : 0;
        address->bytes[i] &= kept >= 8 ? 0xff : (unsigned char)~(0xffU >> kept);
    }
}

/* Digits only: at most three of them, so that no number is too large for what reads it. */
static bool prefix_parse(const char *text, unsigned maximum, unsigned *ret_bits)
{
    size_t length = strlen(text);
    if (length == 0 || length > 3 || strspn(text, "0123456789") != length) {
        return false;
    }
    *ret_bits = (unsigned)strtoul(text, NULL, 10);
    return *ret_bits <= maximum;
}

bool network_parse(const char *text, struct network *ret_network, struct error *err)
{
    const char *slash = strchr(text, '/');
    struct slice address = slash != NULL ? slice_from(text, (size_t)(slash - text)) : slice_of(text);
    if (!address_parse(address, &ret_network->address)) {
        return error_set(err, ERROR_FATAL, "\"%.60s\" is no network: such as 10.0.0.0/8, 2001:db8::/32 or 192.0.2.7",
                         text);
    }
    bool is_ipv4 = memchr(address.ptr, ':', address.len) == NULL;
    unsigned maximum = is_ipv4 ? IPV4_BITS : IPV6_BITS;
    unsigned bits = maximum;
    if (slash != NULL && !prefix_parse(slash + 1, maximum, &bits)) {
        return error_set(err, ERROR_FATAL, "\"%.60s\": behind the slash belongs a number from 0 to %u", text, maximum);
    }
    ret_network->prefix_bits = bits + (is_ipv4 ? IPV6_BITS - IPV4_BITS : 0);
    struct address kept = ret_network->address;
    address_keep_prefix(&kept, ret_network->prefix_bits);
    if (memcmp(&kept, &ret_network->address, sizeof(kept)) != 0) {
        char right[ADDRESS_TEXT_SIZE];
        address_format(&kept, right);
        return error_set(err, ERROR_FATAL, "\"%.60s\" has bits beyond its prefix: %s/%u is meant?", text, right, bits);
    }
    return true;
}

bool networks_parse(const char *const *texts, size_t count, struct networks *ret_networks, struct error *err)
{
    *ret_networks = (struct networks){memory_zeroed(count, sizeof(struct network)), 0};
    for (size_t i = 0; i < count; i++) {
        if (!network_parse(texts[i], &ret_networks->items[i], err)) {
            return false;
        }
        ret_networks->count++;
    }
    return true;
}

bool networks_contain(const struct networks *networks, const struct address *address)
{
    for (size_t i = 0; i < networks->count; i++) {
        struct address kept = *address;
        address_keep_prefix(&kept, networks->items[i].prefix_bits);
        if (memcmp(&kept, &networks->items[i].address, sizeof(kept)) == 0) {
            return true;
        }
    }
    return false;
}

void networks_clear(struct networks *networks)
{
    free(networks->items);
    *networks = (struct networks){0};
}

/* Some proxies add the port: "192.0.2.7:4711", "[2001:db8::1]:4711". */
static struct slice without_port(struct slice text)
{
    if (text.len > 2 && text.ptr[0] == '[') {
        const char *end = memchr(text.ptr, ']', text.len);
        return end != NULL ? slice_from(text.ptr + 1, (size_t)(end - text.ptr - 1)) : text;
    }
    const char *colon = text.len > 0 ? memchr(text.ptr, ':', text.len) : NULL;
    bool is_only = colon != NULL && memchr(colon + 1, ':', text.len - (size_t)(colon + 1 - text.ptr)) == NULL;
    return is_only ? slice_from(text.ptr, (size_t)(colon - text.ptr)) : text;
}

static struct slice last_item(struct slice *rest)
{
    size_t start = rest->len;
    while (start > 0 && rest->ptr[start - 1] != ',') {
        start--;
    }
    struct slice item = slice_trim(slice_from(rest->ptr + start, rest->len - start));
    rest->len = start > 0 ? start - 1 : 0;
    return item;
}

bool address_behind_proxies(const struct networks *proxies, const struct address *peer, struct slice forwarded_for,
                            struct address *ret_client)
{
    *ret_client = *peer;
    while (networks_contain(proxies, ret_client)) {
        if (forwarded_for.len == 0 || !address_parse(without_port(last_item(&forwarded_for)), ret_client)) {
            return false;
        }
    }
    return true;
}
