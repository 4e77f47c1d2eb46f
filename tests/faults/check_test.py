"""The check finds what it is there for, and nothing in a run that went well."""
from dataclasses import replace

import pytest

from tests.faults.check import Attempt, Output, judge, longest_gap_s, parse_trace
from tests.faults.load import Task

DONE_NS = 1000


@pytest.fixture
def tasks():
    return [Task(0, "a", 5, 0, 3, "work"), Task(1, "b", 5, 0, 1, "work"), Task(2, "a", 5, 1, 2, "work"),
            Task(3, "a", 5, 0, 4, "reject")]


@pytest.fixture
def outputs(tasks):
    """As a good run leaves them, key a in partition 1 and key b in partition 2."""
    return [Output({"a": 1, "b": 2}[task.key], 10 * task.number + place, task.key, f"{task.order} {rest}")
            for task in tasks for place, rest in enumerate(task.expected)]


@pytest.fixture
def attempts(tasks):
    return [Attempt(number, 100, 10 * task.number + number, task.order)
            for task in tasks for number in range(1, task.retries + 2)]


@pytest.fixture
def visible_at(tasks):
    return {task.order: DONE_NS + task.number for task in tasks}


VERDICT = ("lost", "doubled", "disordered", "redone_visible", "untraced", "unseen")


def blamed(judgement):
    return {name: judgement.counts[name] for name in VERDICT if judgement.counts[name]}


def test_a_good_run_has_no_violation(tasks, outputs, attempts, visible_at):
    judgement = judge(tasks, outputs, attempts, visible_at)
    assert blamed(judgement) == {} and judgement.violations == {}
    assert judgement.counts["attempts"] == 5
    assert judgement.counts["redone"] == judgement.counts["duplicates"] == 0


def test_a_task_without_outputs_is_lost(tasks, outputs, attempts, visible_at):
    left = [one for one in outputs if "t1 " not in one.value]
    assert blamed(judge(tasks, left, attempts, visible_at)) == {"lost": 1}


def test_an_incomplete_set_is_lost(tasks, outputs, attempts, visible_at):
    assert blamed(judge(tasks, outputs[1:], attempts, visible_at)) == {"lost": 1}


def test_a_reject_that_was_worked_is_lost_and_doubled(tasks, outputs, attempts, visible_at):
    outputs[-1] = replace(outputs[-1], value=f"{tasks[3].order} 1")
    assert blamed(judge(tasks, outputs, attempts, visible_at)) == {"lost": 1, "doubled": 1}


def test_a_second_set_is_doubled(tasks, outputs, attempts, visible_at):
    again = [replace(one, offset=one.offset + 100) for one in outputs if "t1 " in one.value]
    judgement = judge(tasks, outputs + again, attempts, visible_at)
    assert blamed(judgement) == {"doubled": 1}
    assert judgement.counts["duplicates"] == 1


def test_one_output_twice_is_doubled(tasks, outputs, attempts, visible_at):
    again = replace(outputs[-1], offset=99)
    assert blamed(judge(tasks, [*outputs, again], attempts, visible_at)) == {"doubled": 1}


def test_an_output_beyond_the_set_is_doubled(tasks, outputs, attempts, visible_at):
    beyond = Output(2, 99, "b", f"{tasks[1].order} 2")
    assert blamed(judge(tasks, [*outputs, beyond], attempts, visible_at)) == {"doubled": 1}


def test_an_output_that_nobody_asked_for_is_doubled(tasks, outputs, attempts, visible_at):
    strange = Output(2, 99, "b", "5 0 1 work t99 1")
    assert blamed(judge(tasks, [*outputs, strange], attempts, visible_at)) == {"doubled": 1}


def test_an_output_under_a_wrong_key_is_doubled(tasks, outputs, attempts, visible_at):
    outputs = [replace(one, key="c") if "t1 " in one.value else one for one in outputs]
    assert blamed(judge(tasks, outputs, attempts, visible_at)) == {"doubled": 1}


def test_tasks_of_a_key_in_the_wrong_order_are_disordered(tasks, outputs, attempts, visible_at):
    outputs = [replace(one, offset=one.offset + 100) if "t0 " in one.value else one for one in outputs]
    assert blamed(judge(tasks, outputs, attempts, visible_at)) == {"disordered": 1}


def test_a_set_in_the_wrong_order_is_disordered(tasks, outputs, attempts, visible_at):
    outputs[0], outputs[1] = replace(outputs[0], offset=outputs[1].offset), replace(outputs[1], offset=outputs[0].offset)
    assert blamed(judge(tasks, outputs, attempts, visible_at)) == {"disordered": 1}


def test_a_key_in_two_partitions_is_disordered(tasks, outputs, attempts, visible_at):
    outputs[-1] = replace(outputs[-1], partition=2)
    assert blamed(judge(tasks, outputs, attempts, visible_at)) == {"disordered": 1}


def test_work_after_the_outputs_were_seen_is_redone_visible(tasks, outputs, attempts, visible_at):
    late = Attempt(1, 200, DONE_NS + 500, tasks[1].order)
    judgement = judge(tasks, outputs, [*attempts, late], visible_at)
    assert blamed(judgement) == {"redone_visible": 1}
    assert judgement.counts["redone"] == 1


def test_a_retry_after_the_outputs_were_seen_is_redone_visible(tasks, outputs, attempts, visible_at):
    late = Attempt(2, 100, DONE_NS + 500, tasks[2].order)
    assert blamed(judge(tasks, outputs, [*attempts, late], visible_at)) == {"redone_visible": 1}


def test_work_again_before_the_outputs_were_seen_is_redone_and_no_violation(tasks, outputs, attempts, visible_at):
    again = Attempt(1, 200, DONE_NS - 500, tasks[1].order)
    judgement = judge(tasks, outputs, [*attempts, again], visible_at)
    assert blamed(judgement) == {} and judgement.counts["redone"] == 1


def test_outputs_without_a_trace_are_untraced(tasks, outputs, attempts, visible_at):
    assert blamed(judge(tasks, outputs, attempts[1:], visible_at)) == {"untraced": 1}


def test_a_retry_that_never_came_is_untraced(tasks, outputs, attempts, visible_at):
    left = [one for one in attempts if (one.number, one.order) != (2, tasks[2].order)]
    assert blamed(judge(tasks, outputs, left, visible_at)) == {"untraced": 1}


def test_outputs_that_the_observer_missed_are_unseen(tasks, outputs, attempts, visible_at):
    del visible_at[tasks[0].order]
    assert blamed(judge(tasks, outputs, attempts, visible_at)) == {"unseen": 1}


def test_a_trace_is_read_as_the_worker_writes_it():
    assert parse_trace("1 4711 123456789 5 0 1 work t1\n2 4711 123456999 5 1 1 work t2\n") == [
        Attempt(1, 4711, 123456789, "5 0 1 work t1"), Attempt(2, 4711, 123456999, "5 1 1 work t2")]


def test_the_longest_gap_counts_from_the_beginning():
    assert longest_gap_s(0, {"a": 3e9, "b": 4e9}) == 3
    assert longest_gap_s(0, {"a": 1e9, "b": 8e9, "c": 9e9}) == 7
