/*
 * The ids by which the same thing is recognised wherever it shows up again (design: Ids). Pure functions.
 */
#pragma once

#include "schemas/event.h"

#include <stdint.h>

enum { EVENT_ID_SIZE = 33, DEPLOYMENT_ID_SIZE = 19 }; /* with NUL */

/* SHA-256 over repository, ref, old commit, new commit and build; hexadecimal, first 32 digits. An absent commit and
 * one of all zeros are the same, so that every host's way of saying "none" gives one id. A baseline event has an id of
 * its own. */
void identity_event(const struct event *event, char ret_id[EVENT_ID_SIZE]);

/* d- and 16 hexadecimal digits over repository, ref, commit, artifact location and the ref's generation. location may
 * be NULL (nothing is published yet), commit too (a deletion). */
void identity_deployment(const char *repository, const char *ref, const char *commit, const char *location,
                         int64_t generation, char ret_id[DEPLOYMENT_ID_SIZE]);

/* The deployment id under which a message that cannot be read is rejected: from where it lies in its topic. */
void identity_unreadable(const char *topic, int32_t partition, int64_t offset, char ret_id[DEPLOYMENT_ID_SIZE]);

/* True for NULL, "" and a text of zeros only. */
bool commit_is_absent(const char *commit);
