#include "workers/copier/survey.h"

#include "tests/support/scripted_aws.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <string.h>

#define CONTENTS(key, etag) "<Contents><Key>" key "</Key><Size>1</Size><ETag>" etag "</ETag></Contents>"
#define LISTING(contents) "<ListBucketResult>" contents "</ListBucketResult>"
#define DENIED "<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
/* SHA-256 of nothing, as S3 and as a manifest say it. */
#define SUM_HEADER(etag) "ETag: " etag "\r\nx-amz-checksum-sha256: 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\r\n"
#define SUM "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define OTHER_SUM "0000000000000000000000000000000000000000000000000000000000000000"
#define MANIFEST(sum) "{\"objects\":[{\"key\":\"app.zip\",\"sha256\":\"" sum "\"},{\"key\":\"front/a.css\"}]}"

enum { RULES_MAXIMUM = 2 };

static struct job_copy archive = {"main", "b1/app.zip", "pipeline", "source.zip", true};
static struct job_copy front = {"main", "b1/front/", "frontend", "", false};

/* What one request finds; the first row whose method and target fit is taken. */
struct answer {
    const char *method;
    const char *target;
    struct http_script_answer answer;
};

static const struct answer whole_build[] = {
    {"GET",
     "/main?list-type=2&encoding-type=url&prefix=b1%2Fapp.zip",
     {.status = 200, .body = LISTING(CONTENTS("b1/app.zip", "\"z\""))}},
    {"GET",
     "/main?list-type=2&encoding-type=url&prefix=b1%2Ffront%2F",
     {.status = 200, .body = LISTING(CONTENTS("b1/front/a.css", "\"a\"") CONTENTS("b1/front/b.html", "\"b\""))}},
    {"GET", "/pipeline?list-type=2", {.status = 200, .body = LISTING("")}},
    {"GET", "/frontend?list-type=2", {.status = 200, .body = LISTING(CONTENTS("a.css", "\"a\""))}},
    {"HEAD", "/main/b1/app.zip", {.status = 200, .headers = SUM_HEADER("\"z\"")}},
    {"HEAD", "/main/b1/front/a.css", {.status = 200, .headers = SUM_HEADER("\"a\"")}},
    {NULL, NULL, {.status = 0}},
};

struct bench {
    struct answer first; /* before the whole build's; method NULL: none */
    struct scripted_aws aws;
    struct sources *sources;
    struct transfer_shared shared;
    struct job_copy rules[RULES_MAXIMUM];
    struct job job;
    struct survey *survey;
    bool is_answered;
    unsigned calls;
    char missing[256];
    struct error err;
    struct failure failure;
    const struct credentials *reader; /* of the request */
    bool has_written;                 /* likewise */
};

static bool fits(const struct answer *row, const struct http_script_request *request)
{
    return row->method != NULL && strcmp(row->method, request->method) == 0 &&
           strncmp(request->target, row->target, strlen(row->target)) == 0;
}

static void choose(void *context, const struct http_script_request *request, struct buffer *scratch,
                   struct http_script_answer *ret_answer)
{
    const struct bench *bench = context;
    (void)scratch;
    const struct answer *row = whole_build;
    while (row->method != NULL && !fits(row, request)) {
        row++;
    }
    *ret_answer = fits(&bench->first, request) ? bench->first.answer : row->answer;
}

static void answered(void *context, const struct survey_result *result)
{
    struct bench *bench = context;
    bench->calls++;
    bench->is_answered = true;
    bench->err = result->err;
    bench->failure = result->failure;
    (void)snprintf(bench->missing, sizeof(bench->missing), "%s", result->missing != NULL ? result->missing : "");
}

static void bench_start(struct bench *bench, const struct answer *first)
{
    *bench = (struct bench){.first = first != NULL ? *first : (struct answer){0}, .rules = {front, archive}};
    bench->job = (struct job){
        .account = "222222222222",
        .region = "us-east-1",
        .source_region = "us-east-1",
        .copies = {.items = bench->rules, .count = RULES_MAXIMUM},
    };
    scripted_aws_start_choosing(&bench->aws, choose, bench);
    bench->sources = sources_new(bench->aws.client);
    bench->shared = (struct transfer_shared){.client = bench->aws.client, .sources = bench->sources};
}

static void look(struct bench *bench)
{
    struct survey_request request = {
        .job = &bench->job,
        .writer = bench->aws.key,
        .reader = bench->reader,
        .give_up_at_ms = scripted_deadline_ms(),
        .digests_at_once = 2,
        .has_written = bench->has_written,
    };
    survey_free(bench->survey);
    bench->is_answered = false;
    bench->survey = survey_start(&bench->shared, &request, answered, bench);
    assert_false(bench->is_answered);
    loop_until(bench->aws.loop, &bench->is_answered);
}

static void bench_stop(struct bench *bench)
{
    survey_free(bench->survey);
    sources_free(bench->sources);
    scripted_aws_stop(&bench->aws);
}

static void both_sides_are_looked_at_single_objects_first(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        bool unchanged;
    } wanted[] = {{"a.css", true}, {"b.html", false}, {"source.zip", false}};
    static const char *const asked[] = {
        "/main?list-type=2&encoding-type=url&prefix=b1%2Fapp.zip", "/pipeline?list-type=2",
        "/main?list-type=2&encoding-type=url&prefix=b1%2Ffront%2F", "/frontend?list-type=2"};
    struct bench bench;
    bench_start(&bench, NULL);
    look(&bench);
    assert_int_equal(bench.err.action, ERROR_NONE);
    assert_string_equal(bench.missing, "");
    const struct copies *copies = survey_copies(bench.survey);
    assert_int_equal(copies->count, 3);
    for (size_t i = 0; i < 3; i++) {
        AUTO(text) char *key = copy_object_key(&copies->objects[i]);
        assert_string_equal(key, wanted[i].key);
        assert_int_equal(copies->objects[i].unchanged, wanted[i].unchanged);
    }
    assert_int_equal(http_script_count(bench.aws.script), 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(strncmp(http_script_target(bench.aws.script, i), asked[i], strlen(asked[i])), 0);
    }
    /* The next job of the build asks for its own side only. */
    look(&bench);
    assert_int_equal(http_script_count(bench.aws.script), 6);
    survey_forget_sources(&bench.shared, &bench.job);
    look(&bench);
    assert_int_equal(http_script_count(bench.aws.script), 10);
    bench_stop(&bench);
}

static void what_a_side_refuses_or_lacks_is_told(void **state)
{
    (void)state;
    static const struct {
        struct answer first;
        const char *missing;
        enum error_action action;
        const char *text;
    } rows[] = {
        {{"GET", "/main?list-type=2&encoding-type=url&prefix=b1%2Fapp.zip", {.status = 200, .body = LISTING("")}},
         "s3://main/b1/app.zip did not appear",
         ERROR_NONE,
         NULL},
        {{"GET", "/main?list-type=2&encoding-type=url&prefix=b1%2Fapp.zip", {.status = 403, .body = DENIED}},
         "",
         ERROR_REJECT,
         "add it to the bucket's policy (s3:ListBucket)"},
        {{"GET", "/frontend?", {.status = 404, .body = "<Error><Code>NoSuchBucket</Code></Error>"}},
         "",
         ERROR_REJECT,
         "frontend"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct bench bench;
        bench_start(&bench, &rows[i].first);
        look(&bench);
        assert_string_equal(bench.missing, rows[i].missing);
        assert_int_equal(bench.err.action, rows[i].action);
        if (rows[i].text != NULL) {
            assert_non_null(strstr(bench.err.text, rows[i].text));
        }
        bench_stop(&bench);
    }
}

static void who_may_write_but_not_list_gets_everything(void **state)
{
    (void)state;
    static const struct answer refusals[] = {
        {"GET", "/frontend?", {.status = 403, .body = DENIED}},
        {"GET", "/frontend?", {.status = 400, .body = "<Error><Code>InvalidRequest</Code></Error>"}},
    };
    for (size_t row = 0; row < sizeof(refusals) / sizeof(refusals[0]); row++) {
        struct bench bench;
        bench_start(&bench, &refusals[row]);
        look(&bench);
        assert_int_equal(bench.err.action, ERROR_NONE);
        assert_int_equal(survey_copies(bench.survey)->count, 3);
        for (size_t i = 0; i < 3; i++) {
            assert_false(survey_copies(bench.survey)->objects[i].unchanged);
        }
        bench_stop(&bench);
    }
}

static void the_reader_looks_at_the_source_and_the_writer_at_the_target(void **state)
{
    (void)state;
    struct bench bench;
    struct credentials *reader = credentials_new("AKIDREADER", "secret", "token", 0, "reader");
    bench_start(&bench, NULL);
    bench.reader = reader;
    look(&bench);
    assert_int_equal(http_script_count(bench.aws.script), 4);
    for (size_t i = 0; i < 4; i++) {
        AUTO(text) char *authorization = http_script_header(bench.aws.script, i, "Authorization");
        bool is_of_source = strncmp(http_script_target(bench.aws.script, i), "/main?", 6) == 0;
        assert_non_null(strstr(authorization, is_of_source ? "=AKIDREADER/" : "=AKIDSCRIPT/"));
    }
    bench_stop(&bench);
    credentials_free(reader);
}

static void a_bucket_in_another_region_is_asked_there_only_if_that_may_be(void **state)
{
    (void)state;
    static const struct answer elsewhere = {"GET",
                                            "/frontend?",
                                            {.status = 301,
                                             .headers = "x-amz-bucket-region: eu-west-1\r\n",
                                             .body = "<Error><Code>PermanentRedirect</Code></Error>"}};
    for (int follows = 0; follows <= 1; follows++) {
        struct bench bench;
        bench_start(&bench, &elsewhere);
        bench.shared.follows_region = follows == 1;
        look(&bench);
        assert_int_equal(bench.err.action, ERROR_REJECT);
        assert_non_null(strstr(bench.err.text, "eu-west-1"));
        assert_int_equal(http_script_count(bench.aws.script), 4 + follows);
        bench_stop(&bench);
    }
}

static void a_trigger_that_is_there_counts_unless_an_earlier_round_has_written(void **state)
{
    (void)state;
    static const struct answer there = {
        "GET", "/pipeline?list-type=2", {.status = 200, .body = LISTING(CONTENTS("source.zip", "\"z\""))}};
    for (int has_written = 0; has_written <= 1; has_written++) {
        struct bench bench;
        bench_start(&bench, &there);
        bench.rules[0] = archive;
        bench.job.copies.count = 1;
        bench.has_written = has_written == 1;
        look(&bench);
        assert_int_equal(survey_copies(bench.survey)->count, 1);
        assert_int_equal(survey_copies(bench.survey)->objects[0].unchanged, has_written == 0);
        bench_stop(&bench);
    }
}

static void a_prefix_may_be_empty_but_not_the_whole_build(void **state)
{
    (void)state;
    static const struct answer empty = {
        "GET", "/main?list-type=2&encoding-type=url&prefix=b1%2Ffront%2F", {.status = 200, .body = LISTING("")}};
    struct bench bench;
    bench_start(&bench, &empty);
    look(&bench);
    assert_string_equal(bench.missing, "");
    assert_int_equal(survey_copies(bench.survey)->count, 1);
    survey_free(bench.survey);
    bench.survey = NULL;
    bench.job.copies.count = 1; /* the prefix */
    look(&bench);
    assert_string_equal(bench.missing, "s3://main/b1/front/ did not appear");
    bench_stop(&bench);
}

static void the_source_must_be_what_its_manifest_says(void **state)
{
    (void)state;
    static const struct {
        struct http_script_answer manifest;
        const char *missing;
        enum error_action action;
        const char *text;
    } rows[] = {
        {{.status = 200, .body = MANIFEST(SUM)}, "", ERROR_NONE, NULL},
        {{.status = 200, .body = MANIFEST(OTHER_SUM)}, "", ERROR_REJECT, "where the manifest says 0000"},
        {{.status = 200, .body = "{\"objects\":[{\"key\":\"app.zip\",\"size\":2}]}"}, "app.zip", ERROR_NONE, NULL},
        {{.status = 200, .body = "{\"objects\":7}"}, "", ERROR_REJECT, "s3://main/b1/manifest.json"},
        {{.status = 404, .body = "<Error><Code>NoSuchKey</Code></Error>"}, "s3://main/b1/manifest.json did not appear"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct answer manifest = {"GET", "/main/b1/manifest.json", rows[i].manifest};
        struct bench bench;
        bench_start(&bench, &manifest);
        bench.job.manifest = "b1/manifest.json";
        look(&bench);
        assert_int_equal(bench.err.action, rows[i].action);
        assert_true(bench.missing[0] == '\0' ? rows[i].missing[0] == '\0' : rows[i].missing[0] != '\0');
        assert_non_null(strstr(bench.missing, rows[i].missing));
        if (rows[i].text != NULL) {
            assert_non_null(strstr(bench.err.text, rows[i].text));
        }
        if (rows[i].action == ERROR_NONE && rows[i].missing[0] == '\0') {
            assert_int_equal(survey_copies(bench.survey)->count, 2);
            assert_int_equal(survey_copies(bench.survey)->left_out, 1);
            /* The digest of an object is asked for once a build. */
            size_t requests = http_script_count(bench.aws.script);
            look(&bench);
            assert_int_equal(http_script_count(bench.aws.script), requests + 2);
            /* What is forgotten is read anew: the manifest and both listings, but no digest of an object as it was. */
            survey_forget_sources(&bench.shared, &bench.job);
            look(&bench);
            assert_int_equal(http_script_count(bench.aws.script), requests + 2 + 5);
        }
        bench_stop(&bench);
    }
}

static void however_many_objects_are_wrong_it_answers_once(void **state)
{
    (void)state;
    static const struct answer manifest = {"GET",
                                           "/main/b1/manifest.json",
                                           {.status = 200,
                                            .body = "{\"objects\":[{\"key\":\"app.zip\",\"sha256\":\"" OTHER_SUM
                                                    "\"},{\"key\":\"front/a.css\",\"sha256\":\"" OTHER_SUM "\"}]}"}};
    struct bench bench;
    bench_start(&bench, &manifest);
    bench.job.manifest = "b1/manifest.json";
    look(&bench);
    loop_for(bench.aws.loop, 20);
    assert_int_equal(bench.err.action, ERROR_REJECT);
    assert_int_equal(bench.calls, 1);
    bench_stop(&bench);
}

static void freed_at_any_moment_nobody_is_called(void **state)
{
    (void)state;
    static const struct answer manifest = {"GET", "/main/b1/manifest.json", {.status = 200, .body = MANIFEST(SUM)}};
    for (size_t requests = 0; requests <= 6; requests++) {
        struct bench bench;
        bench_start(&bench, &manifest);
        bench.job.manifest = "b1/manifest.json";
        struct survey_request request = {
            .job = &bench.job, .writer = bench.aws.key, .give_up_at_ms = scripted_deadline_ms(), .digests_at_once = 1};
        bench.survey = survey_start(&bench.shared, &request, answered, &bench);
        for (unsigned turns = 0; turns < 200 && http_script_count(bench.aws.script) < requests; turns++) {
            loop_turn(bench.aws.loop, 5);
        }
        unsigned calls = bench.calls;
        survey_free(bench.survey);
        bench.survey = NULL;
        loop_for(bench.aws.loop, 5);
        assert_int_equal(bench.calls, calls);
        bench_stop(&bench);
    }
    survey_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_sides_are_looked_at_single_objects_first),
        cmocka_unit_test(what_a_side_refuses_or_lacks_is_told),
        cmocka_unit_test(who_may_write_but_not_list_gets_everything),
        cmocka_unit_test(the_reader_looks_at_the_source_and_the_writer_at_the_target),
        cmocka_unit_test(a_bucket_in_another_region_is_asked_there_only_if_that_may_be),
        cmocka_unit_test(a_trigger_that_is_there_counts_unless_an_earlier_round_has_written),
        cmocka_unit_test(however_many_objects_are_wrong_it_answers_once),
        cmocka_unit_test(a_prefix_may_be_empty_but_not_the_whole_build),
        cmocka_unit_test(the_source_must_be_what_its_manifest_says),
        cmocka_unit_test(freed_at_any_moment_nobody_is_called),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
