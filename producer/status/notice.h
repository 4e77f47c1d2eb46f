/*
 * What one message of `results` means for the commit statuses: what is to be posted, and what is to be remembered after
 * it. Pure, given what the notifier knows.
 */
#pragma once

#include "producer/status/outlook.h"
#include "producer/status/recall.h"

/* One status to be posted. */
struct post {
    char *deployment;
    char *repository;
    char *ref;
    char *commit;
    char *slot;
    enum commit_state state;
    char *text;
    int64_t decided_ms; /* of its deployment */
    bool is_own;        /* the notice's own deployment's; else one that waited for its build in vain */
    bool is_waiting;    /* "waits for its build" */
};

struct notice {
    char *deployment;
    struct commit_status *status; /* to be remembered; NULL: nothing */
    bool is_over;                 /* nothing more will come: what is remembered is to be forgotten */
    struct texts replaced;        /* other deployments to be forgotten */
    struct groups posts;          /* of struct post, in this order */
    size_t position;              /* of the next one */
};

/* NULL: nothing is to be done. The caller frees it. */
struct notice *notice_of_deployment(const struct recall *recall, const struct deployment *deployment);
struct notice *notice_of_result(const struct recall *recall, const struct result *result);
struct notice *notice_of_nothing(const char *deployment); /* what is remembered of it is to be forgotten */
void notice_free(struct notice *notice);                  /* NULL is fine */
DEFINE_AUTO(notice, struct notice *);

/* The next status to be posted, as things stand now; NULL: none is left. Those are passed over whose place a newer
 * deployment has taken, and pending when so many messages wait behind this one that all accounts will have ended. */
const struct post *notice_next(struct notice *notice, const struct recall *recall, size_t behind);

/* The one that notice_next gave; NULL: none is left. */
const struct post *notice_at(const struct notice *notice);

/* Is there a status of the deployment's own? */
bool notice_has_own(const struct notice *notice);

/* The next one is done with: posted, or given up. */
void notice_advance(struct notice *notice, bool is_posted);
