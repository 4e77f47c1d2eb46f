#include "workers/resolver/plan.h"

#include "workers/common/aws/endpoint.h"
#include "workers/common/base/pattern.h"
#include "workers/common/engine/worker.h"

#include <stdlib.h>

static const struct option copy_rows[] = {
    {.name = "source",
     .type = OPTION_TEXT,
     .is_required = true,
     .help = "key in the artifact bucket, or a prefix ending in /"},
    {.name = "bucket", .type = OPTION_TEXT, .is_required = true, .help = "bucket of the account"},
    {.name = "key",
     .type = OPTION_TEXT,
     .initial = "",
     .help = "key in that bucket, or the prefix that takes the place of source"},
    {.name = "trigger",
     .type = OPTION_BOOLEAN,
     .initial = "false",
     .help = "starts the account's pipeline, so it is written last"},
    {0},
};

static const struct option cache_control_rows[] = {
    {.name = "suffix", .type = OPTION_TEXT, .initial = "", .help = "how the key ends; empty: any key"},
    {.name = "value", .type = OPTION_TEXT, .is_required = true, .help = "the header, such as no-cache"},
    {0},
};

static const struct option repository_rows[] = {
    {.name = "name",
     .type = OPTION_TEXT,
     .is_required = true,
     .help = "the host's full name, such as acme/app; * and ? match"},
    {.name = "application",
     .type = OPTION_TEXT,
     .help = "a waiting job is replaced by a newer one of the same application"},
    {.name = "branches", .type = OPTION_TEXTS, .help = "branches that may deploy, when the map names them"},
    {.name = "tag_rule", .type = OPTION_CHOICE, .choices = "longest|reference", .help = "how a deploy tag is found"},
    {.name = "source_bucket", .type = OPTION_TEXT, .help = "the bucket the builds are in"},
    {.name = "manifest", .type = OPTION_TEXT, .help = "key of the build's manifest"},
    {.name = "copies", .type = OPTION_GROUPS, .group = copy_rows, .help = "what goes where"},
    {0},
};

const struct option resolver_options[] = {
    WORKER_OPTIONS("resolver"),
    {.name = "resolver.tag_rule",
     .type = OPTION_CHOICE,
     .initial = "longest",
     .choices = "longest|reference",
     .help = "of v-<version>-<deploy tag>: the longest deploy tag in the map, or the third part between dashes"},
    {.name = "resolver.promote",
     .type = OPTION_BOOLEAN,
     .initial = "true",
     .help = "a ref that is set on a commit with a known build deploys that build"},
    {.name = "resolver.branches",
     .type = OPTION_TEXTS,
     .initial = "*",
     .help = "branches that may deploy, when the map names them (branch/<name>); * and ? match"},
    {.name = "resolver.application",
     .type = OPTION_TEXT,
     .initial = "{repository}",
     .help = "a waiting job is replaced by a newer one of the same account and application"},
    {.name = "resolver.source_bucket",
     .type = OPTION_TEXT,
     .initial = "cicd-source-artifact-{main_account}",
     .help = "the bucket the builds are in"},
    {.name = "resolver.copies",
     .type = OPTION_GROUPS,
     .group = copy_rows,
     .help = "what goes where; without it, as the reference: {build}/frontend/ to frontend-{account}, and last "
             "{build}/SourceArtifact.zip to source-artifact-{account} as codebuild/artifacts"},
    {.name = "resolver.credentials",
     .type = OPTION_CHOICE,
     .initial = "assume_role",
     .choices = "assume_role|profile",
     .help = "how a copier gets an account's credentials, unless the account's entry says otherwise"},
    {.name = "resolver.role",
     .type = OPTION_TEXT,
     .initial = "arn:{partition}:iam::{account}:role/cicd-lambda-copyartifact-role",
     .help = "the role that is assumed in an account"},
    {.name = "resolver.external_id", .type = OPTION_TEXT, .help = "external id that goes with the role"},
    {.name = "resolver.profile",
     .type = OPTION_TEXT,
     .initial = "tenant-{account}",
     .help = "the AWS profile of an account, with credentials = profile"},
    {.name = "resolver.mode",
     .type = OPTION_CHOICE,
     .initial = "copy",
     .choices = "copy|relay",
     .help = "S3 copies with the account's credentials, or the copier reads with the main account's and writes with "
             "the account's, unless the account's entry says otherwise"},
    {.name = "resolver.manifest",
     .type = OPTION_TEXT,
     .help = "key of a build's manifest: nothing is copied that it does not name"},
    {.name = "resolver.encryption",
     .type = OPTION_CHOICE,
     .choices = "AES256|aws:kms|aws:kms:dsse",
     .help = "how S3 encrypts what is written; without it as the bucket says"},
    {.name = "resolver.kms_key",
     .type = OPTION_TEXT,
     .help = "ARN of the key of an account, with encryption = aws:kms, unless the account's entry says otherwise"},
    {.name = "resolver.bucket_key",
     .type = OPTION_BOOLEAN,
     .initial = "false",
     .help = "use a bucket key, which saves most requests to KMS"},
    {.name = "resolver.storage_class", .type = OPTION_TEXT, .help = "storage class of what is written"},
    {.name = "resolver.acl", .type = OPTION_TEXT, .help = "canned ACL of what is written; buckets may refuse any"},
    {.name = "resolver.new_only",
     .type = OPTION_BOOLEAN,
     .initial = "false",
     .help = "overwrite nothing (If-None-Match: *), as some buckets' policies demand"},
    {.name = "resolver.cache_control",
     .type = OPTION_GROUPS,
     .group = cache_control_rows,
     .help = "Cache-Control by the end of the key; the first that fits counts; without it the source's own"},
    {.name = "repositories", .type = OPTION_GROUPS, .group = repository_rows, .help = "what differs for a repository"},
    {0},
};

struct plan {
    const struct options *options;
    /* Looked up once, since a job for each of 100,000 accounts is made of them. */
    size_t repository_count;
    size_t copy_count;
    const char *region;
    const char *main_account;
    const char *profile;
    const char *role;
    const char *external_id;
    const char *kms_key;
    const char *storage_class;
    const char *acl;
    enum job_credentials credentials;
    enum job_mode mode;
    int encryption; /* enum job_encryption */
    bool bucket_key;
    bool new_only;
};

static void plan_fill(struct plan *plan, const struct options *options)
{
    const char *encryption = options_text(options, "resolver.encryption");
    *plan = (struct plan){
        .options = options,
        .repository_count = options_groups(options, "repositories"),
        .copy_count = options_groups(options, "resolver.copies"),
        .region = options_text(options, "aws.region"),
        .main_account = options_text(options, "aws.main_account"),
        .profile = options_text(options, "resolver.profile"),
        .role = options_text(options, "resolver.role"),
        .external_id = options_text(options, "resolver.external_id"),
        .kms_key = options_text(options, "resolver.kms_key"),
        .storage_class = options_text(options, "resolver.storage_class"),
        .acl = options_text(options, "resolver.acl"),
        .credentials =
            strcmp(options_text(options, "resolver.credentials"), "profile") == 0 ? JOB_PROFILE : JOB_ASSUME_ROLE,
        .mode = strcmp(options_text(options, "resolver.mode"), "relay") == 0 ? JOB_RELAY : JOB_COPY,
        .bucket_key = options_boolean(options, "resolver.bucket_key"),
        .new_only = options_boolean(options, "resolver.new_only"),
    };
    while (encryption != NULL && strcmp(job_encryption_names[plan->encryption], encryption) != 0) {
        plan->encryption++;
    }
}

void plan_free(struct plan *plan)
{
    free(plan);
}

/* --- placeholders --- */

struct filling {
    const struct plan_deployment *deployment;
    const char *application;
    const char *account;
    const char *region;
    const char *main_account;
};

static const char *filling_of(const struct filling *filling, struct slice name)
{
    const struct {
        const char *name;
        const char *value;
    } values[] = {
        {"build", filling->deployment->build},
        {"commit", filling->deployment->commit},
        {"repository", filling->deployment->repository},
        {"tag", filling->deployment->tag},
        {"version", filling->deployment->version},
        {"deployment", filling->deployment->deployment},
        {"application", filling->application},
        {"account", filling->account},
        {"region", filling->region},
        {"partition", partition_of_region(filling->region)->name},
        {"main_account", filling->main_account},
    };
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        if (slice_equal_text(name, values[i].name)) {
            return values[i].value != NULL ? values[i].value : "";
        }
    }
    return NULL;
}

/* Calls take for each literal run and each placeholder's name. False at an unclosed brace. */
static bool template_walk(const char *template, bool (*take)(struct slice part, bool is_name, void *context),
                          void *context)
{
    while (*template != '\0') {
        size_t literal = strcspn(template, "{");
        if (literal > 0 && !take(slice_from(template, literal), false, context)) {
            return false;
        }
        template += literal;
        if (*template == '\0') {
            return true;
        }
        const char *end = strchr(template, '}');
        if (end == NULL || !take(slice_from(template + 1, (size_t)(end - template - 1)), true, context)) {
            return false;
        }
        template = end + 1;
    }
    return true;
}

struct render {
    const struct filling *filling;
    struct buffer *text;
};

static bool render_part(struct slice part, bool is_name, void *context)
{
    const struct render *render = context;
    if (!is_name) {
        buffer_append(render->text, part);
        return true;
    }
    const char *value = filling_of(render->filling, part);
    buffer_append_text(render->text, value != NULL ? value : "");
    return value != NULL;
}

static char *template_render(const char *template, const struct filling *filling)
{
    AUTO(buffer) struct buffer text;
    buffer_init(&text, 64 * 1024);
    struct render render = {filling, &text};
    (void)template_walk(template, render_part, &render);
    return slice_copy(buffer_slice(&text));
}

struct search {
    const char *name;
    bool is_found;
};

static bool search_part(struct slice part, bool is_name, void *context)
{
    struct search *search = context;
    search->is_found = search->is_found || (is_name && slice_equal_text(part, search->name));
    return true;
}

static bool template_has(const char *template, const char *name)
{
    struct search search = {.name = name};
    (void)template_walk(template, search_part, &search);
    return search.is_found;
}

/* --- what the config says --- */

struct copy_rule {
    const char *source;
    const char *bucket;
    const char *key;
    bool trigger;
};

static const struct copy_rule reference_copies[] = {
    {"{build}/frontend/", "frontend-{account}", "", false},
    {"{build}/SourceArtifact.zip", "source-artifact-{account}", "codebuild/artifacts", true},
};

static const struct options *plan_repository(const struct plan *plan, const char *repository)
{
    for (size_t i = 0; i < plan->repository_count; i++) {
        const struct options *group = options_group(plan->options, "repositories", i);
        if (pattern_matches(options_text(group, "name"), repository)) {
            return group;
        }
    }
    return NULL;
}

/* The repository's own text, or the general one. */
static const char *plan_text(const struct plan *plan, const char *repository, const char *key, const char *general)
{
    const struct options *group = plan_repository(plan, repository);
    const char *own = group != NULL ? options_text(group, key) : NULL;
    return own != NULL ? own : options_text(plan->options, general);
}

static size_t plan_copy_count(const struct plan *plan, const char *repository)
{
    const struct options *group = plan_repository(plan, repository);
    size_t own = group != NULL ? options_groups(group, "copies") : 0;
    size_t general = plan->copy_count;
    return own > 0 ? own : general > 0 ? general : sizeof(reference_copies) / sizeof(reference_copies[0]);
}

static struct copy_rule plan_copy(const struct plan *plan, const char *repository, size_t position)
{
    const struct options *group = plan_repository(plan, repository);
    const struct options *copy = NULL;
    if (group != NULL && options_groups(group, "copies") > 0) {
        copy = options_group(group, "copies", position);
    } else if (plan->copy_count > 0) {
        copy = options_group(plan->options, "resolver.copies", position);
    } else {
        return reference_copies[position];
    }
    return (struct copy_rule){options_text(copy, "source"), options_text(copy, "bucket"), options_text(copy, "key"),
                              options_boolean(copy, "trigger")};
}

static void template_check(const char *where, const char *template, struct buffer *mistakes)
{
    static const struct plan_deployment any = {"d-0", "r", "refs/heads/b", "t", "1", "c", "b", 0, 0, NULL};
    struct filling filling = {&any, "a", "1", "us-east-1", "1"};
    AUTO(buffer) struct buffer text;
    buffer_init(&text, 64 * 1024);
    struct render render = {&filling, &text};
    if (template != NULL && !template_walk(template, render_part, &render)) {
        buffer_append_format(
            mistakes,
            "%s: \"%s\" has an unknown or unclosed placeholder; known are {build} {commit} {repository} "
            "{tag} {version} {deployment} {application} {account} {region} {partition} {main_account}\n",
            where, template);
    }
}

static void copies_check(const struct options *options, const char *name, struct buffer *mistakes)
{
    for (size_t i = 0; i < options_groups(options, name); i++) {
        const struct options *copy = options_group(options, name, i);
        const char *source = options_text(copy, "source");
        const char *key = options_text(copy, "key");
        template_check(name, source, mistakes);
        template_check(name, options_text(copy, "bucket"), mistakes);
        template_check(name, key, mistakes);
        bool is_prefix = source[0] != '\0' && source[strlen(source) - 1] == '/';
        if (!is_prefix && (key[0] == '\0' || key[strlen(key) - 1] == '/')) {
            buffer_append_format(mistakes, "%s: \"%s\" is one object, so it needs a key\n", name, source);
        }
        if (is_prefix && options_boolean(copy, "trigger")) {
            buffer_append_format(mistakes, "%s: \"%s\" is a prefix; a trigger is one object\n", name, source);
        }
    }
}

static void encryption_check(const struct options *options, struct buffer *mistakes)
{
    const char *key = options_text(options, "resolver.kms_key");
    const char *encryption = options_text(options, "resolver.encryption");
    if (key != NULL && !text_starts_with(key, "arn:")) {
        buffer_append_format(mistakes,
                             "resolver.kms_key \"%s\" is not an ARN: a bare id or alias would mean another key in "
                             "another account\n",
                             key);
    }
    if (key != NULL && (encryption == NULL || !text_starts_with(encryption, "aws:kms"))) {
        buffer_append_format(mistakes, "resolver.kms_key needs encryption = \"aws:kms\" or \"aws:kms:dsse\"\n");
    }
    for (size_t i = 0; i < options_groups(options, "resolver.cache_control"); i++) {
        const char *value = options_text(options_group(options, "resolver.cache_control", i), "value");
        for (const char *at = value; *at != '\0'; at++) {
            if (*at < ' ' || *at > '~') {
                buffer_append_format(mistakes, "resolver.cache_control: a value must be printable ASCII\n");
                break;
            }
        }
    }
}

bool plan_read(const struct options *options, struct plan **ret_plan, struct buffer *mistakes)
{
    static const char *const templates[] = {"resolver.application", "resolver.source_bucket", "resolver.role",
                                            "resolver.external_id", "resolver.profile",       "resolver.manifest",
                                            "resolver.kms_key"};
    size_t before = mistakes->len;
    for (size_t i = 0; i < sizeof(templates) / sizeof(templates[0]); i++) {
        template_check(templates[i], options_text(options, templates[i]), mistakes);
    }
    copies_check(options, "resolver.copies", mistakes);
    encryption_check(options, mistakes);
    for (size_t i = 0; i < options_groups(options, "repositories"); i++) {
        const struct options *group = options_group(options, "repositories", i);
        template_check("repositories.application", options_text(group, "application"), mistakes);
        template_check("repositories.source_bucket", options_text(group, "source_bucket"), mistakes);
        template_check("repositories.manifest", options_text(group, "manifest"), mistakes);
        copies_check(group, "copies", mistakes);
    }
    const char *main_account = options_text(options, "aws.main_account");
    if (main_account[0] != '\0' && !account_id_is_valid(main_account)) {
        buffer_append_format(mistakes, "aws.main_account \"%s\" is not an account id: exactly 12 digits\n",
                             main_account);
    }
    if (!region_is_valid(options_text(options, "aws.region"))) {
        buffer_append_format(mistakes, "aws.region \"%s\" is not a region\n", options_text(options, "aws.region"));
    }
    if (mistakes->len > before) {
        return false;
    }
    *ret_plan = memory_zeroed(1, sizeof(struct plan));
    plan_fill(*ret_plan, options);
    return true;
}

static bool main_account_is_missing(const char *name, const char *template, struct error *err)
{
    return template != NULL && template_has(template, "main_account") &&
           !error_set(err, ERROR_FATAL, "aws.main_account is not set, and %s = \"%s\" needs it", name, template);
}

bool plan_is_complete(const struct plan *plan, struct error *err)
{
    const struct options *options = plan->options;
    if (options_text(options, "aws.main_account")[0] != '\0') {
        return true;
    }
    for (size_t i = 0; i < options_groups(options, "repositories"); i++) {
        const char *own = options_text(options_group(options, "repositories", i), "source_bucket");
        if (main_account_is_missing("repositories.source_bucket", own, err)) {
            return false;
        }
    }
    const char *general = options_text(options, "resolver.source_bucket");
    return !main_account_is_missing("resolver.source_bucket", general, err);
}

bool plan_promotes(const struct plan *plan)
{
    return options_boolean(plan->options, "resolver.promote");
}

enum tag_rule plan_tag_rule(const struct plan *plan, const char *repository)
{
    const char *rule = plan_text(plan, repository, "tag_rule", "resolver.tag_rule");
    return strcmp(rule, "reference") == 0 ? TAG_RULE_REFERENCE : TAG_RULE_LONGEST;
}

bool plan_branch_may_deploy(const struct plan *plan, const char *repository, const char *branch)
{
    const struct options *group = plan_repository(plan, repository);
    const char *const *patterns;
    size_t count = group != NULL ? options_texts(group, "branches", &patterns) : 0;
    if (count == 0) {
        count = options_texts(plan->options, "resolver.branches", &patterns);
    }
    return patterns_match(patterns, count, branch);
}

bool plan_needs_build(const struct plan *plan, const char *repository)
{
    if (template_has(plan_text(plan, repository, "source_bucket", "resolver.source_bucket"), "build")) {
        return true;
    }
    for (size_t i = 0; i < plan_copy_count(plan, repository); i++) {
        if (template_has(plan_copy(plan, repository, i).source, "build")) {
            return true;
        }
    }
    return false;
}

static struct filling plan_filling(const struct plan *plan, const struct plan_deployment *deployment,
                                   const char *application, const char *account, const char *region)
{
    return (struct filling){deployment, application, account, region,
                            plan->main_account[0] != '\0' ? plan->main_account : "{main_account}"};
}

/* The application itself must not depend on the account. */
static char *plan_application(const struct plan *plan, const struct plan_deployment *deployment)
{
    struct filling filling = plan_filling(plan, deployment, "", "", plan->region);
    return template_render(plan_text(plan, deployment->repository, "application", "resolver.application"), &filling);
}

char *plan_location(const struct plan *plan, const char *repository, const char *commit, const char *build)
{
    struct plan_deployment deployment = {.repository = repository, .commit = commit, .build = build};
    AUTO(text) char *application = plan_application(plan, &deployment);
    struct filling filling = plan_filling(plan, &deployment, application, "", plan->region);
    AUTO(text)
    char *bucket = template_render(plan_text(plan, repository, "source_bucket", "resolver.source_bucket"), &filling);
    AUTO(buffer) struct buffer location;
    buffer_init(&location, 256 * 1024);
    for (size_t i = 0; i < plan_copy_count(plan, repository); i++) {
        AUTO(text) char *source = template_render(plan_copy(plan, repository, i).source, &filling);
        buffer_append_format(&location, "s3://%s/%s\n", bucket, source);
    }
    return slice_copy(buffer_slice(&location));
}

/* The account may use another bucket than the config names. */
static char *account_bucket_name(const struct account *directory, char *bucket)
{
    for (size_t i = 0; directory != NULL && i < directory->buckets.count; i++) {
        const struct account_bucket *own = (const struct account_bucket *)directory->buckets.items + i;
        if (strcmp(own->bucket, bucket) == 0) {
            free(bucket);
            return text_copy(own->use);
        }
    }
    return bucket;
}

static void job_add_copies(const struct plan *plan, const struct filling *filling, const struct account *directory,
                           struct job *job)
{
    const char *repository = job->repository;
    for (size_t i = 0; i < plan_copy_count(plan, repository); i++) {
        struct copy_rule rule = plan_copy(plan, repository, i);
        struct job_copy *copy = groups_add(&job->copies, sizeof(*copy));
        copy->source_bucket =
            template_render(plan_text(plan, repository, "source_bucket", "resolver.source_bucket"), filling);
        copy->source_key = template_render(rule.source, filling);
        copy->target_bucket = account_bucket_name(directory, template_render(rule.bucket, filling));
        copy->target_key = template_render(rule.key, filling);
        copy->trigger = rule.trigger;
    }
}

static void job_add_credentials(const struct plan *plan, const struct filling *filling, const struct account *directory,
                                struct job *job)
{
    bool is_profile = plan->credentials == JOB_PROFILE;
    if (directory != NULL && directory->credentials != CREDENTIALS_DEFAULT) {
        is_profile = directory->credentials == CREDENTIALS_PROFILE;
    }
    job->credentials = is_profile ? JOB_PROFILE : JOB_ASSUME_ROLE;
    if (is_profile) {
        job->profile = directory != NULL && directory->profile != NULL ? text_copy(directory->profile)
                                                                       : template_render(plan->profile, filling);
        return;
    }
    job->role = directory != NULL && directory->role != NULL ? text_copy(directory->role)
                                                             : template_render(plan->role, filling);
    if (directory != NULL && directory->external_id != NULL) {
        job->external_id = text_copy(directory->external_id);
    } else if (plan->external_id != NULL) {
        job->external_id = template_render(plan->external_id, filling);
    }
}

/* How what is copied is written. */
static void job_add_writing(const struct plan *plan, const struct filling *filling, const struct account *directory,
                            struct job *job)
{
    const struct options *options = plan->options;
    const char *manifest = plan_text(plan, job->repository, "manifest", "resolver.manifest");
    job->mode = (int)plan->mode;
    job->encryption = plan->encryption;
    if (directory != NULL && directory->mode != MODE_DEFAULT) {
        job->mode = directory->mode == MODE_RELAY ? JOB_RELAY : JOB_COPY;
    }
    job->manifest = manifest != NULL ? template_render(manifest, filling) : NULL;
    bool has_key = job->encryption == JOB_ENCRYPTION_KMS || job->encryption == JOB_ENCRYPTION_KMS_TWICE;
    if (has_key && directory != NULL && directory->kms_key != NULL) {
        job->kms_key = text_copy(directory->kms_key);
    } else if (plan->kms_key != NULL) {
        job->kms_key = template_render(plan->kms_key, filling);
    }
    job->bucket_key = plan->bucket_key;
    job->storage_class = text_copy_or_null(plan->storage_class);
    job->acl = text_copy_or_null(plan->acl);
    job->new_only = plan->new_only;
    for (size_t i = 0; i < options_groups(options, "resolver.cache_control"); i++) {
        const struct options *row = options_group(options, "resolver.cache_control", i);
        struct job_cache_control *rule = groups_add(&job->cache_control, sizeof(*rule));
        rule->suffix = text_copy(options_text(row, "suffix"));
        rule->value = text_copy(options_text(row, "value"));
    }
}

struct job *plan_job(const struct plan *plan, const struct plan_deployment *deployment, const char *account,
                     const struct account *directory)
{
    const char *region = directory != NULL && directory->region != NULL ? directory->region : plan->region;
    struct job *job = memory_zeroed(1, sizeof(*job));
    AUTO(text) char *id = text_format("%s/%s", deployment->deployment, account);
    envelope_fill(&job->envelope, id, "tagfleet/resolver", account);
    job->envelope.traceparent = text_copy_or_null(deployment->traceparent);
    job->application = plan_application(plan, deployment);
    struct filling filling = plan_filling(plan, deployment, job->application, account, region);
    job->deployment = text_copy(deployment->deployment);
    job->account = text_copy(account);
    job->repository = text_copy(deployment->repository);
    job->ref = text_copy(deployment->ref);
    job->tag = text_copy(deployment->tag);
    job->version = text_copy_or_null(deployment->version);
    job->commit = text_copy(deployment->commit);
    job->build = text_copy_or_null(deployment->build);
    job->region = text_copy(region);
    job->source_region = text_copy(plan->region);
    job->source_owner = text_copy_or_null(plan->main_account);
    job->attempt = 1;
    job->accepted_ms = deployment->accepted_ms;
    job->requested_ms = deployment->requested_ms;
    job_add_credentials(plan, &filling, directory, job);
    job_add_copies(plan, &filling, directory, job);
    job_add_writing(plan, &filling, directory, job);
    return job;
}
