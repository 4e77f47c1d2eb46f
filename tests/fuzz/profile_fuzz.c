#include "workers/common/aws/profile.h"

#include "tests/fuzz/fuzz.h"

/* What was read before does not change what is read after: a profile added behind any content is found. A refusal names
 * a line that the content has. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t lines = 1;
    for (size_t i = 0; i < size; i++) {
        lines += data[i] == '\n';
    }
    for (int file = PROFILE_CREDENTIALS_FILE; file <= PROFILE_CONFIG_FILE; file++) {
        struct profiles *profiles = profiles_new();
        struct error err = {0};
        if (!profiles_add(profiles, (enum profile_file)file, "f", slice_from(data, size), &err)) {
            PROMISE(err.action == ERROR_REJECT && text_starts_with(err.text, "f:"));
            char *end;
            unsigned long long line = strtoull(err.text + strlen("f:"), &end, 10);
            PROMISE(text_starts_with(end, ": ") && line >= 1 && line <= lines);
        }
        const char *more = file == PROFILE_CONFIG_FILE ? "\n[profile p]\nfuzzed_key = value = 1 # comment\n more\n"
                                                       : "\n[p]\nfuzzed_key = value = 1 # comment\n more\n";
        PROMISE(profiles_add(profiles, (enum profile_file)file, "f", slice_of(more), &err));
        PROMISE(profiles_has(profiles, "p"));
        const char *value = profiles_get(profiles, "p", "fuzzed_key");
        PROMISE(value != NULL && strcmp(value, "value = 1\nmore") == 0);
        PROMISE(!profiles_has(profiles, ""));
        profiles_free(profiles);
    }
    return 0;
}
