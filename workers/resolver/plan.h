/*
 * What the config says about a repository's deployments: which application it is, which branches may deploy, and where
 * the artifacts come from and go to. Texts may hold placeholders, which a deployment and an account fill in.
 */
#pragma once

#include "schemas/account.h"
#include "schemas/job.h"
#include "workers/common/base/options.h"
#include "workers/resolver/tag.h"

extern const struct option resolver_options[];

struct plan;

/* Checks every placeholder. False appends the mistakes, a line each. The options must outlive the plan. */
bool plan_read(const struct options *options, struct plan **ret_plan, struct buffer *mistakes) MUST_CHECK;
void plan_free(struct plan *plan); /* NULL is fine */
DEFINE_AUTO(plan, struct plan *);

/* Is everything said that real jobs need? A plan for people goes without and shows the placeholder. ERROR_FATAL. */
bool plan_is_complete(const struct plan *plan, struct error *err) MUST_CHECK;

bool plan_promotes(const struct plan *plan);
enum tag_rule plan_tag_rule(const struct plan *plan, const char *repository);
bool plan_branch_may_deploy(const struct plan *plan, const char *repository, const char *branch);
/* The artifacts are found by something only their build knows; else by the commit alone. */
bool plan_needs_build(const struct plan *plan, const char *repository);

/* Where the artifacts of a build lie, as it goes into the deployment id; the caller frees it. */
char *plan_location(const struct plan *plan, const char *repository, const char *commit, const char *build);

/* What all accounts of a deployment share. build may be NULL. */
struct plan_deployment {
    const char *deployment;
    const char *repository;
    const char *ref;
    const char *tag;
    const char *version; /* "" for a branch */
    const char *commit;
    const char *build;
    int64_t accepted_ms;
    int64_t requested_ms;
    const char *traceparent; /* the jobs' own: one step of the resolver made them all */
};

/* The complete job for one account; directory is its entry, or NULL. The caller frees it. */
struct job *plan_job(const struct plan *plan, const struct plan_deployment *deployment, const char *account,
                     const struct account *directory);
