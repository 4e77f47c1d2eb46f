#include "workers/copier/shipment.h"

#include "tests/support/small_s3.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <string.h>

enum { OBJECTS = 6, PUTS_MAXIMUM = 32, RETRY_FOR_MS = 600000, PART_BYTES = 5 << 20 };

static const char copied[] = "<CopyObjectResult><ETag>\"e\"</ETag></CopyObjectResult>";

static const struct job_copy pages = {"main", "b1/", "frontend", "", false};
static const struct job_copy archive = {"main", "source", "artifacts", "codebuild/artifacts", true};

/* Out of order: sorting is copies_sort's. */
static struct s3_object below[] = {{"b1/1.html", "\"e\"", 1, 0},
                                   {"b1/2.html", "\"e\"", 1, 0},
                                   {"b1/a.css", "\"e\"", 1, 0},
                                   {"b1/b.js", "\"e\"", 1, 0},
                                   {"b1/c.js", "\"e\"", 1, 0}};

struct bench {
    struct scripted_aws aws;
    struct small_s3 store; /* of the tests that need one */
    bool has_store;
    const char *refused; /* in whose target: 403 */
    struct shipment_shared shared;
    struct tally tally;
    struct job job;
    struct copies copies;
    struct s3_object trigger;
    struct s3_listing listings[2];
    struct shipment *shipment;
    unsigned words;       /* asked for */
    unsigned credentials; /* likewise */
    char expired[64];
    unsigned ends;
    bool has_asked;
    bool has_ended;
    struct shipment_result result;
};

static void asks_for_word(void *context)
{
    struct bench *bench = context;
    bench->words++;
    bench->has_asked = true;
}

static void asks_for_credentials(void *context, const struct credentials *expired)
{
    struct bench *bench = context;
    bench->credentials++;
    bench->has_asked = true;
    (void)snprintf(bench->expired, sizeof(bench->expired), "%s", expired->access_key);
}

/* An owner may free the shipment that tells it of its end. */
static void ended(void *context)
{
    struct bench *bench = context;
    bench->ends++;
    bench->has_ended = true;
    bench->result = *shipment_result(bench->shipment);
    shipment_free(bench->shipment);
    bench->shipment = NULL;
}

static void answer(void *context, const struct http_script_request *request, struct buffer *scratch,
                   struct http_script_answer *ret_answer)
{
    const struct bench *bench = context;
    (void)scratch;
    bool is_refused = bench->refused != NULL && strcmp(request->method, "PUT") == 0 &&
                      strstr(request->target, bench->refused) != NULL;
    *ret_answer = is_refused ? (struct http_script_answer){.status = 403}
                             : (struct http_script_answer){.status = 200, .headers = "ETag: \"e\"\r\n", .body = copied};
}

static void bench_fill(struct bench *bench, int64_t trigger_bytes)
{
    bench->trigger = (struct s3_object){"source", bench->has_store ? "\"source\"" : "\"e\"", trigger_bytes, 0};
    bench->listings[0] = (struct s3_listing){below, OBJECTS - 1};
    bench->listings[1] = (struct s3_listing){&bench->trigger, 1};
    bench->job = (struct job){.account = "222222222222", .region = "us-east-1", .source_region = "us-east-1"};
    bench->shared.transfer.uploads = uploads_new(bench->aws.client);
    bench->shared.transfer.sources = sources_new(bench->aws.client);
    bench->shared.transfer.client = bench->aws.client;
    bench->shared.pace = pace_new(0);
    bench->shared.tally = &bench->tally;
    bench->shared.retry_for_ms = RETRY_FOR_MS;
}

static void bench_start(struct bench *bench, size_t copies_at_once, const char *refused)
{
    *bench = (struct bench){.refused = refused};
    scripted_aws_start_choosing(&bench->aws, answer, bench);
    bench_fill(bench, 1);
    bench->shared.transfer.multipart_threshold_bytes = PART_BYTES;
    bench->shared.copies_at_once = copies_at_once;
    copies_add(&bench->copies, &pages, &bench->listings[0], NULL, NULL);
    copies_add(&bench->copies, &archive, &bench->listings[1], NULL, NULL);
    copies_sort(&bench->copies, false);
}

static void bench_ship(struct bench *bench, int64_t give_up_at_ms)
{
    struct shipment_request request = {
        .job = &bench->job,
        .copies = &bench->copies,
        .writer = bench->aws.key,
        .give_up_at_ms = give_up_at_ms,
        .may_read_target = true,
    };
    struct shipment_owner owner = {asks_for_word, asks_for_credentials, ended, bench};
    bench->shipment = shipment_new(&bench->shared, &request, &owner);
    assert_int_equal(http_script_count(bench->aws.script), 0);
    shipment_go_on(bench->shipment);
}

static void bench_stop(struct bench *bench)
{
    shipment_free(bench->shipment);
    copies_clear(&bench->copies);
    pace_free(bench->shared.pace);
    sources_free(bench->shared.transfer.sources);
    uploads_free(bench->shared.transfer.uploads, 0);
    if (bench->has_store) {
        small_s3_stop(&bench->store, &bench->aws);
    } else {
        scripted_aws_stop(&bench->aws);
    }
}

/* The copies that have been asked for so far, in the order in which they came. */
static size_t copies_asked_for(struct bench *bench, const char *targets[PUTS_MAXIMUM])
{
    size_t count = 0;
    for (size_t i = 0; i < http_script_count(bench->aws.script) && count < PUTS_MAXIMUM; i++) {
        if (strcmp(http_script_method(bench->aws.script, i), "PUT") == 0) {
            targets[count++] = http_script_target(bench->aws.script, i);
        }
    }
    return count;
}

static void assets_then_pages_then_when_told_the_trigger(void **state)
{
    (void)state;
    for (size_t at_once = 1; at_once <= 8; at_once++) {
        struct bench bench;
        const char *targets[PUTS_MAXIMUM];
        bench_start(&bench, at_once, NULL);
        bench_ship(&bench, scripted_deadline_ms());
        loop_until(bench.aws.loop, &bench.has_asked);
        loop_for(bench.aws.loop, 5);
        assert_int_equal(copies_asked_for(&bench, targets), OBJECTS - 1);
        for (size_t i = 0; i < OBJECTS - 1; i++) {
            assert_int_equal(strstr(targets[i], ".html") != NULL, i >= 3);
        }
        assert_int_equal(bench.ends, 0);
        assert_true(shipment_result(bench.shipment)->has_written);
        shipment_go_on(bench.shipment);
        loop_until(bench.aws.loop, &bench.has_ended);
        assert_int_equal(copies_asked_for(&bench, targets), OBJECTS);
        assert_string_equal(targets[OBJECTS - 1], "/artifacts/codebuild/artifacts");
        assert_int_equal(bench.result.err.action, ERROR_NONE);
        assert_true(bench.result.has_written);
        assert_int_equal(bench.words, 1);
        assert_int_equal(bench.ends, 1);
        assert_int_equal(bench.tally.objects_copied, OBJECTS);
        for (size_t i = 0; i < bench.copies.count; i++) {
            assert_true(bench.copies.objects[i].is_done);
            assert_string_equal(bench.copies.objects[i].etag, "\"e\"");
        }
        bench_stop(&bench);
    }
}

static void what_is_in_place_is_not_copied_and_takes_no_request(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, 2, NULL);
    for (size_t i = 0; i < bench.copies.count; i++) {
        bench.copies.objects[i].unchanged = true;
    }
    bench_ship(&bench, scripted_deadline_ms());
    assert_int_equal(bench.ends, 1);
    assert_int_equal(bench.result.err.action, ERROR_NONE);
    assert_false(bench.result.has_written);
    assert_int_equal(bench.words, 0);
    assert_int_equal(http_script_count(bench.aws.script), 0);
    bench_stop(&bench);
}

static void after_a_failure_nothing_starts_and_what_is_under_way_ends(void **state)
{
    (void)state;
    static const struct {
        size_t at_once;
        const char *refused;
        size_t asked_for;
    } rows[] = {{1, "a.css", 1}, {1, "b.js", 2}, {3, "a.css", 3}, {3, "c.js", 3}, {8, "1.html", 5}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct bench bench;
        const char *targets[PUTS_MAXIMUM];
        bench_start(&bench, rows[i].at_once, rows[i].refused);
        bench_ship(&bench, scripted_deadline_ms());
        loop_until(bench.aws.loop, &bench.has_ended);
        loop_for(bench.aws.loop, 5);
        assert_int_equal(copies_asked_for(&bench, targets), rows[i].asked_for);
        assert_int_equal(bench.result.err.action, ERROR_REJECT);
        assert_int_equal(bench.result.failure.kind, FAILURE_ACCESS_DENIED);
        assert_int_equal(bench.tally.objects_copied, rows[i].asked_for - 1);
        assert_int_equal(bench.result.has_written, rows[i].asked_for > 1);
        assert_int_equal(bench.words, 0);
        assert_int_equal(bench.ends, 1);
        bench_stop(&bench);
    }
}

static void each_object_that_gets_there_puts_off_the_end(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, 8, NULL);
    int64_t give_up_at_ms = scripted_deadline_ms();
    bench_ship(&bench, give_up_at_ms);
    loop_until(bench.aws.loop, &bench.has_asked);
    shipment_go_on(bench.shipment);
    loop_until(bench.aws.loop, &bench.has_ended);
    assert_true(bench.result.give_up_at_ms > give_up_at_ms);
    bench_stop(&bench);
}

static void new_credentials_are_asked_for_once_and_no_part_is_lost(void **state)
{
    (void)state;
    struct bench bench = {.has_store = true, .store = {.source_size_bytes = 8 * PART_BYTES, .expired_after = 3}};
    struct small_s3_object object;
    small_s3_start(&bench.store, &bench.aws);
    bench.store.expired_key = bench.aws.key->access_key;
    bench_fill(&bench, 8 * PART_BYTES);
    bench.shared.transfer.multipart_threshold_bytes = PART_BYTES;
    bench.shared.transfer.part_size_bytes = PART_BYTES;
    bench.shared.transfer.parts_at_once = 4;
    bench.shared.copies_at_once = 2;
    copies_add(&bench.copies, &archive, &bench.listings[1], NULL, NULL);
    copies_sort(&bench.copies, false);
    bench_ship(&bench, scripted_deadline_ms());
    assert_int_equal(bench.words, 1);
    bench.has_asked = false;
    shipment_go_on(bench.shipment);
    loop_until(bench.aws.loop, &bench.has_asked);
    loop_for(bench.aws.loop, 20);
    assert_int_equal(bench.credentials, 1);
    assert_string_equal(bench.expired, bench.aws.key->access_key);
    assert_int_equal(bench.ends, 0);
    struct credentials *renewed = credentials_new("AKIDNEW", "secret", "token", 0, "new");
    shipment_renew(bench.shipment, renewed);
    loop_until(bench.aws.loop, &bench.has_ended);
    assert_int_equal(bench.result.err.action, ERROR_NONE);
    assert_int_equal(bench.credentials, 1);
    assert_int_equal(small_s3_count(&bench.store, SMALL_S3_CREATE), 1);
    assert_string_equal(bench.store.askers[SMALL_S3_COMPLETE], "AKIDNEW");
    assert_true(small_s3_find(&bench.store, "/artifacts/codebuild/artifacts", &object));
    assert_true(object.is_whole);
    credentials_free(renewed);
    bench_stop(&bench);
}

static void freed_at_any_moment_nobody_is_called(void **state)
{
    (void)state;
    for (size_t requests = 0; requests <= OBJECTS; requests++) {
        struct bench bench;
        bench_start(&bench, 2, NULL);
        bench_ship(&bench, scripted_deadline_ms());
        for (unsigned turns = 0; turns < 200 && http_script_count(bench.aws.script) < requests; turns++) {
            loop_turn(bench.aws.loop, 5);
            if (bench.has_asked && requests == OBJECTS) {
                bench.has_asked = false;
                shipment_go_on(bench.shipment);
            }
        }
        unsigned calls = bench.words + bench.ends;
        shipment_free(bench.shipment);
        bench.shipment = NULL;
        loop_for(bench.aws.loop, 5);
        assert_int_equal(bench.words + bench.ends, calls);
        bench_stop(&bench);
    }
    shipment_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(assets_then_pages_then_when_told_the_trigger),
        cmocka_unit_test(what_is_in_place_is_not_copied_and_takes_no_request),
        cmocka_unit_test(after_a_failure_nothing_starts_and_what_is_under_way_ends),
        cmocka_unit_test(each_object_that_gets_there_puts_off_the_end),
        cmocka_unit_test(new_credentials_are_asked_for_once_and_no_part_is_lost),
        cmocka_unit_test(freed_at_any_moment_nobody_is_called),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
