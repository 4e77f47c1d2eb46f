/*
 * How a question for credentials has ended: what every test of a source of keys waits for.
 */
#pragma once

#include "workers/common/aws/credentials.h"

struct key_ending {
    bool is_done;
    struct credentials *key;
    struct error err;
};

/* For the callbacks of the sources; context is the ending. The key is the ending's. Called twice, the test fails. */
void key_ended(void *context, struct credentials *credentials, const struct error *err);
