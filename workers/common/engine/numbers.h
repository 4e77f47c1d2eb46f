/*
 * How an engine stands, in numbers: for Prometheus. Reads the engine, changes nothing; on the engine's thread.
 */
#pragma once

#include "workers/common/base/buffer.h"

struct engine;

void numbers_write(const struct engine *engine, struct buffer *text);
