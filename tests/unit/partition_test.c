#include "workers/common/engine/partition.h"

#include "tests/support/unit.h"

#include <stdlib.h>
#include <string.h>

enum { MESSAGES = 600, KEYS = 12 };

static bool add(struct partition *partition, int64_t offset, const char *key)
{
    struct record record = {.offset = offset, .key = key != NULL ? slice_of(key) : slice_from(NULL, 0)};
    return partition_add(partition, NULL, &record);
}

/* Takes a task as the engine does; -1 when none may run. */
static int64_t take(struct partition *partition, struct task **ret_task)
{
    struct task *task = partition_next_ready(partition, false);
    if (ret_task != NULL) {
        *ret_task = task;
    }
    return task != NULL ? task->record.offset : -1;
}

static void tasks_without_a_key_are_all_ready_in_the_order_of_their_offsets(void **state)
{
    (void)state;
    struct partition *partition = partition_new(3);
    assert_int_equal(partition->number, 3);
    assert_int_equal(take(partition, NULL), -1);
    assert_true(add(partition, 1, NULL));
    assert_true(add(partition, 2, NULL));
    assert_true(add(partition, 7, NULL));
    assert_int_equal(take(partition, NULL), 1);
    assert_int_equal(take(partition, NULL), 2);
    assert_int_equal(take(partition, NULL), 7);
    assert_int_equal(take(partition, NULL), -1);
    assert_int_equal(partition_task_count(partition), 3);
    partition_free(partition);
}

static void the_tasks_of_one_key_run_one_at_a_time_and_others_overtake(void **state)
{
    (void)state;
    struct partition *partition = partition_new(0);
    struct task *first;
    struct task *other;
    struct task *second;
    (void)add(partition, 1, "a");
    (void)add(partition, 2, "a");
    (void)add(partition, 3, "b");
    (void)add(partition, 4, "a");
    assert_int_equal(take(partition, &first), 1);
    assert_int_equal(take(partition, &other), 3);
    assert_int_equal(take(partition, NULL), -1);
    partition_finish(other);
    assert_int_equal(take(partition, NULL), -1);
    partition_finish(first);
    assert_int_equal(take(partition, &second), 2);
    assert_int_equal(take(partition, NULL), -1);
    partition_finish(second);
    assert_int_equal(take(partition, NULL), 4);
    partition_free(partition);
}

static void a_key_with_nobody_left_is_forgotten_and_can_come_again(void **state)
{
    (void)state;
    struct partition *partition = partition_new(0);
    struct task *task;
    (void)add(partition, 1, "a");
    assert_int_equal(partition->keys.count, 1);
    (void)take(partition, &task);
    partition_finish(task);
    assert_int_equal(partition->keys.count, 0);
    partition_finish(task); /* a second time it has no queue any more */
    (void)add(partition, 2, "a");
    assert_int_equal(take(partition, NULL), 2);
    partition_free(partition);
}

static void an_empty_key_is_a_key_and_keys_may_hold_nul(void **state)
{
    (void)state;
    struct partition *partition = partition_new(0);
    struct record first = {.offset = 3, .key = slice_from("k\0a", 3)};
    struct record second = {.offset = 4, .key = slice_from("k\0b", 3)};
    (void)add(partition, 1, "");
    (void)add(partition, 2, "");
    (void)partition_add(partition, NULL, &first);
    (void)partition_add(partition, NULL, &second);
    assert_int_equal(take(partition, NULL), 1);
    assert_int_equal(take(partition, NULL), 3);
    assert_int_equal(take(partition, NULL), 4);
    assert_int_equal(take(partition, NULL), -1);
    partition_free(partition);
}

static void a_task_that_waits_for_its_retry_holds_its_key_only(void **state)
{
    (void)state;
    struct partition *partition = partition_new(0);
    struct task *task;
    (void)add(partition, 1, "a");
    (void)add(partition, 2, "a");
    (void)add(partition, 3, "b");
    (void)take(partition, &task);
    assert_int_equal(take(partition, NULL), 3);
    assert_int_equal(take(partition, NULL), -1);
    partition_make_ready(task); /* the pause is over */
    assert_int_equal(take(partition, NULL), 1);
    assert_int_equal(take(partition, NULL), -1);
    partition_free(partition);
}

static void the_tasks_behind_can_be_seen_in_their_order(void **state)
{
    (void)state;
    struct partition *partition = partition_new(0);
    struct task *task;
    (void)add(partition, 1, "a");
    (void)add(partition, 2, "b");
    (void)add(partition, 3, "a");
    (void)add(partition, 4, "a");
    (void)take(partition, &task);
    assert_int_equal(task->behind->record.offset, 3);
    assert_int_equal(task->behind->behind->record.offset, 4);
    assert_null(task->behind->behind->behind);
    partition_finish(task);
    assert_null(task->behind);
    partition_free(partition);
}

static void a_message_that_is_settled_already_makes_no_task(void **state)
{
    (void)state;
    struct partition *partition = partition_new(0);
    assert_true(ledger_restore(&partition->ledger, 10, "v1:1-2"));
    assert_true(add(partition, 10, "a"));
    assert_false(add(partition, 11, "a"));
    assert_false(add(partition, 12, NULL));
    assert_true(add(partition, 13, NULL));
    assert_int_equal(partition_task_count(partition), 2);
    assert_int_equal(take(partition, NULL), 10);
    assert_int_equal(take(partition, NULL), 13);
    partition_free(partition);
}

/* Otherwise the tasks that would make room again wait for room. */
static void while_the_map_is_full_only_what_makes_room_may_start(void **state)
{
    (void)state;
    struct partition *partition = partition_new(0);
    struct task *tried;
    partition->is_restored = true;
    (void)add(partition, 1, NULL);
    (void)add(partition, 2, NULL);
    (void)add(partition, 3, NULL);
    (void)add(partition, 4, NULL);
    (void)add(partition, 5, NULL);
    assert_int_equal(take(partition, NULL), 1);
    assert_int_equal(take(partition, &tried), 2);
    tried->attempt = 1;
    partition->left_out = 1;
    assert_false(partition_may_start(partition, false));
    assert_int_equal(take(partition, NULL), -1);
    partition_make_ready(tried);
    assert_true(partition_may_start(partition, false));
    assert_int_equal(take(partition, NULL), 2);
    assert_false(partition_may_start(partition, false));
    /* The oldest may start even if it never has: after a restart the map can be full at once. */
    ledger_at(&partition->ledger, 0)->mark = LEDGER_CHOSEN;
    ledger_at(&partition->ledger, 1)->mark = LEDGER_CHOSEN;
    task_free(ledger_at(&partition->ledger, 0)->task);
    task_free(ledger_at(&partition->ledger, 1)->task);
    ledger_settle(&partition->ledger);
    assert_int_equal(take(partition, NULL), 3);
    assert_int_equal(take(partition, NULL), -1);
    /* Those in the gaps of the map do not make it longer. */
    partition->map_end = 5;
    assert_int_equal(take(partition, NULL), 4);
    assert_int_equal(take(partition, NULL), -1);
    partition->left_out = 0;
    assert_int_equal(take(partition, NULL), 5);
    assert_int_equal(take(partition, NULL), -1);
    partition_free(partition);
}

static void after_an_owner_has_vanished_fewer_tasks_are_under_way(void **state)
{
    (void)state;
    struct partition *partition = partition_new(0);
    partition->is_restored = true;
    partition->takeover = (struct takeover){.level = 3};
    (void)add(partition, 1, NULL);
    (void)add(partition, 2, NULL);
    assert_int_equal(take(partition, NULL), 1);
    assert_true(partition_may_start(partition, false));
    partition->running_count = 1;
    partition->finished_count = 1;
    partition->sent_count = 1;
    assert_true(partition_may_start(partition, false));
    partition->sent_count = 2;
    assert_false(partition_may_start(partition, false));
    /* Those that have no room in the map are no danger to anybody; the oldest always may. */
    partition->finished_count = 2;
    partition->sent_count = 1;
    assert_false(partition_may_start(partition, false));
    partition->left_out = 1;
    partition->map_end = 9;
    assert_true(partition_may_start(partition, false));
    partition->left_out = 0;
    partition_make_ready(ledger_at(&partition->ledger, 0)->task);
    assert_true(partition_may_start(partition, false));
    assert_int_equal(take(partition, NULL), 1);
    assert_false(partition_may_start(partition, false));
    partition->takeover.level = 0;
    assert_true(partition_may_start(partition, false));
    partition_free(partition);
}

static void when_memory_is_tight_only_the_oldest_and_those_that_have_run_before_start(void **state)
{
    (void)state;
    struct partition *partition = partition_new(0);
    struct task *third;
    partition->is_restored = true;
    (void)add(partition, 1, NULL);
    (void)add(partition, 2, NULL);
    (void)add(partition, 3, NULL);
    assert_true(partition_may_start(partition, true));
    assert_int_equal(partition_next_ready(partition, true)->record.offset, 1);
    assert_false(partition_may_start(partition, true));
    third = ledger_at(&partition->ledger, 2)->task;
    third->attempt = 1;
    assert_ptr_equal(partition_next_ready(partition, true), third);
    assert_int_equal(take(partition, NULL), 2);
    partition_free(partition);
}

static void on_the_last_level_only_the_oldest_message_may_start(void **state)
{
    (void)state;
    struct partition *partition = partition_new(0);
    partition->is_restored = true;
    partition->takeover = (struct takeover){.level = 4};
    (void)add(partition, 1, "a");
    (void)add(partition, 2, "b");
    assert_int_equal(take(partition, NULL), 1);
    assert_false(partition_may_start(partition, false));
    assert_int_equal(take(partition, NULL), -1);
    partition->takeover.level = 3;
    assert_int_equal(take(partition, NULL), 2);
    partition_free(partition);
}

static void what_runs_alone_begins_when_it_is_committed_that_it_does(void **state)
{
    (void)state;
    struct partition *partition = partition_new(0);
    struct task *task;
    takeover_claim(&partition->takeover);
    assert_false(partition_is_claimed(partition));
    partition->written = partition->takeover;
    assert_true(partition_is_claimed(partition));
    (void)add(partition, 1, "a");
    (void)take(partition, &task);
    partition->trying = task;
    partition->takeover.alone = 1;
    assert_false(partition_is_claimed(partition));
    partition->written = partition->takeover;
    assert_true(partition_is_claimed(partition));
    partition_free(partition);
}

static void a_partition_knows_the_bytes_of_its_messages(void **state)
{
    (void)state;
    struct partition *partition = partition_new(0);
    struct record record = {.offset = 1, .key = slice_of("key"), .value = slice_of("value")};
    size_t size_bytes = record_size_bytes(&record);
    assert_true(size_bytes >= strlen("key") + strlen("value"));
    (void)partition_add(partition, NULL, &record);
    assert_int_equal(partition->record_bytes, size_bytes);
    task_free(ledger_at(&partition->ledger, 0)->task);
    assert_int_equal(partition->record_bytes, 0);
    ledger_at(&partition->ledger, 0)->task = NULL;
    partition->first_ready = NULL;
    partition_free(partition);
}

static void a_partition_goes_with_all_that_waits_in_it(void **state)
{
    (void)state;
    struct partition *partition = partition_new(0);
    struct task *task;
    (void)add(partition, 1, "a");
    (void)add(partition, 2, "a");
    (void)take(partition, &task);
    struct output *output = output_new("topic", "key", slice_of("value"));
    output_add_header(output, "name", "value");
    task->first_output = output;
    task->last_output = output;
    partition_free(partition); /* leaks show under a sanitizer */
}

static void outputs_can_be_forgotten_and_written_anew(void **state)
{
    (void)state;
    struct task task = {0};
    struct output *output = output_new("topic", "key", slice_from(NULL, 0));
    assert_null(output->value);
    task.first_output = output;
    task.last_output = output;
    task.output_bytes = output_size_bytes(output);
    assert_true(task.output_bytes > 0);
    task_forget_outputs(&task);
    assert_null(task.first_output);
    assert_null(task.last_output);
    assert_int_equal(task.output_bytes, 0);
}

static void however_tasks_end_each_key_is_worked_on_in_order_and_alone(void **state)
{
    (void)state;
    struct partition *partition = partition_new(0);
    struct task *running[MESSAGES];
    size_t running_count = 0;
    int64_t next_offset = 0;
    int64_t last_of_key[KEYS];
    bool is_running[KEYS] = {false};
    size_t finished = 0;
    unsigned seed = 11;
    memset(last_of_key, -1, sizeof(last_of_key));
    static char keys[KEYS][2];
    while (finished < MESSAGES) {
        unsigned choice = (unsigned)rand_r(&seed) % 3;
        if (choice == 0 && next_offset < MESSAGES) {
            size_t key = (size_t)rand_r(&seed) % KEYS;
            keys[key][0] = (char)('a' + key);
            assert_true(add(partition, next_offset++, keys[key]));
        } else if (choice == 1) {
            struct task *task;
            if (take(partition, &task) >= 0) {
                size_t key = (size_t)(task->record.key.ptr[0] - 'a');
                assert_false(is_running[key]);
                assert_true(task->record.offset > last_of_key[key]);
                is_running[key] = true;
                last_of_key[key] = task->record.offset;
                running[running_count++] = task;
            }
        } else if (running_count > 0) {
            size_t position = (size_t)rand_r(&seed) % running_count;
            struct task *task = running[position];
            running[position] = running[--running_count];
            is_running[task->record.key.ptr[0] - 'a'] = false;
            partition_finish(task);
            finished++;
        }
    }
    assert_int_equal(partition->keys.count, 0);
    partition_free(partition);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tasks_without_a_key_are_all_ready_in_the_order_of_their_offsets),
        cmocka_unit_test(the_tasks_of_one_key_run_one_at_a_time_and_others_overtake),
        cmocka_unit_test(a_key_with_nobody_left_is_forgotten_and_can_come_again),
        cmocka_unit_test(an_empty_key_is_a_key_and_keys_may_hold_nul),
        cmocka_unit_test(a_task_that_waits_for_its_retry_holds_its_key_only),
        cmocka_unit_test(the_tasks_behind_can_be_seen_in_their_order),
        cmocka_unit_test(a_message_that_is_settled_already_makes_no_task),
        cmocka_unit_test(while_the_map_is_full_only_what_makes_room_may_start),
        cmocka_unit_test(after_an_owner_has_vanished_fewer_tasks_are_under_way),
        cmocka_unit_test(when_memory_is_tight_only_the_oldest_and_those_that_have_run_before_start),
        cmocka_unit_test(on_the_last_level_only_the_oldest_message_may_start),
        cmocka_unit_test(what_runs_alone_begins_when_it_is_committed_that_it_does),
        cmocka_unit_test(a_partition_knows_the_bytes_of_its_messages),
        cmocka_unit_test(a_partition_goes_with_all_that_waits_in_it),
        cmocka_unit_test(outputs_can_be_forgotten_and_written_anew),
        cmocka_unit_test(however_tasks_end_each_key_is_worked_on_in_order_and_alone),
    };
    return cmocka_run_group_tests_name("partition", tests, NULL, NULL);
}
