#include "tests/support/scratch.h"

#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

bool scratch_make(struct scratch *scratch)
{
    (void)snprintf(scratch->path, sizeof(scratch->path), "/tmp/tagfleet-test-XXXXXX");
    int descriptor = mkstemp(scratch->path);
    if (descriptor < 0) {
        return false;
    }
    close(descriptor);
    return true;
}

void scratch_write(const struct scratch *scratch, const char *content)
{
    FILE *file = fopen(scratch->path, "w");
    assert_non_null(file);
    assert_true(fputs(content, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

int scratch_remove(const struct scratch *scratch)
{
    return unlink(scratch->path);
}
