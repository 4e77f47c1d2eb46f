/*
 * What Prometheus' own clients tell of any process (https://prometheus.io/docs/instrumenting/writing_clientlibs/): CPU
 * time, memory, open descriptors, when it began. Read from /proc; what cannot be read is left out.
 */
#pragma once

#include "workers/common/base/buffer.h"

void process_metric_write(struct buffer *text);
