/*
 * Whether this process reaches the brokers and is let in. All its connections have the same brokers and the same
 * credentials, so there is one answer for the process. It is found in what librdkafka says of failed connections and in
 * what the brokers answer. A change is logged once, a refusal that lasts once a minute, and /healthz says it all the
 * time.
 *
 * Nothing here ends a process: brokers come back, certificates and passwords are changed on one side before the other,
 * and a restart would not make it better.
 */
#pragma once

#include "workers/common/base/buffer.h"

#include <stdint.h>

enum reach_kind {
    REACH_NOTHING, /* the line says nothing about it */
    REACH_AWAY,    /* may be over in a moment */
    REACH_REFUSED, /* the brokers do not let this process in, or it does not trust them */
};

/* What may matter for the explanation. */
struct reach_setup {
    const char *mechanism; /* "" without SASL */
    uint32_t version;      /* librdkafka's, as rd_kafka_version() */
};

/* Pure: what librdkafka's line about a connection means. Appends the reason and, where it is known, what would be
 * right. verification: why the certificate of a broker was not believed, "" when it was. */
enum reach_kind reach_explain(const char *line, const char *verification, const struct reach_setup *setup,
                              struct buffer *text);

/* The rest is thread-safe. From now on changes are logged; commands do not, since they end with the reason. */
void reach_start_logging(void);

void reach_set_up(const struct reach_setup *setup);
void reach_verification_failed(const char *reason);
void reach_connection_failed(const char *line);
void reach_all_brokers_down(void);
void reach_answered(void);

/* False: text gets the reason, without a line's end. */
bool reach_is_well(struct buffer *text);

/* The last that was heard is a refusal. */
bool reach_is_refused(void);

/* The brokers have answered this process, and nothing has gone wrong since. */
bool reach_has_answers(void);
