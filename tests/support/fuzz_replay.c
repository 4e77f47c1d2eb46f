/*
 * Runs a fuzzer's function over files, each once; a folder is walked. Without any input there is nothing to be proud
 * of: that is a failure.
 */
#include "workers/common/base/auto.h"
#include "workers/common/base/file.h"

#include <fts.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { INPUT_MAXIMUM_BYTES = 16 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool input_run(const char *path)
{
    struct error err;
    AUTO(buffer) struct buffer input;
    buffer_init(&input, INPUT_MAXIMUM_BYTES);
    if (!file_read(path, &input, &err)) {
        (void)fprintf(stderr, "%s: %s\n", path, err.text);
        return false;
    }
    /* A block of exactly that size, so that a read behind its end is seen. */
    uint8_t *copy = memory_zeroed(input.len, 1);
    memcpy(copy, input.ptr, input.len);
    (void)LLVMFuzzerTestOneInput(copy, input.len);
    free(copy);
    return true;
}

static int by_name(const FTSENT **a, const FTSENT **b)
{
    return strcmp((*a)->fts_name, (*b)->fts_name);
}

int main(int argc, char **argv)
{
    size_t count = 0;
    bool is_fine = true;
    FTS *walk = argc > 1 ? fts_open(argv + 1, FTS_PHYSICAL | FTS_NOCHDIR, by_name) : NULL;
    for (FTSENT *entry; walk != NULL && (entry = fts_read(walk)) != NULL;) {
        if (entry->fts_info == FTS_F) {
            is_fine = input_run(entry->fts_path) && is_fine;
            count++;
        } else if (entry->fts_info == FTS_NS || entry->fts_info == FTS_ERR || entry->fts_info == FTS_DNR) {
            (void)fprintf(stderr, "%s: %s\n", entry->fts_path, strerror(entry->fts_errno));
            is_fine = false;
        }
    }
    if (walk != NULL) {
        (void)fts_close(walk);
    }
    (void)printf("%s: %zu inputs\n", argv[0], count);
    return is_fine && count > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
