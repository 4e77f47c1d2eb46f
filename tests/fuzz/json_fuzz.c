#include "schemas/json.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is accepted is accepted again as it is written; from then on the text stays the same. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { MAXIMUM_BYTES = 1 << 20 };
    struct error err;
    AUTO(json) cJSON *first = NULL;
    if (!json_parse(slice_from(data, size), MAXIMUM_BYTES, &first, &err)) {
        return 0;
    }
    AUTO(json) cJSON *second = NULL;
    AUTO(json) cJSON *third = NULL;
    AUTO(buffer) struct buffer once;
    AUTO(buffer) struct buffer twice;
    AUTO(buffer) struct buffer thrice;
    buffer_init(&once, 64UL * MAXIMUM_BYTES);
    buffer_init(&twice, 64UL * MAXIMUM_BYTES);
    buffer_init(&thrice, 64UL * MAXIMUM_BYTES);
    json_append(first, &once);
    if (!json_parse(buffer_slice(&once), 64UL * MAXIMUM_BYTES, &second, &err)) {
        abort();
    }
    json_append(second, &twice);
    if (!json_parse(buffer_slice(&twice), 64UL * MAXIMUM_BYTES, &third, &err)) {
        abort();
    }
    json_append(third, &thrice);
    if (!slice_equal(buffer_slice(&twice), buffer_slice(&thrice))) {
        abort();
    }
    return 0;
}
