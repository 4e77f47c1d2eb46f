#include "schemas/map_file.h"

#include "schemas/json.h"
#include "schemas/map_entry.h"

enum { MAP_FILE_MAXIMUM_BYTES = 64 * 1024 * 1024 };

void accounts_index(const struct texts *accounts, struct index *index)
{
    for (size_t i = 0; i < accounts->count; i++) {
        index_put(index, slice_of(accounts->items[i]), accounts->items[i]);
    }
}

/* seen holds what accounts holds. */
static bool account_add(struct texts *accounts, struct index *seen, const char *account, struct error *err)
{
    const char *wrong = check_account(account);
    if (wrong != NULL) {
        return error_set(err, ERROR_REJECT, "\"%.60s\" %s", account, wrong);
    }
    if (index_get(seen, slice_of(account)) != NULL) {
        return true;
    }
    if (accounts->count == MAP_ENTRY_ACCOUNTS_MAXIMUM) {
        return error_set(err, ERROR_REJECT, "more than %d accounts", MAP_ENTRY_ACCOUNTS_MAXIMUM);
    }
    texts_add(accounts, account);
    index_put(seen, slice_of(account), accounts->items[accounts->count - 1]);
    return true;
}

static void index_auto(struct index *index)
{
    index_clear(index, NULL);
}

bool accounts_parse(const char *text, struct texts *accounts, struct error *err)
{
    AUTO(index) struct index seen = {0};
    accounts_index(accounts, &seen);
    struct slice rest = slice_of(text);
    for (struct slice item; slice_next_item(&rest, &item);) {
        AUTO(text) char *account = slice_copy(item);
        if (!account_add(accounts, &seen, account, err)) {
            return false;
        }
    }
    return true;
}

void map_file_add(struct map_file *file, const char *tag, const struct texts *accounts)
{
    struct map_file_entry *entry = groups_add(&file->entries, sizeof(*entry));
    entry->tag = text_copy(tag);
    for (size_t i = 0; i < accounts->count; i++) {
        texts_add(&entry->accounts, accounts->items[i]);
    }
}

void map_file_free(struct map_file *file)
{
    if (file == NULL) {
        return;
    }
    for (size_t i = 0; i < file->entries.count; i++) {
        struct map_file_entry *entry = (struct map_file_entry *)file->entries.items + i;
        free(entry->tag);
        texts_clear(&entry->accounts);
    }
    free(file->entries.items);
    free(file);
}

static bool entry_read(const cJSON *list, struct map_file *file, struct error *err)
{
    const char *wrong = check_deploy_tag(list->string);
    if (wrong != NULL) {
        return error_set(err, ERROR_REJECT, "tag %s", wrong);
    }
    if (!cJSON_IsArray(list)) {
        return error_set(err, ERROR_REJECT, "must be a list of account ids, such as [\"111111111111\"]");
    }
    AUTO(index) struct index seen = {0};
    struct map_file_entry *entry = groups_add(&file->entries, sizeof(*entry));
    entry->tag = text_copy(list->string);
    for (const cJSON *item = list->child; item != NULL; item = item->next) {
        if (cJSON_IsNumber(item)) {
            return error_set(err, ERROR_REJECT,
                             "account ids are texts in quotes: a number loses its leading zeros (%.0f)",
                             item->valuedouble);
        }
        if (!cJSON_IsString(item)) {
            return error_set(err, ERROR_REJECT, "account ids are texts of 12 digits");
        }
        if (!account_add(&entry->accounts, &seen, item->valuestring, err)) {
            return false;
        }
    }
    return true;
}

bool map_file_parse(struct slice body, struct map_file **ret_file, struct error *err)
{
    AUTO(json) cJSON *root = NULL;
    if (!json_parse(body, MAP_FILE_MAXIMUM_BYTES, &root, err)) {
        return false;
    }
    if (!cJSON_IsObject(root)) {
        return error_set(err, ERROR_REJECT, "must be an object, such as {\"qa\": [\"222222222222\"]}");
    }
    AUTO(map_file) struct map_file *file = memory_zeroed(1, sizeof(*file));
    for (const cJSON *list = root->child; list != NULL; list = list->next) {
        if (!entry_read(list, file, err)) {
            return error_prefix(err, "\"%.100s\"", list->string);
        }
    }
    *ret_file = TAKE(file);
    return true;
}

const struct map_file_entry *map_file_find(const struct map_file *file, const char *tag)
{
    for (size_t i = 0; i < file->entries.count; i++) {
        const struct map_file_entry *entry = (const struct map_file_entry *)file->entries.items + i;
        if (strcmp(entry->tag, tag) == 0) {
            return entry;
        }
    }
    return NULL;
}

void map_file_format(const struct map_file *file, struct buffer *buffer)
{
    buffer_append_text(buffer, "{");
    for (size_t i = 0; i < file->entries.count; i++) {
        const struct map_file_entry *entry = (const struct map_file_entry *)file->entries.items + i;
        AUTO(json) cJSON *tag = cJSON_CreateString(entry->tag);
        AUTO(json) cJSON *list = cJSON_CreateArray();
        for (size_t j = 0; j < entry->accounts.count; j++) {
            cJSON_AddItemToArray(list, cJSON_CreateString(entry->accounts.items[j]));
        }
        buffer_append_text(buffer, i > 0 ? ",\n  " : "\n  ");
        json_append(tag, buffer);
        buffer_append_text(buffer, ": ");
        json_append(list, buffer);
    }
    buffer_append_text(buffer, "\n}\n");
}
