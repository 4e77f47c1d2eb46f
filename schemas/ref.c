#include "schemas/ref.h"

#include "workers/common/base/slice.h"

char *ref_full_name(const char *text)
{
    static const struct {
        const char *prefix;
        const char *full;
    } forms[] = {{"refs/heads/", "refs/heads/"}, {"refs/tags/", "refs/tags/"}, {"branch/", "refs/heads/"},
                 {"tag/", "refs/tags/"},         {"heads/", "refs/heads/"},    {"tags/", "refs/tags/"}};
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        if (text_starts_with(text, forms[i].prefix)) {
            return text_format("%s%s", forms[i].full, text + strlen(forms[i].prefix));
        }
    }
    return NULL;
}
