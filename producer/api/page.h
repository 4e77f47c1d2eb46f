/*
 * One page of a host's list of branches or tags: reading it into rows and the way to the next page. Pure.
 */
#pragma once

#include "schemas/codec.h"

enum ref_kind { REF_BRANCH, REF_TAG };

struct page_row {
    char *ref;            /* in full: refs/heads/..., refs/tags/... */
    char *commit;         /* lower case; of an annotated tag the commit it means */
    int64_t committed_ms; /* 0: the host does not say */
};

struct page {
    struct groups rows; /* of struct page_row */
    char *next;         /* target or URL of the page after it; NULL: this was the last */
    size_t left_out;    /* names that no ref of ours can have */
};

/* What a page is read from; borrowed. */
struct page_answer {
    enum ref_kind kind;
    const char *target; /* that was asked for */
    struct slice body;
    struct slice link;      /* header Link; ptr NULL: none */
    struct slice next_page; /* header X-Next-Page; ptr NULL: none */
    struct slice total;     /* header X-Total-Count; ptr NULL: none */
};

void page_clear(struct page *page);

/* Adds a row. Names that no ref of ours can have, and refs that point to no commit (NULL: a tag of a file), are counted
 * and left out; ERROR_REJECT for a commit that is none. date: RFC 3339, or NULL. */
bool page_add(struct page *page, enum ref_kind kind, const char *name, const char *commit, const char *date,
              struct error *err) MUST_CHECK;

/* What every reader ends with: a page of entries that all point to no commit is none that we understand. A listing that
 * seems empty would be taken for deletions. */
bool page_check(const struct page *page, size_t entries, struct error *err) MUST_CHECK;

/* The URL of rel="next" in a Link header (RFC 8288); NULL when there is none. The caller frees it. */
char *link_next(struct slice link);

/* The target with another value of its parameter, which is added when it is absent. The caller frees it. */
char *target_with(const char *target, const char *parameter, const char *value);

/* The value of the parameter as a whole number, or otherwise. */
int64_t target_number(const char *target, const char *parameter, int64_t otherwise);

/* Two names with one slash between them, as most hosts have it. */
bool name_is_pair(const char *repository);

/* Appends both names with each segment encoded: prefix, first, infix, second, suffix. The caller frees it. */
char *pair_target(const char *prefix, const char *repository, const char *infix, const char *suffix);
