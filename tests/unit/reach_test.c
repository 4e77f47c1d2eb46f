#include "workers/common/kafka/reach.h"

#include "tests/support/unit.h"
#include "workers/common/base/auto.h"

#include <string.h>

#define THREAD "[thrd:sasl_ssl://broker-1:9093/bootstrap]: "
#define PLACE "sasl_ssl://broker-1:9093/bootstrap: "
#define LOGIN PLACE "SASL authentication error: Authentication failed: Invalid username or password"

enum { DEBIAN_12 = 0x020002ff, MENDED = 0x020601ff };

/* Lines as librdkafka 2.0.2 wrote them. */
static void lines_are_explained(void **state)
{
    static const struct {
        const char *line;
        const char *verification;
        struct reach_setup setup;
        enum reach_kind kind;
        const char *said;
        const char *unsaid;
    } table[] = {
        {THREAD LOGIN " (after 302ms in state AUTH_REQ)",
         "",
         {"PLAIN", DEBIAN_12},
         REACH_REFUSED,
         LOGIN "; are kafka.sasl_user",
         "2.6.1"},
        {THREAD LOGIN " (after 301ms in state AUTH_REQ, 1 identical error(s) suppressed)",
         "",
         {"SCRAM-SHA-512", DEBIAN_12},
         REACH_REFUSED,
         "before 2.6.1 (here: 2.0.2)",
         "identical"},
        {THREAD LOGIN, "", {"SCRAM-SHA-512", MENDED}, REACH_REFUSED, "kafka.sasl_password_file", "2.6.1"},
        {THREAD PLACE "SASL SCRAM-SHA-512 mechanism handshake failed: Broker: Unsupported SASL mechanism: broker's "
                      "supported mechanisms: PLAIN",
         "",
         {"SCRAM-SHA-512", DEBIAN_12},
         REACH_REFUSED,
         "kafka.sasl_mechanism must be",
         "2.6.1"},
        {"GroupCoordinator: SASL PLAIN mechanism handshake failed: Local: Broker transport failure: broker's supported "
         "mechanisms: (n/a)",
         "",
         {"PLAIN", DEBIAN_12},
         REACH_AWAY,
         "transport failure",
         "kafka."},
        {THREAD PLACE "error:0A000086:SSL routines::certificate verify failed (after 7ms in state SSL_HANDSHAKE)",
         "certificate has expired",
         {"", DEBIAN_12},
         REACH_REFUSED,
         "certificate verify failed: certificate has expired; a broker's certificate must be signed",
         "after 7ms"},
        {PLACE "Receive failed: error:0A000412:SSL routines::sslv3 alert bad certificate: SSL alert number 42",
         "",
         {"", DEBIAN_12},
         REACH_REFUSED,
         "kafka.certificate_file must be valid today, and signed",
         "kafka.ca_file"},
        {PLACE "SSL handshake failed: error:0A000126:SSL routines::unexpected eof while reading",
         "",
         {"", DEBIAN_12},
         REACH_AWAY,
         "may know no TLS: is kafka.security right?",
         "certificate"},
        {PLACE "Disconnected while requesting ApiVersion: might be caused by incorrect security.protocol",
         "",
         {"", DEBIAN_12},
         REACH_AWAY,
         "may want TLS: is kafka.security right?",
         "certificate"},
        {PLACE "Connect to ipv4#127.0.0.1:9 failed: Connection refused (after 0ms in state CONNECT)",
         "",
         {"", DEBIAN_12},
         REACH_AWAY,
         "Connection refused; is it running, and is kafka.brokers right?",
         "after"},
        {PLACE "Failed to resolve 'nowhere:9': Name or service not known",
         "",
         {"", DEBIAN_12},
         REACH_AWAY,
         "is kafka.brokers right?",
         "running"},
        {"something new", "", {"", DEBIAN_12}, REACH_AWAY, "something new", ";"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        AUTO(buffer) struct buffer text;
        buffer_init(&text, 2000);
        assert_int_equal(reach_explain(table[i].line, table[i].verification, &table[i].setup, &text), table[i].kind);
        if (strstr(text.ptr, table[i].said) == NULL || strstr(text.ptr, table[i].unsaid) != NULL) {
            fail_msg("\"%s\" should say \"%s\" and not \"%s\"", text.ptr, table[i].said, table[i].unsaid);
        }
    }
}

static void expect(bool is_well, bool has_answers, const char *said)
{
    AUTO(buffer) struct buffer text;
    buffer_init(&text, 2000);
    assert_int_equal(reach_is_well(&text), is_well);
    assert_int_equal(reach_has_answers(), has_answers);
    if (strstr(text.ptr, said) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", text.ptr, said);
    }
}

static void the_process_knows_how_it_stands(void **state)
{
    static const struct reach_setup setup = {"PLAIN", DEBIAN_12};
    (void)state;
    reach_set_up(&setup);
    expect(true, false, "");

    reach_all_brokers_down();
    expect(false, false, "connections end before a broker has said anything");
    reach_connection_failed("b:1/1: Connect to ipv4#127.0.0.1:9 failed: Connection refused");
    expect(false, false, "no broker can be reached: b:1/1: Connect to ipv4#127.0.0.1:9 failed: Connection refused");
    reach_answered();
    expect(true, true, "");

    /* One of several brokers is away: the others answer. */
    reach_connection_failed("b:1/1: Connect to ipv4#127.0.0.1:9 failed: Connection refused");
    expect(true, true, "");

    /* A refusal is worth a word at once, and no later line about a broker that is away covers it. */
    reach_connection_failed(THREAD LOGIN);
    expect(false, false, "Invalid username or password");
    reach_all_brokers_down();
    reach_connection_failed("b:1/1: Connect to ipv4#127.0.0.1:9 failed: Connection refused");
    expect(false, false, "Invalid username or password");
    reach_answered();
    expect(true, true, "");

    reach_verification_failed("certificate has expired");
    reach_connection_failed(PLACE "SSL routines::certificate verify failed");
    expect(false, false, "certificate has expired");
    reach_answered();
    reach_connection_failed(PLACE "SSL routines::certificate verify failed");
    expect(false, false, "certificate verify failed; a broker's");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_explained),
        cmocka_unit_test(the_process_knows_how_it_stands),
    };
    return cmocka_run_group_tests_name("reach", tests, NULL, NULL);
}
