/*
 * What a host's answer means, and until when it wants to be left alone. Pure: whoever asks says what time it is.
 */
#pragma once

#include "producer/api/api.h"

struct verdict {
    enum api_outcome outcome;
    /* Nothing may be sent for so long; 0: no limit. Also beside API_OK, when the answer was the last one allowed. */
    int64_t limited_ms;
};

/* What the hosts' reset times are bounded by: beyond it a header is taken for a mistake. */
enum { VERDICT_LIMIT_DEFAULT_MS = 60 * 1000, VERDICT_LIMIT_MAXIMUM_MS = 2 * 60 * 60 * 1000 };

/* now_wall_ms counts only when the answer has no Date: the host's own clock is the one its reset times are told in. */
struct verdict verdict_of(const struct http_answer *answer, int64_t now_wall_ms);

/* The same in words, for an answer that is neither API_OK nor API_UNCHANGED. */
void verdict_explain(const struct verdict *verdict, const struct http_answer *answer, struct error *ret_err);
