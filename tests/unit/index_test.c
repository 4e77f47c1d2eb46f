#include "workers/common/base/index.h"

#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>

enum { KEYS = 200, STEPS = 20000 };

static void an_absent_key_has_no_value(void **state)
{
    (void)state;
    struct index index = {0};
    assert_null(index_get(&index, slice_of("a")));
    assert_null(index_remove(&index, slice_of("a")));
    index_clear(&index, NULL);
}

static void putting_again_hands_back_the_value_it_replaced(void **state)
{
    (void)state;
    struct index index = {0};
    int one;
    int two;
    assert_null(index_put(&index, slice_of("a"), &one));
    assert_ptr_equal(index_put(&index, slice_of("a"), &two), &one);
    assert_int_equal(index.count, 1);
    assert_ptr_equal(index_get(&index, slice_of("a")), &two);
    assert_ptr_equal(index_remove(&index, slice_of("a")), &two);
    assert_int_equal(index.count, 0);
}

static void the_index_keeps_its_own_copy_of_a_key(void **state)
{
    (void)state;
    struct index index = {0};
    char key[] = "abc";
    int value;
    (void)index_put(&index, slice_of(key), &value);
    key[0] = 'x';
    assert_ptr_equal(index_get(&index, slice_of("abc")), &value);
    index_clear(&index, NULL);
}

static void keys_may_hold_nul_and_be_empty(void **state)
{
    (void)state;
    struct index index = {0};
    int values[4];
    (void)index_put(&index, slice_from("", 0), &values[0]);
    (void)index_put(&index, slice_from("a", 1), &values[1]);
    (void)index_put(&index, slice_from("a\0", 2), &values[2]);
    (void)index_put(&index, slice_from("a\0b", 3), &values[3]);
    assert_int_equal(index.count, 4);
    assert_ptr_equal(index_get(&index, slice_from(NULL, 0)), &values[0]);
    assert_ptr_equal(index_get(&index, slice_from("a\0", 2)), &values[2]);
    assert_ptr_equal(index_get(&index, slice_from("a\0b", 3)), &values[3]);
    index_clear(&index, NULL);
}

struct walked {
    char text[64];
};

static void walked_visit(const char *key, void *value, void *context)
{
    struct walked *walked = context;
    size_t len = strlen(walked->text);
    (void)snprintf(walked->text + len, sizeof(walked->text) - len, "%s=%s ", key, (const char *)value);
}

static void a_walk_goes_in_the_order_of_the_keys_bytes(void **state)
{
    (void)state;
    struct index index = {0};
    static char one[] = "1", two[] = "2", three[] = "3", four[] = "4", five[] = "5";
    (void)index_put(&index, slice_of("b"), three);
    (void)index_put(&index, slice_of("\xc3\xa9"), five);
    (void)index_put(&index, slice_of("aa"), two);
    (void)index_put(&index, slice_of("ba"), four);
    (void)index_put(&index, slice_of("a"), one);
    struct walked walked = {""};
    index_each(&index, walked_visit, &walked);
    assert_string_equal(walked.text, "a=1 aa=2 b=3 ba=4 \xc3\xa9=5 ");
    index_clear(&index, NULL);
}

static int freed;

static void count_free(void *value)
{
    freed += *(const int *)value;
}

static void clearing_frees_every_value_once_and_leaves_it_usable(void **state)
{
    (void)state;
    struct index index = {0};
    int values[] = {1, 10, 100};
    freed = 0;
    (void)index_put(&index, slice_of("a"), &values[0]);
    (void)index_put(&index, slice_of("b"), &values[1]);
    (void)index_put(&index, slice_of("c"), &values[2]);
    (void)index_put(&index, slice_of("d"), NULL);
    index_clear(&index, count_free);
    assert_int_equal(freed, 111);
    assert_int_equal(index.count, 0);
    assert_null(index_get(&index, slice_of("a")));
    (void)index_put(&index, slice_of("a"), &values[0]);
    assert_ptr_equal(index_get(&index, slice_of("a")), &values[0]);
    index_clear(&index, NULL);
}

static void any_sequence_of_changes_ends_as_in_a_plain_array(void **state)
{
    (void)state;
    struct index index = {0};
    void *model[KEYS] = {NULL};
    static char values[KEYS * 4];
    unsigned seed = 7;
    size_t count = 0;
    for (int step = 0; step < STEPS; step++) {
        size_t position = (size_t)rand_r(&seed) % KEYS;
        char key[16];
        (void)snprintf(key, sizeof(key), "k%zu", position * 7919 % KEYS);
        void *value = &values[(size_t)rand_r(&seed) % sizeof(values)];
        void *expected = model[position];
        if (rand_r(&seed) % 3 == 0) {
            assert_ptr_equal(index_remove(&index, slice_of(key)), expected);
            count -= expected != NULL;
            model[position] = NULL;
        } else {
            assert_ptr_equal(index_put(&index, slice_of(key), value), expected);
            count += expected == NULL;
            model[position] = value;
        }
        assert_ptr_equal(index_get(&index, slice_of(key)), model[position]);
        assert_int_equal(index.count, count);
    }
    index_clear(&index, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_absent_key_has_no_value),
        cmocka_unit_test(putting_again_hands_back_the_value_it_replaced),
        cmocka_unit_test(the_index_keeps_its_own_copy_of_a_key),
        cmocka_unit_test(keys_may_hold_nul_and_be_empty),
        cmocka_unit_test(a_walk_goes_in_the_order_of_the_keys_bytes),
        cmocka_unit_test(clearing_frees_every_value_once_and_leaves_it_usable),
        cmocka_unit_test(any_sequence_of_changes_ends_as_in_a_plain_array),
    };
    return cmocka_run_group_tests_name("index", tests, NULL, NULL);
}
