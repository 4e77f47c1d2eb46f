#include "workers/copier/relay.h"

#include "tests/support/moved_clock.h"
#include "tests/support/small_s3.h"
#include "tests/support/unit.h"

#include <stdio.h>
#include <string.h>

#define PART ((int64_t)5 << 20)

enum { COPIES_MAXIMUM = 8, AT_MOST_MS = 10000, LAGGING_MS = 5000, TURNS_MAXIMUM = 100000, HOUR_MS = 3600000 };

static const struct s3_write plain;

/* A relay with copies of one source on their way. */
struct bench;

struct copy {
    struct bench *bench;
    struct relay_copy *relay; /* NULL: not started, or ended */
    unsigned done;
    unsigned asked;
    char asked_for[64];
    struct error err;
    struct failure failure;
    char checksum[16];
};

struct bench {
    struct small_s3 store;
    struct scripted_aws aws;
    struct uploads *uploads;
    struct relay *relay;
    struct credentials *reader;
    const char *checksum; /* that the source's store is said to have */
    size_t parts_maximum;
    int64_t held_maximum; /* that was ever seen */
    struct copy copies[COPIES_MAXIMUM];
    size_t copy_count;
};

static void done(void *context, struct s3_answer *answer)
{
    struct copy *copy = context;
    copy->relay = NULL;
    copy->done++;
    copy->err = answer->result->err;
    copy->failure = answer->result->failure;
    (void)snprintf(copy->checksum, sizeof(copy->checksum), "%s", answer->checksums.crc64nvme);
}

static void expired(void *context, const struct credentials *credentials)
{
    struct copy *copy = context;
    copy->asked++;
    (void)snprintf(copy->asked_for, sizeof(copy->asked_for), "%s", credentials->access_key);
    struct credentials *renewed = credentials_new("AKIDNEW", "secret", "token", 0, "new");
    relay_renew(copy->relay, renewed);
    credentials_free(renewed);
}

static void bench_start(struct bench *bench, int64_t size_bytes, size_t parts_maximum,
                        const struct small_s3_fault *faults, size_t count)
{
    *bench = (struct bench){
        .store = {.source_size_bytes = size_bytes, .faults = faults, .fault_count = count},
        .checksum = "",
        .parts_maximum = parts_maximum,
    };
    small_s3_start(&bench->store, &bench->aws);
    bench->uploads = uploads_new(bench->aws.client);
    bench->reader = credentials_new("AKIDREADER", "secret", "token", 0, "reader");
    struct relay_settings settings = {.part_size_bytes = PART, .parts_maximum = parts_maximum};
    bench->relay = relay_new(bench->aws.client, bench->uploads, &settings);
}

static struct copy *copy_start(struct bench *bench)
{
    struct copy *copy = &bench->copies[bench->copy_count++];
    AUTO(text) char *key = text_format("in/%zu", bench->copy_count);
    struct relay_request request = {
        .source = {.bucket = {.name = "main", .region = "us-east-1"},
                   .key = "source",
                   .credentials = bench->reader,
                   .deadline_ms = scripted_deadline_ms() + HOUR_MS},
        .source_etag = "\"source\"",
        .source_crc64nvme = bench->checksum,
        .size_bytes = bench->store.source_size_bytes,
        .target = {.bucket = {.name = "tenant", .region = "eu-west-1"},
                   .key = key,
                   .credentials = bench->aws.key,
                   .deadline_ms = scripted_deadline_ms() + HOUR_MS},
        .write = &plain,
        .on_expired = expired,
    };
    copy->bench = bench;
    copy->relay = relay_start(bench->relay, &request, done, copy);
    assert_int_equal(copy->done, 0);
    return copy;
}

static struct relay_statistics statistics(struct bench *bench)
{
    struct relay_statistics statistics;
    relay_statistics_read(bench->relay, &statistics);
    return statistics;
}

/* Every turn is looked at. */
static void turn(struct bench *bench)
{
    loop_turn(bench->aws.loop, 20);
    int64_t held = statistics(bench).bytes_held;
    bench->held_maximum = held > bench->held_maximum ? held : bench->held_maximum;
    assert_true(held <= (int64_t)bench->parts_maximum * PART);
}

static void until_done(struct bench *bench, size_t copies)
{
    for (unsigned turns = 0; turns < TURNS_MAXIMUM; turns++) {
        size_t count = 0;
        for (size_t i = 0; i < bench->copy_count; i++) {
            count += bench->copies[i].done;
        }
        if (count >= copies) {
            assert_int_equal(count, copies);
            return;
        }
        turn(bench);
    }
    fail_msg("the copies have not ended");
}

/* Afterwards nothing is open and nothing held for anybody. */
static void bench_stop(struct bench *bench)
{
    for (size_t i = 0; i < bench->copy_count; i++) {
        relay_cancel(TAKE(bench->copies[i].relay));
    }
    relay_free(bench->relay);
    uploads_free(bench->uploads, AT_MOST_MS);
    assert_int_equal(small_s3_open_uploads(&bench->store), 0);
    credentials_free(bench->reader);
    small_s3_stop(&bench->store, &bench->aws);
}

static uint64_t source_crc(const struct bench *bench)
{
    AUTO(buffer) struct buffer bytes;
    buffer_init(&bytes, 256 << 20);
    small_s3_source(&bytes, 0, bench->store.source_size_bytes);
    return crc64nvme(buffer_slice(&bytes));
}

static bool find(struct bench *bench, const struct copy *copy, struct small_s3_object *object)
{
    AUTO(text) char *target = text_format("/tenant/in/%zu", (size_t)(copy - bench->copies) + 1);
    return small_s3_find(&bench->store, target, object);
}

static void expect_object(struct bench *bench, const struct copy *copy)
{
    struct small_s3_object object;
    if (copy->err.action != ERROR_NONE) {
        fail_msg("%s", copy->err.text);
    }
    assert_true(find(bench, copy, &object));
    assert_int_equal(object.size_bytes, bench->store.source_size_bytes);
    assert_int_equal(object.crc, source_crc(bench));
    char crc[CHECKSUM_CRC64_TEXT_SIZE];
    crc64nvme_text(object.crc, crc);
    assert_string_equal(copy->checksum, crc);
}

static void expect_failure(struct bench *bench, const struct copy *copy, enum failure_kind kind)
{
    struct small_s3_object object;
    assert_int_equal(copy->done, 1);
    assert_int_equal(copy->failure.kind, kind);
    assert_int_equal(copy->err.action, ERROR_RETRY);
    assert_false(find(bench, copy, &object));
}

static void objects_of_every_size_arrive_whole(void **state)
{
    (void)state;
    static const int64_t sizes[] = {0, 1, PART - 1, PART, PART + 1, 2 * PART - 1, 2 * PART, 3 * PART + 4711};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct bench bench;
        bench_start(&bench, sizes[i], 3, NULL, 0);
        struct copy *copy = copy_start(&bench);
        until_done(&bench, 1);
        expect_object(&bench, copy);
        assert_int_equal(small_s3_count(&bench.store, SMALL_S3_PUT), sizes[i] <= PART);
        bench_stop(&bench);
    }
}

static void a_part_is_read_once_for_all_targets_in_bounded_memory(void **state)
{
    (void)state;
    for (size_t parts_maximum = 1; parts_maximum <= 3; parts_maximum++) {
        struct bench bench;
        bench_start(&bench, 4 * PART + 1, parts_maximum, NULL, 0);
        for (size_t i = 0; i < 6; i++) {
            (void)copy_start(&bench);
        }
        until_done(&bench, 6);
        for (size_t i = 0; i < 6; i++) {
            expect_object(&bench, &bench.copies[i]);
        }
        assert_int_equal(statistics(&bench).parts_read, 5);
        assert_int_equal(statistics(&bench).parts_sent, 30);
        assert_int_equal(small_s3_count(&bench.store, SMALL_S3_GET), 5);
        assert_true(bench.held_maximum >= PART);
        assert_string_equal(bench.store.askers[SMALL_S3_GET], "AKIDREADER");
        assert_string_equal(bench.store.askers[SMALL_S3_PART], "AKIDSCRIPT");
        bench_stop(&bench);
    }
}

static void a_target_that_comes_later_gets_what_it_has_missed(void **state)
{
    (void)state;
    struct bench bench;
    bench_start(&bench, 4 * PART, 2, NULL, 0);
    (void)copy_start(&bench);
    while (statistics(&bench).parts_sent < 2) {
        turn(&bench);
    }
    (void)copy_start(&bench);
    until_done(&bench, 2);
    expect_object(&bench, &bench.copies[0]);
    expect_object(&bench, &bench.copies[1]);
    bench_stop(&bench);
}

/* Its first part never ends; the others wait for it until it lags, and then no longer. */
static void a_target_that_lags_does_not_hold_up_the_others(void **state)
{
    (void)state;
    static const struct small_s3_fault faults[] = {{SMALL_S3_PART, 1, 999, {.is_silent = true}, .target = "/in/1?"}};
    struct bench bench;
    bench_start(&bench, 6 * PART, 2, faults, 1);
    struct copy *slow = copy_start(&bench);
    (void)copy_start(&bench);
    (void)copy_start(&bench);
    /* The slow one has begun to send one of the two parts that there is room for, and the others both. */
    for (unsigned turns = 0; turns < TURNS_MAXIMUM && small_s3_count(&bench.store, SMALL_S3_PART) < 5; turns++) {
        turn(&bench);
    }
    assert_int_equal(bench.copies[1].done + bench.copies[2].done, 0);
    moved_clock_by(LAGGING_MS + 1);
    until_done(&bench, 2);
    expect_object(&bench, &bench.copies[1]);
    expect_object(&bench, &bench.copies[2]);
    assert_int_equal(slow->done, 0);
    bench_stop(&bench);
    moved_clock_reset();
}

/* --- what is read --- */

static void bytes_that_are_not_the_sources_complete_nothing(void **state)
{
    (void)state;
    static const int64_t sizes[] = {100, 3 * PART};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct bench bench;
        bench_start(&bench, sizes[i], 3, NULL, 0);
        bench.checksum = "AAAAAAAAAAA=";
        (void)copy_start(&bench);
        (void)copy_start(&bench);
        until_done(&bench, 2);
        expect_failure(&bench, &bench.copies[0], FAILURE_TRANSIENT);
        expect_failure(&bench, &bench.copies[1], FAILURE_TRANSIENT);
        assert_non_null(strstr(bench.copies[0].err.text, "where the store says AAAAAAAAAAA="));
        assert_int_equal(small_s3_count(&bench.store, SMALL_S3_COMPLETE), 0);
        assert_int_equal(small_s3_count(&bench.store, SMALL_S3_PUT), 0);
        bench_stop(&bench);
        char crc[CHECKSUM_CRC64_TEXT_SIZE];
        bench_start(&bench, sizes[i], 3, NULL, 0);
        crc64nvme_text(source_crc(&bench), crc);
        bench.checksum = crc;
        struct copy *copy = copy_start(&bench);
        until_done(&bench, 1);
        expect_object(&bench, copy);
        bench_stop(&bench);
    }
}

static void a_source_that_fails_fails_all_its_copies_once(void **state)
{
    (void)state;
    static const struct {
        struct http_script_answer answer;
        enum failure_kind kind;
    } cases[] = {
        {{.status = 500}, FAILURE_TRANSIENT},
        {{.status = 0}, FAILURE_UNREACHABLE},
        {{.status = 503, .body = "<Error><Code>SlowDown</Code></Error>"}, FAILURE_THROTTLED},
        /* The reader's, not the writer's: nobody is asked. */
        {{.status = 400, .body = "<Error><Code>ExpiredToken</Code></Error>"}, FAILURE_TRANSIENT},
        {{.status = 206, .headers = "Content-Range: bytes 0-1/9\r\n", .body = "xx"}, FAILURE_TRANSIENT},
    };
    static const int64_t sizes[] = {100, 3 * PART};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
            struct small_s3_fault fault = {SMALL_S3_GET, k == 0 ? 1 : 2, 999, cases[i].answer};
            struct bench bench;
            bench_start(&bench, sizes[k], 3, &fault, 1);
            (void)copy_start(&bench);
            (void)copy_start(&bench);
            until_done(&bench, 2);
            expect_failure(&bench, &bench.copies[0], cases[i].kind);
            expect_failure(&bench, &bench.copies[1], cases[i].kind);
            assert_int_equal(bench.copies[0].asked + bench.copies[1].asked, 0);
            bench_stop(&bench);
        }
    }
}

static void passing_trouble_of_the_source_is_not_noticed(void **state)
{
    (void)state;
    static const struct small_s3_fault faults[] = {
        {SMALL_S3_GET, 1, 1, {.status = 503}},
        {SMALL_S3_GET, 3, 1, {.raw = "HTTP/1.1 206 OK\r\nContent-Length: 5242880\r\n\r\ncut", .is_closed = true}},
    };
    struct bench bench;
    bench_start(&bench, 3 * PART, 2, faults, 2);
    (void)copy_start(&bench);
    (void)copy_start(&bench);
    until_done(&bench, 2);
    expect_object(&bench, &bench.copies[0]);
    expect_object(&bench, &bench.copies[1]);
    assert_int_equal(statistics(&bench).parts_read, 3);
    bench_stop(&bench);
}

/* --- what is written --- */

static void a_target_that_fails_fails_alone(void **state)
{
    (void)state;
    static const struct small_s3_fault faults[] = {
        {SMALL_S3_PART, 1, 999, {.status = 500}, .target = "/in/1?"},
        {SMALL_S3_PUT, 1, 999, {.status = 500}, .target = "/in/1"},
    };
    static const int64_t sizes[] = {100, 3 * PART};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct bench bench;
        bench_start(&bench, sizes[i], 2, faults, 2);
        (void)copy_start(&bench);
        (void)copy_start(&bench);
        until_done(&bench, 2);
        expect_failure(&bench, &bench.copies[0], FAILURE_TRANSIENT);
        expect_object(&bench, &bench.copies[1]);
        bench_stop(&bench);
    }
}

static void a_writer_whose_credentials_expire_is_asked_once_and_goes_on(void **state)
{
    (void)state;
    static const int64_t sizes[] = {100, 6 * PART};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct bench bench;
        bench_start(&bench, sizes[i], 3, NULL, 0);
        bench.store.expired_key = "AKIDSCRIPT";
        bench.store.expired_after = i == 0 ? 0 : 2;
        struct copy *copy = copy_start(&bench);
        until_done(&bench, 1);
        expect_object(&bench, copy);
        assert_int_equal(copy->asked, 1);
        assert_string_equal(copy->asked_for, "AKIDSCRIPT");
        for (size_t part = 1; i == 1 && part <= 6; part++) {
            assert_int_equal(bench.store.uploads[0].parts[part].attempts, 1);
        }
        bench_stop(&bench);
    }
}

/* Cancelled when so many requests have come: from before the first one to the completion. */
static void cancelled_in_any_state_a_copy_leaves_nothing_and_others_go_on(void **state)
{
    (void)state;
    static const struct small_s3_fault faults[] = {
        {SMALL_S3_COMPLETE, 1, 999, {.is_silent = true}, .target = "/in/1?"},
        {SMALL_S3_PUT, 1, 999, {.is_silent = true}, .target = "/in/1"},
    };
    static const int64_t sizes[] = {100, 3 * PART};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (size_t requests = 0; requests <= (i == 0 ? 2 : 9); requests++) {
            struct bench bench;
            bench_start(&bench, sizes[i], 2, faults, 2);
            struct copy *copy = copy_start(&bench);
            loop_until_requests(bench.aws.loop, bench.aws.script, requests);
            (void)copy_start(&bench);
            relay_cancel(TAKE(copy->relay));
            until_done(&bench, 1);
            assert_int_equal(copy->done, 0);
            expect_object(&bench, &bench.copies[1]);
            bench_stop(&bench);
        }
    }
    relay_cancel(NULL);
}

static void a_relay_that_goes_with_parts_in_memory_leaves_nothing(void **state)
{
    (void)state;
    static const struct small_s3_fault faults[] = {{SMALL_S3_GET, 3, 99, {.is_silent = true}}};
    struct bench bench;
    bench_start(&bench, 6 * PART, 4, faults, 1);
    (void)copy_start(&bench);
    while (statistics(&bench).parts_sent < 2) {
        turn(&bench);
    }
    assert_true(statistics(&bench).bytes_held > 0);
    bench_stop(&bench);
    relay_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_of_every_size_arrive_whole),
        cmocka_unit_test(a_part_is_read_once_for_all_targets_in_bounded_memory),
        cmocka_unit_test(a_target_that_comes_later_gets_what_it_has_missed),
        cmocka_unit_test(a_target_that_lags_does_not_hold_up_the_others),
        cmocka_unit_test(bytes_that_are_not_the_sources_complete_nothing),
        cmocka_unit_test(a_source_that_fails_fails_all_its_copies_once),
        cmocka_unit_test(passing_trouble_of_the_source_is_not_noticed),
        cmocka_unit_test(a_target_that_fails_fails_alone),
        cmocka_unit_test(a_writer_whose_credentials_expire_is_asked_once_and_goes_on),
        cmocka_unit_test(cancelled_in_any_state_a_copy_leaves_nothing_and_others_go_on),
        cmocka_unit_test(a_relay_that_goes_with_parts_in_memory_leaves_nothing),
    };
    return cmocka_run_group_tests_name("relay", tests, NULL, NULL);
}
