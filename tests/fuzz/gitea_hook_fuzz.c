#include "tests/fuzz/hook_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return hook_fuzz(&gitea_host, data, size);
}
