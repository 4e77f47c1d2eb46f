#include "workers/common/kafka/topics.h"

#include "tests/support/unit.h"

static void partitions_follow_the_number_of_accounts(void **state)
{
    static const struct {
        long accounts;
        int partitions;
    } table[] = {
        {1, 12},       {12, 12},      {13, 24},      {24, 24},      {25, 48},       {47, 48},        {48, 48},
        {100, 48},     {5000, 48},    {48000, 48},   {48001, 60},   {60000, 60},    {60001, 120},    {100000, 120},
        {120001, 180}, {200000, 240}, {240001, 360}, {360001, 720}, {720001, 1260}, {1000000, 1260},
    };
    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        assert_int_equal(topics_partitions_for(table[i].accounts), table[i].partitions);
    }
}

/* Half, a third and a quarter as many copiers have equal shares, and there is a copier for each 1,000 accounts. */
static void every_proposal_is_shared_evenly_and_is_enough(void **state)
{
    (void)state;
    int before = 0;
    for (long accounts = 1; accounts <= TOPICS_ACCOUNTS_MAXIMUM; accounts += 997) {
        int partitions = topics_partitions_for(accounts);
        assert_int_equal(partitions % 12, 0);
        assert_true(partitions * 1000L >= accounts);
        assert_true(partitions >= before);
        before = partitions;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(partitions_follow_the_number_of_accounts),
        cmocka_unit_test(every_proposal_is_shared_evenly_and_is_enough),
    };
    return cmocka_run_group_tests_name("topics", tests, NULL, NULL);
}
