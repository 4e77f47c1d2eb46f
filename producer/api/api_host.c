#include "producer/api/api_host.h"

static const struct api_host *const hosts[] = {&github_api, &gitlab_api, &gitea_api, &bitbucket_api,
                                               &bitbucket_server_api};

const struct api_host *api_host_named(const char *provider)
{
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        if (strcmp(hosts[i]->provider, provider) == 0) {
            return hosts[i];
        }
    }
    return NULL;
}

const char *api_host_names(void)
{
    return "github, gitlab, gitea, bitbucket, bitbucket-server";
}
