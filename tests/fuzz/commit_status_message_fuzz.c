#include "schemas/commit_status.h"
#include "tests/fuzz/message_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return message_fuzz(&commit_status_codec, data, size);
}
