#include "schemas/dead_letter.h"
#include "tests/fuzz/message_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return message_fuzz(&dead_letter_codec, data, size);
}
