/*
 * What one account gets, object by object, and in which order: first assets, then pages, then the object that starts
 * the account's pipeline, so that no page ever names a file that is not there yet and nothing is started half done.
 * Pure.
 */
#pragma once

#include "schemas/job.h"
#include "workers/common/aws/s3.h"

enum copy_phase { PHASE_ASSETS, PHASE_PAGES, PHASE_TRIGGER, PHASE_COUNT };

struct copy_object {
    const struct job_copy *rule; /* of the job */
    char *source_key;
    char *source_etag;
    char *target_key;
    int64_t size_bytes;
    enum copy_phase phase;
    bool unchanged;
    int64_t modified_wall_ms; /* of the target's object when unchanged; 0: not known */
    /* What the copy brought. */
    bool is_done;
    char *etag;
    char *version;
    unsigned attempts;
};

struct copies {
    struct copy_object *objects; /* by phase once copies_sort was called */
    size_t count;
};

void copies_clear(struct copies *copies);

/* Does the listing of a rule's source hold what the rule names? A prefix may be empty, a single object may not. */
bool copies_source_is_there(const struct job_copy *rule, const struct s3_listing *source);

/* Adds the objects of one rule. target: what the account's bucket holds already, or NULL when that is not known. An
 * object with the same size and the same ETag is unchanged. */
void copies_add(struct copies *copies, const struct job_copy *rule, const struct s3_listing *source,
                const struct s3_listing *target);

/* By phase, then by key. A trigger that is there already and the same counts as unchanged only if it was written last:
 * not when anything else is new or has_written says that an earlier round has written, and not when another object of
 * the job is younger, which an earlier copier may have left behind. */
void copies_sort(struct copies *copies, bool has_written);

/* Is the rule one object, or a prefix? */
bool copy_rule_is_prefix(const struct job_copy *rule);
enum copy_phase copy_phase_of(const struct job_copy *rule, const char *key);
