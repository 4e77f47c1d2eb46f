#include "workers/copier/pace.h"

#include "workers/common/base/index.h"

#include <stdlib.h>
#include <string.h>

enum { PREFIXES_MAXIMUM = 1024, BURSTS_PER_SECOND = 10 };

struct pace {
    double copies_per_second;
    struct index prefixes; /* of struct rate */
};

struct pace *pace_new(double copies_per_second)
{
    struct pace *pace = memory_zeroed(1, sizeof(*pace));
    pace->copies_per_second = copies_per_second;
    return pace;
}

void pace_free(struct pace *pace)
{
    if (pace != NULL) {
        index_clear(&pace->prefixes, free);
        free(pace);
    }
}

int64_t pace_take(struct pace *pace, const struct job_copy *rule, int64_t now_ms)
{
    if (pace->copies_per_second <= 0) {
        return 0;
    }
    /* The first step of the key: a build. */
    size_t length = strcspn(rule->source_key, "/");
    AUTO(text) char *prefix = text_format("%s/%.*s", rule->source_bucket, (int)length, rule->source_key);
    struct rate *rate = index_get(&pace->prefixes, slice_of(prefix));
    if (rate == NULL) {
        if (pace->prefixes.count >= PREFIXES_MAXIMUM) {
            /* Those that are busy come back at once; a build from long ago does not. */
            index_clear(&pace->prefixes, free);
        }
        rate = memory_zeroed(1, sizeof(*rate));
        *rate = rate_new(pace->copies_per_second, pace->copies_per_second / BURSTS_PER_SECOND);
        (void)index_put(&pace->prefixes, slice_of(prefix), rate);
    }
    return rate_take(rate, now_ms);
}
