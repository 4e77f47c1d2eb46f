#include "workers/common/base/clock.h"

#include "tests/fuzz/fuzz.h"

/* A moment that is read can be written and is the same when it is read again; so is a duration. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO(text) char *text = slice_copy(slice_from(data, size));
    int64_t first = -1;
    int64_t second = -1;
    if (clock_parse(text, &first)) {
        char written[CLOCK_TEXT_SIZE];
        clock_format(first, written);
        PROMISE(first >= 0 && clock_parse(written, &second) && second == first);
    } else {
        PROMISE(first == -1);
    }
    first = -1;
    if (duration_parse(text, &first)) {
        AUTO(text) char *written = text_format("%lldms", (long long)first);
        PROMISE(first >= 0 && duration_parse(written, &second) && second == first);
    } else {
        PROMISE(first == -1);
    }
    return 0;
}
