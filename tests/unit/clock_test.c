#include "workers/common/base/clock.h"

#include "tests/support/unit.h"

#include <stdlib.h>

enum { NEVER = -1 };

static void a_moment_is_written_in_utc_with_milliseconds(void **state)
{
    (void)state;
    static const struct {
        int64_t wall_ms;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00.000Z"},
        {1767323045678, "2026-01-02T03:04:05.678Z"},
        {1709251199999, "2024-02-29T23:59:59.999Z"},
        {253402300799999, "9999-12-31T23:59:59.999Z"},
        {253402300800000, "1970-01-01T00:00:00.000Z"}, /* what cannot be written in four digits */
        {-1, "1970-01-01T00:00:00.000Z"},
        {INT64_MAX, "1970-01-01T00:00:00.000Z"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char text[CLOCK_TEXT_SIZE];
        clock_format(cases[i].wall_ms, text);
        assert_string_equal(text, cases[i].text);
    }
}

static void a_moment_is_read_with_any_offset_and_fraction(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t wall_ms;
    } cases[] = {
        {"2026-01-02T03:04:05.678Z", 1767323045678},
        {"2026-01-02T03:04:05Z", 1767323045000},
        {"2026-01-02t03:04:05z", 1767323045000},
        {"2026-01-02 03:04:05Z", 1767323045000},
        {"2026-01-02T03:04:05.6Z", 1767323045600},
        {"2026-01-02T03:04:05.67Z", 1767323045670},
        {"2026-01-02T03:04:05.678999999Z", 1767323045678},
        {"2026-01-02T05:04:05.678+02:00", 1767323045678},
        {"2026-01-01T21:34:05.678-05:30", 1767323045678},
        {"2026-01-02T03:04:05.678+00:00", 1767323045678},
        {"2024-02-29T00:00:00Z", 1709164800000},
        {"2000-02-29T00:00:00Z", 951782400000},
        {"2016-12-31T23:59:60Z", 1483228800000}, /* a leap second is the next one */
        {"1970-01-01T00:00:00Z", 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t wall_ms = NEVER;
        if (!clock_parse(cases[i].text, &wall_ms) || wall_ms != cases[i].wall_ms) {
            fail_msg("%s: %lld", cases[i].text, (long long)wall_ms);
        }
    }
}

static void what_is_no_moment_is_refused_and_nothing_is_written(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "now",
        "2026-01-02",
        "2026-01-02T03:04:05",      /* no offset */
        "2026-01-02T03:04Z",        /* no seconds */
        "2026-01-02T03:04:05.Z",    /* a point and no digit */
        "2026-01-02T03:04:05Zx",    /* something behind */
        "2026-01-02T03:04:05+0200", /* no colon */
        "2026-01-02T03:04:05+24:00",
        "2026-01-02T03:04:05+02:60",
        "2026-00-02T03:04:05Z",
        "2026-13-02T03:04:05Z",
        "2026-01-00T03:04:05Z",
        "2026-01-32T03:04:05Z",
        "2026-02-29T03:04:05Z",
        "1900-02-29T03:04:05Z",
        "2026-04-31T03:04:05Z",
        "2026-01-02T24:04:05Z",
        "2026-01-02T03:60:05Z",
        "2026-01-02T03:04:61Z",
        "1969-12-31T23:59:59Z",
        "1970-01-01T00:00:00+01:00", /* before the epoch */
        "9999-12-31T23:59:59-01:00", /* behind what can be written */
        "26-01-02T03:04:05Z",
        " 2026-01-02T03:04:05Z",
        "+026-01-02T03:04:05Z",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        int64_t wall_ms = NEVER;
        if (clock_parse(texts[i], &wall_ms)) {
            fail_msg("\"%s\" was read as %lld", texts[i], (long long)wall_ms);
        }
        assert_int_equal(wall_ms, NEVER);
    }
}

static void what_is_written_is_read_as_the_same_moment(void **state)
{
    (void)state;
    for (int64_t wall_ms = 0; wall_ms <= 253402300799999; wall_ms += 86399999 * INT64_C(97)) {
        char text[CLOCK_TEXT_SIZE];
        int64_t again = NEVER;
        clock_format(wall_ms, text);
        assert_true(clock_parse(text, &again));
        assert_int_equal(again, wall_ms);
    }
}

static void a_duration_needs_a_unit(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms; /* NEVER: refused */
    } cases[] = {
        {"0", 0},
        {"0s", 0},
        {"1500ms", 1500},
        {"30s", 30000},
        {"30 s", 30000},
        {"10m", 600000},
        {"10min", 600000},
        {"10 min", 600000},
        {"2h", 7200000},
        {"1d", 86400000},
        {"007s", 7000},
        {"9223372036854775807ms", INT64_MAX},
        {"9223372036854775808ms", NEVER},
        {"99999999999999999999ms", NEVER},
        {"9223372036854775807s", NEVER},
        {"106751991167d", 106751991167 * INT64_C(86400000)},
        {"106751991168d", NEVER},
        {"", NEVER},
        {"30", NEVER},
        {"s", NEVER},
        {"-1s", NEVER},
        {"+1s", NEVER},
        {" 1s", NEVER},
        {"1.5s", NEVER},
        {"1s ", NEVER},
        {"1S", NEVER},
        {"1w", NEVER},
        {"1s2", NEVER},
        {"1h30m", NEVER},
        {"0 ", 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t ms = NEVER;
        bool is_read = duration_parse(cases[i].text, &ms);
        if (is_read != (cases[i].ms != NEVER) || ms != cases[i].ms) {
            fail_msg("\"%s\" was read as %lld, not as %lld", cases[i].text, (long long)ms, (long long)cases[i].ms);
        }
    }
}

static void a_pause_stays_between_one_and_its_doubled_base(void **state)
{
    (void)state;
    static const struct {
        unsigned attempt;
        int64_t base_ms;
        int64_t maximum_ms;
        int64_t ceiling_ms;
    } cases[] = {
        {0, 100, 10000, 100},
        {1, 100, 10000, 200},
        {6, 100, 10000, 6400},
        {7, 100, 10000, 10000},
        {63, 100, 10000, 10000},
        {4000000000U, 100, 10000, 10000},
        {0, 0, 0, 1},
        {0, 1, 1, 1},
        {3, 500, 100, 100},
        {0, INT64_C(1) << 40, INT64_C(1) << 41, INT64_C(1) << 40},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t least = INT64_MAX;
        int64_t most = 0;
        for (int k = 0; k < 2000; k++) {
            int64_t ms = backoff_ms(cases[i].attempt, cases[i].base_ms, cases[i].maximum_ms);
            least = ms < least ? ms : least;
            most = ms > most ? ms : most;
        }
        assert_true(least >= 1);
        assert_true(most <= cases[i].ceiling_ms);
        /* Full jitter: both ends are reached, near enough. 2,000 draws miss a quarter with a chance of 10^-250. */
        assert_true(least <= 1 + cases[i].ceiling_ms / 4);
        assert_true(most >= cases[i].ceiling_ms - cases[i].ceiling_ms / 4);
    }
}

static void the_monotonic_clock_does_not_go_back(void **state)
{
    (void)state;
    int64_t before_ms = clock_monotonic_ms();
    assert_true(clock_monotonic_ms() >= before_ms);
    assert_true(clock_wall_ms() > 1767323045678);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_moment_is_written_in_utc_with_milliseconds),
        cmocka_unit_test(a_moment_is_read_with_any_offset_and_fraction),
        cmocka_unit_test(what_is_no_moment_is_refused_and_nothing_is_written),
        cmocka_unit_test(what_is_written_is_read_as_the_same_moment),
        cmocka_unit_test(a_duration_needs_a_unit),
        cmocka_unit_test(a_pause_stays_between_one_and_its_doubled_base),
        cmocka_unit_test(the_monotonic_clock_does_not_go_back),
    };
    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
