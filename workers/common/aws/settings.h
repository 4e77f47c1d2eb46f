/*
 * The options of everything that talks to AWS, by the AWS tools' own names and environment variables.
 */
#pragma once

#include "workers/common/aws/client.h"
#include "workers/common/base/options.h"

extern const struct option aws_options[];

/* The texts are borrowed from the options. */
struct aws_client_settings aws_settings_read(const struct options *options);
