#include "producer/hosts/host.h"

const struct host *const hosts[] = {
    &bitbucket_host, &bitbucket_server_host, &github_host, &gitlab_host, &gitea_host, &gogs_host, &generic_host, NULL,
};

const struct host *host_named(const char *provider)
{
    for (size_t i = 0; hosts[i] != NULL; i++) {
        if (strcmp(hosts[i]->name, provider) == 0) {
            return hosts[i];
        }
    }
    return NULL;
}

const char *host_header(const struct host_headers *headers, const char *name)
{
    size_t count = 0;
    return headers->find != NULL ? headers->find(headers->context, name, &count) : NULL;
}

const char *host_header_alone(const struct host_headers *headers, const char *name)
{
    size_t count = 0;
    const char *value = headers->find != NULL ? headers->find(headers->context, name, &count) : NULL;
    return count == 1 ? value : NULL;
}

void changes_clear(struct changes *changes)
{
    for (size_t i = 0; i < changes->items.count; i++) {
        struct change *change = (struct change *)changes->items.items + i;
        event_free(change->event);
        free(change->reason);
    }
    free(changes->items.items);
    free(changes->moved_unnamed);
    *changes = (struct changes){0};
}
