#include "producer/api/page.h"

#include "workers/common/aws/uri.h"
#include "workers/common/base/clock.h"

#include <ctype.h>
#include <stdlib.h>
#include <strings.h>

enum { TARGET_MAXIMUM_BYTES = 4096 }; /* a repository's name has 256 bytes, encoded three times as many */

void page_clear(struct page *page)
{
    for (size_t i = 0; i < page->rows.count; i++) {
        struct page_row *row = (struct page_row *)page->rows.items + i;
        free(row->ref);
        free(row->commit);
    }
    free(page->rows.items);
    free(page->next);
    *page = (struct page){0};
}

bool page_add(struct page *page, enum ref_kind kind, const char *name, const char *commit, const char *date,
              struct error *err)
{
    if (name == NULL) {
        return error_set(err, ERROR_REJECT, "an entry has no name");
    }
    if (commit == NULL) {
        page->left_out++;
        return true;
    }
    AUTO(text) char *ref = text_format("refs/%s/%s", kind == REF_TAG ? "tags" : "heads", name);
    AUTO(text) char *lower = text_lower(commit);
    const char *wrong = check_commit(lower);
    if (wrong != NULL) {
        return error_set(err, ERROR_REJECT, "the commit of %.100s %s", ref, wrong);
    }
    if (check_ref(ref) != NULL) {
        page->left_out++;
        return true;
    }
    struct page_row *row = groups_add(&page->rows, sizeof(*row));
    row->ref = TAKE(ref);
    row->commit = TAKE(lower);
    if (date != NULL) {
        (void)clock_parse(date, &row->committed_ms);
    }
    return true;
}

bool page_check(const struct page *page, size_t entries, struct error *err)
{
    return entries == 0 || page->rows.count > 0 ||
           error_set(err, ERROR_REJECT, "none of its %zu entries is a ref with a commit", entries);
}

/* --- Link: <url>; rel="next", <url>; rel="last" --- */

/* Is one of the blank-separated relations "next"? */
static bool is_next(struct slice relations)
{
    size_t at = 0;
    while (at < relations.len) {
        while (at < relations.len && relations.ptr[at] == ' ') {
            at++;
        }
        size_t begin = at;
        while (at < relations.len && relations.ptr[at] != ' ') {
            at++;
        }
        if (at - begin == 4 && strncasecmp(relations.ptr + begin, "next", 4) == 0) {
            return true;
        }
    }
    return false;
}

/* Takes a parameter's value, quoted or not, off the rest. */
static struct slice take_value(struct slice *rest)
{
    bool is_quoted = rest->len > 0 && rest->ptr[0] == '"';
    size_t begin = is_quoted ? 1 : 0;
    size_t end = begin;
    while (end < rest->len && (is_quoted ? rest->ptr[end] != '"' : strchr(";, \t", rest->ptr[end]) == NULL)) {
        end++;
    }
    struct slice value = slice_from(rest->ptr + begin, end - begin);
    size_t taken = end + (is_quoted && end < rest->len ? 1 : 0);
    *rest = slice_from(rest->ptr + taken, rest->len - taken);
    return value;
}

/* Takes the parameters of one link off the rest, up to and with the comma; tells whether its rel is next. */
static bool take_parameters(struct slice *rest)
{
    bool is_found = false;
    while (rest->len > 0 && rest->ptr[0] != ',') {
        static const char rel[] = "rel=";
        bool is_rel = rest->len >= strlen(rel) && strncasecmp(rest->ptr, rel, strlen(rel)) == 0;
        if (is_rel) {
            *rest = slice_from(rest->ptr + strlen(rel), rest->len - strlen(rel));
            is_found = is_next(take_value(rest)) || is_found;
        } else if (rest->ptr[0] == '"') {
            (void)take_value(rest);
        } else {
            *rest = slice_from(rest->ptr + 1, rest->len - 1);
        }
    }
    if (rest->len > 0) {
        *rest = slice_from(rest->ptr + 1, rest->len - 1);
    }
    return is_found;
}

char *link_next(struct slice link)
{
    while (link.len > 0) {
        const char *open = memchr(link.ptr, '<', link.len);
        if (open == NULL) {
            return NULL;
        }
        size_t left = link.len - (size_t)(open + 1 - link.ptr);
        const char *close = memchr(open + 1, '>', left);
        if (close == NULL) {
            return NULL;
        }
        struct slice url = slice_from(open + 1, (size_t)(close - open - 1));
        link = slice_from(close + 1, left - url.len - 1);
        if (take_parameters(&link)) {
            return url.len > 0 && slice_is_visible(url) ? slice_copy(url) : NULL;
        }
    }
    return NULL;
}

/* --- targets --- */

/* Where the parameter's value begins, or NULL. */
static const char *parameter_find(const char *target, const char *parameter)
{
    size_t length = strlen(parameter);
    for (const char *at = strchr(target, '?'); at != NULL; at = strchr(at + 1, '&')) {
        if (strncmp(at + 1, parameter, length) == 0 && at[1 + length] == '=') {
            return at + length + 2;
        }
    }
    return NULL;
}

char *target_with(const char *target, const char *parameter, const char *value)
{
    const char *old = parameter_find(target, parameter);
    if (old == NULL) {
        return text_format("%s%c%s=%s", target, strchr(target, '?') != NULL ? '&' : '?', parameter, value);
    }
    return text_format("%.*s%s%s", (int)(old - target), target, value, old + strcspn(old, "&"));
}

int64_t target_number(const char *target, const char *parameter, int64_t otherwise)
{
    const char *value = parameter_find(target, parameter);
    return value != NULL && isdigit((unsigned char)value[0]) ? strtoll(value, NULL, 10) : otherwise;
}

bool name_is_pair(const char *repository)
{
    const char *slash = strchr(repository, '/');
    return slash != NULL && slash != repository && slash[1] != '\0' && strchr(slash + 1, '/') == NULL;
}

char *pair_target(const char *prefix, const char *repository, const char *infix, const char *suffix)
{
    AUTO(buffer) struct buffer target;
    buffer_init(&target, TARGET_MAXIMUM_BYTES);
    size_t first = strcspn(repository, "/");
    buffer_append_text(&target, prefix);
    uri_encode(&target, slice_from(repository, first));
    buffer_append_text(&target, infix);
    uri_encode(&target, slice_of(repository + first + (repository[first] == '/')));
    buffer_append_text(&target, suffix);
    return text_copy(target.ptr);
}
