/*
 * What one account gets, object by object, and in which order: first assets, then pages, then the object that starts
 * the account's pipeline, so that no page ever names a file that is not there yet and nothing is started half done.
 * Pure. An object borrows what it says of its source from the listing and the manifest, which must outlive the copies.
 */
#pragma once

#include "schemas/job.h"
#include "schemas/manifest.h"
#include "schemas/result.h"
#include "workers/common/aws/listing.h"

enum copy_phase { PHASE_ASSETS, PHASE_PAGES, PHASE_TRIGGER, PHASE_COUNT };

struct copy_object {
    const struct job_copy *rule; /* of the job */
    const struct s3_object *source;
    const struct manifest_object *named; /* by the manifest; NULL: there is none */
    const char *suffix;                  /* of the target's key, behind the rule's */
    enum copy_phase phase;
    bool may_be_same; /* as large as what is there, but the ETags do not say whether it is the same */
    bool unchanged;
    int64_t modified_wall_ms; /* of the target's object when unchanged; 0: not known */
    /* What the copy brought. */
    bool is_done;
    char *etag;
    char *version;
    char *checksum;          /* as in a result; NULL: not known */
    enum result_check check; /* also of what is unchanged */
    unsigned attempts;
};

struct copies {
    struct copy_object *objects; /* by phase once copies_sort was called */
    size_t count;
    size_t left_out; /* objects that the manifest does not name */
};

void copies_clear(struct copies *copies);

/* The key in the target's bucket; the caller frees it. */
char *copy_object_key(const struct copy_object *object);

/* Does the listing of a rule's source hold what the rule names? A prefix may be empty, a single object may not. */
bool copies_source_is_there(const struct job_copy *rule, const struct s3_listing *source);

/* A build's manifest with the folder that its keys are relative to: "" or ending in '/'. */
struct copies_manifest {
    const struct manifest *manifest;
    const char *folder;
};

/* The first object below the rule that the manifest names and the source lacks, or has in another size; NULL: none. The
 * caller frees the text. */
char *copies_missing(const struct job_copy *rule, const struct s3_listing *source,
                     const struct copies_manifest *manifest);

/* Adds the objects of one rule. target: what the account's bucket holds already, or NULL when that is not known. An
 * object with the same size and the same ETag is unchanged. manifest NULL: everything below the rule belongs to the
 * build. */
void copies_add(struct copies *copies, const struct job_copy *rule, const struct s3_listing *source,
                const struct s3_listing *target, const struct copies_manifest *manifest);

/* By phase, then by key. A trigger that is there already and the same counts as unchanged only if it was written last:
 * not when anything else is new or has_written says that an earlier round has written, and not when another object of
 * the job is younger, which an earlier copier may have left behind. */
void copies_sort(struct copies *copies, bool has_written);

/* Is the rule one object, or a prefix? */
bool copy_rule_is_prefix(const struct job_copy *rule);
enum copy_phase copy_phase_of(const struct job_copy *rule, const char *key);
