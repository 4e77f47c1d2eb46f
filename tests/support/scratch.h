/*
 * A temporary file of a test: made empty, written whole, removed at the end.
 */
#pragma once

#include <stdbool.h>

struct scratch {
    char path[40];
};

bool scratch_make(struct scratch *scratch);
void scratch_write(const struct scratch *scratch, const char *content); /* in place of what it held */
int scratch_remove(const struct scratch *scratch);                      /* as unlink(2) */
