#include "schemas/map_file.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A file that is accepted is written, read again and written the same. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err;
    AUTO(map_file) struct map_file *first = NULL;
    AUTO(map_file) struct map_file *second = NULL;
    AUTO(buffer) struct buffer once;
    AUTO(buffer) struct buffer twice;
    buffer_init(&once, 6UL * MESSAGE_MAXIMUM_BYTES);
    buffer_init(&twice, 6UL * MESSAGE_MAXIMUM_BYTES);
    if (map_file_parse(slice_from(data, size), &first, &err)) {
        map_file_format(first, &once);
        if (!map_file_parse(buffer_slice(&once), &second, &err)) {
            abort();
        }
        map_file_format(second, &twice);
        if (!slice_equal(buffer_slice(&once), buffer_slice(&twice))) {
            abort();
        }
        for (size_t i = 0; i < first->entries.count; i++) {
            if (!texts_are_unique(&((struct map_file_entry *)first->entries.items)[i].accounts)) {
                abort();
            }
        }
    }
    AUTO(text) char *text = slice_copy(slice_from(data, size));
    struct texts accounts = {0};
    if (accounts_parse(text, &accounts, &err) && !texts_are_unique(&accounts)) {
        abort();
    }
    texts_clear(&accounts);
    return 0;
}
