#include "schemas/json.h"

#include "workers/common/base/utf8.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>

static bool body_check(struct slice body, struct error *err)
{
    bool is_escaped = false;
    for (size_t i = 0; i < body.len;) {
        size_t length = utf8_length(body.ptr + i, body.len - i);
        if (length == 0) {
            return error_set(err, ERROR_REJECT, "byte %zu is not valid UTF-8 (or NUL)", i);
        }
        if (is_escaped && body.len - i >= 5 && memcmp(body.ptr + i, "u0000", 5) == 0) {
            return error_set(err, ERROR_REJECT, "a text contains the character NUL at byte %zu", i);
        }
        is_escaped = !is_escaped && body.ptr[i] == '\\';
        i += length;
    }
    return true;
}

static int member_order(const void *a, const void *b)
{
    const cJSON *left = *(const cJSON *const *)a;
    const cJSON *right = *(const cJSON *const *)b;
    return strcmp(left->string, right->string);
}

static bool members_are_unique(const cJSON *object, struct error *err)
{
    size_t count = (size_t)cJSON_GetArraySize(object);
    if (count < 2) {
        return true;
    }
    const cJSON **members = memory_zeroed(count, sizeof(const cJSON *));
    size_t i = 0;
    for (const cJSON *member = object->child; member != NULL; member = member->next) {
        members[i++] = member;
    }
    qsort((void *)members, count, sizeof(const cJSON *), member_order);
    bool is_unique = true;
    for (i = 1; i < count && is_unique; i++) {
        is_unique = strcmp(members[i - 1]->string, members[i]->string) != 0 ||
                    error_set(err, ERROR_REJECT, "the key \"%.80s\" occurs twice in one object", members[i]->string);
    }
    free((void *)members);
    return is_unique;
}

/* cJSON bounds the nesting (CJSON_NESTING_LIMIT, 1000), so the recursion is bounded too. */
static bool keys_are_unique(const cJSON *value, struct error *err) // NOLINT(misc-no-recursion)
{
    if (cJSON_IsObject(value) && !members_are_unique(value, err)) {
        return false;
    }
    for (const cJSON *child = value->child; child != NULL; child = child->next) {
        if (child->child != NULL && !keys_are_unique(child, err)) {
            return false;
        }
    }
    return true;
}

bool json_parse(struct slice body, size_t maximum_bytes, cJSON **ret_root, struct error *err)
{
    if (body.len > maximum_bytes) {
        return error_set(err, ERROR_REJECT, "the body has %zu bytes, at most %zu are accepted", body.len,
                         maximum_bytes);
    }
    if (!body_check(body, err)) {
        return false;
    }
    const char *end = body.ptr;
    AUTO(json) cJSON *root = cJSON_ParseWithLengthOpts(body.ptr != NULL ? body.ptr : "", body.len, &end, false);
    if (root == NULL) {
        size_t at = end != NULL && body.ptr != NULL && end >= body.ptr ? (size_t)(end - body.ptr) : 0;
        return error_set(err, ERROR_REJECT, "not JSON: cannot go on at byte %zu", at);
    }
    for (; end < body.ptr + body.len; end++) {
        if (!isspace((unsigned char)*end)) {
            return error_set(err, ERROR_REJECT, "not JSON: more text follows the value at byte %zu",
                             (size_t)(end - body.ptr));
        }
    }
    if (!keys_are_unique(root, err)) {
        return false;
    }
    *ret_root = TAKE(root);
    return true;
}

const cJSON *json_member(const cJSON *object, const char *name)
{
    const cJSON *member = cJSON_GetObjectItemCaseSensitive(object, name);
    return cJSON_IsNull(member) ? NULL : member;
}

const char *json_text(const cJSON *object, const char *name)
{
    return cJSON_GetStringValue(json_member(object, name));
}

void json_put_integer(cJSON *object, const char *name, int64_t integer)
{
    char text[24];
    (void)snprintf(text, sizeof(text), "%" PRId64, integer);
    if (cJSON_AddRawToObject(object, name, text) == NULL) {
        error_out_of_memory();
    }
}

/* Texts from the command line or ones that were cut at a length may hold half a character; written as they are, nobody
 * could read the message. JSON's own characters are ASCII, so nothing but such a text is touched. */
static void text_make_valid(char *text, size_t left)
{
    while (left > 0) {
        uint64_t eight;
        while (left >= sizeof(eight)) {
            memcpy(&eight, text, sizeof(eight));
            if ((eight & UINT64_C(0x8080808080808080)) != 0) {
                break;
            }
            text += sizeof(eight);
            left -= sizeof(eight);
        }
        if (left == 0) {
            return;
        }
        size_t length = utf8_length(text, left);
        if (length == 0) {
            *text = '?';
            length = 1;
        }
        text += length;
        left -= length;
    }
}

void json_append(const cJSON *value, struct buffer *buffer)
{
    char *text = cJSON_PrintUnformatted(value);
    if (text == NULL) {
        error_out_of_memory();
    }
    size_t start = buffer->len;
    buffer_append_text(buffer, text);
    text_make_valid(buffer->ptr + start, buffer->len - start);
    cJSON_free(text);
}
