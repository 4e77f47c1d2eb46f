#include "producer/hosts/host.h"

static const struct host *const hosts[] = {&bitbucket_host, NULL};

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
    return headers->find != NULL ? headers->find(headers->context, name) : NULL;
}

void changes_add(struct changes *changes, struct event *event)
{
    ((struct change *)groups_add(&changes->items, sizeof(struct change)))->event = event;
}

void changes_ignore(struct changes *changes, const char *reason)
{
    ((struct change *)groups_add(&changes->items, sizeof(struct change)))->reason = text_copy(reason);
}

void changes_clear(struct changes *changes)
{
    for (size_t i = 0; i < changes->items.count; i++) {
        struct change *change = (struct change *)changes->items.items + i;
        event_free(change->event);
        free(change->reason);
    }
    free(changes->items.items);
    *changes = (struct changes){0};
}
