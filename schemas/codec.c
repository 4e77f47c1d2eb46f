#include "schemas/codec.h"

#include "schemas/json.h"
#include "workers/common/base/clock.h"

#include <stdio.h>

static const char *const envelope_version = "1.0";
static const char *const envelope_content_type = "application/json";
static const double integer_maximum = 9007199254740991.0; /* 2^53 - 1 */

static void *member_at(const void *message, const struct field *field)
{
    return (char *)(uintptr_t)message + field->offset;
}

void texts_add(struct texts *texts, const char *text)
{
    /* Doubled at each power of two: an entry of the map has up to 200,000 accounts. */
    if ((texts->count & (texts->count - 1)) == 0) {
        size_t capacity = texts->count > 0 ? 2 * texts->count : 1;
        texts->items = memory_resized((void *)texts->items, capacity * sizeof(char *));
    }
    texts->items[texts->count++] = text_copy(text);
}

void texts_clear(struct texts *texts)
{
    for (size_t i = 0; i < texts->count; i++) {
        free(texts->items[i]);
    }
    free((void *)texts->items);
    *texts = (struct texts){0};
}

static int text_order(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

bool texts_are_unique(const struct texts *texts)
{
    if (texts->count < 2) {
        return true;
    }
    const char **sorted = memory_zeroed(texts->count, sizeof(*sorted));
    memcpy((void *)sorted, (const void *)texts->items, texts->count * sizeof(*sorted));
    qsort((void *)sorted, texts->count, sizeof(*sorted), text_order);
    bool is_unique = true;
    for (size_t i = 1; i < texts->count && is_unique; i++) {
        is_unique = strcmp(sorted[i - 1], sorted[i]) != 0;
    }
    free((void *)sorted);
    return is_unique;
}

void *groups_add(struct groups *groups, size_t group_size)
{
    groups->items = memory_resized(groups->items, (groups->count + 1) * group_size);
    void *added = (char *)groups->items + groups->count++ * group_size;
    memset(added, 0, group_size);
    return added;
}

/* Groups nest one level deep, by the tables in this folder. */
static void fields_free(const struct field *fields, void *message) // NOLINT(misc-no-recursion)
{
    for (const struct field *field = fields; field->name != NULL; field++) {
        void *member = member_at(message, field);
        if (field->kind == FIELD_TEXT) {
            free(*(char **)member);
        } else if (field->kind == FIELD_TEXTS) {
            texts_clear(member);
        } else if (field->kind == FIELD_GROUPS) {
            struct groups *groups = member;
            for (size_t i = 0; i < groups->count; i++) {
                fields_free(field->group, (char *)groups->items + i * field->group_size);
            }
            free(groups->items);
        }
    }
}

void message_free(const struct codec *codec, void *message)
{
    if (message == NULL) {
        return;
    }
    fields_free(codec->fields, message);
    struct envelope *envelope = message;
    free(envelope->id);
    free(envelope->source);
    free(envelope->subject);
    free(envelope->traceparent);
    free(message);
}

static bool field_refuse(const struct field *field, const char *what, struct error *err)
{
    return error_set(err, ERROR_REJECT, "%s %s", field->name, what);
}

static bool text_check(const struct field *field, const char *text, struct error *err)
{
    const char *wrong = field->check != NULL ? field->check(text) : NULL;
    return wrong == NULL || error_set(err, ERROR_REJECT, "%s \"%.100s\" %s", field->name, text, wrong);
}

static bool text_read(const struct field *field, const cJSON *value, char **ret_text, struct error *err)
{
    const char *text = cJSON_GetStringValue(value);
    if (text == NULL) {
        return field_refuse(field, "must be a text", err);
    }
    if (!text_check(field, text, err)) {
        return false;
    }
    *ret_text = text_copy(text);
    return true;
}

static bool integer_read(const struct field *field, const cJSON *value, int64_t *ret_integer, struct error *err)
{
    if (!cJSON_IsNumber(value) || value->valuedouble < 0 || value->valuedouble > integer_maximum ||
        value->valuedouble != (double)(int64_t)value->valuedouble) {
        return field_refuse(field, "must be a whole number from 0 to 2^53 - 1", err);
    }
    *ret_integer = (int64_t)value->valuedouble;
    return true;
}

static bool time_read(const struct field *field, const cJSON *value, int64_t *ret_ms, struct error *err)
{
    const char *text = cJSON_GetStringValue(value);
    if (text == NULL || !clock_parse(text, ret_ms)) {
        return field_refuse(field, "must be a time such as 2026-01-02T03:04:05.678Z", err);
    }
    return true;
}

static bool choice_read(const struct field *field, const cJSON *value, int *ret_choice, struct error *err)
{
    const char *text = cJSON_GetStringValue(value);
    for (int i = 0; text != NULL && field->choices[i] != NULL; i++) {
        if (strcmp(text, field->choices[i]) == 0) {
            *ret_choice = i;
            return true;
        }
    }
    char names[300] = "";
    for (int i = 0; field->choices[i] != NULL; i++) {
        size_t used = strlen(names);
        (void)snprintf(names + used, sizeof(names) - used, "%s%s", i > 0 ? ", " : "", field->choices[i]);
    }
    return error_set(err, ERROR_REJECT, "%s must be one of %s", field->name, names);
}

static bool texts_read(const struct field *field, const cJSON *value, struct texts *texts, struct error *err)
{
    if (!cJSON_IsArray(value)) {
        return field_refuse(field, "must be a list of texts", err);
    }
    texts->items = memory_zeroed((size_t)cJSON_GetArraySize(value), sizeof(char *));
    for (const cJSON *item = value->child; item != NULL; item = item->next) {
        if (!text_read(field, item, &texts->items[texts->count], err)) {
            return false;
        }
        texts->count++;
    }
    return true;
}

static bool fields_read(const struct field *fields, const cJSON *object, void *message, struct error *err);

// NOLINTNEXTLINE(misc-no-recursion): groups nest one level deep, by the tables in this folder.
static bool groups_read(const struct field *field, const cJSON *value, struct groups *groups, struct error *err)
{
    if (!cJSON_IsArray(value)) {
        return field_refuse(field, "must be a list", err);
    }
    groups->items = memory_zeroed((size_t)cJSON_GetArraySize(value), field->group_size);
    for (const cJSON *item = value->child; item != NULL; item = item->next) {
        void *group = (char *)groups->items + groups->count++ * field->group_size;
        if (!cJSON_IsObject(item)) {
            return field_refuse(field, "must hold objects", err);
        }
        if (!fields_read(field->group, item, group, err)) {
            return error_prefix(err, "%s[%zu]", field->name, groups->count - 1);
        }
    }
    return true;
}

// NOLINTNEXTLINE(misc-no-recursion): groups nest one level deep, by the tables in this folder.
static bool field_read(const struct field *field, const cJSON *value, void *member, struct error *err)
{
    switch (field->kind) {
    case FIELD_TEXT:
        return text_read(field, value, member, err);
    case FIELD_INTEGER:
        return integer_read(field, value, member, err);
    case FIELD_BOOLEAN:
        *(bool *)member = cJSON_IsTrue(value);
        return cJSON_IsBool(value) || field_refuse(field, "must be true or false", err);
    case FIELD_TIME:
        return time_read(field, value, member, err);
    case FIELD_CHOICE:
        return choice_read(field, value, member, err);
    case FIELD_TEXTS:
        return texts_read(field, value, member, err);
    case FIELD_GROUPS:
        return groups_read(field, value, member, err);
    }
    return false;
}

// NOLINTNEXTLINE(misc-no-recursion): groups nest one level deep, by the tables in this folder.
static bool fields_read(const struct field *fields, const cJSON *object, void *message, struct error *err)
{
    for (const struct field *field = fields; field->name != NULL; field++) {
        const cJSON *value = json_member(object, field->name);
        if (value == NULL) {
            if (field->presence == REQUIRED) {
                return field_refuse(field, "is missing", err);
            }
            continue;
        }
        if (!field_read(field, value, member_at(message, field), err)) {
            return false;
        }
    }
    return true;
}

static const struct field envelope_fields[] = {
    {"id", FIELD_TEXT, REQUIRED, offsetof(struct envelope, id), check_not_empty, NULL, NULL, 0},
    {"source", FIELD_TEXT, REQUIRED, offsetof(struct envelope, source), check_not_empty, NULL, NULL, 0},
    {"subject", FIELD_TEXT, OPTIONAL, offsetof(struct envelope, subject), check_not_empty, NULL, NULL, 0},
    {"time", FIELD_TIME, REQUIRED, offsetof(struct envelope, time_ms), NULL, NULL, NULL, 0},
    {"traceparent", FIELD_TEXT, OPTIONAL, offsetof(struct envelope, traceparent), check_not_empty, NULL, NULL, 0},
    {0},
};

struct owned_message {
    const struct codec *codec;
    void *message;
};

static void owned_message_free(struct owned_message owned)
{
    message_free(owned.codec, owned.message);
}
DEFINE_AUTO(owned_message, struct owned_message);

bool message_parse(const struct codec *codec, struct slice body, void **ret_message, struct error *err)
{
    AUTO(json) cJSON *root = NULL;
    if (!json_parse(body, MESSAGE_MAXIMUM_BYTES, &root, err)) {
        return false;
    }
    const char *version = json_text(root, "specversion");
    const char *type = json_text(root, "type");
    const cJSON *data = json_member(root, "data");
    if (version == NULL || strcmp(version, envelope_version) != 0) {
        return error_set(err, ERROR_REJECT, "not a CloudEvent: specversion must be \"%s\"", envelope_version);
    }
    if (type == NULL || strcmp(type, codec->type) != 0) {
        return error_set(err, ERROR_REJECT, "type is \"%.80s\", expected \"%s\"", type != NULL ? type : "",
                         codec->type);
    }
    const cJSON *content_type = json_member(root, "datacontenttype");
    if (content_type != NULL &&
        (!cJSON_IsString(content_type) || strcmp(content_type->valuestring, envelope_content_type) != 0)) {
        return error_set(err, ERROR_REJECT, "datacontenttype must be \"%s\"", envelope_content_type);
    }
    if (!cJSON_IsObject(data)) {
        return error_set(err, ERROR_REJECT, "data must be an object");
    }
    AUTO(owned_message) struct owned_message owned = {codec, memory_zeroed(1, codec->size)};
    if (!fields_read(envelope_fields, root, owned.message, err)) {
        return false;
    }
    if (!fields_read(codec->fields, data, owned.message, err)) {
        return error_prefix(err, "data");
    }
    const char *wrong = codec->check != NULL ? codec->check(owned.message) : NULL;
    if (wrong != NULL) {
        return error_set(err, ERROR_REJECT, "data: %s", wrong);
    }
    *ret_message = TAKE(owned.message);
    return true;
}

char *message_type(struct slice body)
{
    struct error err;
    AUTO(json) cJSON *root = NULL;
    if (!json_parse(body, MESSAGE_MAXIMUM_BYTES, &root, &err)) {
        return NULL;
    }
    const char *type = json_text(root, "type");
    return type != NULL ? text_copy(type) : NULL;
}

static bool fields_check(const struct field *fields, const void *message, struct error *err);

static bool texts_check(const struct field *field, const struct texts *texts, struct error *err)
{
    for (size_t i = 0; i < texts->count; i++) {
        if (!text_check(field, texts->items[i], err)) {
            return false;
        }
    }
    return true;
}

// NOLINTNEXTLINE(misc-no-recursion): groups nest one level deep, by the tables in this folder.
static bool groups_check(const struct field *field, const struct groups *groups, struct error *err)
{
    for (size_t i = 0; i < groups->count; i++) {
        if (!fields_check(field->group, (const char *)groups->items + i * field->group_size, err)) {
            return error_prefix(err, "%s[%zu]", field->name, i);
        }
    }
    return true;
}

/* Choices, booleans and times cannot be wrong in memory. */
// NOLINTNEXTLINE(misc-no-recursion): groups nest one level deep, by the tables in this folder.
static bool field_check(const struct field *field, const void *member, struct error *err)
{
    if (field->kind == FIELD_TEXT) {
        const char *text = *(char *const *)member;
        return text != NULL ? text_check(field, text, err)
                            : field->presence == OPTIONAL || field_refuse(field, "is missing", err);
    }
    if (field->kind == FIELD_INTEGER) {
        int64_t integer = *(const int64_t *)member;
        return (integer >= 0 && (double)integer <= integer_maximum) ||
               field_refuse(field, "must be a whole number from 0 to 2^53 - 1", err);
    }
    if (field->kind == FIELD_TEXTS) {
        return texts_check(field, member, err);
    }
    return field->kind != FIELD_GROUPS || groups_check(field, member, err);
}

// NOLINTNEXTLINE(misc-no-recursion): groups nest one level deep, by the tables in this folder.
static bool fields_check(const struct field *fields, const void *message, struct error *err)
{
    for (const struct field *field = fields; field->name != NULL; field++) {
        if (!field_check(field, (const char *)message + field->offset, err)) {
            return false;
        }
    }
    return true;
}

bool message_check(const struct codec *codec, const void *message, struct error *err)
{
    if (!fields_check(envelope_fields, message, err)) {
        return false;
    }
    if (!fields_check(codec->fields, message, err)) {
        return error_prefix(err, "data");
    }
    const char *wrong = codec->check != NULL ? codec->check(message) : NULL;
    return wrong == NULL || error_set(err, ERROR_REJECT, "data: %s", wrong);
}

static void must_add(bool is_added)
{
    if (!is_added) {
        error_out_of_memory();
    }
}

static void fields_write(const struct field *fields, const void *message, cJSON *object);

static void time_write(const struct field *field, int64_t time_ms, cJSON *object)
{
    char text[CLOCK_TEXT_SIZE];
    clock_format(time_ms, text);
    must_add(cJSON_AddItemToObjectCS(object, field->name, cJSON_CreateString(text)));
}

static void texts_write(const struct field *field, const struct texts *texts, cJSON *object)
{
    cJSON *list = cJSON_AddArrayToObject(object, field->name);
    must_add(list != NULL);
    for (size_t i = 0; i < texts->count; i++) {
        must_add(cJSON_AddItemToArray(list, cJSON_CreateString(texts->items[i])));
    }
}

// NOLINTNEXTLINE(misc-no-recursion): groups nest one level deep, by the tables in this folder.
static void groups_write(const struct field *field, const struct groups *groups, cJSON *object)
{
    cJSON *list = cJSON_AddArrayToObject(object, field->name);
    must_add(list != NULL);
    for (size_t i = 0; i < groups->count; i++) {
        cJSON *item = cJSON_CreateObject();
        must_add(cJSON_AddItemToArray(list, item));
        fields_write(field->group, (const char *)groups->items + i * field->group_size, item);
    }
}

// NOLINTNEXTLINE(misc-no-recursion): groups nest one level deep, by the tables in this folder.
static void field_write(const struct field *field, const void *member, cJSON *object)
{
    bool is_required = field->presence == REQUIRED;
    switch (field->kind) {
    case FIELD_TEXT: {
        const char *text = *(char *const *)member;
        if (text != NULL) {
            must_add(cJSON_AddItemToObjectCS(object, field->name, cJSON_CreateString(text)));
        }
        return;
    }
    case FIELD_INTEGER:
        if (is_required || *(const int64_t *)member != 0) {
            json_put_integer(object, field->name, *(const int64_t *)member);
        }
        return;
    case FIELD_BOOLEAN:
        if (is_required || *(const bool *)member) {
            must_add(cJSON_AddItemToObjectCS(object, field->name, cJSON_CreateBool(*(const bool *)member)));
        }
        return;
    case FIELD_TIME:
        if (is_required || *(const int64_t *)member != 0) {
            time_write(field, *(const int64_t *)member, object);
        }
        return;
    case FIELD_CHOICE:
        if (!is_required && *(const int *)member == 0) {
            return;
        }
        must_add(cJSON_AddItemToObjectCS(object, field->name,
                                         cJSON_CreateStringReference(field->choices[*(const int *)member])));
        return;
    case FIELD_TEXTS:
        if (is_required || ((const struct texts *)member)->count > 0) {
            texts_write(field, member, object);
        }
        return;
    case FIELD_GROUPS:
        if (is_required || ((const struct groups *)member)->count > 0) {
            groups_write(field, member, object);
        }
        return;
    }
}

// NOLINTNEXTLINE(misc-no-recursion): groups nest one level deep, by the tables in this folder.
static void fields_write(const struct field *fields, const void *message, cJSON *object)
{
    for (const struct field *field = fields; field->name != NULL; field++) {
        field_write(field, member_at(message, field), object);
    }
}

void message_format(const struct codec *codec, const void *message, struct buffer *buffer)
{
    AUTO(json) cJSON *root = cJSON_CreateObject();
    must_add(cJSON_AddStringToObject(root, "specversion", envelope_version) != NULL);
    must_add(cJSON_AddStringToObject(root, "type", codec->type) != NULL);
    fields_write(envelope_fields, message, root);
    must_add(cJSON_AddStringToObject(root, "datacontenttype", envelope_content_type) != NULL);
    cJSON *data = cJSON_AddObjectToObject(root, "data");
    must_add(data != NULL);
    fields_write(codec->fields, message, data);
    json_append(root, buffer);
}

void message_format_data(const struct codec *codec, const void *message, struct buffer *buffer)
{
    AUTO(json) cJSON *data = cJSON_CreateObject();
    fields_write(codec->fields, message, data);
    json_append(data, buffer);
}

void envelope_fill(struct envelope *envelope, const char *id, const char *source, const char *subject)
{
    free(envelope->id);
    free(envelope->source);
    free(envelope->subject);
    free(envelope->traceparent);
    envelope->id = text_copy(id);
    envelope->source = text_copy(source);
    envelope->subject = subject != NULL ? text_copy(subject) : NULL;
    envelope->traceparent = NULL;
    envelope->time_ms = clock_wall_ms();
}

struct output *message_output(const struct codec *codec, const void *message, const char *topic, const char *key)
{
    const struct envelope *envelope = message;
    AUTO(buffer) struct buffer body;
    buffer_init(&body, MESSAGE_MAXIMUM_BYTES);
    message_format(codec, message, &body);
    if (body.is_overflowed) {
        error_out_of_memory();
    }
    char time[CLOCK_TEXT_SIZE];
    clock_format(envelope->time_ms, time);
    struct output *output = output_new(topic, key, buffer_slice(&body));
    output_add_header(output, "content-type", "application/cloudevents+json; charset=UTF-8");
    output_add_header(output, "ce_specversion", envelope_version);
    output_add_header(output, "ce_id", envelope->id);
    output_add_header(output, "ce_source", envelope->source);
    output_add_header(output, "ce_type", codec->type);
    output_add_header(output, "ce_subject", envelope->subject);
    output_add_header(output, "ce_time", time);
    output_add_header(output, "traceparent", envelope->traceparent);
    return output;
}
