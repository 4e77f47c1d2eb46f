#include "workers/common/aws/multipart.h"

#include "tests/support/small_s3.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <string.h>

#define PART ((int64_t)5 << 20)

enum { AT_MOST_MS = 10000 };

static const char target[] = "/tenant/in/big";

/* One copy in parts and how it ends. */
struct bench {
    struct small_s3 store;
    struct scripted_aws aws;
    struct uploads *uploads;
    struct multipart *multipart;
    const char *etag;
    size_t parts_at_once;
    unsigned done;
    unsigned asked;
    char asked_for[64];
    bool renews_at_once;
    bool is_done;
    struct error err;
    struct failure failure;
    unsigned attempts;
};

static void done(void *context, struct s3_answer *answer)
{
    struct bench *bench = context;
    bench->done++;
    bench->is_done = true;
    bench->multipart = NULL;
    bench->err = answer->result->err;
    bench->failure = answer->result->failure;
    bench->attempts = answer->result->attempts;
}

static void renew(struct bench *bench)
{
    struct credentials *renewed = credentials_new("AKIDNEW", "secret", "token", 0, "new");
    multipart_renew(bench->multipart, renewed);
    credentials_free(renewed);
}

static void expired(void *context, const struct credentials *credentials)
{
    struct bench *bench = context;
    bench->asked++;
    (void)snprintf(bench->asked_for, sizeof(bench->asked_for), "%s", credentials->access_key);
    if (bench->renews_at_once) {
        renew(bench);
    }
}

static void bench_start(struct bench *bench, int64_t size_bytes, const struct small_s3_fault *faults, size_t count)
{
    *bench = (struct bench){
        .store = {.source_size_bytes = size_bytes, .faults = faults, .fault_count = count},
        .parts_at_once = 3,
        .etag = "\"source\"",
    };
    small_s3_start(&bench->store, &bench->aws);
    bench->uploads = uploads_new(bench->aws.client);
}

static void copy_start(struct bench *bench)
{
    static const struct s3_write write;
    struct multipart_request request = {
        .target = {.bucket = {.name = "tenant", .region = "eu-west-1"},
                   .key = "in/big",
                   .credentials = bench->aws.key,
                   .deadline_ms = scripted_deadline_ms()},
        .source = {.bucket = {.name = "main", .region = "us-east-1"},
                   .key = "source",
                   .etag = bench->etag,
                   .size_bytes = bench->store.source_size_bytes},
        .write = &write,
        .part_size_bytes = PART,
        .parts_at_once = bench->parts_at_once,
        .on_expired = expired,
    };
    bench->multipart = multipart_start(bench->uploads, &request, done, bench);
    assert_int_equal(bench->done, 0);
}

static void copy_wholly(struct bench *bench)
{
    copy_start(bench);
    loop_until(bench->aws.loop, &bench->is_done);
    assert_int_equal(bench->done, 1);
}

/* Afterwards nothing is open. */
static void bench_stop(struct bench *bench)
{
    multipart_cancel(bench->multipart);
    uploads_free(bench->uploads, AT_MOST_MS);
    assert_int_equal(small_s3_open_uploads(&bench->store), 0);
    small_s3_stop(&bench->store, &bench->aws);
}

static void expect_object(struct bench *bench)
{
    struct small_s3_object object;
    assert_int_equal(bench->err.action, ERROR_NONE);
    assert_true(small_s3_find(&bench->store, target, &object));
    assert_int_equal(object.size_bytes, bench->store.source_size_bytes);
    assert_true(object.is_whole);
}

static void expect_no_object(struct bench *bench)
{
    struct small_s3_object object;
    assert_false(small_s3_find(&bench->store, target, &object));
}

static void parts_have_neither_gap_nor_overlap_whatever_the_size(void **state)
{
    (void)state;
    static const struct {
        int64_t size_bytes;
        unsigned parts;
    } cases[] = {
        {1, 1},
        {PART - 1, 1},
        {PART, 1},
        {PART + 1, 2},
        {2 * PART - 1, 2},
        {2 * PART, 2},
        {2 * PART + 1, 3},
        {7 * PART + 4711, 8},
    };
    static const size_t at_once[] = {1, 3, 100};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (size_t k = 0; k < sizeof(at_once) / sizeof(at_once[0]); k++) {
            struct bench bench;
            bench_start(&bench, cases[i].size_bytes, NULL, 0);
            bench.parts_at_once = at_once[k];
            copy_wholly(&bench);
            expect_object(&bench);
            assert_int_equal(small_s3_count(&bench.store, SMALL_S3_PART_COPY), cases[i].parts);
            assert_int_equal(bench.attempts, cases[i].parts + 2); /* and those that open and complete */
            bench_stop(&bench);
        }
    }
}

static void a_source_that_changes_is_never_half_copied(void **state)
{
    (void)state;
    static const struct small_s3_fault faults[] = {
        {SMALL_S3_PART_COPY, 3, 99, {.status = 412, .body = "<Error><Code>PreconditionFailed</Code></Error>"}}};
    struct bench bench;
    bench_start(&bench, 5 * PART, faults, 1);
    copy_wholly(&bench);
    assert_int_equal(bench.failure.kind, FAILURE_PRECONDITION);
    expect_no_object(&bench);
    bench_stop(&bench);
    bench_start(&bench, 5 * PART, NULL, 0);
    bench.etag = "\"older\"";
    copy_wholly(&bench);
    assert_int_equal(bench.failure.kind, FAILURE_PRECONDITION);
    expect_no_object(&bench);
    bench_stop(&bench);
}

static void no_more_parts_are_on_their_way_than_allowed(void **state)
{
    (void)state;
    static const struct small_s3_fault faults[] = {{SMALL_S3_PART_COPY, 1, 99, {.is_silent = true}}};
    struct bench bench;
    bench_start(&bench, 8 * PART, faults, 1);
    copy_start(&bench);
    loop_until_requests(bench.aws.loop, bench.aws.script, 2 + bench.parts_at_once);
    loop_for(bench.aws.loop, 20);
    assert_int_equal(small_s3_count(&bench.store, SMALL_S3_PART_COPY), bench.parts_at_once);
    bench_stop(&bench);
}

static void passing_trouble_costs_the_part_alone(void **state)
{
    (void)state;
    static const struct small_s3_fault faults[] = {
        {SMALL_S3_PART_COPY, 2, 1, {.status = 500}},
        {SMALL_S3_PART_COPY, 4, 1, {.status = 200, .body = "<Error><Code>SlowDown</Code></Error>"}},
        {SMALL_S3_PART_COPY, 5, 1, {.status = 0}, .is_carried_out = true},
        {SMALL_S3_CREATE, 1, 1, {.status = 503}},
        {SMALL_S3_COMPLETE, 1, 1, {.status = 200, .body = "<Error><Code>InternalError</Code></Error>"}},
    };
    struct bench bench;
    bench_start(&bench, 6 * PART, faults, sizeof(faults) / sizeof(faults[0]));
    copy_wholly(&bench);
    expect_object(&bench);
    bench_stop(&bench);
}

static const struct {
    const char *name;
    struct small_s3_fault fault;
    enum failure_kind kind;
    enum error_action action;
} failures[] = {
    {"opening is denied", {SMALL_S3_CREATE, 1, 9, {.status = 403}}, FAILURE_ACCESS_DENIED, ERROR_REJECT},
    {"opening meets an expired key",
     {SMALL_S3_CREATE, 1, 9, {.status = 400, .body = "<Error><Code>ExpiredToken</Code></Error>"}},
     FAILURE_EXPIRED_TOKEN,
     ERROR_RETRY},
    {"a part is denied", {SMALL_S3_PART_COPY, 2, 9, {.status = 403}}, FAILURE_ACCESS_DENIED, ERROR_REJECT},
    {"parts fail for long", {SMALL_S3_PART_COPY, 2, 99, {.status = 500}}, FAILURE_TRANSIENT, ERROR_RETRY},
    {"completing is denied", {SMALL_S3_COMPLETE, 1, 9, {.status = 403}}, FAILURE_ACCESS_DENIED, ERROR_REJECT},
    {"completing fails for long", {SMALL_S3_COMPLETE, 1, 99, {.status = 0}}, FAILURE_UNREACHABLE, ERROR_RETRY},
};

static void a_failure_in_any_state_ends_it_once_and_leaves_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
        struct bench bench;
        bench_start(&bench, 5 * PART, &failures[i].fault, 1);
        copy_wholly(&bench);
        if (bench.failure.kind != failures[i].kind || bench.err.action != failures[i].action) {
            fail_msg("%s: %s", failures[i].name, bench.err.text);
        }
        loop_for(bench.aws.loop, 5);
        assert_int_equal(bench.done, 1);
        assert_int_equal(bench.asked, 0);
        expect_no_object(&bench);
        bench_stop(&bench);
    }
}

/* How many requests have come when it is cancelled: from before the first one to the completion. */
static void cancelled_in_any_state_it_calls_nobody_and_leaves_nothing(void **state)
{
    (void)state;
    static const struct small_s3_fault faults[] = {{SMALL_S3_COMPLETE, 1, 9, {.is_silent = true}}};
    for (size_t requests = 0; requests <= 2 + 5 + 1; requests++) {
        struct bench bench;
        bench_start(&bench, 5 * PART, faults, 1);
        copy_start(&bench);
        loop_until_requests(bench.aws.loop, bench.aws.script, requests);
        multipart_cancel(TAKE(bench.multipart));
        for (unsigned i = 0; i < 1000 && small_s3_open_uploads(&bench.store) > 0; i++) {
            loop_turn(bench.aws.loop, 5);
        }
        assert_int_equal(bench.done, 0);
        expect_no_object(&bench);
        bench_stop(&bench);
    }
}

/* --- credentials that run out in the middle --- */

static void parts_copied_once(struct bench *bench, size_t count)
{
    for (size_t i = 1; i <= count; i++) {
        assert_int_equal(bench->store.uploads[0].parts[i].attempts, 1);
    }
}

static void expired_credentials_are_asked_for_once_and_what_was_copied_stays(void **state)
{
    (void)state;
    for (unsigned after = 1; after < 8; after++) {
        for (unsigned at_once = 0; at_once < 2; at_once++) {
            struct bench bench;
            bench_start(&bench, 8 * PART, NULL, 0);
            bench.store.expired_key = "AKIDSCRIPT";
            bench.store.expired_after = after;
            bench.renews_at_once = at_once;
            copy_start(&bench);
            while (!bench.is_done) {
                loop_turn(bench.aws.loop, 10);
                if (bench.asked > 0 && !bench.renews_at_once && !bench.is_done) {
                    loop_for(bench.aws.loop, 2);
                    bench.renews_at_once = true;
                    renew(&bench);
                }
            }
            expect_object(&bench);
            assert_int_equal(bench.asked, 1);
            assert_string_equal(bench.asked_for, "AKIDSCRIPT");
            parts_copied_once(&bench, 8);
            assert_string_equal(bench.store.askers[SMALL_S3_COMPLETE], "AKIDNEW");
            bench_stop(&bench);
        }
    }
}

static void a_completion_with_expired_credentials_is_repeated_with_new_ones(void **state)
{
    (void)state;
    static const struct small_s3_fault faults[] = {
        {SMALL_S3_COMPLETE, 1, 1, {.status = 400, .body = "<Error><Code>ExpiredToken</Code></Error>"}}};
    struct bench bench;
    bench_start(&bench, 3 * PART, faults, 1);
    bench.renews_at_once = true;
    copy_wholly(&bench);
    expect_object(&bench);
    assert_int_equal(bench.asked, 1);
    parts_copied_once(&bench, 3);
    bench_stop(&bench);
}

static void cancelled_while_it_waits_for_credentials_it_leaves_nothing(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, 8 * PART, NULL, 0);
    bench.store.expired_key = "AKIDSCRIPT";
    bench.store.expired_after = 2;
    copy_start(&bench);
    while (bench.asked == 0) {
        loop_turn(bench.aws.loop, 10);
    }
    loop_for(bench.aws.loop, 10);
    pthread_mutex_lock(&bench.store.lock); /* the other parts may just be arriving */
    bench.store.expired_key = NULL;        /* or it could not be aborted either */
    pthread_mutex_unlock(&bench.store.lock);
    multipart_cancel(TAKE(bench.multipart));
    assert_int_equal(bench.done, 0);
    bench_stop(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parts_have_neither_gap_nor_overlap_whatever_the_size),
        cmocka_unit_test(a_source_that_changes_is_never_half_copied),
        cmocka_unit_test(no_more_parts_are_on_their_way_than_allowed),
        cmocka_unit_test(passing_trouble_costs_the_part_alone),
        cmocka_unit_test(a_failure_in_any_state_ends_it_once_and_leaves_nothing),
        cmocka_unit_test(cancelled_in_any_state_it_calls_nobody_and_leaves_nothing),
        cmocka_unit_test(expired_credentials_are_asked_for_once_and_what_was_copied_stays),
        cmocka_unit_test(a_completion_with_expired_credentials_is_repeated_with_new_ones),
        cmocka_unit_test(cancelled_while_it_waits_for_credentials_it_leaves_nothing),
    };
    return cmocka_run_group_tests_name("multipart", tests, NULL, NULL);
}
