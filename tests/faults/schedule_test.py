"""The schedule is the seed's, and leaves nothing out."""
from collections import defaultdict

import pytest

from tests.faults import schedule


def test_the_same_seed_is_the_same_schedule():
    assert schedule.plan(7, 120, 3) == schedule.plan(7, 120, 3)
    assert schedule.plan(7, 120, 3) != schedule.plan(8, 120, 3)


def test_a_schedule_comes_back_from_its_file():
    faults = schedule.plan(7, 120, 3)
    assert schedule.from_json(schedule.to_json(faults)) == faults


@pytest.mark.parametrize("seed", range(20))
def test_a_minute_holds_every_kind_of_fault(seed):
    faults = schedule.plan(seed, 60, 1)
    assert {fault.kind for fault in faults} == set(schedule.KINDS)
    assert all(0 < fault.at < 60 for fault in faults)


@pytest.mark.parametrize("seed", range(20))
def test_a_pause_outlasts_the_session(seed):
    pauses = [fault for fault in schedule.plan(seed, 600, 1) if fault.kind == "pause"]
    assert pauses and all(fault.arguments["seconds"] > 10 for fault in pauses)


@pytest.mark.parametrize("seed", range(20))
def test_one_thing_is_touched_by_one_fault_at_a_time(seed):
    ends = defaultdict(float)
    for fault in schedule.plan(seed, 600, 3):
        place = (fault.touches, None if fault.touches == schedule.BROKER else fault.target)
        assert fault.at >= ends[place]
        ends[place] = fault.ends


@pytest.mark.parametrize("seed", range(20))
def test_there_are_always_one_to_four_workers(seed):
    filled = set(range(schedule.FIRST_SLOTS))
    counts = set()
    for fault in schedule.plan(seed, 1200, 1):
        if fault.kind == "add":
            assert fault.target not in filled
            filled.add(fault.target)
        elif fault.kind == "remove":
            filled.remove(fault.target)
        elif fault.touches != schedule.BROKER:
            assert fault.target in filled
        counts.add(len(filled))
    assert counts <= {1, 2, 3, 4} and len(counts) > 2


@pytest.mark.parametrize("brokers", (1, 3))
def test_every_broker_is_killed_in_its_turn(brokers):
    killed = {fault.target for fault in schedule.plan(3, 600, brokers) if fault.kind == "kill_broker"}
    assert killed == set(range(1, brokers + 1))
