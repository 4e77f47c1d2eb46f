#include "schemas/change_line.h"

#include "schemas/json.h"

static void text_put(cJSON *line, const char *name, const char *text)
{
    cJSON_AddItemToObject(line, name, text != NULL ? cJSON_CreateString(text) : cJSON_CreateNull());
}

void change_line_format(const char *provider, const struct event *event, const char *reason, struct buffer *buffer)
{
    static const struct event none;
    const struct event *shown = event != NULL ? event : &none;
    AUTO(json) cJSON *line = cJSON_CreateObject();
    text_put(line, "kind", event != NULL ? event_kind_names[event->kind] : "ignored");
    text_put(line, "provider", provider);
    text_put(line, "repository", shown->repository);
    text_put(line, "repository_id", shown->repository_id);
    text_put(line, "ref", shown->ref);
    text_put(line, "before", shown->before);
    text_put(line, "after", shown->after);
    cJSON_AddBoolToObject(line, "forced", shown->forced);
    text_put(line, "reason", reason);
    json_append(line, buffer);
}
