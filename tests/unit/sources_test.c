#include "workers/copier/sources.h"

#include "tests/support/moved_clock.h"
#include "tests/support/small_s3.h"
#include "tests/support/unit.h"
#include "workers/common/aws/checksum.h"

#include <stdio.h>
#include <string.h>

enum { WAITS = 4, SOURCE_BYTES = 20 << 20, FRESH_MS = 60000 };

static const char *const keys[WAITS] = {"AKIDONE", "AKIDTWO", "AKIDTHREE", "AKIDFOUR"};

struct wait {
    struct source_wait *wait;
    unsigned calls;
    bool is_done;
    struct source *source; /* kept */
    struct error err;
    enum failure_kind kind;
};

struct bench {
    struct small_s3 store;
    struct scripted_aws aws;
    struct sources *sources;
    struct credentials *credentials[WAITS];
    struct wait waits[WAITS];
};

static void found(void *context, struct source *source, const struct aws_result *result)
{
    struct wait *wait = context;
    wait->wait = NULL;
    wait->calls++;
    wait->is_done = true;
    wait->source = source != NULL ? source_keep(source) : NULL;
    wait->err = result != NULL ? result->err : (struct error){0};
    wait->kind = result != NULL ? result->failure.kind : FAILURE_NONE;
}

static void bench_start(struct bench *bench, const struct small_s3_fault *faults, size_t count)
{
    *bench = (struct bench){.store = {.source_size_bytes = SOURCE_BYTES, .faults = faults, .fault_count = count}};
    small_s3_start(&bench->store, &bench->aws);
    bench->sources = sources_new(bench->aws.client);
    for (size_t i = 0; i < WAITS; i++) {
        bench->credentials[i] = credentials_new(keys[i], "secret", "token", 0, keys[i]);
    }
}

/* What was found outlives the one who found it. */
static void bench_stop(struct bench *bench)
{
    sources_free(bench->sources);
    for (size_t i = 0; i < WAITS; i++) {
        source_release(bench->waits[i].source);
        credentials_free(bench->credentials[i]);
    }
    small_s3_stop(&bench->store, &bench->aws);
}

static struct wait *ask_of(struct bench *bench, size_t position, enum source_kind kind, const char *etag)
{
    struct wait *wait = &bench->waits[position];
    struct source_request request = {
        .kind = kind,
        .bucket = {.name = "main", .region = "us-east-1"},
        .key = "source",
        .etag = etag,
        .size_bytes = SOURCE_BYTES,
        .credentials = bench->credentials[position],
        .deadline_ms = scripted_deadline_ms() + 10 * FRESH_MS,
    };
    source_release(wait->source);
    *wait = (struct wait){0};
    wait->wait = sources_get(bench->sources, &request, found, wait);
    assert_int_equal(wait->calls, 0);
    return wait;
}

static struct wait *ask(struct bench *bench, size_t position, enum source_kind kind)
{
    return ask_of(bench, position, kind, kind == SOURCE_LISTING ? NULL : "\"source\"");
}

static void until_answered(struct bench *bench, struct wait *wait)
{
    loop_until(bench->aws.loop, &wait->is_done);
    assert_int_equal(wait->calls, 1);
}

static void a_question_is_asked_once_however_many_wait(void **state)
{
    (void)state;
    static const struct {
        enum source_kind kind;
        enum small_s3_operation operation;
    } cases[] = {{SOURCE_LISTING, SMALL_S3_LIST}, {SOURCE_OBJECT, SMALL_S3_HEAD}, {SOURCE_DIGEST, SMALL_S3_HEAD}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bench bench;
        bench_start(&bench, NULL, 0);
        for (size_t k = 0; k < 3; k++) {
            (void)ask(&bench, k, cases[i].kind);
        }
        for (size_t k = 0; k < 3; k++) {
            until_answered(&bench, &bench.waits[k]);
            assert_ptr_equal(bench.waits[k].source, bench.waits[0].source);
        }
        /* And not again while it is fresh. */
        until_answered(&bench, ask(&bench, 3, cases[i].kind));
        assert_ptr_equal(bench.waits[3].source, bench.waits[0].source);
        assert_int_equal(small_s3_count(&bench.store, cases[i].operation), 1);
        assert_string_equal(bench.store.askers[cases[i].operation], keys[0]);
        moved_clock_by(FRESH_MS + 1);
        until_answered(&bench, ask(&bench, 3, cases[i].kind));
        assert_int_equal(small_s3_count(&bench.store, cases[i].operation), 2);
        bench_stop(&bench);
        moved_clock_reset();
    }
}

static void a_failure_is_that_of_the_asker_alone(void **state)
{
    (void)state;
    static const struct small_s3_fault faults[] = {{SMALL_S3_HEAD, 1, 1, {.status = 403}}};
    struct bench bench;
    bench_start(&bench, faults, 1);
    for (size_t i = 0; i < 3; i++) {
        (void)ask(&bench, i, SOURCE_OBJECT);
    }
    for (size_t i = 0; i < 3; i++) {
        until_answered(&bench, &bench.waits[i]);
    }
    assert_int_equal(bench.waits[0].kind, FAILURE_ACCESS_DENIED);
    assert_null(bench.waits[0].source);
    assert_non_null(bench.waits[1].source);
    assert_ptr_equal(bench.waits[2].source, bench.waits[1].source);
    assert_int_equal(small_s3_count(&bench.store, SMALL_S3_HEAD), 2);
    assert_string_equal(bench.store.askers[SMALL_S3_HEAD], keys[1]);
    bench_stop(&bench);
}

static void when_the_asker_goes_the_next_one_asks_with_its_own_credentials(void **state)
{
    (void)state;
    static const struct small_s3_fault faults[] = {{SMALL_S3_HEAD, 1, 1, {.is_silent = true}},
                                                   {SMALL_S3_LIST, 1, 1, {.is_silent = true}}};
    static const struct {
        enum source_kind kind;
        enum small_s3_operation operation;
    } cases[] = {{SOURCE_LISTING, SMALL_S3_LIST}, {SOURCE_OBJECT, SMALL_S3_HEAD}, {SOURCE_DIGEST, SMALL_S3_HEAD}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bench bench;
        bench_start(&bench, faults, 2);
        for (size_t k = 0; k < 3; k++) {
            (void)ask(&bench, k, cases[i].kind);
        }
        loop_until_requests(bench.aws.loop, bench.aws.script, 1);
        source_wait_cancel(TAKE(bench.waits[1].wait)); /* one that only waits: nothing changes */
        source_wait_cancel(TAKE(bench.waits[0].wait));
        until_answered(&bench, &bench.waits[2]);
        assert_non_null(bench.waits[2].source);
        assert_int_equal(bench.waits[0].calls + bench.waits[1].calls, 0);
        assert_string_equal(bench.store.askers[cases[i].operation], keys[2]);
        bench_stop(&bench);
    }
}

static void cancelled_in_any_state_nobody_is_called(void **state)
{
    (void)state;
    static const enum source_kind kinds[] = {SOURCE_LISTING, SOURCE_OBJECT, SOURCE_DIGEST};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        for (size_t requests = 0; requests < 4; requests++) {
            struct bench bench;
            bench_start(&bench, NULL, 0);
            struct wait *wait = ask(&bench, 0, kinds[i]);
            for (unsigned turns = 0; turns < 200 && !wait->is_done && http_script_count(bench.aws.script) < requests;
                 turns++) {
                loop_turn(bench.aws.loop, 5);
            }
            unsigned calls = wait->calls;
            source_wait_cancel(TAKE(wait->wait));
            loop_for(bench.aws.loop, 5);
            assert_int_equal(wait->calls, calls);
            /* What is asked next is answered. */
            until_answered(&bench, ask(&bench, 1, kinds[i]));
            assert_non_null(bench.waits[1].source);
            bench_stop(&bench);
        }
    }
    source_wait_cancel(NULL);
}

static void those_who_wait_may_be_forgotten_with_everything(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, NULL, 0);
    for (size_t i = 0; i < 3; i++) {
        (void)ask(&bench, i, SOURCE_DIGEST);
    }
    loop_until_requests(bench.aws.loop, bench.aws.script, 2);
    bench_stop(&bench);
    assert_int_equal(bench.waits[0].calls, 0);
    sources_free(NULL);
    source_release(NULL);
}

static void an_object_tells_its_metadata_tags_and_checksums(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, NULL, 0);
    bench.store.source_headers = "Content-Type: text/plain\r\nX-Amz-Meta-Build: 7\r\nx-amz-tagging-count: 1\r\n"
                                 "x-amz-checksum-crc64nvme: AAAAAAAAAAA=\r\n";
    until_answered(&bench, ask(&bench, 0, SOURCE_OBJECT));
    const struct source *source = bench.waits[0].source;
    assert_string_equal(headers_get(&source->attributes, "content-type"), "text/plain");
    assert_string_equal(headers_get(&source->attributes, "x-amz-meta-build"), "7");
    assert_string_equal(source->tags, "a=b%20c");
    assert_string_equal(source->etag, "\"source\"");
    assert_string_equal(source->checksums.crc64nvme, "AAAAAAAAAAA=");
    bench_stop(&bench);
}

static void another_object_than_the_one_listed_is_not_taken_for_it(void **state)
{
    (void)state;
    static const enum source_kind kinds[] = {SOURCE_OBJECT, SOURCE_DIGEST};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct bench bench;
        bench_start(&bench, NULL, 0);
        until_answered(&bench, ask_of(&bench, 0, kinds[i], "\"older\""));
        assert_null(bench.waits[0].source);
        assert_int_equal(bench.waits[0].kind, FAILURE_PRECONDITION);
        assert_int_equal(bench.waits[0].err.action, ERROR_RETRY);
        until_answered(&bench, ask(&bench, 1, kinds[i]));
        assert_non_null(bench.waits[1].source);
        bench_stop(&bench);
    }
}

static void source_sha256(char ret_hex[CHECKSUM_SHA256_HEX_SIZE])
{
    AUTO(buffer) struct buffer bytes;
    buffer_init(&bytes, SOURCE_BYTES);
    small_s3_source(&bytes, 0, SOURCE_BYTES);
    sha256_hex(buffer_slice(&bytes), ret_hex);
}

static void a_digest_is_the_stores_word_or_read_and_computed(void **state)
{
    (void)state;
    char hex[CHECKSUM_SHA256_HEX_SIZE];
    struct bench bench;
    source_sha256(hex);
    bench_start(&bench, NULL, 0);
    until_answered(&bench, ask(&bench, 0, SOURCE_DIGEST));
    assert_string_equal(bench.waits[0].source->sha256, hex);
    assert_int_equal(small_s3_count(&bench.store, SMALL_S3_GET), 3); /* of 8 MiB at most */
    bench_stop(&bench);
    bench_start(&bench, NULL, 0);
    bench.store.source_headers = "x-amz-checksum-sha256: 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\r\n";
    until_answered(&bench, ask(&bench, 0, SOURCE_DIGEST));
    assert_string_equal(bench.waits[0].source->sha256, SIGV4_EMPTY_PAYLOAD);
    assert_int_equal(small_s3_count(&bench.store, SMALL_S3_GET), 0);
    bench_stop(&bench);
}

/* The store's sum of the parts' sums is no digest of the object. */
static void a_composite_checksum_is_no_digest(void **state)
{
    (void)state;
    char hex[CHECKSUM_SHA256_HEX_SIZE];
    struct bench bench;
    source_sha256(hex);
    bench_start(&bench, NULL, 0);
    bench.store.source_headers = "x-amz-checksum-type: COMPOSITE\r\n"
                                 "x-amz-checksum-sha256: 47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\r\n";
    until_answered(&bench, ask(&bench, 0, SOURCE_DIGEST));
    assert_string_equal(bench.waits[0].source->sha256, hex);
    bench_stop(&bench);
}

static void an_object_that_changes_while_it_is_read_has_no_digest(void **state)
{
    (void)state;
    static const struct small_s3_fault faults[] = {{SMALL_S3_GET, 2, 9, {.status = 412}}};
    struct bench bench;
    bench_start(&bench, faults, 1);
    until_answered(&bench, ask(&bench, 0, SOURCE_DIGEST));
    assert_null(bench.waits[0].source);
    assert_int_equal(bench.waits[0].kind, FAILURE_PRECONDITION);
    bench_stop(&bench);
}

static void what_is_forgotten_is_read_anew(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, NULL, 0);
    until_answered(&bench, ask(&bench, 0, SOURCE_LISTING));
    sources_forget(bench.sources, "main", "another");
    until_answered(&bench, ask(&bench, 1, SOURCE_LISTING));
    assert_int_equal(small_s3_count(&bench.store, SMALL_S3_LIST), 1);
    sources_forget(bench.sources, "main", "source");
    until_answered(&bench, ask(&bench, 2, SOURCE_LISTING));
    assert_int_equal(small_s3_count(&bench.store, SMALL_S3_LIST), 2);
    assert_non_null(s3_listing_find(bench.waits[0].source->listing, "source")); /* whoever keeps it has it */
    bench_stop(&bench);
}

static void a_manifest_that_is_none_is_told(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, NULL, 0);
    bench.store.source_size_bytes = 100;
    until_answered(&bench, ask_of(&bench, 0, SOURCE_MANIFEST, NULL));
    assert_null(bench.waits[0].source);
    assert_int_equal(bench.waits[0].kind, FAILURE_INVALID);
    assert_int_equal(bench.waits[0].err.action, ERROR_REJECT);
    assert_true(text_starts_with(bench.waits[0].err.text, "s3://main/source: "));
    bench_stop(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_question_is_asked_once_however_many_wait),
        cmocka_unit_test(a_failure_is_that_of_the_asker_alone),
        cmocka_unit_test(when_the_asker_goes_the_next_one_asks_with_its_own_credentials),
        cmocka_unit_test(cancelled_in_any_state_nobody_is_called),
        cmocka_unit_test(those_who_wait_may_be_forgotten_with_everything),
        cmocka_unit_test(an_object_tells_its_metadata_tags_and_checksums),
        cmocka_unit_test(another_object_than_the_one_listed_is_not_taken_for_it),
        cmocka_unit_test(a_digest_is_the_stores_word_or_read_and_computed),
        cmocka_unit_test(a_composite_checksum_is_no_digest),
        cmocka_unit_test(an_object_that_changes_while_it_is_read_has_no_digest),
        cmocka_unit_test(what_is_forgotten_is_read_anew),
        cmocka_unit_test(a_manifest_that_is_none_is_told),
    };
    return cmocka_run_group_tests_name("sources", tests, NULL, NULL);
}
