#include "producer/spool.h"

#include "tests/support/unit.h"
#include "workers/common/base/file.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAXIMUM_BYTES = 4096 };

/* A folder with a spool in it. */
struct place {
    char folder[40];
    char events[64];
    char damaged[64];
    struct spool *spool;
    struct spool_findings findings;
};

static void place_open(struct place *place)
{
    struct error err;
    if (!spool_open(place->folder, MAXIMUM_BYTES, &place->spool, &place->findings, &err)) {
        fail_msg("%s", err.text);
    }
}

static void place_make(struct place *place)
{
    *place = (struct place){.folder = "/tmp/spool-XXXXXX"};
    assert_non_null(mkdtemp(place->folder));
    (void)snprintf(place->events, sizeof(place->events), "%s/events", place->folder);
    (void)snprintf(place->damaged, sizeof(place->damaged), "%s/events.damaged", place->folder);
    place_open(place);
}

/* As after a kill: only what is on the disk is left. */
static void place_reopen(struct place *place)
{
    spool_close(place->spool);
    place_open(place);
}

static void place_remove(struct place *place)
{
    spool_close(place->spool);
    (void)unlink(place->events);
    (void)unlink(place->damaged);
    assert_int_equal(rmdir(place->folder), 0);
}

static void append(struct place *place, const char *text)
{
    struct slice line = slice_of(text);
    struct error err;
    if (!spool_append(place->spool, &line, 1, &err)) {
        fail_msg("%s", err.text);
    }
}

/* All lines, joined by "|". */
static const char *content(struct place *place)
{
    static char text[MAXIMUM_BYTES];
    AUTO(buffer) struct buffer line;
    struct error err;
    int64_t position = 0;
    buffer_init(&line, MAXIMUM_BYTES);
    text[0] = '\0';
    while (spool_read(place->spool, &position, &line, &err)) {
        size_t length = strlen(text);
        (void)snprintf(text + length, sizeof(text) - length, "%s%s", length > 0 ? "|" : "", line.ptr);
    }
    assert_int_equal(err.action, ERROR_NONE);
    return text;
}

static void write_at(const char *path, int64_t position, const char *bytes)
{
    int descriptor = open(path, O_WRONLY | O_CLOEXEC);
    assert_true(descriptor >= 0);
    assert_int_equal(pwrite(descriptor, bytes, strlen(bytes), position), strlen(bytes));
    close(descriptor);
}

static void what_was_appended_is_there_in_order_after_a_kill(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    assert_int_equal(place.findings.lines, 0);
    append(&place, "one");
    const struct slice more[] = {slice_of("two"), slice_of(""), slice_of("three")};
    struct error err;
    assert_true(spool_append(place.spool, more, 3, &err));
    assert_string_equal(content(&place), "one|two||three");
    place_reopen(&place);
    assert_int_equal(place.findings.lines, 4);
    assert_int_equal(place.findings.damaged, 0);
    assert_false(place.findings.was_cut);
    assert_string_equal(content(&place), "one|two||three");
    append(&place, "four");
    assert_string_equal(content(&place), "one|two||three|four");
    assert_true(spool_clear(place.spool, &err));
    assert_int_equal(spool_size_bytes(place.spool), 0);
    place_reopen(&place);
    assert_string_equal(content(&place), "");
    place_remove(&place);
}

static void an_unfinished_line_was_promised_to_nobody(void **state)
{
    (void)state;
    struct place place;
    place_make(&place);
    append(&place, "whole");
    int64_t size = spool_size_bytes(place.spool);
    spool_close(place.spool);
    write_at(place.events, size, "0123456789abcdef unfini");
    place_open(&place);
    assert_true(place.findings.was_cut);
    assert_int_equal(place.findings.lines, 1);
    assert_int_equal(spool_size_bytes(place.spool), size);
    append(&place, "next");
    place_reopen(&place);
    assert_string_equal(content(&place), "whole|next");
    place_remove(&place);
}

static void a_damaged_line_is_put_aside_and_costs_no_other(void **state)
{
    (void)state;
    struct place place;
    AUTO(buffer) struct buffer aside;
    struct error err;
    buffer_init(&aside, MAXIMUM_BYTES);
    place_make(&place);
    append(&place, "first");
    int64_t second = spool_size_bytes(place.spool);
    append(&place, "second");
    append(&place, "third");
    spool_close(place.spool);
    write_at(place.events, second + 17, "S");
    place_open(&place);
    assert_int_equal(place.findings.lines, 2);
    assert_int_equal(place.findings.damaged, 1);
    assert_string_equal(content(&place), "first|third");
    assert_true(file_read(place.damaged, &aside, &err));
    assert_non_null(strstr(aside.ptr, " Second\n"));
    place_remove(&place);
}

static void a_full_spool_takes_nothing_half(void **state)
{
    (void)state;
    struct place place;
    char large[MAXIMUM_BYTES] = {0};
    struct error err;
    memset(large, 'x', sizeof(large) - 100);
    const struct slice two[] = {slice_of("fits"), slice_of(large)};
    place_make(&place);
    append(&place, "one that leaves too little room for what comes");
    assert_false(spool_append(place.spool, two, 2, &err));
    assert_int_equal(err.action, ERROR_RETRY);
    assert_non_null(strstr(err.text, "full"));
    append(&place, "small");
    place_reopen(&place);
    assert_string_equal(content(&place), "one that leaves too little room for what comes|small");
    place_remove(&place);
}

/* The limit on a file's size stands for a disk that is full. */
static void a_full_disk_takes_nothing_half(void **state)
{
    (void)state;
    struct place place;
    struct rlimit before;
    struct error err;
    char large[2000] = {0};
    memset(large, 'x', sizeof(large) - 1);
    struct slice line = slice_of(large);
    place_make(&place);
    append(&place, "before");
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    const struct rlimit small = {.rlim_cur = 1000, .rlim_max = before.rlim_max};
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    bool is_appended = spool_append(place.spool, &line, 1, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_false(is_appended);
    assert_int_equal(err.action, ERROR_RETRY);
    append(&place, "after");
    place_reopen(&place);
    assert_string_equal(content(&place), "before|after");
    place_remove(&place);
}

static void a_folder_belongs_to_one_process(void **state)
{
    (void)state;
    struct place place;
    struct spool *other = NULL;
    struct spool_findings findings;
    struct error err;
    place_make(&place);
    assert_false(spool_open(place.folder, MAXIMUM_BYTES, &other, &findings, &err));
    assert_int_equal(err.action, ERROR_FATAL);
    assert_non_null(strstr(err.text, "another process"));
    assert_false(spool_open("/nowhere/at/all", MAXIMUM_BYTES, &other, &findings, &err));
    assert_int_equal(err.action, ERROR_FATAL);
    struct stat status;
    assert_int_equal(stat(place.events, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    place_remove(&place);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_appended_is_there_in_order_after_a_kill),
        cmocka_unit_test(an_unfinished_line_was_promised_to_nobody),
        cmocka_unit_test(a_damaged_line_is_put_aside_and_costs_no_other),
        cmocka_unit_test(a_full_spool_takes_nothing_half),
        cmocka_unit_test(a_full_disk_takes_nothing_half),
        cmocka_unit_test(a_folder_belongs_to_one_process),
    };
    return cmocka_run_group_tests_name("spool", tests, NULL, NULL);
}
