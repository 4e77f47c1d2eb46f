/*
 * Copy this build into this account, on `jobs` (key: account id). A job is complete in itself: the resolver has
 * rendered every name from the config, so that a copier needs neither the map nor the config of the targets.
 * The job id `<deployment>/<account>` is the CloudEvent's id; everything downstream is idempotent by it.
 */
#pragma once

#include "schemas/codec.h"

extern const char *const job_credentials_names[];
extern const char *const job_mode_names[];
extern const char *const job_encryption_names[];

enum job_credentials { JOB_ASSUME_ROLE, JOB_PROFILE };

/* S3 copies by itself with the account's credentials, or the copier reads with the main account's and writes with the
 * account's: where these may not read the source, or are of another partition. */
enum job_mode { JOB_COPY, JOB_RELAY };

enum job_encryption { JOB_ENCRYPTION_OF_BUCKET, JOB_ENCRYPTION_S3, JOB_ENCRYPTION_KMS, JOB_ENCRYPTION_KMS_TWICE };

/* One object, or every object below a prefix when source_key ends with '/' (target_key is then the prefix that takes
 * its place, possibly ""). */
struct job_copy {
    char *source_bucket;
    char *source_key;
    char *target_bucket;
    char *target_key;
    bool trigger; /* starts the target's pipeline: written last, once all the others are in place */
};

/* The header for keys that end so; the first that fits counts. */
struct job_cache_control {
    char *suffix; /* "": any key */
    char *value;
};

struct job {
    struct envelope envelope;
    char *deployment;
    char *account;
    char *repository;
    char *application; /* a waiting job is replaced by a newer one of the same account and application */
    char *ref;
    char *tag;     /* the key of the map that named the account */
    char *version; /* of a tag such as v-1.4.0-prod: 1.4.0 */
    char *commit;
    char *build;
    char *region;
    char *source_region;
    char *source_owner; /* account id of the bucket the artifacts lie in */
    int credentials;    /* enum job_credentials */
    char *role;         /* with JOB_ASSUME_ROLE */
    char *external_id;
    char *profile;  /* with JOB_PROFILE */
    int mode;       /* enum job_mode */
    int encryption; /* enum job_encryption */
    char *kms_key;  /* an ARN */
    bool bucket_key;
    char *storage_class;
    char *acl;
    bool new_only;               /* nothing that is there is overwritten */
    char *manifest;              /* key in the first source bucket: nothing is copied that it does not name */
    struct groups cache_control; /* of struct job_cache_control */
    int64_t attempt;             /* counts from 1; a `retry` makes a new attempt */
    int64_t accepted_ms;
    int64_t requested_ms; /* when the producer received the event; 0: not known */
    struct groups copies; /* of struct job_copy */
};

extern const struct codec job_codec;

/* As message_parse, message_format and message_free. */
bool job_parse(struct slice body, struct job **ret_job, struct error *err) MUST_CHECK;
void job_format(const struct job *job, struct buffer *buffer);
void job_free(struct job *job);
DEFINE_AUTO(job, struct job *);

/* Of a job that cannot be read, what its id still says: the deployment and the account it was for. False when not even
 * that can be read. The caller frees both. */
bool job_read_id(struct slice body, char **ret_deployment, char **ret_account);
