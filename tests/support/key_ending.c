#include "tests/support/key_ending.h"

#include "tests/support/unit.h"

void key_ended(void *context, struct credentials *credentials, const struct error *err)
{
    struct key_ending *ending = context;
    assert_false(ending->is_done);
    ending->is_done = true;
    ending->key = credentials;
    if (credentials == NULL) {
        ending->err = *err;
    }
}
