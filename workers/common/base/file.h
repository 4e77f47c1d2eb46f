/*
 * Whole files and streams, bounded.
 */
#pragma once

#include "workers/common/base/buffer.h"

#include <stdio.h>

/* Appends the content; more than the buffer's maximum is ERROR_REJECT. */
bool stream_read(FILE *stream, struct buffer *buffer, struct error *err) MUST_CHECK;
bool file_read(const char *path, struct buffer *buffer, struct error *err) MUST_CHECK;
