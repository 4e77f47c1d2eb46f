#include "workers/common/aws/profile_files.h"

#include "tests/support/moved_clock.h"
#include "tests/support/scratch.h"
#include "tests/support/unit.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SETTLED_MS = 4000 };

static const char absent[] = "/nowhere/config";

struct bench {
    struct profile_files *files;
    struct scratch credentials;
    const struct profiles *profiles;
};

static void write_key(const struct bench *bench, const char *key)
{
    AUTO(text) char *text = text_format("[default]\naws_access_key_id = %s\n", key);
    scratch_write(&bench->credentials, text);
}

static int begin(void **state)
{
    static struct bench bench;
    moved_clock_stand(); /* no change is old by the time of a slow machine */
    bench = (struct bench){.files = profile_files_new()};
    assert_true(scratch_make(&bench.credentials));
    write_key(&bench, "AKIAA");
    *state = &bench;
    return 0;
}

static int end(void **state)
{
    struct bench *bench = *state;
    moved_clock_reset();
    profile_files_free(bench->files);
    (void)scratch_remove(&bench->credentials);
    return 0;
}

static const char *key(struct bench *bench)
{
    struct error err;
    assert_true(profile_files_read(bench->files, bench->credentials.path, absent, &bench->profiles, &err));
    return profiles_get(bench->profiles, "default", "aws_access_key_id");
}

static void what_has_not_changed_is_not_read_again(void **state)
{
    struct bench *bench = *state;
    moved_clock_by(SETTLED_MS);
    const char *first = key(bench);
    const struct profiles *profiles = bench->profiles;
    assert_string_equal(first, "AKIAA");
    for (int i = 0; i < 3; i++) {
        moved_clock_by(SETTLED_MS);
        assert_ptr_equal(key(bench), first);
        assert_ptr_equal(bench->profiles, profiles);
    }
}

/* As long as a second change might leave the same times, and of the same length it is. */
static void a_file_that_has_just_changed_is_read_again(void **state)
{
    struct bench *bench = *state;
    for (char last = 'A'; last <= 'Z'; last++) {
        char text[] = "AKIA?";
        text[4] = last;
        write_key(bench, text);
        assert_string_equal(key(bench), text);
    }
    moved_clock_by(SETTLED_MS);
    assert_string_equal(key(bench), "AKIAZ");
}

static void every_later_change_is_seen(void **state)
{
    struct bench *bench = *state;
    struct error err;
    moved_clock_by(SETTLED_MS);
    assert_string_equal(key(bench), "AKIAA");
    write_key(bench, "AKIAB");
    assert_string_equal(key(bench), "AKIAB");
    moved_clock_by(SETTLED_MS);
    assert_string_equal(key(bench), "AKIAB");
    scratch_write(&bench->credentials, "[default\n");
    for (int i = 0; i < 2; i++) {
        assert_false(profile_files_read(bench->files, bench->credentials.path, absent, &bench->profiles, &err));
        assert_non_null(strstr(err.text, ":1: a section needs a closing bracket"));
        moved_clock_by(SETTLED_MS);
    }
    write_key(bench, "AKIAC");
    assert_string_equal(key(bench), "AKIAC");
    moved_clock_by(SETTLED_MS);
    assert_string_equal(key(bench), "AKIAC");
    assert_int_equal(scratch_remove(&bench->credentials), 0);
    assert_null(key(bench));
    write_key(bench, "AKIAD");
    assert_string_equal(key(bench), "AKIAD");
}

static void other_files_are_other_profiles(void **state)
{
    struct bench *bench = *state;
    struct error err;
    moved_clock_by(SETTLED_MS);
    assert_string_equal(key(bench), "AKIAA");
    assert_true(profile_files_read(bench->files, absent, bench->credentials.path, &bench->profiles, &err));
    assert_string_equal(profiles_get(bench->profiles, "default", "aws_access_key_id"), "AKIAA");
    assert_true(profile_files_read(bench->files, absent, absent, &bench->profiles, &err));
    assert_false(profiles_has(bench->profiles, "default"));
    assert_string_equal(key(bench), "AKIAA");
    profile_files_free(NULL);
}

/* Writing through a mapping of such a file leaves its times as they were: what two changes within one tick of the
 * clock may do to any. */
static void a_change_without_a_trace_is_seen_right_after_another(void **state)
{
    static const char text[] = "[default]\naws_access_key_id = AKIAA\n";
    struct bench *bench = *state;
    struct error err;
    for (int is_config = 0; is_config <= 1; is_config++) {
        int file = memfd_create("profiles", MFD_CLOEXEC);
        assert_int_equal(write(file, text, sizeof(text) - 1), sizeof(text) - 1);
        char *content = mmap(NULL, sizeof(text) - 1, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        assert_ptr_not_equal(content, MAP_FAILED);
        AUTO(text) char *path = text_format("/proc/self/fd/%d", file);
        const char *credentials = is_config == 0 ? path : absent;
        const char *config = is_config == 1 ? path : absent;
        for (char last = 'A'; last <= 'C'; last++) {
            char wanted[] = "AKIA?";
            content[sizeof(text) - 3] = last;
            wanted[4] = last;
            assert_true(profile_files_read(bench->files, credentials, config, &bench->profiles, &err));
            assert_string_equal(profiles_get(bench->profiles, "default", "aws_access_key_id"), wanted);
            moved_clock_by(last == 'B' ? SETTLED_MS : 0);
        }
        (void)munmap(content, sizeof(text) - 1);
        (void)close(file);
        moved_clock_reset();
        moved_clock_stand();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_has_not_changed_is_not_read_again, begin, end),
        cmocka_unit_test_setup_teardown(a_file_that_has_just_changed_is_read_again, begin, end),
        cmocka_unit_test_setup_teardown(a_change_without_a_trace_is_seen_right_after_another, begin, end),
        cmocka_unit_test_setup_teardown(every_later_change_is_seen, begin, end),
        cmocka_unit_test_setup_teardown(other_files_are_other_profiles, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
