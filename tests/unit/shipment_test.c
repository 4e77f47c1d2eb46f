#include "workers/copier/shipment.h"

#include "tests/support/moved_clock.h"
#include "tests/support/small_s3.h"
#include "tests/support/unit.h"
#include "workers/common/base/clock.h"

#include <stdio.h>
#include <string.h>

enum { OBJECTS = 6, PUTS_MAXIMUM = 32, RETRY_FOR_MS = 600000, PART_BYTES = 5 << 20, TURN_MS = 1100 };

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
    const char *refused;      /* in whose target: 403 */
    const char *also_refused; /* in whose target: 503 */
    const char *cut;          /* in whose target: no answer */
    const char *copied;       /* what a copy is answered */
    bool hides_target;        /* its heads: 403 */
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
    const struct credentials *reader; /* of the request */
    bool may_read_target;             /* likewise */
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

static bool is_put_of(const struct http_script_request *request, const char *target)
{
    return target != NULL && strcmp(request->method, "PUT") == 0 && strstr(request->target, target) != NULL;
}

static bool is_head_of_target(const char *method, const char *target)
{
    return strcmp(method, "HEAD") == 0 && strncmp(target, "/main/", 6) != 0;
}

static void answer(void *context, const struct http_script_request *request, struct buffer *scratch,
                   struct http_script_answer *ret_answer)
{
    const struct bench *bench = context;
    (void)scratch;
    bool is_hidden = bench->hides_target && is_head_of_target(request->method, request->target);
    *ret_answer =
        (struct http_script_answer){.status = 200, .headers = "ETag: \"e\"\r\nContent-Length: 1\r\n", .body = "e"};
    if (is_put_of(request, bench->cut)) {
        *ret_answer = (struct http_script_answer){.status = 0};
    } else if (is_put_of(request, bench->also_refused)) {
        *ret_answer = (struct http_script_answer){.status = 503};
    } else if (is_put_of(request, bench->refused) || is_hidden) {
        *ret_answer = (struct http_script_answer){.status = 403};
    } else if (strcmp(request->method, "PUT") == 0) {
        *ret_answer = (struct http_script_answer){.status = 200, .body = bench->copied};
    }
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
    *bench = (struct bench){.refused = refused, .copied = copied, .may_read_target = true};
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
        .reader = bench->reader,
        .give_up_at_ms = give_up_at_ms,
        .may_read_target = bench->may_read_target,
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

static unsigned heads_of_targets(struct bench *bench)
{
    unsigned count = 0;
    for (size_t i = 0; i < http_script_count(bench->aws.script); i++) {
        const char *method = http_script_method(bench->aws.script, i);
        count += is_head_of_target(method, http_script_target(bench->aws.script, i)) ? 1 : 0;
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
            assert_true(bench.copies.objects[i].attempts >= 1);
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

static void the_first_failure_is_told(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, 2, "a.css");
    bench.also_refused = "b.js";
    const unsigned *first = &bench.copies.objects[0].attempts;
    const unsigned *second = &bench.copies.objects[1].attempts;
    bench_ship(&bench, scripted_deadline_ms());
    for (int turns = 0; turns < 2000 && *first == 0 && *second == 0; turns++) {
        loop_turn(bench.aws.loop, 5);
    }
    bool is_both = *first > 0 && *second > 0;
    enum error_action action = *first > 0 ? ERROR_REJECT : ERROR_RETRY;
    loop_until(bench.aws.loop, &bench.has_ended);
    assert_true(is_both || bench.result.err.action == action);
    bench_stop(&bench);
}

static void a_copy_whose_answer_is_lost_may_have_written(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, 1, NULL);
    bench.cut = "a.css";
    bench_ship(&bench, scripted_deadline_ms());
    loop_until(bench.aws.loop, &bench.has_ended);
    assert_int_equal(bench.result.err.action, ERROR_RETRY);
    assert_int_equal(bench.tally.objects_copied, 0);
    assert_true(bench.result.has_written);
    bench_stop(&bench);
}

static void a_target_that_may_not_be_read_is_asked_for_once(void **state)
{
    (void)state;
    for (int may_read = 0; may_read <= 1; may_read++) {
        struct bench bench;
        bench_start(&bench, 1, NULL);
        /* So that an answer alone does not say whether the copy is right. */
        bench.copied = "<CopyObjectResult><ETag>\"other\"</ETag></CopyObjectResult>";
        bench.hides_target = true;
        bench.may_read_target = may_read == 1;
        bench_ship(&bench, scripted_deadline_ms());
        loop_until(bench.aws.loop, &bench.has_asked);
        shipment_go_on(bench.shipment);
        loop_until(bench.aws.loop, &bench.has_ended);
        assert_int_equal(bench.result.err.action, ERROR_NONE);
        assert_int_equal(bench.result.target_is_opaque, may_read);
        assert_int_equal(heads_of_targets(&bench), may_read);
        bench_stop(&bench);
    }
}

/* The reader looks at the source, the writer at the target; what is found there is not written. */
static void what_is_found_to_be_the_same_is_not_written(void **state)
{
    (void)state;
    struct bench bench;
    struct credentials *reader = credentials_new("AKIDREADER", "secret", "token", 0, "reader");
    bench_start(&bench, 1, "b.js");
    bench.reader = reader;
    bench.copies.objects[0].may_be_same = true;
    bench_ship(&bench, scripted_deadline_ms());
    loop_until(bench.aws.loop, &bench.has_ended);
    assert_true(bench.copies.objects[0].unchanged);
    assert_false(bench.copies.objects[0].is_done);
    assert_false(bench.result.has_written);
    assert_int_equal(bench.tally.objects_copied, 0);
    for (size_t i = 0; i < http_script_count(bench.aws.script); i++) {
        AUTO(text) char *authorization = http_script_header(bench.aws.script, i, "Authorization");
        bool is_of_source = strncmp(http_script_target(bench.aws.script, i), "/main/", 6) == 0;
        assert_non_null(strstr(authorization, is_of_source ? "=AKIDREADER/" : "=AKIDSCRIPT/"));
    }
    bench_stop(&bench);
    credentials_free(reader);
}

static void each_object_that_gets_there_puts_off_the_end(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, 8, NULL);
    int64_t begun_at_ms = clock_monotonic_ms();
    bench_ship(&bench, begun_at_ms + RETRY_FOR_MS / 2);
    loop_until(bench.aws.loop, &bench.has_asked);
    shipment_go_on(bench.shipment);
    loop_until(bench.aws.loop, &bench.has_ended);
    assert_true(bench.result.give_up_at_ms >= begun_at_ms + RETRY_FOR_MS);
    bench_stop(&bench);
}

/* One a second, and none of them begins after a failure or when the shipment is gone. */
static void copies_wait_for_their_turn(void **state)
{
    (void)state;
    for (int is_refused = 0; is_refused <= 1; is_refused++) {
        struct bench bench;
        const char *targets[PUTS_MAXIMUM];
        moved_clock_stand();
        bench_start(&bench, 3, is_refused == 1 ? "b.js" : NULL);
        pace_free(bench.shared.pace);
        bench.shared.pace = pace_new(1);
        bench_ship(&bench, scripted_deadline_ms());
        loop_until_requests(bench.aws.loop, bench.aws.script, 1);
        loop_for(bench.aws.loop, 20);
        assert_int_equal(copies_asked_for(&bench, targets), 1);
        moved_clock_by(TURN_MS);
        if (is_refused == 1) {
            loop_until(bench.aws.loop, &bench.has_ended);
        } else {
            loop_until_requests(bench.aws.loop, bench.aws.script, 2);
            shipment_free(bench.shipment);
            bench.shipment = NULL;
        }
        moved_clock_by(TURN_MS);
        loop_for(bench.aws.loop, 20);
        assert_int_equal(copies_asked_for(&bench, targets), 2);
        assert_int_equal(bench.ends, is_refused);
        bench_stop(&bench);
        moved_clock_reset();
    }
}

static void expire(struct small_s3 *store, const char *key)
{
    pthread_mutex_lock(&store->lock);
    store->expired_key = key;
    pthread_mutex_unlock(&store->lock);
}

/* However many copies notice, each time that they expire. */
static void new_credentials_are_asked_for_once_and_no_part_is_lost(void **state)
{
    (void)state;
    static const struct job_copy other = {"main", "source", "frontend", "source", false};
    static const char *const keys[] = {"AKIDSCRIPT", "AKIDSECOND"};
    struct bench bench = {.has_store = true, .store = {.source_size_bytes = 8 * PART_BYTES, .expired_after = 3}};
    struct small_s3_object object;
    struct credentials *renewed[] = {credentials_new("AKIDSECOND", "secret", "token", 0, "second"),
                                     credentials_new("AKIDNEW", "secret", "token", 0, "new")};
    bench.may_read_target = true;
    bench.store.expired_key = keys[0];
    small_s3_start(&bench.store, &bench.aws);
    bench_fill(&bench, 8 * PART_BYTES);
    bench.shared.transfer.multipart_threshold_bytes = PART_BYTES;
    bench.shared.transfer.part_size_bytes = PART_BYTES;
    bench.shared.transfer.parts_at_once = 4;
    bench.shared.copies_at_once = 2;
    copies_add(&bench.copies, &archive, &bench.listings[1], NULL, NULL);
    copies_add(&bench.copies, &other, &bench.listings[1], NULL, NULL);
    bench.copies.objects[0].phase = PHASE_ASSETS;
    bench_ship(&bench, scripted_deadline_ms());
    for (unsigned i = 0; i < 2; i++) {
        bench.has_asked = false;
        loop_until(bench.aws.loop, &bench.has_asked);
        loop_for(bench.aws.loop, 20);
        assert_int_equal(bench.credentials, i + 1);
        assert_string_equal(bench.expired, keys[i]);
        assert_int_equal(bench.ends, 0);
        expire(&bench.store, i == 0 ? keys[1] : NULL);
        shipment_renew(bench.shipment, renewed[i]);
    }
    loop_until(bench.aws.loop, &bench.has_ended);
    assert_int_equal(bench.result.err.action, ERROR_NONE);
    assert_int_equal(bench.credentials, 2);
    assert_int_equal(small_s3_count(&bench.store, SMALL_S3_CREATE), 2);
    assert_string_equal(bench.store.askers[SMALL_S3_COMPLETE], "AKIDNEW");
    assert_true(small_s3_find(&bench.store, "/artifacts/codebuild/artifacts", &object) && object.is_whole);
    assert_true(small_s3_find(&bench.store, "/frontend/source", &object) && object.is_whole);
    bench_stop(&bench);
    credentials_free(renewed[0]);
    credentials_free(renewed[1]);
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
        cmocka_unit_test(the_first_failure_is_told),
        cmocka_unit_test(a_copy_whose_answer_is_lost_may_have_written),
        cmocka_unit_test(a_target_that_may_not_be_read_is_asked_for_once),
        cmocka_unit_test(what_is_found_to_be_the_same_is_not_written),
        cmocka_unit_test(copies_wait_for_their_turn),
        cmocka_unit_test(each_object_that_gets_there_puts_off_the_end),
        cmocka_unit_test(new_credentials_are_asked_for_once_and_no_part_is_lost),
        cmocka_unit_test(freed_at_any_moment_nobody_is_called),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
