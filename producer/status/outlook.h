/*
 * How a deployment stands, in one state and a few words. Pure.
 */
#pragma once

#include "schemas/commit_status.h"
#include "schemas/deployment.h"
#include "schemas/result.h"

enum { OUTLOOK_TEXT_SIZE = 512 };

struct outlook {
    enum commit_state state; /* COMMIT_NONE: nothing is to be told */
    char text[OUTLOOK_TEXT_SIZE];
};

/* Adds the account that has ended so. */
void outlook_count(struct commit_status *status, enum result_outcome outcome);

/* Accounts that have ended. */
int64_t outlook_ended(const struct commit_status *status);

/* Have all of them? Not before it is known how many there are. */
bool outlook_is_over(const struct commit_status *status);

/* pending until all accounts have ended, then failure when one has failed or timed out, error when one was superseded,
 * success otherwise. */
struct outlook outlook_of(const struct commit_status *status);

/* What is told of a deployment that ends as a whole. Of one that was dropped or rejected error, but only when somebody
 * set a tag: a push to a branch that deploys nowhere is everyday. */
struct outlook outlook_of_ending(const struct deployment *deployment);

/* What names a status among those of its commit: the map's key, else the ref's own name. Borrowed. */
const char *outlook_slot(const char *tag, const char *ref);
