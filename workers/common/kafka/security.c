#include "workers/common/kafka/security.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <string.h>
#include <unistd.h>

enum { PASSWORD_MAXIMUM_BYTES = 4096 };

/* An option whose value, or whose file's content, is a property. */
struct property_row {
    const char *option;
    const char *property;
    bool is_file;
    bool is_password; /* the file's content is the value */
};

static const struct property_row tls_rows[] = {
    {"kafka.ca_file", "ssl.ca.location", true, false},
    {"kafka.certificate_file", "ssl.certificate.location", true, false},
    {"kafka.key_file", "ssl.key.location", true, false},
    {"kafka.key_password_file", "ssl.key.password", true, true},
    {0},
};

static const struct property_row sasl_rows[] = {
    {"kafka.sasl_mechanism", "sasl.mechanism", false, false},
    {"kafka.sasl_user", "sasl.username", false, false},
    {"kafka.sasl_password_file", "sasl.password", true, true},
    {0},
};

static bool option_is_set(const struct options *options, const char *name)
{
    const char *text = options_text(options, name);
    return text != NULL && text[0] != '\0';
}

static bool security_has_tls(const char *security)
{
    return strcmp(security, "tls") == 0 || strcmp(security, "sasl_tls") == 0;
}

static bool security_has_sasl(const char *security)
{
    return text_starts_with(security, "sasl_");
}

static bool password_read(const char *path, struct buffer *ret_password, struct error *err)
{
    if (!file_read(path, ret_password, err)) {
        return false;
    }
    while (ret_password->len > 0 && strchr("\r\n", ret_password->ptr[ret_password->len - 1]) != NULL) {
        ret_password->ptr[--ret_password->len] = '\0';
    }
    if (ret_password->len == 0) {
        return error_set(err, ERROR_REJECT, "is empty; the password belongs there");
    }
    return strlen(ret_password->ptr) == ret_password->len && strpbrk(ret_password->ptr, "\r\n") == NULL
               ? true
               : error_set(err, ERROR_REJECT, "must hold the password on one line and nothing else");
}

static void password_clear(struct buffer *password)
{
    if (password->len > 0) {
        OPENSSL_cleanse(password->ptr, password->len);
    }
    buffer_done(password);
}

static bool file_is_readable(const char *path, struct error *err)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        return error_set(err, ERROR_REJECT, "cannot be read: %s", strerror(errno));
    }
    close(file);
    return true;
}

static bool row_check_file(const struct property_row *row, const char *path, struct error *err)
{
    if (!row->is_password) {
        return file_is_readable(path, err);
    }
    struct buffer password;
    buffer_init(&password, PASSWORD_MAXIMUM_BYTES);
    bool is_read = password_read(path, &password, err);
    password_clear(&password);
    return is_read;
}

/* Rows that go with the kind of security must have readable files; rows that do not must not be set. */
static void rows_check(const struct options *options, const struct property_row *rows, bool is_used, const char *wanted,
                       struct buffer *mistakes)
{
    for (const struct property_row *row = rows; row->option != NULL; row++) {
        struct error err;
        if (!option_is_set(options, row->option)) {
            continue;
        }
        const char *value = options_text(options, row->option);
        if (!is_used) {
            buffer_append_format(mistakes, "%s means nothing with kafka.security = \"%s\": is \"%s\" meant?\n",
                                 row->option, options_text(options, "kafka.security"), wanted);
        } else if (row->is_file && !row_check_file(row, value, &err)) {
            buffer_append_format(mistakes, "%s: %s %s\n", row->option, value, err.text);
        }
    }
}

static void pair_check(const struct options *options, const char *first, const char *second, struct buffer *mistakes)
{
    if (option_is_set(options, first) && !option_is_set(options, second)) {
        buffer_append_format(mistakes, "%s needs %s beside it\n", first, second);
    }
}

static void sasl_check(const struct options *options, const char *security, struct buffer *mistakes)
{
    for (const struct property_row *row = sasl_rows; row->option != NULL; row++) {
        if (!option_is_set(options, row->option)) {
            buffer_append_format(mistakes, "kafka.security = \"%s\" needs %s\n", security, row->option);
        }
    }
    const char *mechanism = options_text(options, "kafka.sasl_mechanism");
    if (!security_has_tls(security) && mechanism != NULL && strcmp(mechanism, "PLAIN") == 0) {
        buffer_append_text(mistakes, "kafka.sasl_mechanism = \"PLAIN\" sends the password as it is, so it needs "
                                     "kafka.security = \"sasl_tls\"\n");
    }
}

bool security_check(const struct options *options, struct buffer *mistakes)
{
    size_t before = mistakes->len;
    const char *security = options_text(options, "kafka.security");
    bool has_tls = security_has_tls(security);
    bool has_sasl = security_has_sasl(security);
    rows_check(options, tls_rows, has_tls, has_sasl ? "sasl_tls" : "tls", mistakes);
    rows_check(options, sasl_rows, has_sasl, "sasl_tls", mistakes);
    pair_check(options, "kafka.certificate_file", "kafka.key_file", mistakes);
    pair_check(options, "kafka.key_file", "kafka.certificate_file", mistakes);
    pair_check(options, "kafka.key_password_file", "kafka.key_file", mistakes);
    if (has_sasl) {
        sasl_check(options, security, mistakes);
    }
    return mistakes->len == before;
}

static bool rows_set(const struct options *options, const struct property_row *rows,
                     void (*set)(const char *name, const char *value, void *context), void *context, struct error *err)
{
    for (const struct property_row *row = rows; row->option != NULL; row++) {
        if (!option_is_set(options, row->option)) {
            continue;
        }
        const char *value = options_text(options, row->option);
        if (!row->is_password) {
            set(row->property, value, context);
            continue;
        }
        struct buffer password;
        buffer_init(&password, PASSWORD_MAXIMUM_BYTES);
        bool is_read = password_read(value, &password, err);
        if (is_read) {
            set(row->property, password.ptr, context);
        }
        password_clear(&password);
        if (!is_read) {
            return error_prefix(err, "%s: %s", row->option, value);
        }
    }
    return true;
}

bool security_properties(const struct options *options, void (*set)(const char *name, const char *value, void *context),
                         void *context, struct error *err)
{
    static const struct {
        const char *security;
        const char *protocol;
    } protocols[] = {
        {"plaintext", "plaintext"}, {"tls", "ssl"}, {"sasl_plaintext", "sasl_plaintext"}, {"sasl_tls", "sasl_ssl"}};
    const char *security = options_text(options, "kafka.security");
    for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++) {
        if (strcmp(protocols[i].security, security) == 0) {
            set("security.protocol", protocols[i].protocol, context);
        }
    }
    return rows_set(options, tls_rows, set, context, err) && rows_set(options, sasl_rows, set, context, err);
}
