/*
 * What the hosts' parsers share: reading the envelope of a delivery, and making a neutral event from a ref and its two
 * commits. A parser reads its host's names for things; what follows from them is decided here, once for all hosts.
 */
#pragma once

#include "producer/hosts/host.h"
#include "schemas/json.h"

enum { PAYLOAD_MAXIMUM_BYTES = 32 * 1024 * 1024 };

/* The body as a JSON object. */
bool payload_parse(struct slice body, cJSON **ret_root, struct error *err) MUST_CHECK;

/* The event's name from its header: NULL when absent. A header that occurs twice is refused: which one would decide? */
bool payload_event(const struct host_headers *headers, const char *name, const char **ret_event,
                   struct error *err) MUST_CHECK;

/* What all changes of a delivery share. */
struct push {
    const struct host *host;
    char *repository;    /* lower case */
    char *repository_id; /* NULL when there is none */
    const char *actor;   /* borrowed, like delivery; may be NULL */
    const char *delivery;
    bool is_redelivered;
};

/* ERROR_REJECT when the name cannot be one. id: a member with a number or a text, or NULL. Ended by push_done. */
bool push_begin(struct push *push, const struct host *host, const char *repository, const cJSON *id,
                struct error *err) MUST_CHECK;
void push_done(struct push *push);

static inline void push_auto(struct push *push)
{
    push_done(push);
}

/* One ref that moved. All borrowed; a commit that is NULL or all zeros is none. */
struct move {
    const char *ref; /* in full */
    const char *before;
    const char *after;    /* the object the ref points to */
    const char *commit;   /* the commit when `after` is the object of an annotated tag, else NULL */
    const char *build;    /* NULL, unless a build of `after` was published */
    int64_t committed_ms; /* 0: not known */
    bool forced;
};

/* Adds the move as an event, or as ignored when it is none or cannot be one. */
void push_add(const struct push *push, const struct move *move, struct changes *changes);

void changes_ignore(struct changes *changes, const char *format, ...) FORMAT(2);

/* The host says that refs of the push's repository moved, and not which. */
void changes_moved_unnamed(struct changes *changes, const struct push *push);

/* Members "ref", "before" and "after", as in the pushes of GitHub and those who followed. */
bool move_read(const cJSON *root, struct move *move, struct error *err) MUST_CHECK;

/* The commit's own date, from the item of a list of commits whose "id" it is. */
int64_t commit_date(const cJSON *commits, const char *commit);

/* A date as RFC 3339 or as milliseconds since 1970; 0 when there is none that makes sense. */
int64_t date_read(const cJSON *date);

/* The first of two texts that says something. */
const char *text_either(const char *first, const char *second);

/* `push.changes` of Bitbucket Cloud; a plug-in of Data Center sends them, too. */
void bitbucket_changes_read(const struct push *push, const cJSON *list, struct changes *changes);
