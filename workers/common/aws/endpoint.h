/*
 * Where AWS is: regions, partitions, host names, and the form of the names that go into them. A region, bucket or ARN
 * that came from outside is checked here before it becomes part of a host name or of a signature.
 *
 * S3 is addressed path style on the regional host by default: one host per region keeps connections, TLS sessions and
 * DNS shared between thousands of buckets, where a host per bucket would share nothing.
 */
#pragma once

#include "workers/common/base/buffer.h"
#include "workers/common/base/error.h"

#include <stdbool.h>

struct partition {
    const char *name;           /* "aws" */
    const char *dns_suffix;     /* "amazonaws.com" */
    const char *default_region; /* for global needs of that partition: "us-east-1" */
};

/* By the region's prefix; a region of no known prefix belongs to "aws", as in the AWS tools. Never NULL. */
const struct partition *partition_of_region(const char *region);
const struct partition *partition_named(const char *name); /* NULL when unknown */

enum aws_service { AWS_S3, AWS_STS };

/* Custom endpoints ("http://127.0.0.1:9000", no path); NULL: the AWS ones. Borrowed texts. */
struct endpoint_settings {
    const char *s3_url;
    const char *sts_url;
};

/* Appends scheme://host[:port] without a trailing '/'. ERROR_REJECT for an invalid region or custom URL. */
bool endpoint_url(const struct endpoint_settings *settings, enum aws_service service, const char *region,
                  struct buffer *buffer, struct error *err) MUST_CHECK;

/* Is this a usable custom endpoint? http or https, a host, perhaps a port, nothing else. */
bool endpoint_check(const char *url, struct error *err) MUST_CHECK;

bool region_is_valid(const char *region);
bool account_id_is_valid(const char *account_id); /* exactly 12 digits */

/* AWS's rules for general purpose buckets; other stores also have upper case, '_' and "tenant:bucket", which AWS would
 * answer with an error of its own: pass is_lenient for a custom endpoint. */
bool bucket_name_is_valid(const char *name, bool is_lenient);

/* arn:PARTITION:iam::ACCOUNT:role/PATH/NAME. ERROR_REJECT says what is wrong with it. When account_id is given, the
 * ARN must be of that account; when region is given, of that region's partition. */
bool role_arn_check(const char *role_arn, const char *account_id, const char *region, struct error *err) MUST_CHECK;
