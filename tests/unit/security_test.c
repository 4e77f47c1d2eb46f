#include "workers/common/kafka/security.h"

#include "tests/support/scratch.h"
#include "tests/support/unit.h"
#include "workers/common/base/auto.h"
#include "workers/common/kafka/kafka.h"

#include <string.h>

static struct scratch scratch;

static int file_make(void **state)
{
    (void)state;
    return scratch_make(&scratch) ? 0 : -1;
}

static int file_remove(void **state)
{
    (void)state;
    return scratch_remove(&scratch);
}

/* Options from a list "name=value name=value"; FILE stands for the scratch file. */
static struct options *options_of(const char *text)
{
    static const struct option *const tables[] = {kafka_options, NULL};
    struct option_override sets[16];
    char *words[16];
    size_t count = 0;
    AUTO(text) char *copy = text_copy(text);
    char *rest = copy;
    for (char *word; (word = strsep(&rest, " ")) != NULL && count < 16;) {
        char *file = strstr(word, "FILE");
        if (file != NULL) {
            *file = '\0';
        }
        words[count] = text_format("kafka.%s%s", word, file != NULL ? scratch.path : "");
        sets[count].assignment = words[count];
        count++;
    }
    struct options *options = NULL;
    AUTO(buffer) struct buffer mistakes;
    buffer_init(&mistakes, 10000);
    if (!options_load(tables, NULL, sets, count, &options, &mistakes)) {
        fail_msg("%s", mistakes.ptr);
    }
    for (size_t i = 0; i < count; i++) {
        free(words[i]);
    }
    return options;
}

#define SASL "security=sasl_tls sasl_mechanism=PLAIN sasl_user=fleet "

static void every_mistake_is_told(void **state)
{
    static const struct {
        const char *options;
        const char *content;
        const char *mistakes[4];
    } table[] = {
        {"security=plaintext", "", {NULL}},
        {"security=tls", "", {NULL}},
        {"security=tls ca_file=FILE certificate_file=FILE key_file=FILE", "any", {NULL}},
        {SASL "sasl_password_file=FILE ca_file=FILE", "secret\n", {NULL}},
        {"security=sasl_plaintext sasl_mechanism=SCRAM-SHA-256 sasl_user=u sasl_password_file=FILE", "secret", {NULL}},
        {"security=sasl_tls",
         "",
         {"\"sasl_tls\" needs kafka.sasl_mechanism", "needs kafka.sasl_user", "needs kafka.sasl_password_file", NULL}},
        {"security=sasl_plaintext sasl_mechanism=PLAIN sasl_user=u sasl_password_file=FILE",
         "secret",
         {"sends the password as it is, so it needs kafka.security = \"sasl_tls\"", NULL}},
        {"sasl_user=fleet", "", {"kafka.sasl_user means nothing with kafka.security = \"plaintext\"", NULL}},
        {"security=tls sasl_password_file=FILE",
         "secret",
         {"kafka.sasl_password_file means nothing with kafka.security = \"tls\": is \"sasl_tls\" meant?", NULL}},
        {"ca_file=FILE",
         "",
         {"kafka.ca_file means nothing with kafka.security = \"plaintext\": is \"tls\" meant?", NULL}},
        {"security=tls ca_file=/nowhere/ca.crt key_file=FILE",
         "",
         {"kafka.ca_file: /nowhere/ca.crt cannot be read: No such file", "kafka.key_file needs kafka.certificate_file",
          NULL}},
        {"security=tls certificate_file=FILE", "", {"kafka.certificate_file needs kafka.key_file beside it", NULL}},
        {"security=tls key_password_file=FILE", "x", {"kafka.key_password_file needs kafka.key_file", NULL}},
        {SASL "sasl_password_file=FILE", "\n", {"is empty; the password belongs there", NULL}},
        {SASL "sasl_password_file=FILE", "one\ntwo\n", {"must hold the password on one line", NULL}},
        {SASL "sasl_password_file=/nowhere/password", "", {"/nowhere/password cannot be read", NULL}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        AUTO(buffer) struct buffer mistakes;
        buffer_init(&mistakes, 10000);
        scratch_write(&scratch, table[i].content);
        struct options *options = options_of(table[i].options);
        assert_int_equal(security_check(options, &mistakes), table[i].mistakes[0] == NULL);
        size_t lines = 0;
        for (const char *at = mistakes.ptr; (at = strchr(at, '\n')) != NULL; at++) {
            lines++;
        }
        size_t wanted = 0;
        for (; table[i].mistakes[wanted] != NULL; wanted++) {
            if (strstr(mistakes.ptr, table[i].mistakes[wanted]) == NULL) {
                fail_msg("%s: \"%s\" is not in: %s", table[i].options, table[i].mistakes[wanted], mistakes.ptr);
            }
        }
        if (lines != wanted || strstr(mistakes.ptr, "secret") != NULL) {
            fail_msg("%s: %s", table[i].options, mistakes.ptr);
        }
        options_free(options);
    }
}

static void property_add(const char *name, const char *value, void *context)
{
    buffer_append_format(context, "%s=%s\n", name, value);
}

static void options_become_properties(void **state)
{
    struct error err;
    AUTO(buffer) struct buffer found;
    buffer_init(&found, 10000);
    (void)state;
    scratch_write(&scratch, "it's a secret\r\n");
    struct options *options = options_of(SASL "sasl_password_file=FILE ca_file=FILE");
    assert_true(security_properties(options, property_add, &found, &err));
    AUTO(text)
    char *wanted = text_format("security.protocol=sasl_ssl\nssl.ca.location=%s\nsasl.mechanism=PLAIN\n"
                               "sasl.username=fleet\nsasl.password=it's a secret\n",
                               scratch.path);
    assert_string_equal(found.ptr, wanted);
    options_free(options);
}

static void a_password_is_no_word_of_a_command_line(void **state)
{
    static const struct option *const tables[] = {kafka_options, NULL};
    static const struct option_override sets[] = {{"kafka.properties.sasl.password=the-secret"},
                                                  {"kafka.properties=a=b,sasl.password=the-secret"}};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct options *options = NULL;
        AUTO(buffer) struct buffer mistakes;
        buffer_init(&mistakes, 10000);
        assert_false(options_load(tables, NULL, &sets[i], 1, &options, &mistakes));
        assert_non_null(strstr(mistakes.ptr, "--set: kafka.properties must not hold a password here"));
        assert_null(strstr(mistakes.ptr, "the-secret"));
        options_free(options);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_mistake_is_told, file_make, file_remove),
        cmocka_unit_test_setup_teardown(options_become_properties, file_make, file_remove),
        cmocka_unit_test(a_password_is_no_word_of_a_command_line),
    };
    return cmocka_run_group_tests_name("security", tests, NULL, NULL);
}
