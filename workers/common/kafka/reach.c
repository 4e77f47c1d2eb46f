#include "workers/common/kafka/reach.h"

#include "workers/common/base/auto.h"
#include "workers/common/base/clock.h"
#include "workers/common/base/log.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum {
    REASON_MAXIMUM_BYTES = 700,
    SAY_AGAIN_MS = 60000,              /* the same trouble, when it lasts, or comes and goes */
    SCRAM_MENDED_VERSION = 0x02060100, /* librdkafka's pull request 4895: the nonce of the client was sent twice */
};

#define NO_TLS_HINT "if a broker is there, this listener may know no TLS: is kafka.security right?"

enum addition { ADD_NOTHING, ADD_VERIFICATION, ADD_SCRAM };

/* The first that is found in a line counts. */
static const struct {
    const char *found;
    enum reach_kind kind;
    enum addition addition;
    const char *hint;
} meanings[] = {
    {"SASL authentication error", REACH_REFUSED, ADD_SCRAM,
     "are kafka.sasl_user, the password in kafka.sasl_password_file and kafka.sasl_mechanism what the brokers know?"},
    {"mechanism handshake failed: Broker:", REACH_REFUSED, ADD_NOTHING,
     "kafka.sasl_mechanism must be one that the brokers have enabled on this listener"},
    {"certificate verify failed", REACH_REFUSED, ADD_VERIFICATION,
     "a broker's certificate must be signed by an authority in kafka.ca_file, be valid today, and name the host as "
     "kafka.brokers and advertised.listeners do"},
    {"SSL alert number", REACH_REFUSED, ADD_NOTHING,
     "the brokers do not accept this end's certificate: kafka.certificate_file must be valid today, and signed by an "
     "authority that they know"},
    {"requesting ApiVersion", REACH_AWAY, ADD_NOTHING,
     "if a broker is there, this listener may want TLS: is kafka.security right?"},
    {"SSL handshake failed", REACH_AWAY, ADD_NOTHING, NO_TLS_HINT},
    {"SSL routines::unexpected eof", REACH_AWAY, ADD_NOTHING, NO_TLS_HINT},
    {"SSL routines::wrong version number", REACH_AWAY, ADD_NOTHING, NO_TLS_HINT},
    {"Failed to resolve", REACH_AWAY, ADD_NOTHING, "is kafka.brokers right?"},
    {"Connect to", REACH_AWAY, ADD_NOTHING, "is it running, and is kafka.brokers right?"},
    {"Connection setup timed out", REACH_AWAY, ADD_NOTHING, "is kafka.brokers right, and the way to it open?"},
};

static struct {
    pthread_mutex_t lock;
    bool is_logging;
    char mechanism[32];
    uint32_t version;
    char verification[200];
    char reason[REASON_MAXIMUM_BYTES + 1]; /* of the last failed connection */
    enum reach_kind trouble;               /* REACH_NOTHING: all is well */
    enum reach_kind said;                  /* what the last line in the log was about */
    int64_t said_at_ms;
    bool has_open_line; /* the log does not say yet that it is over */
    /* Read without the lock, since every answer of a broker passes by here. */
    _Atomic bool has_answers;
} reach = {.lock = PTHREAD_MUTEX_INITIALIZER, .mechanism = "", .verification = ""};

/* librdkafka's line is "[thrd:NAME]: PLACE: REASON (after 5ms in state S)": place and reason count. */
static struct slice line_reason(const char *line)
{
    const char *behind_thread = line[0] == '[' ? strstr(line, "]: ") : NULL;
    const char *begin = behind_thread != NULL ? behind_thread + 3 : line;
    const char *end = strstr(begin, " (after ");
    return slice_from(begin, end != NULL ? (size_t)(end - begin) : strlen(begin));
}

enum reach_kind reach_explain(const char *line, const char *verification, const struct reach_setup *setup,
                              struct buffer *text)
{
    buffer_append(text, line_reason(line));
    for (size_t i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++) {
        if (strstr(line, meanings[i].found) == NULL) {
            continue;
        }
        if (meanings[i].addition == ADD_VERIFICATION && verification[0] != '\0') {
            buffer_append_format(text, ": %s", verification);
        }
        buffer_append_format(text, "; %s", meanings[i].hint);
        if (meanings[i].addition == ADD_SCRAM && text_starts_with(setup->mechanism, "SCRAM-") &&
            setup->version < SCRAM_MENDED_VERSION) {
            buffer_append_format(text,
                                 " Or it is Kafka 4: that refuses SCRAM of librdkafka before 2.6.1 (here: %u.%u.%u) "
                                 "whatever the password; use PLAIN over TLS, client certificates or a newer librdkafka",
                                 setup->version >> 24, setup->version >> 16 & 0xff, setup->version >> 8 & 0xff);
        }
        return meanings[i].kind;
    }
    return REACH_AWAY;
}

void reach_start_logging(void)
{
    pthread_mutex_lock(&reach.lock);
    reach.is_logging = true;
    pthread_mutex_unlock(&reach.lock);
}

void reach_set_up(const struct reach_setup *setup)
{
    pthread_mutex_lock(&reach.lock);
    (void)snprintf(reach.mechanism, sizeof(reach.mechanism), "%s", setup->mechanism);
    reach.version = setup->version;
    pthread_mutex_unlock(&reach.lock);
}

void reach_verification_failed(const char *reason)
{
    pthread_mutex_lock(&reach.lock);
    (void)snprintf(reach.verification, sizeof(reach.verification), "%s", reason);
    pthread_mutex_unlock(&reach.lock);
}

/* Under the lock. */
static void reach_say(void)
{
    int64_t now_ms = clock_monotonic_ms();
    bool is_known = reach.said == reach.trouble && reach.said_at_ms > 0 && now_ms - reach.said_at_ms < SAY_AGAIN_MS;
    if (!reach.is_logging || is_known) {
        return;
    }
    reach.said = reach.trouble;
    reach.said_at_ms = now_ms;
    reach.has_open_line = true;
    log_event(LOG_WARNING,
              reach.trouble == REACH_REFUSED ? "brokers and this process do not accept each other; trying again"
                                             : "no broker can be reached; trying again",
              "reason", reach.reason, NULL);
}

void reach_connection_failed(const char *line)
{
    AUTO(buffer) struct buffer text;
    buffer_init(&text, REASON_MAXIMUM_BYTES);
    pthread_mutex_lock(&reach.lock);
    const struct reach_setup setup = {reach.mechanism, reach.version};
    enum reach_kind kind = reach_explain(line, reach.verification, &setup, &text);
    /* A broker that is away says nothing about a certificate that was refused a moment ago. */
    if (kind == REACH_REFUSED || reach.trouble != REACH_REFUSED) {
        (void)snprintf(reach.reason, sizeof(reach.reason), "%s", text.ptr);
    }
    if (kind == REACH_REFUSED) {
        reach.has_answers = false;
        reach.trouble = REACH_REFUSED;
        reach_say();
    }
    pthread_mutex_unlock(&reach.lock);
}

void reach_all_brokers_down(void)
{
    pthread_mutex_lock(&reach.lock);
    reach.has_answers = false;
    if (reach.trouble == REACH_NOTHING) {
        reach.trouble = REACH_AWAY;
        if (reach.reason[0] == '\0') {
            (void)snprintf(reach.reason, sizeof(reach.reason),
                           "connections end before a broker has said anything; is kafka.brokers right, and "
                           "kafka.security what that listener speaks?");
        }
        reach_say();
    }
    pthread_mutex_unlock(&reach.lock);
}

void reach_answered(void)
{
    if (reach.has_answers) {
        return;
    }
    pthread_mutex_lock(&reach.lock);
    reach.has_answers = true;
    reach.trouble = REACH_NOTHING;
    reach.reason[0] = '\0';
    reach.verification[0] = '\0';
    if (reach.has_open_line) {
        reach.has_open_line = false;
        log_event(LOG_INFO, "the brokers answer", NULL);
    }
    pthread_mutex_unlock(&reach.lock);
}

bool reach_is_well(struct buffer *text)
{
    pthread_mutex_lock(&reach.lock);
    bool is_well = reach.trouble == REACH_NOTHING;
    if (!is_well) {
        buffer_append_format(text, "%s%s",
                             reach.trouble == REACH_REFUSED ? "" : "no broker can be reached: ", reach.reason);
    }
    pthread_mutex_unlock(&reach.lock);
    return is_well;
}

bool reach_is_refused(void)
{
    pthread_mutex_lock(&reach.lock);
    bool is_refused = reach.trouble == REACH_REFUSED;
    pthread_mutex_unlock(&reach.lock);
    return is_refused;
}

bool reach_has_answers(void)
{
    return reach.has_answers;
}
