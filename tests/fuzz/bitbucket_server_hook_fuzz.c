#include "tests/fuzz/hook_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return hook_fuzz(&bitbucket_server_host, data, size);
}
