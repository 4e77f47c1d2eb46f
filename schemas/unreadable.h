/*
 * What is written when a message cannot be understood: the message itself on `dead`, and a visible rejection on
 * `results`, so that nothing ends in silence.
 */
#pragma once

#include "workers/common/kafka/record.h"

/* topic: full name of where the record lies. */
struct output *unreadable_letter(const char *role, const char *topic, const struct record *record, const char *reason);
struct output *unreadable_rejection(const char *role, const char *topic, const struct record *record,
                                    const char *reason);
