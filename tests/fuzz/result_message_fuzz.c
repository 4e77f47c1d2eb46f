#include "schemas/result.h"
#include "tests/fuzz/message_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return message_fuzz(&result_codec, data, size);
}
