#include "producer/api/entries.h"

#include "producer/api/api.h"

static bool entry_read(const cJSON *entry, enum ref_kind kind, const struct entry_shape *shape, struct page *page,
                       struct error *err)
{
    const cJSON *target = shape->target != NULL ? json_member(entry, shape->target) : entry;
    const char *date = shape->date != NULL ? json_text(target, shape->date) : NULL;
    return page_add(page, kind, json_text(entry, shape->name), json_text(target, shape->commit), date, err);
}

bool entries_read(const struct page_answer *answer, const struct entry_shape *shape, struct page *page,
                  cJSON **ret_root, struct error *err)
{
    if (!json_parse(answer->body, API_ANSWER_MAXIMUM_BYTES, ret_root, err)) {
        return false;
    }
    const cJSON *list = shape->list != NULL ? json_member(*ret_root, shape->list) : *ret_root;
    const cJSON *entry;
    if (!cJSON_IsArray(list)) {
        return shape->list != NULL ? error_set(err, ERROR_REJECT, "it has no list \"%s\"", shape->list)
                                   : error_set(err, ERROR_REJECT, "it is no list");
    }
    cJSON_ArrayForEach(entry, list)
    {
        if (!entry_read(entry, answer->kind, shape, page, err)) {
            return false;
        }
    }
    return page_check(page, (size_t)cJSON_GetArraySize(list), err);
}
