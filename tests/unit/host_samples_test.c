/*
 * Samples of our own, for what no public payload shows: written after the hosts' documentation and sources.
 */
#include "producer/hosts/host.h"

#include "tests/support/hook.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

#define A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define TAG "7a97a97a97a97a97a97a97a97a97a97a97a97a97"
#define ZERO "0000000000000000000000000000000000000000"

#define MOVE(ref, before, after) "\"ref\":\"" ref "\",\"before\":\"" before "\",\"after\":\"" after "\""
#define REPOSITORY "\"repository\":{\"id\":7,\"full_name\":\"Acme/App\"}"
#define HEAD(commit) "\"head_commit\":{\"id\":\"" commit "\",\"timestamp\":\"2026-03-01T10:00:00+02:00\"}"
#define GITHUB(ref, before, after, more)                                                                               \
    "{" MOVE(ref, before, after) "," REPOSITORY ",\"pusher\":{\"name\":\"emma\"}" more "}"
#define GITEA(ref, before, after, more) "{" MOVE(ref, before, after) "," REPOSITORY more "}"
#define GITEA_REF(ref, type, more) "{\"ref\":\"" ref "\",\"ref_type\":\"" type "\"," REPOSITORY more "}"
#define PROJECT "\"project\":{\"id\":7,\"path_with_namespace\":\"Acme/Sub/App\"}"
#define GITLAB(kind, ref, before, after, more)                                                                         \
    "{\"object_kind\":\"" kind "\"," MOVE(ref, before, after) "," PROJECT more "}"
#define SYSTEM(name, more) "{\"event_name\":\"" name "\"," PROJECT more "}"
#define SERVER(changes, more)                                                                                          \
    "{\"eventKey\":\"repo:refs_changed\",\"repository\":{\"id\":7,\"slug\":\"App\",\"project\":{\"key\":\"~Emma\"}},"  \
    "\"changes\":[" changes "]" more "}"
#define SERVER_MOVE(id, from, to)                                                                                      \
    "{\"ref\":{\"id\":\"" id "\"},\"fromHash\":\"" from "\",\"toHash\":\"" to "\",\"type\":\"UPDATE\"}"
#define MOVES_2 "{},{}"
#define MOVES_4 MOVES_2 "," MOVES_2

/* One line for each change: kind, ref, old and new commit, and what else is so; or "ignored" and the reason. */
static char *lines_of(const struct changes *changes)
{
    AUTO(buffer) struct buffer lines;
    buffer_init(&lines, 1 << 20);
    for (size_t i = 0; i < changes->items.count; i++) {
        const struct event *event = change_at(changes, i)->event;
        if (event == NULL) {
            buffer_append_format(&lines, "%signored: %s", i > 0 ? "\n" : "", change_at(changes, i)->reason);
            continue;
        }
        buffer_append_format(&lines, "%s%s %s %s %s%s", i > 0 ? "\n" : "", event_kind_names[event->kind], event->ref,
                             event->before != NULL ? event->before : "-", event->after != NULL ? event->after : "-",
                             event->forced ? " forced" : "");
    }
    return slice_copy(buffer_slice(&lines));
}

static const struct {
    const struct host *host;
    const char *body;
    const char *lines;
} samples[] = {
    /* GitHub */
    {&github_host, GITHUB("refs/tags/v-1-qa", ZERO, TAG, "," HEAD(A)), "tag_created refs/tags/v-1-qa - " A},
    {&github_host, GITHUB("refs/tags/v-1-qa", B, A, ",\"forced\":true," HEAD(A)),
     "tag_moved refs/tags/v-1-qa " B " " A " forced"},
    {&github_host, GITHUB("refs/tags/v-1-qa", TAG, ZERO, ",\"head_commit\":null"),
     "ref_deleted refs/tags/v-1-qa " TAG " -"},
    {&github_host, GITHUB("refs/tags/v-1-größe/日本", ZERO, A, ",\"head_commit\":null"),
     "tag_created refs/tags/v-1-größe/日本 - " A},
    {&github_host, GITHUB("refs/heads/main", A, B, ",\"head_commit\":7,\"commits\":{},\"future\":[{}]"),
     "branch_updated refs/heads/main " A " " B},
    {&github_host, GITHUB("refs/notes/commits", ZERO, A, ""),
     "ignored: refs/notes/commits is neither a branch nor a tag"},
    {&github_host, GITHUB("refs/heads/main", A, A, ""),
     "ignored: refs/heads/main has not moved: before and after are the same (a test?)"},
    {&github_host, GITHUB("refs/heads/a..b", ZERO, A, ""),
     "ignored: refs/heads/a..b cannot be deployed: ref \"refs/heads/a..b\" contains \"..\", \"//\" or \"@{\", which "
     "git "
     "does not allow in a ref"},
    {&github_host, "{\"action\":\"synchronize\",\"before\":\"" A "\",\"after\":\"" B "\",\"pull_request\":{}}",
     "ignored: a payload without before and after is not a push"},
    /* GitLab */
    {&gitlab_host, GITLAB("tag_push", "refs/tags/v-1-qa", B, A, ",\"checkout_sha\":\"" A "\""),
     "tag_moved refs/tags/v-1-qa " B " " A},
    {&gitlab_host, GITLAB("tag_push", "refs/tags/v-1-qa", B, TAG, ",\"checkout_sha\":\"" A "\""),
     "tag_moved refs/tags/v-1-qa " B " " A},
    {&gitlab_host, GITLAB("tag_push", "refs/tags/v-1-qa", A, ZERO, ",\"checkout_sha\":null"),
     "ref_deleted refs/tags/v-1-qa " A " -"},
    {&gitlab_host, GITLAB("tag_push", "refs/tags/tree", ZERO, TAG, ",\"checkout_sha\":null"),
     "ignored: refs/tags/tree points to no commit: checkout_sha is null"},
    {&gitlab_host, SYSTEM("push", "," MOVE("refs/heads/main", A, B)), "branch_updated refs/heads/main " A " " B},
    {&gitlab_host, SYSTEM("tag_push", "," MOVE("refs/tags/v-1-qa", ZERO, TAG) ",\"checkout_sha\":\"" A "\""),
     "tag_created refs/tags/v-1-qa - " A},
    {&gitlab_host, SYSTEM("repository_update", ",\"changes\":[" MOVES_2 "]"),
     "ignored: repository_update: the pushes say the same, with the commits"},
    {&gitlab_host, SYSTEM("repository_update", ",\"changes\":[" MOVES_4 "]"),
     "ignored: repository_update: more refs of acme/sub/app have moved than GitLab sends pushes for"},
    {&gitlab_host, SYSTEM("project_create", ""), "ignored: project_create is not a push"},
    /* Gitea and Forgejo */
    {&gitea_host, GITEA("refs/tags/v-1-qa", ZERO, TAG, "," HEAD(A)), "tag_created refs/tags/v-1-qa - " A},
    {&gitea_host, GITEA("refs/tags/v-1-qa", A, ZERO, ",\"head_commit\":null"), "ref_deleted refs/tags/v-1-qa " A " -"},
    {&gitea_host, GITEA_REF("v-1-qa", "tag", ",\"sha\":\"" A "\""), "tag_created refs/tags/v-1-qa - " A},
    {&gitea_host, GITEA_REF("feature/x", "branch", ",\"sha\":\"" A "\""), "branch_updated refs/heads/feature/x - " A},
    {&gitea_host, GITEA_REF("x", "branch", ""),
     "ignored: create of refs/heads/x carries no commit: the push says the same"},
    {&gitea_host, GITEA_REF("v-1-qa", "tag", ",\"pusher_type\":\"user\""),
     "ignored: delete of a tag: the push says the same, with the commit"},
    {&gitea_host, GITEA_REF("x", "branch", ",\"pusher_type\":\"user\""), "ref_deleted refs/heads/x - -"},
    {&gitea_host, GITEA_REF("x", "wiki", ",\"sha\":\"" A "\""), "ignored: refs/wiki/x is neither a branch nor a tag"},
    /* Gogs: no push for tags and deletions */
    {&gogs_host, GITEA("refs/heads/main", A, B, ",\"commits\":[]"), "branch_updated refs/heads/main " A " " B},
    {&gogs_host, GITEA_REF("v-1-qa", "tag", ",\"sha\":\"" A "\""), "tag_created refs/tags/v-1-qa - " A},
    {&gogs_host,
     "{\"ref\":\"refs/tags/v-1-qa\",\"ref_type\":\"tag\",\"sha\":\"" A "\",\"repository\":{\"full_name\":\"a/b\"}}",
     "tag_created refs/tags/v-1-qa - " A},
    {&gogs_host, GITEA_REF("main", "branch", ",\"default_branch\":\"main\""),
     "ignored: create of refs/heads/main carries no commit: the push says the same"},
    {&gogs_host, GITEA_REF("v-1-qa", "tag", ",\"pusher_type\":\"user\""), "ref_deleted refs/tags/v-1-qa - -"},
    {&gogs_host, GITEA_REF("x", "branch", ",\"pusher_type\":\"user\""), "ref_deleted refs/heads/x - -"},
    /* Data Center */
    {&bitbucket_server_host, SERVER(SERVER_MOVE("refs/tags/v-1-qa", B, TAG), ",\"toCommit\":{\"id\":\"" A "\"}"),
     "tag_moved refs/tags/v-1-qa " B " " A},
    {&bitbucket_server_host,
     SERVER(SERVER_MOVE("refs/heads/main", A, B) "," SERVER_MOVE("refs/tags/v-1-qa", ZERO, B),
            ",\"toCommit\":{\"id\":\"" A "\"}"),
     "branch_updated refs/heads/main " A " " B "\ntag_created refs/tags/v-1-qa - " B},
    {&bitbucket_server_host, SERVER("{}," SERVER_MOVE("refs/heads/main", A, B), ""),
     "ignored: a change without ref.id or toHash\nbranch_updated refs/heads/main " A " " B},
    {&bitbucket_server_host, SERVER(SERVER_MOVE("refs/heads/main", A, B), ",\"refLimitExceeded\":true"),
     "branch_updated refs/heads/main " A " " B
     "\nignored: refLimitExceeded: refs of ~emma/app have moved without being named"},
};

static void every_sample_is_these_changes(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(samples); i++) {
        struct error err = {0};
        AUTO(changes) struct changes changes = {0};
        if (!hook_parse(samples[i].host, slice_of(samples[i].body), NULL, &changes, &err)) {
            fail_msg("%s: %s", samples[i].body, err.text);
        }
        AUTO(text) char *lines = lines_of(&changes);
        assert_string_equal(lines, samples[i].lines);
        bool is_cut = strstr(lines, "have moved") != NULL;
        assert_true(is_cut == (changes.moved_unnamed != NULL));
    }
}

static void what_is_not_the_hosts_push_is_refused_with_its_reason(void **state)
{
    (void)state;
    static const struct {
        const struct host *host;
        const char *body;
        const char *reason;
    } rows[] = {
        {&github_host, "{" MOVE("refs/heads/main", A, B) ",\"pusher\":{}}", "repository.full_name"},
        {&github_host, "{\"ref\":7,\"before\":\"" A "\",\"after\":\"" B "\",\"pusher\":{}," REPOSITORY "}",
         "ref, before and after"},
        {&github_host, GITHUB("refs/heads/main", A, "", ""), "ref, before and after"},
        {&github_host, "{" MOVE("refs/heads/main", A, B) ",\"pusher\":{},\"repository\":{\"full_name\":\"a b\"}}",
         "the repository's name \"a b\" must be"},
        {&gitlab_host, "{\"object_kind\":\"push\"," MOVE("refs/heads/main", A, B) "}", "project.path_with_namespace"},
        {&gitlab_host, "{\"object_kind\":\"push\"," PROJECT "}", "ref, before and after"},
        {&gitea_host, "{" MOVE("refs/heads/main", A, B) "}", "repository.full_name"},
        {&gitea_host, "{\"ref_type\":\"tag\",\"sha\":\"" A "\"," REPOSITORY "}", "ref and ref_type"},
        {&gogs_host, "{\"ref_type\":\"tag\",\"pusher_type\":\"user\"," REPOSITORY "}", "ref and ref_type"},
        {&bitbucket_server_host, "{\"eventKey\":\"repo:refs_changed\",\"changes\":[]}", "repository.slug"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct error err = {0};
        AUTO(changes) struct changes changes = {0};
        assert_false(hook_parse(rows[i].host, slice_of(rows[i].body), NULL, &changes, &err));
        assert_int_equal(err.action, ERROR_REJECT);
        if (strstr(err.text, rows[i].reason) == NULL) {
            fail_msg("row %zu: %s", i, err.text);
        }
    }
}

static void the_header_says_what_the_body_is(void **state)
{
    (void)state;
    static const struct {
        const struct host *host;
        const char *header;
        const char *value;
        const char *body;
        const char *lines;
    } rows[] = {
        {&github_host, "x-github-event", "delete", GITHUB("refs/heads/main", A, B, ""),
         "ignored: delete carries no commit: the push says the same"},
        {&github_host, "X-GitHub-Event", "workflow_run", GITHUB("refs/heads/main", A, B, ""),
         "ignored: workflow_run is not a push"},
        {&gitlab_host, "x-gitlab-event", "Merge Request Hook", GITLAB("push", "refs/heads/main", A, B, ""),
         "ignored: Merge Request Hook is not a push"},
        {&gitlab_host, "X-Gitlab-Event", "System Hook", SYSTEM("push", "," MOVE("refs/heads/main", A, B)),
         "branch_updated refs/heads/main " A " " B},
        {&gitlab_host, "X-Gitlab-Event", "Push Hook", SYSTEM("nothing", "," MOVE("refs/heads/main", A, B)),
         "branch_updated refs/heads/main " A " " B},
        {&gitea_host, "X-Forgejo-Event", "release", GITEA("refs/heads/main", A, B, ""),
         "ignored: release is not a push"},
        {&gitea_host, "X-Gitea-Event", "delete", GITEA_REF("x", "branch", ""), "ref_deleted refs/heads/x - -"},
        /* Gitea sends GitHub's and Gogs' headers, too: they are not the host's own. */
        {&gitea_host, "X-GitHub-Event", "issues", GITEA("refs/heads/main", A, B, ""),
         "branch_updated refs/heads/main " A " " B},
        {&bitbucket_server_host, "X-Event-Key", "pr:opened", SERVER(SERVER_MOVE("refs/heads/main", A, B), ""),
         "ignored: pr:opened is not a push"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct error err = {0};
        const char *const headers[] = {rows[i].header, rows[i].value, NULL};
        AUTO(changes) struct changes changes = {0};
        assert_true(hook_parse(rows[i].host, slice_of(rows[i].body), headers, &changes, &err));
        AUTO(text) char *lines = lines_of(&changes);
        assert_string_equal(lines, rows[i].lines);
    }
}

static void an_event_carries_what_the_host_says_about_the_delivery(void **state)
{
    (void)state;
    enum { MARCH_MS = 1772352000 };
    static const struct {
        const struct host *host;
        const char *header;
        const char *body;
        const char *repository;
        const char *actor;
        bool is_dated;
    } rows[] = {
        {&github_host, "X-GitHub-Delivery", GITHUB("refs/heads/main", A, B, "," HEAD(B)), "acme/app", "emma", true},
        {&gitea_host, "X-Gitea-Delivery", GITEA("refs/heads/main", A, B, ",\"sender\":{\"login\":\"emma\"}," HEAD(B)),
         "acme/app", "emma", true},
        {&gitea_host, "X-Forgejo-Delivery",
         GITEA("refs/heads/main", A, B,
               ",\"commits\":[{},{\"id\":\"" A "\"},{\"id\":\"" B "\",\"timestamp\":\"2026-03-01T08:00:00Z\"}]"),
         "acme/app", NULL, true},
        {&gogs_host, "X-Gogs-Delivery", GITEA("refs/heads/main", A, B, ",\"sender\":{\"username\":\"emma\"}"),
         "acme/app", "emma", false},
        {&gitlab_host, "Idempotency-Key",
         GITLAB("push", "refs/heads/main", A, B,
                ",\"user_username\":\"\",\"user_name\":\"emma\",\"commits\":[{\"id\":\"" B
                "\",\"timestamp\":\"2026-03-01T08:00:00Z\"}]"),
         "acme/sub/app", "emma", true},
        {&bitbucket_server_host, "X-Request-Id",
         SERVER(SERVER_MOVE("refs/heads/main", A, B),
                ",\"actor\":{\"name\":\"emma\"},\"toCommit\":{\"id\":\"" B "\",\"committerTimestamp\":1772352000000}"),
         "~emma/app", "emma", true},
        {&bitbucket_server_host, "X-Request-Id",
         SERVER(SERVER_MOVE("refs/heads/main", A, B),
                ",\"toCommit\":{\"id\":\"" B "\",\"committerTimestamp\":\"2026-03-01T11:00:00+0300\"}"),
         "~emma/app", NULL, true},
        {&bitbucket_server_host, "X-Request-Id",
         SERVER(SERVER_MOVE("refs/heads/main", A, B), ",\"toCommit\":{\"id\":\"" B "\",\"committerTimestamp\":-1e300}"),
         "~emma/app", NULL, false},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct error err = {0};
        const char *const headers[] = {rows[i].header, "d-1", NULL};
        AUTO(changes) struct changes changes = {0};
        assert_true(hook_parse(rows[i].host, slice_of(rows[i].body), headers, &changes, &err));
        const struct event *event = event_at(&changes, 0);
        assert_string_equal(event->repository, rows[i].repository);
        assert_string_equal(event->repository_id, "7");
        assert_string_equal(event->delivery, "d-1");
        assert_true(rows[i].actor == NULL ? event->actor == NULL : strcmp(event->actor, rows[i].actor) == 0);
        assert_int_equal(event->committed_ms, rows[i].is_dated ? INT64_C(1000) * MARCH_MS : 0);
    }
}

static void a_push_and_a_create_of_one_light_tag_have_one_id(void **state)
{
    (void)state;
    struct error err;
    AUTO(changes) struct changes push = {0};
    AUTO(changes) struct changes create = {0};
    assert_true(hook_parse(&gitea_host, slice_of(GITEA("refs/tags/v-1-qa", ZERO, A, "," HEAD(A))), NULL, &push, &err));
    assert_true(
        hook_parse(&gitea_host, slice_of(GITEA_REF("v-1-qa", "tag", ",\"sha\":\"" A "\"")), NULL, &create, &err));
    assert_string_equal(event_at(&push, 0)->envelope.id, event_at(&create, 0)->envelope.id);
}

static void what_is_too_long_is_told_without_being_repeated(void **state)
{
    (void)state;
    enum { LENGTH = 50000 };
    struct error err;
    AUTO(text) char *name = memory_zeroed(LENGTH + 1, 1);
    memset(name, 'x', LENGTH);
    AUTO(text)
    char *long_ref = text_format(
        "{\"ref\":\"refs/tags/%s\",\"before\":\"" ZERO "\",\"after\":\"" A "\",\"pusher\":{}," REPOSITORY "}", name);
    AUTO(changes) struct changes changes = {0};
    assert_true(hook_parse(&github_host, slice_of(long_ref), NULL, &changes, &err));
    assert_non_null(strstr(reason_at(&changes, 0), "longer than 1,024 bytes"));
    assert_true(strlen(reason_at(&changes, 0)) < 300);
    AUTO(text)
    char *long_name =
        text_format("{" MOVE("refs/heads/main", A, B) ",\"pusher\":{},\"repository\":{\"full_name\":\"%s\"}}", name);
    AUTO(changes) struct changes none = {0};
    assert_false(hook_parse(&github_host, slice_of(long_name), NULL, &none, &err));
    assert_non_null(strstr(err.text, "1 to 256 bytes"));
    AUTO(text)
    char *long_actor =
        text_format("{" MOVE("refs/heads/main", A, B) ",\"pusher\":{\"name\":\"%s\"}," REPOSITORY "}", name);
    AUTO(changes) struct changes taken = {0};
    assert_true(hook_parse(&github_host, slice_of(long_actor), NULL, &taken, &err));
    assert_null(event_at(&taken, 0)->actor);
}

static void a_secret_in_the_body_is_not_repeated(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "{\"secret\":\"s3cret\"," MOVE("refs/heads/a..b", A, B) "," REPOSITORY "}",
        "{\"secret\":\"s3cret\"," REPOSITORY "}",
        "{\"secret\":\"s3cret\"," MOVE("refs/heads/main", A, B) "}",
        "{\"secret\":\"s3cret\",\"secret\":\"s3cret\"}",
    };
    for (size_t i = 0; i < COUNT(bodies); i++) {
        struct error err = {0};
        AUTO(changes) struct changes changes = {0};
        bool is_parsed = hook_parse(&gitea_host, slice_of(bodies[i]), NULL, &changes, &err);
        assert_null(strstr(is_parsed ? reason_at(&changes, 0) : err.text, "s3cret"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_sample_is_these_changes),
        cmocka_unit_test(what_is_not_the_hosts_push_is_refused_with_its_reason),
        cmocka_unit_test(the_header_says_what_the_body_is),
        cmocka_unit_test(an_event_carries_what_the_host_says_about_the_delivery),
        cmocka_unit_test(a_push_and_a_create_of_one_light_tag_have_one_id),
        cmocka_unit_test(what_is_too_long_is_told_without_being_repeated),
        cmocka_unit_test(a_secret_in_the_body_is_not_repeated),
    };
    return cmocka_run_group_tests_name("host samples", tests, NULL, NULL);
}
