#include "schemas/map_entry.h"
#include "tests/fuzz/message_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return message_fuzz(&map_entry_codec, data, size);
}
