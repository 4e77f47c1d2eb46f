#include "workers/common/base/rate.h"

struct rate rate_new(double per_second, double burst)
{
    return (struct rate){.per_second = per_second, .burst = burst > 1 ? burst : 1, .next_at_ms = -1e18};
}

int64_t rate_take(struct rate *rate, int64_t now_ms)
{
    if (rate->per_second <= 0) {
        return 0;
    }
    double interval_ms = 1000.0 / rate->per_second;
    double earliest_ms = (double)now_ms - (rate->burst - 1) * interval_ms;
    double turn_ms = rate->next_at_ms > earliest_ms ? rate->next_at_ms : earliest_ms;
    rate->next_at_ms = turn_ms + interval_ms;
    double wait_ms = turn_ms - (double)now_ms;
    return wait_ms > 0 ? (int64_t)wait_ms + 1 : 0;
}

bool rate_has_turn(struct rate *rate, int64_t now_ms)
{
    struct rate before = *rate;
    if (rate_take(rate, now_ms) == 0) {
        return true;
    }
    *rate = before;
    return false;
}
