/*
 * So many a second, evenly: each who comes is told how long to wait for its turn, in the order in which they come.
 * Without clock or timer: whoever asks says what time it is.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct rate {
    double per_second; /* 0: no limit */
    double burst;      /* as many may go at once after a pause, at least 1 */
    double next_at_ms; /* when the next turn would be, if there had been no burst */
};

struct rate rate_new(double per_second, double burst);

/* Takes the next turn; returns in how many ms it is, 0: now. now_ms may be of any clock that does not go back. */
int64_t rate_take(struct rate *rate, int64_t now_ms);

/* Takes a turn if there is one now; otherwise leaves them to those who come later, for those who cannot wait. */
bool rate_has_turn(struct rate *rate, int64_t now_ms);
