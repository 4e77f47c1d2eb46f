/*
 * The token of a host's API: read from its file when it is needed, and wiped after use.
 */
#pragma once

#include "workers/common/base/buffer.h"

enum { TOKEN_MAXIMUM_BYTES = 8 * 1024 };

/* Appends "<prefix><token>", or "Authorization: Basic ..." for a file that holds user:password. path NULL: nothing. An
 * error names the file, never what it holds. */
bool token_append_header(const char *path, const char *prefix, struct buffer *header, struct error *err) MUST_CHECK;

/* Could it be used? */
bool token_check(const char *path, struct error *err) MUST_CHECK;

/* Overwrites what the buffer holds before its memory is given back. */
void token_wipe(struct buffer *buffer);
