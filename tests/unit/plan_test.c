#include "workers/resolver/plan.h"

#include "tests/support/scratch.h"
#include "tests/support/unit.h"
#include "workers/common/aws/settings.h"

#include <stdio.h>
#include <string.h>

static const struct option *const tables[] = {resolver_options, aws_options, NULL};

struct config {
    struct options *options;
    struct plan *plan;
    struct buffer mistakes;
};

static void config_auto(struct config *config)
{
    plan_free(config->plan);
    options_free(config->options);
    buffer_done(&config->mistakes);
}

#define AUTO_CONFIG __attribute__((cleanup(config_auto))) struct config

/* Reads the text as a config file. */
static bool config_read(struct config *config, const char *text)
{
    struct scratch scratch;
    assert_true(scratch_make(&scratch));
    scratch_write(&scratch, text);
    buffer_init(&config->mistakes, 64 * 1024);
    bool is_read = options_load(tables, scratch.path, NULL, 0, &config->options, &config->mistakes);
    (void)scratch_remove(&scratch);
    return is_read && plan_read(config->options, &config->plan, &config->mistakes);
}

static const struct plan_deployment deployment = {
    .deployment = "d-00000000000000aa",
    .repository = "acme/shop-api",
    .ref = "refs/tags/v-1.4.0-prod",
    .tag = "prod",
    .version = "1.4.0",
    .commit = "5f2c1e0a9d3b",
    .build = "build-7",
    .accepted_ms = 1000,
};

static const struct job_copy *job_copy_at(const struct job *job, size_t position)
{
    return (const struct job_copy *)job->copies.items + position;
}

static void by_default_a_job_is_the_reference_systems(void **state)
{
    (void)state;
    AUTO_CONFIG config = {0};
    assert_true(config_read(&config, "aws: { main_account = \"111111111111\"; };"));
    AUTO(job) struct job *job = plan_job(config.plan, &deployment, "222222222222", NULL);
    assert_string_equal(job->envelope.id, "d-00000000000000aa/222222222222");
    assert_string_equal(job->role, "arn:aws:iam::222222222222:role/cicd-lambda-copyartifact-role");
    assert_string_equal(job->source_owner, "111111111111");
    assert_int_equal(job->copies.count, 2);
    const struct job_copy *front_end = job_copy_at(job, 0);
    assert_string_equal(front_end->source_bucket, "cicd-source-artifact-111111111111");
    assert_string_equal(front_end->source_key, "build-7/frontend/");
    assert_string_equal(front_end->target_bucket, "frontend-222222222222");
    assert_string_equal(front_end->target_key, "");
    assert_false(front_end->trigger);
    const struct job_copy *trigger = job_copy_at(job, 1);
    assert_string_equal(trigger->source_key, "build-7/SourceArtifact.zip");
    assert_string_equal(trigger->target_bucket, "source-artifact-222222222222");
    assert_string_equal(trigger->target_key, "codebuild/artifacts");
    assert_true(trigger->trigger);
    assert_true(plan_needs_build(config.plan, "acme/shop-api"));
    assert_true(plan_branch_may_deploy(config.plan, "acme/shop-api", "main"));
}

static void a_region_of_govcloud_has_its_own_partition(void **state)
{
    (void)state;
    AUTO_CONFIG config = {0};
    assert_true(config_read(&config, "aws: { region = \"us-gov-west-1\"; };"));
    AUTO(job) struct job *job = plan_job(config.plan, &deployment, "222222222222", NULL);
    assert_string_equal(job->role, "arn:aws-us-gov:iam::222222222222:role/cicd-lambda-copyartifact-role");
    assert_string_equal(job->region, "us-gov-west-1");
}

static void an_accounts_entry_stands_over_the_config(void **state)
{
    (void)state;
    AUTO_CONFIG config = {0};
    assert_true(config_read(&config, "resolver: { external_id = \"x-{account}\"; };"));
    struct account_bucket bucket = {"frontend-222222222222", "site-of-two"};
    struct account own = {.account = "222222222222",
                          .region = "eu-central-1",
                          .role = "arn:aws:iam::222222222222:role/own",
                          .external_id = "secret-handshake",
                          .buckets = {&bucket, 1}};
    AUTO(job) struct job *job = plan_job(config.plan, &deployment, "222222222222", &own);
    assert_string_equal(job->region, "eu-central-1");
    assert_string_equal(job->source_region, "us-east-1");
    assert_string_equal(job->role, "arn:aws:iam::222222222222:role/own");
    assert_string_equal(job->external_id, "secret-handshake");
    assert_string_equal(job_copy_at(job, 0)->target_bucket, "site-of-two");
    assert_string_equal(job_copy_at(job, 1)->target_bucket, "source-artifact-222222222222");
    struct account profile = {.account = "222222222222", .credentials = CREDENTIALS_PROFILE};
    AUTO(job) struct job *by_profile = plan_job(config.plan, &deployment, "222222222222", &profile);
    assert_int_equal(by_profile->credentials, JOB_PROFILE);
    assert_string_equal(by_profile->profile, "tenant-222222222222");
    assert_null(by_profile->role);
    AUTO(job) struct job *plain = plan_job(config.plan, &deployment, "222222222222", NULL);
    assert_string_equal(plain->external_id, "x-222222222222");
}

static const char shop[] =
    "repositories = ( { name = \"acme/shop-*\"; application = \"shop\"; branches = ( \"main\", \"release/*\" );\n"
    "  tag_rule = \"reference\"; source_bucket = \"builds-{region}\";\n"
    "  copies = ( { source = \"{commit}/{application}.zip\"; bucket = \"{application}-{account}\"; key = \"a\"; } ); } "
    ");";

static void a_repository_has_rules_of_its_own(void **state)
{
    (void)state;
    AUTO_CONFIG config = {0};
    assert_true(config_read(&config, shop));
    AUTO(job) struct job *job = plan_job(config.plan, &deployment, "222222222222", NULL);
    assert_string_equal(job->application, "shop");
    assert_int_equal(job->copies.count, 1);
    assert_string_equal(job_copy_at(job, 0)->source_bucket, "builds-us-east-1");
    assert_string_equal(job_copy_at(job, 0)->source_key, "5f2c1e0a9d3b/shop.zip");
    assert_string_equal(job_copy_at(job, 0)->target_bucket, "shop-222222222222");
    assert_false(plan_needs_build(config.plan, "acme/shop-api"));
    assert_true(plan_needs_build(config.plan, "acme/other"));
    assert_int_equal(plan_tag_rule(config.plan, "acme/shop-api"), TAG_RULE_REFERENCE);
    assert_int_equal(plan_tag_rule(config.plan, "acme/other"), TAG_RULE_LONGEST);
    assert_true(plan_branch_may_deploy(config.plan, "acme/shop-api", "release/2"));
    assert_false(plan_branch_may_deploy(config.plan, "acme/shop-api", "develop"));
    assert_true(plan_branch_may_deploy(config.plan, "acme/other", "develop"));
}

static void the_location_tells_builds_apart_and_accounts_not(void **state)
{
    (void)state;
    AUTO_CONFIG config = {0};
    assert_true(config_read(&config, shop));
    AUTO(text) char *one = plan_location(config.plan, "acme/other", "c1", "build-1");
    AUTO(text) char *two = plan_location(config.plan, "acme/other", "c1", "build-2");
    AUTO(text) char *same = plan_location(config.plan, "acme/other", "c1", "build-1");
    AUTO(text) char *by_commit = plan_location(config.plan, "acme/shop-api", "c1", "build-1");
    AUTO(text) char *by_commit_too = plan_location(config.plan, "acme/shop-api", "c1", "build-2");
    assert_string_not_equal(one, two);
    assert_string_equal(one, same);
    assert_string_equal(by_commit, by_commit_too);
}

static void every_mistake_is_told(void **state)
{
    (void)state;
    static const struct {
        const char *config;
        const char *mistake;
    } rows[] = {
        {"resolver: { role = \"arn:{acount}\"; };", "unknown or unclosed placeholder"},
        {"resolver: { profile = \"tenant-{account\"; };", "unknown or unclosed placeholder"},
        {"resolver: { copies = ( { source = \"a.zip\"; bucket = \"b\"; } ); };", "is one object, so it needs a key"},
        {"resolver: { copies = ( { source = \"a/\"; bucket = \"b\"; trigger = true; } ); };",
         "a trigger is one object"},
        {"aws: { main_account = \"12345\"; };", "exactly 12 digits"},
        {"aws: { region = \"somewhere else\"; };", "is not a region"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        AUTO_CONFIG config = {0};
        assert_false(config_read(&config, rows[i].config));
        if (strstr(config.mistakes.ptr, rows[i].mistake) == NULL) {
            fail_msg("%s: %s", rows[i].config, config.mistakes.ptr);
        }
    }
    AUTO_CONFIG both = {0};
    assert_false(config_read(&both, "resolver: { role = \"{x}\"; profile = \"{y}\"; };"));
    assert_non_null(strstr(both.mistakes.ptr, "resolver.role"));
    assert_non_null(strstr(both.mistakes.ptr, "resolver.profile"));
}

static void real_jobs_need_the_main_account_and_a_plan_shows_its_place(void **state)
{
    (void)state;
    struct error err;
    AUTO_CONFIG without = {0};
    assert_true(config_read(&without, ""));
    assert_false(plan_is_complete(without.plan, &err));
    assert_int_equal(err.action, ERROR_FATAL);
    assert_non_null(strstr(err.text, "aws.main_account is not set"));
    AUTO(job) struct job *job = plan_job(without.plan, &deployment, "222222222222", NULL);
    assert_string_equal(job_copy_at(job, 0)->source_bucket, "cicd-source-artifact-{main_account}");
    AUTO_CONFIG not_needed = {0};
    assert_true(config_read(&not_needed, "resolver: { source_bucket = \"builds\"; };"));
    assert_true(plan_is_complete(not_needed.plan, &err));
    AUTO_CONFIG with = {0};
    assert_true(config_read(&with, "aws: { main_account = \"111111111111\"; };"));
    assert_true(plan_is_complete(with.plan, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_default_a_job_is_the_reference_systems),
        cmocka_unit_test(a_region_of_govcloud_has_its_own_partition),
        cmocka_unit_test(an_accounts_entry_stands_over_the_config),
        cmocka_unit_test(a_repository_has_rules_of_its_own),
        cmocka_unit_test(the_location_tells_builds_apart_and_accounts_not),
        cmocka_unit_test(every_mistake_is_told),
        cmocka_unit_test(real_jobs_need_the_main_account_and_a_plan_shows_its_place),
    };
    return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
