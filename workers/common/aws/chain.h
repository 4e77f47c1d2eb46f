/*
 * Which way leads to credentials: the decision alone, from the environment and the shared files, without asking
 * anybody. Its outcome is a chain of steps; the first one yields a key, each later one assumes a role with the key of
 * the one before. aws/source.h walks it.
 *
 * A named profile (the caller's, else AWS_PROFILE) is used alone and must lead somewhere. Without one, the first of
 * these that is set up: the environment's key, the default profile, the environment's web identity, the container, the
 * instance. What is set up half or wrongly is an error and not passed over, so that nobody acts as somebody else by
 * mistake. The order and the rules within profiles are those of the AWS SDKs (in a profile that is the source of
 * another, a key goes before a role); IAM Identity Center (sso) and MFA need a person and are errors.
 */
#pragma once

#include "workers/common/aws/credentials.h"
#include "workers/common/aws/environment.h"
#include "workers/common/aws/profile_files.h"

#include <stddef.h>

enum chain_kind { CHAIN_KEY, CHAIN_WEB_IDENTITY, CHAIN_PROCESS, CHAIN_CONTAINER, CHAIN_INSTANCE, CHAIN_ROLE };

/* What a kind does not need is NULL. */
struct chain_step {
    enum chain_kind kind;
    char *profile;            /* where it was found; NULL: not in a profile */
    struct credentials *key;  /* of a key */
    char *url;                /* of a container or an instance */
    char *token;              /* for the container */
    char *token_file;         /* of a web identity, or for the container; wins over token */
    char *command;            /* of a process */
    char *role_arn;           /* of a web identity and a role */
    char *external_id;        /* of a role */
    char *session_name;       /* of a web identity and a role; NULL: the caller's choice */
    int64_t duration_seconds; /* of a web identity and a role; 0: the caller's choice */
};

struct chain {
    struct chain_step *steps;
    size_t count;
    char *region;    /* of STS, as environment or profile name it; NULL: neither does */
    char *looked_in; /* for people, when the last resort was taken: what was not there; NULL: something was */
};

/* Which way for the profile (NULL: see above)? files: for the text of errors, where the profiles were read from. */
bool chain_plan(const struct environment *environment, const struct profiles *profiles, const char *files,
                const char *profile, struct chain **ret_chain, struct error *err) MUST_CHECK;

/* The same for the process's environment and the files that it names, of which files keeps what has been read. */
bool chain_find(struct profile_files *files, const char *profile, struct chain **ret_chain,
                struct error *err) MUST_CHECK;

void chain_free(struct chain *chain); /* NULL is fine */
DEFINE_AUTO(chain, struct chain *);
