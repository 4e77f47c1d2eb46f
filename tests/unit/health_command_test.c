#include "workers/common/http/health_command.h"

#include "tests/support/unit.h"

static void the_url_leads_to_this_machine(void **state)
{
    (void)state;
    static const struct {
        const char *address;
        const char *url;
    } cases[] = {
        {"127.0.0.1:9090", "http://127.0.0.1:9090/healthz"}, {"0.0.0.0:9090", "http://127.0.0.1:9090/healthz"},
        {"[::]:9090", "http://[::1]:9090/healthz"},          {":::9090", "http://[::1]:9090/healthz"},
        {"[::1]:9090", "http://[::1]:9090/healthz"},         {"localhost:80", "http://localhost:80/healthz"},
        {"10.1.2.3:9090", "http://10.1.2.3:9090/healthz"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        AUTO(text) char *url = NULL;
        struct error err;
        assert_true(health_url(cases[i].address, "/healthz", &url, &err));
        assert_string_equal(url, cases[i].url);
    }
}

static void an_address_without_a_fixed_port_is_refused_in_words(void **state)
{
    (void)state;
    static const char *const addresses[] = {"", "127.0.0.1:0", "0.0.0.0:00", "127.0.0.1:", "localhost"};
    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        AUTO(text) char *url = NULL;
        struct error err;
        assert_false(health_url(addresses[i], "/healthz", &url, &err));
        assert_int_equal(err.action, ERROR_FATAL);
        assert_non_null(strstr(err.text, "give the role a fixed one, such as 127.0.0.1:9090"));
        assert_null(url);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_url_leads_to_this_machine),
        cmocka_unit_test(an_address_without_a_fixed_port_is_refused_in_words),
    };
    return cmocka_run_group_tests_name("health_command", tests, NULL, NULL);
}
