#include "workers/resolver/tag.h"

#include "schemas/ref.h"
#include "workers/common/base/auto.h"
#include "workers/common/base/slice.h"

#include <ctype.h>
#include <stdio.h>
#include <strings.h>

enum { NEAR_EDITS = 2, KEY_MAXIMUM = 128 };

static const char grammar[] = "a tag that deploys looks like v-<version>-<deploy tag>, for instance v-1.4.0-prod";

static void answer_malformed(struct tag_answer *answer, const char *name, const char *what)
{
    answer->outcome = TAG_MALFORMED;
    (void)snprintf(answer->reason, sizeof(answer->reason), "tag \"%.100s\" %s; %s", name, what, grammar);
}

/* Levenshtein's distance, at most NEAR_EDITS + 1 for texts that differ more in length. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t length_a = strlen(a);
    size_t length_b = strlen(b);
    if (length_a > KEY_MAXIMUM || length_b > KEY_MAXIMUM) {
        return NEAR_EDITS + 1;
    }
    size_t row[KEY_MAXIMUM + 1];
    for (size_t k = 0; k <= length_b; k++) {
        row[k] = k;
    }
    for (size_t i = 1; i <= length_a; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t k = 1; k <= length_b; k++) {
            size_t above = row[k];
            size_t best = diagonal + (a[i - 1] != b[k - 1]);
            best = row[k - 1] + 1 < best ? row[k - 1] + 1 : best;
            best = above + 1 < best ? above + 1 : best;
            diagonal = above;
            row[k] = best;
        }
    }
    return row[length_b];
}

struct nearest {
    const char *wanted;
    size_t distance;
    char key[KEY_MAXIMUM + 1];
};

static void nearest_visit(const char *key, void *context)
{
    struct nearest *nearest = context;
    size_t distance = strcasecmp(key, nearest->wanted) == 0 ? 0 : edit_distance(key, nearest->wanted);
    size_t length = strlen(nearest->wanted);
    /* Two edits turn any short word into any other. */
    size_t near = length > 4 ? NEAR_EDITS : length > 2 ? 1 : 0;
    if (distance <= near && distance < nearest->distance) {
        nearest->distance = distance;
        (void)snprintf(nearest->key, sizeof(nearest->key), "%s", key);
    }
}

static void answer_unmapped(struct tag_answer *answer, const char *key, const struct tag_map *map)
{
    answer->outcome = TAG_UNMAPPED;
    (void)snprintf(answer->key, sizeof(answer->key), "%s", key);
    int length = snprintf(answer->reason, sizeof(answer->reason), "\"%.140s\" is not in the map", key);
    struct nearest nearest = {.wanted = key, .distance = NEAR_EDITS + 1};
    if (map->each != NULL) {
        map->each(map->context, nearest_visit, &nearest);
    }
    if (nearest.key[0] != '\0') {
        (void)snprintf(answer->reason + length, sizeof(answer->reason) - (size_t)length, "; did you mean \"%s\"?",
                       nearest.key);
    }
}

static void answer_mapped(struct tag_answer *answer, struct slice version, const char *key)
{
    answer->outcome = TAG_MAPPED;
    (void)snprintf(answer->version, sizeof(answer->version), "%.*s", (int)version.len, version.ptr);
    (void)snprintf(answer->key, sizeof(answer->key), "%s", key);
}

/* What is wrong with a tag's name, or NULL. */
static const char *grammar_check(const char *name)
{
    if (!text_starts_with(name, "v-")) {
        return "does not begin with \"v-\"";
    }
    if (!isdigit((unsigned char)name[2])) {
        return "has a version that does not start with a digit";
    }
    if (strchr(name + 2, '-') == NULL) {
        return "names no deploy tag";
    }
    if (strstr(name, "--") != NULL || name[strlen(name) - 1] == '-') {
        return "has an empty part between its dashes";
    }
    if (strchr(name, '/') != NULL) {
        return "contains a \"/\"";
    }
    if (strchr(name, ',') != NULL) {
        return "contains a \",\"";
    }
    return strlen(name) <= KEY_MAXIMUM ? NULL : "is longer than 128 bytes";
}

static void resolve_longest(const char *name, const struct tag_map *map, struct tag_answer *answer)
{
    const char *version = name + 2;
    for (const char *dash = strchr(version, '-'); dash != NULL; dash = strchr(dash + 1, '-')) {
        if (map->has(map->context, dash + 1)) {
            answer_mapped(answer, slice_from(version, (size_t)(dash - version)), dash + 1);
            return;
        }
    }
    answer_unmapped(answer, strrchr(version, '-') + 1, map);
}

static void resolve_reference(const char *name, const struct tag_map *map, struct tag_answer *answer)
{
    const char *version = name + 2;
    const char *dash = strchr(version, '-');
    char key[KEY_MAXIMUM + 1];
    (void)snprintf(key, sizeof(key), "%.*s", (int)strcspn(dash + 1, "-"), dash + 1);
    if (map->has(map->context, key)) {
        answer_mapped(answer, slice_from(version, (size_t)(dash - version)), key);
    } else {
        answer_unmapped(answer, key, map);
    }
}

/* "v1.1.1-qa" lacks only the first dash. */
static void suggest_dash(const char *name, struct tag_answer *answer)
{
    char mended[160];
    if (name[0] == 'v' && isdigit((unsigned char)name[1]) &&
        snprintf(mended, sizeof(mended), "v-%s", name + 1) < (int)sizeof(mended) && grammar_check(mended) == NULL) {
        size_t used = strlen(answer->reason);
        (void)snprintf(answer->reason + used, sizeof(answer->reason) - used, "; did you mean \"%s\"?", mended);
    }
}

void tag_resolve(const char *ref, enum tag_rule rule, const struct tag_map *map, struct tag_answer *ret_answer)
{
    *ret_answer = (struct tag_answer){0};
    AUTO(text) char *full = ref_full_name(ref);
    if (full == NULL || full[strlen(full) - 1] == '/') {
        ret_answer->outcome = TAG_MALFORMED;
        (void)snprintf(ret_answer->reason, sizeof(ret_answer->reason),
                       "\"%.100s\" is neither a branch nor a tag: refs/heads/<branch> or refs/tags/<tag>", ref);
        return;
    }
    if (text_starts_with(full, "refs/heads/")) {
        AUTO(text) char *key = text_format("branch/%s", full + strlen("refs/heads/"));
        if (strlen(key) <= KEY_MAXIMUM && map->has(map->context, key)) {
            answer_mapped(ret_answer, slice_of(""), key);
        } else {
            answer_unmapped(ret_answer, key, map);
        }
        return;
    }
    const char *name = full + strlen("refs/tags/");
    const char *wrong = grammar_check(name);
    if (wrong != NULL) {
        answer_malformed(ret_answer, name, wrong);
        suggest_dash(name, ret_answer);
    } else if (rule == TAG_RULE_REFERENCE) {
        resolve_reference(name, map, ret_answer);
    } else {
        resolve_longest(name, map, ret_answer);
    }
}
