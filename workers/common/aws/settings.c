#include "workers/common/aws/settings.h"

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
    {.name = "aws.sts_calls_per_second",
     .type = OPTION_INTEGER,
     .initial = "100",
     .minimum = 1,
     .maximum = 600,
     .help = "calls to STS at most, of this process; AWS allows a whole account 600 per region"},
    {0},
};

struct aws_client_settings aws_settings_read(const struct options *options)
{
    return (struct aws_client_settings){
        .endpoints = {.s3_url = options_text(options, "aws.endpoint_url_s3"),
                      .sts_url = options_text(options, "aws.endpoint_url_sts")},
    };
}
