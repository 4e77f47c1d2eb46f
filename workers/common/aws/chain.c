#include "workers/common/aws/chain.h"

#include "workers/common/aws/container.h"
#include "workers/common/aws/instance.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What a decision is made from, and what it has come to so far: the steps from the last to the first. */
struct planning {
    const struct environment *environment;
    const struct profiles *profiles;
    const char *files;
    const char *profile; /* the one that was asked for; its region and its metadata endpoint count */
    struct chain *chain;
};

static void step_done(struct chain_step *step)
{
    free(step->profile);
    credentials_free(step->key);
    free(step->url);
    secret_free(step->token);
    free(step->token_file);
    free(step->command);
    free(step->role_arn);
    free(step->external_id);
    free(step->session_name);
}

void chain_free(struct chain *chain)
{
    if (chain != NULL) {
        for (size_t i = 0; i < chain->count; i++) {
            step_done(&chain->steps[i]);
        }
        free(chain->steps);
        free(chain->region);
        free(chain->looked_in);
        free(chain);
    }
}

static struct chain_step *chain_add(struct chain *chain, enum chain_kind kind, const char *profile)
{
    chain->steps = memory_resized(chain->steps, (chain->count + 1) * sizeof(*chain->steps));
    struct chain_step *step = &chain->steps[chain->count++];
    *step = (struct chain_step){.kind = kind, .profile = profile != NULL ? text_copy(profile) : NULL};
    return step;
}

static void chain_reverse(struct chain *chain)
{
    for (size_t i = 0; i < chain->count / 2; i++) {
        struct chain_step step = chain->steps[i];
        chain->steps[i] = chain->steps[chain->count - 1 - i];
        chain->steps[chain->count - 1 - i] = step;
    }
}

static const char *get(const struct planning *planning, const char *profile, const char *key)
{
    return profiles_get(planning->profiles, profile, key);
}

/* --- the environment --- */

static bool plan_environment_key(struct planning *planning, struct error *err)
{
    const struct environment *environment = planning->environment;
    if (environment->access_key == NULL || environment->secret_key == NULL) {
        return error_set(err, ERROR_REJECT, "the environment has no %s",
                         environment->access_key == NULL ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY");
    }
    chain_add(planning->chain, CHAIN_KEY, NULL)->key =
        credentials_new(environment->access_key, environment->secret_key, environment->session_token, 0, "environment");
    return true;
}

static bool plan_environment_web_identity(struct planning *planning, struct error *err)
{
    const struct environment *environment = planning->environment;
    if (environment->role_arn == NULL) {
        return error_set(err, ERROR_REJECT, "AWS_WEB_IDENTITY_TOKEN_FILE needs AWS_ROLE_ARN");
    }
    struct chain_step *step = chain_add(planning->chain, CHAIN_WEB_IDENTITY, NULL);
    step->token_file = text_copy(environment->web_identity_token_file);
    step->role_arn = text_copy(environment->role_arn);
    step->session_name = text_copy_or_null(environment->role_session_name);
    return true;
}

static bool has_container(const struct environment *environment)
{
    return environment->container_relative_uri != NULL || environment->container_full_uri != NULL;
}

static bool plan_container(struct planning *planning, struct error *err)
{
    const struct environment *environment = planning->environment;
    AUTO(text) char *url = NULL;
    if (!has_container(environment)) {
        return error_set(err, ERROR_REJECT,
                         "the environment has no AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or _FULL_URI");
    }
    if (!container_url(environment->container_relative_uri, environment->container_full_uri, &url, err)) {
        return false;
    }
    struct chain_step *step = chain_add(planning->chain, CHAIN_CONTAINER, NULL);
    step->url = TAKE(url);
    step->token = text_copy_or_null(environment->container_token);
    step->token_file = text_copy_or_null(environment->container_token_file);
    return true;
}

static bool has_instance(const struct environment *environment)
{
    return environment->metadata_disabled == NULL || strcasecmp(environment->metadata_disabled, "true") != 0;
}

static bool plan_instance(struct planning *planning, struct error *err)
{
    AUTO(text) char *url = NULL;
    if (!has_instance(planning->environment)) {
        return error_set(err, ERROR_REJECT, "AWS_EC2_METADATA_DISABLED forbids to ask the instance");
    }
    if (!instance_url(planning->environment, get(planning, planning->profile, "ec2_metadata_service_endpoint"),
                      get(planning, planning->profile, "ec2_metadata_service_endpoint_mode"), &url, err)) {
        return false;
    }
    chain_add(planning->chain, CHAIN_INSTANCE, NULL)->url = TAKE(url);
    return true;
}

/* --- profiles --- */

static const char *const sso_keys[] = {"sso_session", "sso_start_url", "sso_account_id", "sso_role_name"};

static bool has_sso(const struct planning *planning, const char *profile)
{
    for (size_t i = 0; i < sizeof(sso_keys) / sizeof(sso_keys[0]); i++) {
        if (get(planning, profile, sso_keys[i]) != NULL) {
            return true;
        }
    }
    return false;
}

/* Does the profile say anything of credentials, rightly or wrongly? */
static bool has_credentials(const struct planning *planning, const char *profile)
{
    static const char *const keys[] = {"aws_access_key_id", "aws_secret_access_key", "role_arn",
                                       "web_identity_token_file", "credential_process"};
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (get(planning, profile, keys[i]) != NULL) {
            return true;
        }
    }
    return has_sso(planning, profile);
}

static bool has_whole_key(const struct planning *planning, const char *profile)
{
    return get(planning, profile, "aws_access_key_id") != NULL &&
           get(planning, profile, "aws_secret_access_key") != NULL;
}

static bool plan_profile_key(struct planning *planning, const char *profile, struct error *err)
{
    if (!has_whole_key(planning, profile)) {
        bool has_secret = get(planning, profile, "aws_secret_access_key") != NULL;
        bool has_half = has_secret || get(planning, profile, "aws_access_key_id") != NULL;
        return error_set(err, ERROR_REJECT, "profile \"%.80s\" has no %s (in %.250s)", profile,
                         !has_half    ? "credentials"
                         : has_secret ? "aws_access_key_id"
                                      : "aws_secret_access_key",
                         planning->files);
    }
    AUTO(text) char *origin = text_format("profile %s", profile);
    chain_add(planning->chain, CHAIN_KEY, profile)->key =
        credentials_new(get(planning, profile, "aws_access_key_id"), get(planning, profile, "aws_secret_access_key"),
                        get(planning, profile, "aws_session_token"), 0, origin);
    return true;
}

/* AWS allows 15 minutes to 12 hours; STS says itself what this role allows. */
static bool duration_read(const struct planning *planning, const char *profile, int64_t *ret_seconds, struct error *err)
{
    const char *text = get(planning, profile, "duration_seconds");
    char *end = NULL;
    *ret_seconds = text != NULL ? strtoll(text, &end, 10) : 0;
    bool is_fine = text == NULL || (*end == '\0' && *ret_seconds >= 900 && *ret_seconds <= 43200);
    return is_fine || error_set(err, ERROR_REJECT, "profile \"%.80s\": duration_seconds must be 900 to 43200", profile);
}

static bool plan_role_step(struct planning *planning, enum chain_kind kind, const char *profile, struct error *err)
{
    int64_t duration_seconds;
    if (get(planning, profile, "role_arn") == NULL) {
        return error_set(err, ERROR_REJECT, "profile \"%.80s\": web_identity_token_file needs role_arn", profile);
    }
    if (get(planning, profile, "mfa_serial") != NULL) {
        return error_set(err, ERROR_REJECT, "profile \"%.80s\": mfa_serial needs a person, who is not here", profile);
    }
    if (!duration_read(planning, profile, &duration_seconds, err)) {
        return false;
    }
    const char *token_file = get(planning, profile, "web_identity_token_file");
    const char *external_id = get(planning, profile, "external_id");
    const char *session_name = get(planning, profile, "role_session_name");
    struct chain_step *step = chain_add(planning->chain, kind, profile);
    step->role_arn = text_copy(get(planning, profile, "role_arn"));
    step->token_file = token_file != NULL && kind == CHAIN_WEB_IDENTITY ? text_copy(token_file) : NULL;
    step->external_id = external_id != NULL && kind == CHAIN_ROLE ? text_copy(external_id) : NULL;
    step->session_name = session_name != NULL ? text_copy(session_name) : NULL;
    step->duration_seconds = duration_seconds;
    return true;
}

/* What a profile yields by itself, without the key of another. */
static bool plan_base(struct planning *planning, const char *profile, struct error *err)
{
    if (get(planning, profile, "web_identity_token_file") != NULL) {
        return plan_role_step(planning, CHAIN_WEB_IDENTITY, profile, err);
    }
    if (has_sso(planning, profile)) {
        return error_set(err, ERROR_REJECT, "profile \"%.80s\": IAM Identity Center (sso) needs a person's login",
                         profile);
    }
    const char *command = get(planning, profile, "credential_process");
    if (command != NULL) {
        chain_add(planning->chain, CHAIN_PROCESS, profile)->command = text_copy(command);
        return true;
    }
    return plan_profile_key(planning, profile, err);
}

static bool plan_named_source(struct planning *planning, const char *profile, const char *source, struct error *err)
{
    bool is_planned;
    if (strcasecmp(source, "Environment") == 0) {
        is_planned = plan_environment_key(planning, err);
    } else if (strcasecmp(source, "Ec2InstanceMetadata") == 0) {
        is_planned = plan_instance(planning, err);
    } else if (strcasecmp(source, "EcsContainer") == 0) {
        is_planned = plan_container(planning, err);
    } else {
        is_planned =
            error_set(err, ERROR_REJECT,
                      "credential_source is Environment, Ec2InstanceMetadata or EcsContainer, not \"%.40s\"", source);
    }
    return is_planned || error_prefix(err, "profile \"%.80s\"", profile);
}

static bool is_visited(const struct planning *planning, const char *profile)
{
    for (size_t i = 0; i < planning->chain->count; i++) {
        if (strcmp(planning->chain->steps[i].profile, profile) == 0) {
            return true;
        }
    }
    return false;
}

/* Adds the role of the profile. *ret_next is the profile that has the key for it, NULL when the way ends here. */
static bool plan_role(struct planning *planning, const char *profile, const char **ret_next, struct error *err)
{
    const char *source_profile = get(planning, profile, "source_profile");
    const char *source = get(planning, profile, "credential_source");
    *ret_next = NULL;
    if ((source_profile != NULL) == (source != NULL)) {
        return error_set(err, ERROR_REJECT,
                         "profile \"%.80s\": role_arn needs one of source_profile and credential_source", profile);
    }
    if (!plan_role_step(planning, CHAIN_ROLE, profile, err)) {
        return false;
    }
    if (source != NULL) {
        return plan_named_source(planning, profile, source, err);
    }
    if (strcmp(source_profile, profile) == 0) {
        return plan_profile_key(planning, profile, err);
    }
    if (!profiles_has(planning->profiles, source_profile)) {
        return error_set(err, ERROR_REJECT, "no profile \"%.80s\", the source_profile of \"%.80s\", in %.250s",
                         source_profile, profile, planning->files);
    }
    if (is_visited(planning, source_profile)) {
        return error_set(err, ERROR_REJECT, "profile \"%.80s\" leads back to itself by source_profile", source_profile);
    }
    *ret_next = source_profile;
    return true;
}

static bool plan_profile(struct planning *planning, struct error *err)
{
    const char *profile = planning->profile;
    if (!profiles_has(planning->profiles, profile)) {
        return error_set(err, ERROR_REJECT, "no profile \"%.80s\" in %.250s", profile, planning->files);
    }
    while (profile != NULL) {
        bool is_source = planning->chain->count > 0;
        bool is_role = get(planning, profile, "role_arn") != NULL &&
                       get(planning, profile, "web_identity_token_file") == NULL &&
                       !(is_source && has_whole_key(planning, profile));
        if (!is_role) {
            return is_source && has_whole_key(planning, profile) ? plan_profile_key(planning, profile, err)
                                                                 : plan_base(planning, profile, err);
        }
        if (!plan_role(planning, profile, &profile, err)) {
            return false;
        }
    }
    return true;
}

/* --- the order --- */

static bool plan_default(struct planning *planning, struct error *err)
{
    const struct environment *environment = planning->environment;
    planning->profile = "default";
    if (environment->access_key != NULL || environment->secret_key != NULL) {
        return plan_environment_key(planning, err);
    }
    if (has_credentials(planning, "default")) {
        return plan_profile(planning, err);
    }
    if (environment->web_identity_token_file != NULL) {
        return plan_environment_web_identity(planning, err);
    }
    if (has_container(environment)) {
        return plan_container(planning, err);
    }
    planning->chain->looked_in = text_format("the environment has no AWS_ACCESS_KEY_ID, no profile \"default\" with "
                                             "credentials is in %.250s, and there is no web identity and no container",
                                             planning->files);
    return plan_instance(planning, err) || error_prefix(err, "%s", planning->chain->looked_in);
}

bool chain_plan(const struct environment *environment, const struct profiles *profiles, const char *files,
                const char *profile, struct chain **ret_chain, struct error *err)
{
    AUTO(chain) struct chain *chain = memory_zeroed(1, sizeof(*chain));
    struct planning planning = {.environment = environment,
                                .profiles = profiles,
                                .files = files,
                                .profile = profile != NULL ? profile : environment->profile,
                                .chain = chain};
    if (!(planning.profile != NULL ? plan_profile(&planning, err) : plan_default(&planning, err))) {
        return false;
    }
    const char *region = environment->region != NULL ? environment->region : get(&planning, planning.profile, "region");
    chain->region = region != NULL ? text_copy(region) : NULL;
    chain_reverse(chain);
    *ret_chain = TAKE(chain);
    return true;
}

bool chain_find(struct profile_files *files, const char *profile, struct chain **ret_chain, struct error *err)
{
    struct environment environment = environment_read();
    AUTO(text) char *credentials_path = environment_credentials_path(&environment);
    AUTO(text) char *config_path = environment_config_path(&environment);
    AUTO(text) char *names = text_format("%s or %s", credentials_path, config_path);
    const struct profiles *profiles;
    return profile_files_read(files, credentials_path, config_path, &profiles, err) &&
           chain_plan(&environment, profiles, names, profile, ret_chain, err);
}
