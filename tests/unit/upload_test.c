#include "workers/common/aws/upload.h"

#include "tests/support/moved_clock.h"
#include "tests/support/small_s3.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <string.h>

enum { PART_BYTES = 64, AT_MOST_MS = 10000, ABORT_PAUSE_MS = 5000 };

static const char target[] = "/tenant/in/big";

struct ending {
    unsigned calls;
    bool is_done;
    struct error err;
    struct failure failure;
    char etag[64];
};

static void ended(void *context, struct s3_answer *answer)
{
    struct ending *ending = context;
    ending->calls++;
    ending->is_done = true;
    ending->err = answer->result->err;
    ending->failure = answer->result->failure;
    (void)snprintf(ending->etag, sizeof(ending->etag), "%s", answer->etag != NULL ? answer->etag : "");
}

/* One upload of two parts and where it is. */
struct bench {
    struct small_s3 store;
    struct scripted_aws aws;
    struct uploads *uploads;
    struct upload *upload;
    struct s3_write write;
    struct ending opened;
    struct ending parts[2];
    struct ending completed;
};

static void bench_start(struct bench *bench, const struct small_s3_fault *faults, size_t count)
{
    *bench = (struct bench){.store = {.faults = faults, .fault_count = count}};
    small_s3_start(&bench->store, &bench->aws);
    bench->uploads = uploads_new(bench->aws.client);
}

static void bench_stop(struct bench *bench)
{
    upload_free(bench->upload);
    uploads_free(bench->uploads, AT_MOST_MS);
    small_s3_stop(&bench->store, &bench->aws);
}

static void open_start(struct bench *bench)
{
    struct upload_request request = {
        .target = {.bucket = {.name = "tenant", .region = "eu-west-1"},
                   .key = "in/big",
                   .credentials = bench->aws.key,
                   .deadline_ms = scripted_deadline_ms()},
        .write = &bench->write,
        .part_count = 2,
        .size_bytes = 2 * PART_BYTES,
    };
    bench->upload = upload_open(bench->uploads, &request, ended, &bench->opened);
}

static void open_wholly(struct bench *bench)
{
    open_start(bench);
    loop_until(bench->aws.loop, &bench->opened.is_done);
    assert_int_equal(bench->opened.err.action, ERROR_NONE);
}

static void part_start(struct bench *bench, unsigned number)
{
    static char bytes[PART_BYTES] = "of a part";
    struct s3_body body = {.bytes = slice_from(bytes, PART_BYTES)};
    upload_send_part(bench->upload, number, &body, ended, &bench->parts[number - 1]);
}

static void send_wholly(struct bench *bench)
{
    for (unsigned number = 1; number <= 2; number++) {
        part_start(bench, number);
        loop_until(bench->aws.loop, &bench->parts[number - 1].is_done);
        assert_int_equal(bench->parts[number - 1].err.action, ERROR_NONE);
    }
}

static void complete_start(struct bench *bench)
{
    upload_complete(bench->upload, ended, &bench->completed);
}

static void complete_wholly(struct bench *bench)
{
    complete_start(bench);
    loop_until(bench->aws.loop, &bench->completed.is_done);
}

/* Until the store has no upload open; the loop alone has to see to it. */
static void until_nothing_is_open(struct bench *bench)
{
    for (unsigned i = 0; i < 2000 && small_s3_open_uploads(&bench->store) > 0; i++) {
        loop_turn(bench->aws.loop, 5);
    }
    assert_int_equal(small_s3_open_uploads(&bench->store), 0);
}

/* --- opening --- */

static void an_upload_is_opened_sent_in_any_order_and_completed(void **state)
{
    (void)state;
    struct bench bench;
    struct small_s3_object object;
    bench_start(&bench, NULL, 0);
    open_wholly(&bench);
    part_start(&bench, 2);
    part_start(&bench, 1);
    loop_until(bench.aws.loop, &bench.parts[0].is_done);
    loop_until(bench.aws.loop, &bench.parts[1].is_done);
    complete_wholly(&bench);
    assert_int_equal(bench.completed.err.action, ERROR_NONE);
    assert_string_equal(bench.completed.etag, "\"whole-2\"");
    assert_true(small_s3_find(&bench.store, target, &object));
    assert_int_equal(object.size_bytes, 2 * PART_BYTES);
    assert_int_equal(strlen(object.token), 32);
    bench_stop(&bench);
    assert_int_equal(bench.store.counts[SMALL_S3_ABORT], 0);
    assert_int_equal(bench.opened.calls + bench.completed.calls, 2);
}

static void what_a_dead_process_left_open_for_the_key_is_aborted_and_nothing_else(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, NULL, 0);
    small_s3_leave_open(&bench.store, target);
    small_s3_leave_open(&bench.store, "/tenant/in/bigger");
    small_s3_leave_open(&bench.store, target);
    open_wholly(&bench);
    send_wholly(&bench);
    complete_wholly(&bench);
    assert_int_equal(bench.completed.err.action, ERROR_NONE);
    bench_stop(&bench);
    assert_false(bench.store.uploads[0].is_open || bench.store.uploads[2].is_open);
    assert_true(bench.store.uploads[1].is_open);
    assert_int_equal(bench.store.counts[SMALL_S3_ABORT], 2);
}

static void a_role_that_may_not_list_uploads_can_open_them(void **state)
{
    (void)state;
    static const struct small_s3_fault faults[] = {{SMALL_S3_UPLOADS, 1, 9, {.status = 403}}};
    struct bench bench;
    bench_start(&bench, faults, 1);
    open_wholly(&bench);
    bench_stop(&bench);
    assert_int_equal(small_s3_open_uploads(&bench.store), 0);
}

static void an_upload_that_cannot_be_opened_says_why(void **state)
{
    (void)state;
    static const struct small_s3_fault faults[] = {{SMALL_S3_CREATE, 1, 9, {.status = 403}}};
    struct bench bench;
    bench_start(&bench, faults, 1);
    open_start(&bench);
    assert_false(bench.opened.is_done);
    loop_until(bench.aws.loop, &bench.opened.is_done);
    assert_int_equal(bench.opened.failure.kind, FAILURE_ACCESS_DENIED);
    bench_stop(&bench);
    assert_int_equal(bench.store.counts[SMALL_S3_ABORT], 0);
}

/* --- every way out --- */

static void leave_at_once(struct bench *bench)
{
    open_start(bench);
}

static void leave_when_leftovers_are_known(struct bench *bench)
{
    open_start(bench);
    loop_until_requests(bench->aws.loop, bench->aws.script, 1);
}

/* The store has opened it, and its answer is on its way. */
static void leave_while_it_is_created(struct bench *bench)
{
    open_start(bench);
    loop_until_requests(bench->aws.loop, bench->aws.script, 2);
    assert_false(bench->opened.is_done);
}

static void leave_when_it_is_open(struct bench *bench)
{
    open_wholly(bench);
}

static void leave_while_a_part_is_sent(struct bench *bench)
{
    open_wholly(bench);
    part_start(bench, 1);
    part_start(bench, 2);
    loop_until_requests(bench->aws.loop, bench->aws.script, 4);
}

static void leave_after_a_part_has_failed(struct bench *bench)
{
    open_wholly(bench);
    part_start(bench, 1);
    loop_until(bench->aws.loop, &bench->parts[0].is_done);
}

static void leave_while_it_is_completed(struct bench *bench)
{
    open_wholly(bench);
    send_wholly(bench);
    complete_start(bench);
    loop_until_requests(bench->aws.loop, bench->aws.script, 5);
}

static void leave_when_completing_has_failed(struct bench *bench)
{
    open_wholly(bench);
    send_wholly(bench);
    complete_wholly(bench);
    assert_int_not_equal(bench->completed.err.action, ERROR_NONE);
}

static const struct {
    const char *name;
    void (*go)(struct bench *bench);
    struct small_s3_fault fault;
} ways_out[] = {
    {"at once", leave_at_once},
    {"while leftovers are listed", leave_when_leftovers_are_known},
    {"while it is created",
     leave_while_it_is_created,
     {SMALL_S3_CREATE,
      1,
      9,
      {.status = 200,
       .body = "<InitiateMultipartUploadResult><UploadId>U2</UploadId></InitiateMultipartUploadResult>",
       .drip_ms = 5},
      .is_carried_out = true}},
    {"when it is open", leave_when_it_is_open},
    {"while parts are sent", leave_while_a_part_is_sent, {SMALL_S3_PART, 1, 9, {.is_silent = true}}},
    {"after a part has failed", leave_after_a_part_has_failed, {SMALL_S3_PART, 1, 9, {.status = 403}}},
    {"while it is completed", leave_while_it_is_completed, {SMALL_S3_COMPLETE, 1, 9, {.is_silent = true}}},
    {"when completing has failed", leave_when_completing_has_failed, {SMALL_S3_COMPLETE, 1, 99, {.status = 500}}},
    {"when completing was refused", leave_when_completing_has_failed, {SMALL_S3_COMPLETE, 1, 9, {.status = 403}}},
};

static void every_way_out_aborts_the_upload_and_calls_nobody(void **state)
{
    (void)state;
    struct small_s3_object object;
    for (size_t i = 0; i < sizeof(ways_out) / sizeof(ways_out[0]); i++) {
        struct bench bench;
        bench_start(&bench, &ways_out[i].fault, ways_out[i].fault.count > 0);
        small_s3_leave_open(&bench.store, target);
        ways_out[i].go(&bench);
        unsigned calls = bench.opened.calls + bench.parts[0].calls + bench.parts[1].calls + bench.completed.calls;
        upload_free(TAKE(bench.upload));
        loop_for(bench.aws.loop, 10);
        if (i > 1) {
            until_nothing_is_open(&bench);
        }
        assert_int_equal(bench.opened.calls + bench.parts[0].calls + bench.parts[1].calls + bench.completed.calls,
                         calls);
        assert_false(small_s3_find(&bench.store, target, &object));
        bench_stop(&bench);
    }
}

static void the_end_of_the_process_waits_for_its_aborts(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, NULL, 0);
    open_wholly(&bench);
    upload_free(TAKE(bench.upload));
    uploads_free(TAKE(bench.uploads), AT_MOST_MS);
    assert_int_equal(small_s3_open_uploads(&bench.store), 0);
    bench_stop(&bench);
}

static void the_end_of_the_process_does_not_wait_for_ever(void **state)
{
    (void)state;
    static const struct small_s3_fault faults[] = {{SMALL_S3_ABORT, 1, 9, {.is_silent = true}}};
    struct bench bench;
    bench_start(&bench, faults, 1);
    open_wholly(&bench);
    upload_free(TAKE(bench.upload));
    uploads_free(TAKE(bench.uploads), 20);
    assert_int_equal(small_s3_open_uploads(&bench.store), 1);
    bench_stop(&bench);
}

static void an_abort_that_fails_is_tried_again_after_a_pause(void **state)
{
    (void)state;
    static const struct small_s3_fault faults[] = {{SMALL_S3_ABORT, 1, SCRIPTED_ATTEMPTS, {.status = 500}}};
    struct bench bench;
    bench_start(&bench, faults, 1);
    open_wholly(&bench);
    upload_free(TAKE(bench.upload));
    while (small_s3_count(&bench.store, SMALL_S3_ABORT) < SCRIPTED_ATTEMPTS) {
        loop_turn(bench.aws.loop, 5);
    }
    loop_for(bench.aws.loop, 20);
    assert_int_equal(small_s3_open_uploads(&bench.store), 1);
    moved_clock_by(ABORT_PAUSE_MS);
    until_nothing_is_open(&bench);
    bench_stop(&bench);
    moved_clock_reset();
}

/* --- completions whose answer was lost --- */

static void a_completion_whose_answer_was_lost_is_found_by_its_token(void **state)
{
    (void)state;
    static const struct small_s3_fault faults[] = {{SMALL_S3_COMPLETE, 1, 1, {.status = 0}, .is_carried_out = true}};
    struct bench bench;
    bench_start(&bench, faults, 1);
    open_wholly(&bench);
    send_wholly(&bench);
    complete_wholly(&bench);
    assert_int_equal(bench.completed.err.action, ERROR_NONE);
    assert_string_equal(bench.completed.etag, "\"whole\"");
    assert_int_equal(bench.completed.calls, 1);
    bench_stop(&bench);
    assert_int_equal(bench.store.counts[SMALL_S3_COMPLETE], 2);
    assert_int_equal(bench.store.counts[SMALL_S3_HEAD], 1);
    assert_int_equal(bench.store.counts[SMALL_S3_ABORT], 0);
}

static void an_object_that_must_be_new_is_found_to_be_ours(void **state)
{
    (void)state;
    static const struct small_s3_fault faults[] = {
        {SMALL_S3_COMPLETE, 1, 1, {.status = 0}, .is_carried_out = true},
        {SMALL_S3_COMPLETE, 2, 9, {.status = 412}},
    };
    struct bench bench;
    bench_start(&bench, faults, 2);
    bench.write.is_new_only = true;
    open_wholly(&bench);
    send_wholly(&bench);
    complete_wholly(&bench);
    assert_int_equal(bench.completed.err.action, ERROR_NONE);
    bench_stop(&bench);
}

static void an_object_that_must_be_new_and_is_not_ours_is_refused(void **state)
{
    (void)state;
    static const struct small_s3_fault faults[] = {
        {SMALL_S3_COMPLETE, 1, 1, {.status = 500}},
        {SMALL_S3_COMPLETE, 2, 9, {.status = 412}},
    };
    struct bench bench;
    bench_start(&bench, faults, 2);
    bench.write.is_new_only = true;
    open_wholly(&bench);
    send_wholly(&bench);
    complete_wholly(&bench);
    assert_int_equal(bench.completed.failure.kind, FAILURE_PRECONDITION);
    assert_int_equal(bench.completed.err.action, ERROR_REJECT);
    bench_stop(&bench);
    assert_int_equal(small_s3_open_uploads(&bench.store), 0);
}

static void an_object_that_another_has_made_is_not_taken_for_ours(void **state)
{
    (void)state;
    static const struct http_script_answer gone = {.status = 404, .body = "<Error><Code>NoSuchUpload</Code></Error>"};
    static const struct small_s3_fault faults[][2] = {
        {{SMALL_S3_COMPLETE, 1, 9, gone}, {SMALL_S3_HEAD, 1, 9, {.status = 404}}},
        {{SMALL_S3_COMPLETE, 1, 9, gone}, {SMALL_S3_HEAD, 1, 9, {.status = 403}}},
        {{SMALL_S3_COMPLETE, 1, 9, gone},
         {SMALL_S3_HEAD, 1, 9, {.status = 200, .headers = "ETag: \"e\"\r\nContent-Length: 128\r\n"}}},
        {{SMALL_S3_COMPLETE, 1, 9, gone},
         {SMALL_S3_HEAD,
          1,
          9,
          {.status = 200,
           .headers = "ETag: \"e\"\r\nContent-Length: 128\r\n"
                      "x-amz-meta-tagfleet-upload: 0123456789abcdef0123456789abcdef\r\n"}}},
    };
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        struct bench bench;
        bench_start(&bench, faults[i], 2);
        open_wholly(&bench);
        send_wholly(&bench);
        complete_wholly(&bench);
        assert_int_equal(bench.completed.failure.kind, FAILURE_NO_UPLOAD);
        assert_int_equal(bench.completed.err.action, ERROR_RETRY);
        assert_true(bench.completed.failure.is_uncertain);
        assert_string_equal(bench.completed.etag, "");
        bench_stop(&bench);
        assert_int_equal(small_s3_open_uploads(&bench.store), 0);
    }
}

static void a_completion_may_be_repeated_with_new_credentials(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, NULL, 0);
    bench.store.expired_key = "AKIDSCRIPT";
    bench.store.expired_after = 1;
    open_wholly(&bench);
    part_start(&bench, 1);
    loop_until(bench.aws.loop, &bench.parts[0].is_done);
    part_start(&bench, 2);
    loop_until(bench.aws.loop, &bench.parts[1].is_done);
    assert_int_equal(bench.parts[1].failure.kind, FAILURE_EXPIRED_TOKEN);
    struct credentials *renewed = credentials_new("AKIDNEW", "secret", "token", 0, "new");
    upload_renew(bench.upload, renewed);
    credentials_free(renewed);
    bench.parts[1] = (struct ending){0};
    part_start(&bench, 2);
    loop_until(bench.aws.loop, &bench.parts[1].is_done);
    complete_wholly(&bench);
    assert_int_equal(bench.completed.err.action, ERROR_NONE);
    bench_stop(&bench);
    assert_string_equal(bench.store.askers[SMALL_S3_COMPLETE], "AKIDNEW");
}

/* --- the size of parts --- */

static void parts_grow_so_that_ten_thousand_suffice_and_the_store_takes_them(void **state)
{
    (void)state;
    static const int64_t mib = 1 << 20;
    static const struct {
        int64_t size_bytes;
        int64_t wanted_bytes;
        int64_t expected_bytes;
    } cases[] = {
        {0, 0, 5 << 20},
        {1, 1, 5 << 20},
        {100 << 20, 8 << 20, 8 << 20},
        {100 << 20, (8 << 20) + 1, 9 << 20},
        {mib * 10000 * 8, 8 << 20, 8 << 20},
        {mib * 10000 * 8 + 1, 8 << 20, 9 << 20},
        {mib * 10000 * 5, 1, 5 << 20},
        {mib * 10000 * 5 + 1, 1, 6 << 20},
        {mib * 1024 * 1024 * 5, 64 << 20, mib * 525},
        {mib * 1024 * 1024 * 48, 64 << 20, mib * 5034},
        {mib * 1024, S3_COPY_MAXIMUM_BYTES + 1, S3_COPY_MAXIMUM_BYTES},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t size = upload_part_size(cases[i].size_bytes, cases[i].wanted_bytes);
        assert_int_equal(size, cases[i].expected_bytes);
        assert_true((cases[i].size_bytes + size - 1) / size <= S3_PARTS_MAXIMUM);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_upload_is_opened_sent_in_any_order_and_completed),
        cmocka_unit_test(what_a_dead_process_left_open_for_the_key_is_aborted_and_nothing_else),
        cmocka_unit_test(a_role_that_may_not_list_uploads_can_open_them),
        cmocka_unit_test(an_upload_that_cannot_be_opened_says_why),
        cmocka_unit_test(every_way_out_aborts_the_upload_and_calls_nobody),
        cmocka_unit_test(the_end_of_the_process_waits_for_its_aborts),
        cmocka_unit_test(the_end_of_the_process_does_not_wait_for_ever),
        cmocka_unit_test(an_abort_that_fails_is_tried_again_after_a_pause),
        cmocka_unit_test(a_completion_whose_answer_was_lost_is_found_by_its_token),
        cmocka_unit_test(an_object_that_must_be_new_is_found_to_be_ours),
        cmocka_unit_test(an_object_that_must_be_new_and_is_not_ours_is_refused),
        cmocka_unit_test(an_object_that_another_has_made_is_not_taken_for_ours),
        cmocka_unit_test(a_completion_may_be_repeated_with_new_credentials),
        cmocka_unit_test(parts_grow_so_that_ten_thousand_suffice_and_the_store_takes_them),
    };
    return cmocka_run_group_tests_name("upload", tests, NULL, NULL);
}
