#include "workers/common/aws/environment.h"

#include "workers/common/base/slice.h"

#include <stdlib.h>

static const char *variable(const char *name)
{
    const char *text = getenv(name);
    return slice_trim(slice_of(text)).len > 0 ? text : NULL;
}

struct environment environment_read(void)
{
    const char *region = variable("AWS_REGION");
    return (struct environment){
        .access_key = variable("AWS_ACCESS_KEY_ID"),
        .secret_key = variable("AWS_SECRET_ACCESS_KEY"),
        .session_token = variable("AWS_SESSION_TOKEN"),
        .profile = variable("AWS_PROFILE"),
        .region = region != NULL ? region : variable("AWS_DEFAULT_REGION"),
        .role_arn = variable("AWS_ROLE_ARN"),
        .role_session_name = variable("AWS_ROLE_SESSION_NAME"),
        .web_identity_token_file = variable("AWS_WEB_IDENTITY_TOKEN_FILE"),
        .container_relative_uri = variable("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"),
        .container_full_uri = variable("AWS_CONTAINER_CREDENTIALS_FULL_URI"),
        .container_token = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN"),
        .container_token_file = variable("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
        .metadata_disabled = variable("AWS_EC2_METADATA_DISABLED"),
        .metadata_endpoint = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT"),
        .metadata_endpoint_mode = variable("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE"),
        .credentials_file = variable("AWS_SHARED_CREDENTIALS_FILE"),
        .config_file = variable("AWS_CONFIG_FILE"),
        .home = variable("HOME"),
    };
}

static char *file_path(const struct environment *environment, const char *named, const char *default_name)
{
    return named != NULL ? text_copy(named)
                         : text_format("%s/.aws/%s", environment->home != NULL ? environment->home : "", default_name);
}

char *environment_credentials_path(const struct environment *environment)
{
    return file_path(environment, environment->credentials_file, "credentials");
}

char *environment_config_path(const struct environment *environment)
{
    return file_path(environment, environment->config_file, "config");
}
