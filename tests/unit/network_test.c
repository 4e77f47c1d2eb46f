#include "workers/common/base/network.h"

#include "tests/support/unit.h"

static struct address address_of(const char *text)
{
    struct address address;
    assert_true(address_parse(slice_of(text), &address));
    return address;
}

static void a_network_holds_its_addresses_and_no_others(void **state)
{
    (void)state;
    static const struct {
        const char *network;
        const char *address;
        bool is_inside;
    } rows[] = {
        {"10.0.0.0/8", "10.255.1.2", true},
        {"10.0.0.0/8", "11.0.0.0", false},
        {"192.0.2.7", "192.0.2.7", true},
        {"192.0.2.7", "192.0.2.6", false},
        {"192.0.2.128/25", "192.0.2.200", true},
        {"192.0.2.128/25", "192.0.2.127", false},
        {"0.0.0.0/0", "203.0.113.9", true},
        {"0.0.0.0/0", "2001:db8::1", false},
        {"2001:db8::/32", "2001:db8:ffff::1", true},
        {"2001:db8::/32", "2001:db9::1", false},
        {"::/0", "2001:db9::1", true},
        {"::1", "::1", true},
        {"10.0.0.0/8", "::ffff:10.1.2.3", true},
        {"::ffff:10.0.0.0/104", "10.1.2.3", true},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct error err;
        struct network network;
        if (!network_parse(rows[i].network, &network, &err)) {
            fail_msg("%s: %s", rows[i].network, err.text);
        }
        struct networks networks = {&network, 1};
        struct address address = address_of(rows[i].address);
        if (networks_contain(&networks, &address) != rows[i].is_inside) {
            fail_msg("%s in %s", rows[i].address, rows[i].network);
        }
    }
}

static void a_mistaken_network_is_refused_with_what_would_be_right(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *said;
    } rows[] = {
        {"", "such as 10.0.0.0/8"},
        {"example.org", "such as 10.0.0.0/8"},
        {"10.0.0.0/33", "from 0 to 32"},
        {"10.0.0.0/", "from 0 to 32"},
        {"10.0.0.0/-1", "from 0 to 32"},
        {"10.0.0.0/8 ", "from 0 to 32"},
        {"2001:db8::/129", "from 0 to 128"},
        {"10.1.2.3/8", "10.0.0.0/8 is meant?"},
        {"2001:db8::1/32", "2001:db8::/32 is meant?"},
        {"010.0.0.0/8", "such as 10.0.0.0/8"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct error err = {0};
        struct network network;
        assert_false(network_parse(rows[i].text, &network, &err));
        assert_int_equal(err.action, ERROR_FATAL);
        if (strstr(err.text, rows[i].said) == NULL) {
            fail_msg("%s: %s", rows[i].text, err.text);
        }
    }
}

static void the_client_is_the_last_address_that_no_proxy_of_ours_has(void **state)
{
    (void)state;
    static const char *const ours[] = {"10.0.0.0/8", "2001:db8::/32"};
    static const struct {
        const char *peer;
        const char *forwarded_for;
        const char *client; /* NULL: cannot be told */
    } rows[] = {
        {"203.0.113.9", "", "203.0.113.9"},
        {"203.0.113.9", "192.0.2.1", "203.0.113.9"},
        {"10.0.0.1", "192.0.2.1", "192.0.2.1"},
        {"10.0.0.1", "198.51.100.1, 192.0.2.1", "192.0.2.1"},
        {"10.0.0.1", "198.51.100.1, 192.0.2.1, 10.7.7.7", "192.0.2.1"},
        {"10.0.0.1", "192.0.2.1:4711", "192.0.2.1"},
        {"10.0.0.1", "[2001:db9::1]:4711", "2001:db9::1"},
        {"10.0.0.1", "2001:db9::1", "2001:db9::1"},
        {"2001:db8::5", "192.0.2.1", "192.0.2.1"},
        {"10.0.0.1", "", NULL},
        {"10.0.0.1", "10.0.0.2", NULL},
        {"10.0.0.1", "192.0.2.1, unknown", NULL},
        {"10.0.0.1", "192.0.2.1,", NULL},
        {"10.0.0.1", "192.0.2.1, [", NULL},
    };
    struct error err;
    struct networks proxies;
    assert_true(networks_parse(ours, 2, &proxies, &err));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char found[ADDRESS_TEXT_SIZE] = "";
        struct address peer = address_of(rows[i].peer);
        struct address client;
        if (address_behind_proxies(&proxies, &peer, slice_of(rows[i].forwarded_for), &client)) {
            address_format(&client, found);
        }
        assert_string_equal(found, rows[i].client != NULL ? rows[i].client : "");
    }
    networks_clear(&proxies);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_network_holds_its_addresses_and_no_others),
        cmocka_unit_test(a_mistaken_network_is_refused_with_what_would_be_right),
        cmocka_unit_test(the_client_is_the_last_address_that_no_proxy_of_ours_has),
    };
    return cmocka_run_group_tests_name("network", tests, NULL, NULL);
}
