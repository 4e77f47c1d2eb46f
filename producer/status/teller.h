/*
 * Tells the host what a notice says, one status after the other, with patience; then ends the task with what is to be
 * remembered.
 */
#pragma once

#include "producer/status/channel.h"
#include "producer/status/notice.h"
#include "workers/common/base/index.h"
#include "workers/common/engine/worker.h"

enum teller_end { TELLER_POSTED, TELLER_PUT_OFF, TELLER_REFUSED, TELLER_GIVEN_UP, TELLER_END_COUNT };

struct teller {
    struct recall *recall; /* borrowed, as the texts */
    const char *link;      /* NULL: none */
    const char *context;
    int64_t retry_for_ms;
    uint64_t counts[TELLER_END_COUNT];
    struct index complaints; /* hooks and repositories whose host says no: said once until it says yes */
};

void teller_clear(struct teller *teller);
void teller_write_metrics(const struct teller *teller, struct buffer *text);

/* Begins with a task; takes the notice. The task ends, or waits for its retry. */
void teller_take(struct teller *teller, struct task *task, struct notice *notice, const struct channel *channel);

/* Goes on with a task that has waited; false: it is new. */
bool teller_resume(struct task *task);

void teller_cancel(struct task *task);
void teller_explain(const struct task *task, struct buffer *text);
