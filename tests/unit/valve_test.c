#include "workers/common/engine/valve.h"

#include "tests/support/unit.h"

static void it_closes_when_bad_messages_outnumber_good_ones_by_the_limit(void **state)
{
    (void)state;
    static const struct {
        const char *messages; /* b: put aside, g: worked on */
        size_t limit;
        bool is_closed;
    } cases[] = {
        {"", 3, false},         {"bb", 3, false},   {"bbb", 3, true},      {"bgbgbgbgbg", 3, false}, {"bbgbb", 3, true},
        {"ggggggbbb", 3, true}, {"bbgg", 3, false}, {"bbbggggg", 3, true}, {"bbbbbbbbbb", 0, false}, {"b", 1, true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct valve valve = {.limit = cases[i].limit};
        for (const char *message = cases[i].messages; *message != '\0'; message++) {
            valve_count(&valve, *message == 'b');
        }
        assert_int_equal(valve.is_closed, cases[i].is_closed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_closes_when_bad_messages_outnumber_good_ones_by_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
