/*
 * The environment variables that decide where credentials come from, read once into a struct so that the decision
 * (aws/chain.h) needs nothing else. The texts are those of the process and live as long as it does; a variable that is
 * empty or blank counts as not set. The region of AWS_REGION wins over that of AWS_DEFAULT_REGION.
 */
#pragma once

struct environment {
    const char *access_key;              /* AWS_ACCESS_KEY_ID */
    const char *secret_key;              /* AWS_SECRET_ACCESS_KEY */
    const char *session_token;           /* AWS_SESSION_TOKEN */
    const char *profile;                 /* AWS_PROFILE */
    const char *region;                  /* AWS_REGION, AWS_DEFAULT_REGION */
    const char *role_arn;                /* AWS_ROLE_ARN */
    const char *role_session_name;       /* AWS_ROLE_SESSION_NAME */
    const char *web_identity_token_file; /* AWS_WEB_IDENTITY_TOKEN_FILE */
    const char *container_relative_uri;  /* AWS_CONTAINER_CREDENTIALS_RELATIVE_URI */
    const char *container_full_uri;      /* AWS_CONTAINER_CREDENTIALS_FULL_URI */
    const char *container_token;         /* AWS_CONTAINER_AUTHORIZATION_TOKEN */
    const char *container_token_file;    /* AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE */
    const char *metadata_disabled;       /* AWS_EC2_METADATA_DISABLED */
    const char *metadata_endpoint;       /* AWS_EC2_METADATA_SERVICE_ENDPOINT */
    const char *metadata_endpoint_mode;  /* AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE */
    const char *credentials_file;        /* AWS_SHARED_CREDENTIALS_FILE */
    const char *config_file;             /* AWS_CONFIG_FILE */
    const char *home;                    /* HOME */
};

struct environment environment_read(void);

/* Where the shared files are; the caller frees the text. */
char *environment_credentials_path(const struct environment *environment);
char *environment_config_path(const struct environment *environment);
