#include "workers/common/aws/endpoint.h"

#include "workers/common/aws/uri.h"
#include "workers/common/base/auto.h"
#include "workers/common/base/slice.h"

#include <ctype.h>
#include <string.h>

enum {
    REGION_MAXIMUM = 32,
    BUCKET_MINIMUM = 3,
    BUCKET_MAXIMUM = 63,
    BUCKET_LENIENT_MAXIMUM = 255,
    ROLE_MAXIMUM = 2048
};

static const struct {
    const char *region_prefix;
    struct partition partition;
} partitions[] = {
    {"us-gov-", {"aws-us-gov", "amazonaws.com", "api.aws", "us-gov-west-1"}},
    {"cn-", {"aws-cn", "amazonaws.com.cn", "api.amazonwebservices.com.cn", "cn-northwest-1"}},
    {"us-isob-", {"aws-iso-b", "sc2s.sgov.gov", "api.aws.scloud", "us-isob-east-1"}},
    {"us-isof-", {"aws-iso-f", "csp.hci.ic.gov", "api.aws.hci.ic.gov", "us-isof-south-1"}},
    {"eu-isoe-", {"aws-iso-e", "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk", "eu-isoe-west-1"}},
    {"us-iso-", {"aws-iso", "c2s.ic.gov", "api.aws.ic.gov", "us-iso-east-1"}},
    {"eusc-", {"aws-eusc", "amazonaws.eu", "api.amazonwebservices.eu", "eusc-de-east-1"}},
    {"", {"aws", "amazonaws.com", "api.aws", "us-east-1"}},
};

const struct partition *partition_of_region(const char *region)
{
    size_t i = 0;
    while (!text_starts_with(region, partitions[i].region_prefix)) {
        i++;
    }
    return &partitions[i].partition;
}

const struct partition *partition_named(const char *name)
{
    for (size_t i = 0; i < sizeof(partitions) / sizeof(partitions[0]); i++) {
        if (strcmp(partitions[i].partition.name, name) == 0) {
            return &partitions[i].partition;
        }
    }
    return NULL;
}

const char *aws_service_name(enum aws_service service)
{
    return service == AWS_S3 ? "s3" : "sts";
}

static bool is_custom(const char *url)
{
    return url != NULL && url[0] != '\0';
}

bool region_is_valid(const char *region)
{
    size_t length = strlen(region);
    bool is_label =
        length > 0 && length <= REGION_MAXIMUM && strspn(region, "abcdefghijklmnopqrstuvwxyz0123456789-") == length;
    return is_label && region[0] != '-' && region[length - 1] != '-';
}

bool account_id_is_valid(const char *account_id)
{
    return strlen(account_id) == 12 && strspn(account_id, "0123456789") == 12;
}

bool bucket_name_is_valid(const char *name, bool is_lenient)
{
    size_t length = strlen(name);
    if (is_lenient) {
        bool is_dots = strspn(name, ".") == length; /* none at all, or a dot segment of the path */
        return !is_dots && length <= BUCKET_LENIENT_MAXIMUM && strpbrk(name, "/?#% \t\r\n") == NULL;
    }
    return length >= BUCKET_MINIMUM && length <= BUCKET_MAXIMUM &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789.-") == length && isalnum((unsigned char)name[0]) &&
           isalnum((unsigned char)name[length - 1]) && strstr(name, "..") == NULL;
}

/* Digits and three dots: host names and bucket names of that form are taken for an address everywhere. */
static bool is_ip_address(struct slice host)
{
    size_t dots = 0;
    for (size_t i = 0; i < host.len; i++) {
        dots += host.ptr[i] == '.';
        if (host.ptr[i] != '.' && !isdigit((unsigned char)host.ptr[i])) {
            return host.ptr[0] == '[';
        }
    }
    return dots == 3;
}

bool bucket_name_is_hostable(const char *name, bool has_dots)
{
    size_t length = strlen(name);
    return bucket_name_is_valid(name, false) && (has_dots || strchr(name, '.') == NULL) && strstr(name, "-.") == NULL &&
           strstr(name, ".-") == NULL && !is_ip_address(slice_from(name, length));
}

bool endpoint_check(const char *url, struct error *err)
{
    const char *host = text_starts_with(url, "http://")    ? url + strlen("http://")
                       : text_starts_with(url, "https://") ? url + strlen("https://")
                                                           : NULL;
    size_t length = host != NULL ? strcspn(host, "/?# \t\r\n@") : 0;
    if (length == 0 || (host[length] != '\0' && strcmp(host + length, "/") != 0)) {
        return error_set(err, ERROR_REJECT, "endpoint \"%.100s\" must be http://host[:port] or https://host[:port]",
                         url);
    }
    return true;
}

bool endpoint_settings_check(const struct endpoint_settings *settings, struct error *err)
{
    const char *const customs[] = {settings->s3_url, settings->sts_url};
    for (size_t i = 0; i < sizeof(customs) / sizeof(customs[0]); i++) {
        if (!is_custom(customs[i])) {
            continue;
        }
        if (settings->is_dualstack) {
            return error_set(err, ERROR_REJECT, "dual-stack endpoints are AWS's own: not together with %.100s",
                             customs[i]);
        }
        if (settings->is_fips) {
            return error_set(err, ERROR_REJECT, "FIPS endpoints are AWS's own: not together with %.100s", customs[i]);
        }
        if (!endpoint_check(customs[i], err)) {
            return false;
        }
    }
    return true;
}

/* S3 in China has none, although the partition's STS has. */
static bool s3_url(const struct endpoint_settings *settings, const char *region, struct buffer *buffer,
                   struct error *err)
{
    const struct partition *partition = partition_of_region(region);
    if (settings->is_fips && strcmp(partition->name, "aws-cn") == 0) {
        return error_set(err, ERROR_REJECT, "S3 has no FIPS endpoint in region %s", region);
    }
    buffer_append_format(buffer, "https://%s.%s%s.%s", settings->is_fips ? "s3-fips" : "s3",
                         settings->is_dualstack ? "dualstack." : "", region, partition->dns_suffix);
    return true;
}

/* In GovCloud the ordinary host is the FIPS one. */
static void sts_url(const struct endpoint_settings *settings, const char *region, struct buffer *buffer)
{
    const struct partition *partition = partition_of_region(region);
    bool is_plain_fips = strcmp(partition->name, "aws-us-gov") == 0 && !settings->is_dualstack;
    buffer_append_format(buffer, "https://%s.%s.%s", settings->is_fips && !is_plain_fips ? "sts-fips" : "sts", region,
                         settings->is_dualstack ? partition->dualstack_suffix : partition->dns_suffix);
}

bool endpoint_url(const struct endpoint_settings *settings, enum aws_service service, const char *region,
                  struct buffer *buffer, struct error *err)
{
    const char *custom = service == AWS_S3 ? settings->s3_url : settings->sts_url;
    if (!region_is_valid(region)) {
        return error_set(err, ERROR_REJECT, "\"%.60s\" is not a region", region);
    }
    if (!endpoint_settings_check(settings, err)) {
        return false;
    }
    if (is_custom(custom)) {
        size_t length = strlen(custom);
        buffer_append(buffer, slice_from(custom, custom[length - 1] == '/' ? length - 1 : length));
        return true;
    }
    if (service == AWS_S3) {
        return s3_url(settings, region, buffer, err);
    }
    sts_url(settings, region, buffer);
    return true;
}

static bool is_virtual_host(const struct endpoint_settings *settings, const char *bucket, const char *url)
{
    const char *host = strstr(url, "://") + 3;
    bool is_wanted = settings->s3_addressing == S3_ADDRESSING_VIRTUAL ||
                     (settings->s3_addressing == S3_ADDRESSING_AUTO && !is_custom(settings->s3_url));
    return is_wanted && bucket_name_is_hostable(bucket, !text_starts_with(url, "https://")) &&
           !is_ip_address(slice_from(host, strcspn(host, ":")));
}

void endpoint_add_bucket(const struct endpoint_settings *settings, const char *bucket, struct buffer *url,
                         struct buffer *path)
{
    if (!is_virtual_host(settings, bucket, url->ptr)) {
        buffer_append_char(path, '/');
        uri_encode(path, slice_of(bucket));
        return;
    }
    AUTO(text) char *host = text_copy(strstr(url->ptr, "://") + 3);
    url->len -= strlen(host);
    buffer_append_format(url, "%s.%s", bucket, host);
}

bool role_arn_check(const char *role_arn, const char *account_id, const char *region, struct error *err)
{
    static const char shape[] = "arn:<partition>:iam::<account id>:role/<name>";
    const char *partition = text_starts_with(role_arn, "arn:") ? role_arn + strlen("arn:") : NULL;
    size_t partition_length = partition != NULL ? strcspn(partition, ":") : 0;
    const char *rest = partition_length > 0 ? partition + partition_length : "";
    bool is_role = text_starts_with(rest, ":iam::") && strlen(rest) > strlen(":iam::") + 12 &&
                   text_starts_with(rest + strlen(":iam::") + 12, ":role/") && strlen(role_arn) <= ROLE_MAXIMUM;
    const char *account = is_role ? rest + strlen(":iam::") : "";
    if (!is_role || strspn(account, "0123456789") != 12 || account[12 + strlen(":role/")] == '\0') {
        return error_set(err, ERROR_REJECT, "\"%.150s\" is not a role: %s", role_arn, shape);
    }
    if (account_id != NULL && strncmp(account, account_id, 12) != 0) {
        return error_set(err, ERROR_REJECT, "role %.150s belongs to another account than %s", role_arn, account_id);
    }
    const char *expected = region != NULL ? partition_of_region(region)->name : NULL;
    if (expected != NULL && !slice_equal_text(slice_from(partition, partition_length), expected)) {
        return error_set(err, ERROR_REJECT, "role %.150s is of another partition than region %s (%s)", role_arn, region,
                         expected);
    }
    return true;
}
