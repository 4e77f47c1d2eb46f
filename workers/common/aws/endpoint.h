/*
 * Where AWS is: regions, partitions, host names, and the form of the names that go into them. A region, bucket or ARN
 * that came from outside is checked here before it becomes part of a host name or of a signature.
 *
 * S3 is addressed path style on the regional host by default: one host per region keeps connections, TLS sessions and
 * DNS shared between thousands of buckets, where a host per bucket would share nothing.
 *
 * Regional endpoints of general purpose buckets, and STS: no accelerated, global, multi-region or Outposts endpoints,
 * no S3 Express, no ARN in the place of a bucket's name.
 */
#pragma once

#include "workers/common/base/buffer.h"
#include "workers/common/base/error.h"

#include <stdbool.h>

struct partition {
    const char *name;             /* "aws" */
    const char *dns_suffix;       /* "amazonaws.com" */
    const char *dualstack_suffix; /* "api.aws": of the services that have one of their own for IPv6; S3 has not */
    const char *default_region;   /* for global needs of that partition: "us-east-1" */
};

/* By the region's prefix; a region of no known prefix belongs to "aws", as in the AWS tools. Never NULL. */
const struct partition *partition_of_region(const char *region);
const struct partition *partition_named(const char *name); /* NULL when unknown */

enum aws_service { AWS_S3, AWS_STS };

const char *aws_service_name(enum aws_service service); /* as it is signed for: "s3" */

/* Where a bucket's name goes. A name that cannot be part of a host name goes into the path all the same: one that is
 * no host label, one with a dot under TLS (a wildcard certificate covers one label), any on an IP address. */
enum s3_addressing {
    S3_ADDRESSING_PATH,    /* host/bucket/key */
    S3_ADDRESSING_VIRTUAL, /* bucket.host/key */
    S3_ADDRESSING_AUTO,    /* virtual on AWS's hosts, path on a custom endpoint */
};

/* Custom endpoints ("http://127.0.0.1:9000", no path); NULL or "": the AWS ones. Borrowed texts. */
struct endpoint_settings {
    const char *s3_url;
    const char *sts_url;
    bool is_fips;
    bool is_dualstack; /* IPv6 and IPv4 */
    enum s3_addressing s3_addressing;
};

/* ERROR_REJECT for settings with which nothing can be reached: a malformed custom endpoint, or one together with FIPS
 * or dual-stack. */
bool endpoint_settings_check(const struct endpoint_settings *settings, struct error *err) MUST_CHECK;

/* Appends scheme://host[:port] of the service in a region, without a trailing '/'. ERROR_REJECT for what
 * endpoint_settings_check refuses, an invalid region, and FIPS where there is none. */
bool endpoint_url(const struct endpoint_settings *settings, enum aws_service service, const char *region,
                  struct buffer *buffer, struct error *err) MUST_CHECK;

/* Puts a bucket into a URL that endpoint_url has made for S3: before the host in url, or else into path. */
void endpoint_add_bucket(const struct endpoint_settings *settings, const char *bucket, struct buffer *url,
                         struct buffer *path);

/* Is this a usable custom endpoint? http or https, a host, perhaps a port, nothing else. */
bool endpoint_check(const char *url, struct error *err) MUST_CHECK;

bool region_is_valid(const char *region);
bool account_id_is_valid(const char *account_id); /* exactly 12 digits */

/* AWS's rules for general purpose buckets; other stores also have upper case, '_' and "tenant:bucket", which AWS would
 * answer with an error of its own: pass is_lenient for a custom endpoint. */
bool bucket_name_is_valid(const char *name, bool is_lenient);
/* May it stand in front of a host name? has_dots: more labels than one are fine. */
bool bucket_name_is_hostable(const char *name, bool has_dots);

/* arn:PARTITION:iam::ACCOUNT:role/PATH/NAME. ERROR_REJECT says what is wrong with it. When account_id is given, the
 * ARN must be of that account; when region is given, of that region's partition. */
bool role_arn_check(const char *role_arn, const char *account_id, const char *region, struct error *err) MUST_CHECK;
