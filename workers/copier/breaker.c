#include "workers/copier/breaker.h"

#include "workers/common/base/index.h"

#include <stdio.h>
#include <stdlib.h>

enum { ACCOUNTS_MAXIMUM = 100000 };

struct record_of_account {
    unsigned failures; /* in a row */
    int64_t open_until_ms;
    char reason[256];
};

struct breaker {
    unsigned failures_maximum;
    int64_t pause_ms;
    struct index accounts;
    size_t open_count;
};

struct breaker *breaker_new(unsigned failures_maximum, int64_t pause_ms)
{
    struct breaker *breaker = memory_zeroed(1, sizeof(*breaker));
    breaker->failures_maximum = failures_maximum;
    breaker->pause_ms = pause_ms;
    return breaker;
}

void breaker_free(struct breaker *breaker)
{
    if (breaker != NULL) {
        index_clear(&breaker->accounts, free);
        free(breaker);
    }
}

static bool record_is_open(const struct breaker *breaker, const struct record_of_account *record)
{
    return breaker->failures_maximum > 0 && record->failures >= breaker->failures_maximum;
}

size_t breaker_open_count(const struct breaker *breaker)
{
    return breaker->open_count;
}

bool breaker_lets_through(struct breaker *breaker, const struct job *job, int64_t now_ms, struct error *reason)
{
    struct record_of_account *record = index_get(&breaker->accounts, slice_of(job->account));
    bool is_open = record != NULL && record_is_open(breaker, record);
    if (!is_open || job->attempt > 1) {
        return true;
    }
    if (now_ms >= record->open_until_ms) {
        /* Jobs of one account run one at a time: this one's end decides before the next asks. */
        return true;
    }
    return error_set(reason, ERROR_REJECT, "not tried: the last %u jobs of account %s failed, the last with: %s",
                     record->failures, job->account, record->reason);
}

void breaker_learn(struct breaker *breaker, const char *account, const char *reason, int64_t now_ms)
{
    struct record_of_account *record = index_get(&breaker->accounts, slice_of(account));
    if (reason == NULL) {
        bool was_open = record != NULL && record_is_open(breaker, record);
        breaker->open_count -= was_open ? 1 : 0;
        free(index_remove(&breaker->accounts, slice_of(account)));
        return;
    }
    if (record == NULL) {
        if (breaker->accounts.count >= ACCOUNTS_MAXIMUM) {
            return;
        }
        record = memory_zeroed(1, sizeof(*record));
        (void)index_put(&breaker->accounts, slice_of(account), record);
    }
    breaker->open_count -= record_is_open(breaker, record) ? 1 : 0;
    record->failures++;
    breaker->open_count += record_is_open(breaker, record) ? 1 : 0;
    record->open_until_ms = now_ms + breaker->pause_ms;
    (void)snprintf(record->reason, sizeof(record->reason), "%s", reason);
}
