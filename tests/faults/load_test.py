"""The tasks are the seed's, and mixed as they should be."""
from collections import Counter

from tests.faults import load


def test_the_same_seed_is_the_same_load():
    assert load.tasks(7, 500) == load.tasks(7, 500)
    assert load.tasks(7, 500) != load.tasks(8, 500)


def test_orders_are_unique_and_read_like_the_worker_reads_them():
    tasks = load.tasks(7, 2000)
    assert len({task.order for task in tasks}) == 2000
    for task in tasks:
        duration, retries, outputs, verb, name = task.order.split(" ")
        assert (int(duration), int(retries), int(outputs), verb) == (task.duration_ms, task.retries, task.outputs, task.verb)
        assert name == f"t{task.number}"


def test_the_load_has_retries_rejects_bursts_and_long_tasks_of_many_keys():
    tasks = load.tasks(7, 10000)
    assert len({task.key for task in tasks}) == load.KEYS
    assert set(Counter(task.retries for task in tasks)) == {0, 1, 2}
    assert 200 < sum(task.verb == "reject" for task in tasks) < 400
    assert 50 < sum(task.outputs >= 200 for task in tasks) < 150
    assert 25 < sum(task.duration_ms >= 1000 for task in tasks) < 100


def test_a_rejected_task_has_one_output_and_another_as_many_as_it_says():
    for task in load.tasks(7, 1000):
        assert len(task.expected) == (1 if task.verb == "reject" else task.outputs)
