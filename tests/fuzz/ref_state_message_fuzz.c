#include "schemas/ref_state.h"
#include "tests/fuzz/message_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return message_fuzz(&ref_state_codec, data, size);
}
