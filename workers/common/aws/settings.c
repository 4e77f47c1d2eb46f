#include "workers/common/aws/settings.h"

#include <string.h>

const struct option aws_options[] = {
    {.name = "aws.region",
     .type = OPTION_TEXT,
     .initial = "us-east-1",
     .environment = "AWS_REGION",
     .help = "region of the main account's artifact bucket, and of the tenants that name none"},
    {.name = "aws.main_account",
     .type = OPTION_TEXT,
     .initial = "",
     .help = "account id of the main account, 12 digits: owner of the artifact bucket"},
    {.name = "aws.profile",
     .type = OPTION_TEXT,
     .environment = "AWS_PROFILE",
     .help =
         "profile of the main account's credentials; without it the environment, the default profile, web identity, "
         "container, instance"},
    {.name = "aws.endpoint_url_s3",
     .type = OPTION_TEXT,
     .environment = "AWS_ENDPOINT_URL_S3",
     .help = "another S3 than AWS's, such as http://127.0.0.1:9000"},
    {.name = "aws.endpoint_url_sts",
     .type = OPTION_TEXT,
     .environment = "AWS_ENDPOINT_URL_STS",
     .help = "another STS than AWS's"},
    {.name = "aws.use_fips_endpoint",
     .type = OPTION_BOOLEAN,
     .initial = "false",
     .environment = "AWS_USE_FIPS_ENDPOINT",
     .help = "the hosts with validated cryptography; not with another S3 or STS"},
    {.name = "aws.use_dualstack_endpoint",
     .type = OPTION_BOOLEAN,
     .initial = "false",
     .environment = "AWS_USE_DUALSTACK_ENDPOINT",
     .help = "the hosts with IPv6 beside IPv4; not with another S3 or STS"},
    {.name = "aws.s3_addressing",
     .type = OPTION_CHOICE,
     .initial = "path",
     .choices = "path|virtual|auto",
     .help = "the bucket in the path or in the host name; auto: in AWS's host names, in other stores' paths"},
    {.name = "aws.sts_calls_per_second",
     .type = OPTION_INTEGER,
     .initial = "100",
     .minimum = 1,
     .maximum = 100000,
     .help = "calls to STS a second at most, of this process; AWS allows a whole account 600 per region"},
    {0},
};

static enum s3_addressing addressing_named(const char *name)
{
    return strcmp(name, "virtual") == 0 ? S3_ADDRESSING_VIRTUAL
           : strcmp(name, "auto") == 0  ? S3_ADDRESSING_AUTO
                                        : S3_ADDRESSING_PATH;
}

struct aws_client_settings aws_settings_read(const struct options *options)
{
    return (struct aws_client_settings){
        .endpoints = {.s3_url = options_text(options, "aws.endpoint_url_s3"),
                      .sts_url = options_text(options, "aws.endpoint_url_sts"),
                      .is_fips = options_boolean(options, "aws.use_fips_endpoint"),
                      .is_dualstack = options_boolean(options, "aws.use_dualstack_endpoint"),
                      .s3_addressing = addressing_named(options_text(options, "aws.s3_addressing"))},
    };
}
