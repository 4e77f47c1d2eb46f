"""The engine's own promises, with the worker of tests/support/tools/trial_worker.c."""
import time

import pytest

from tests.support.fleet import wait_for
from tests.support.trial import Trial

CRASHES_AT_MOST = 9  # three to get careful, three alone, and the slack of a restart that came too early to count


@pytest.fixture
def make_trial(broker, tmp_path):
    made = []

    def make(**more):
        made.append(Trial(broker, tmp_path / f"trial{len(made)}", **more))
        return made[-1]

    yield make
    for trial in made:
        trial.close()


def until_put_aside(trial, **more):
    """Starts a worker again whenever it dies, until a message has been put aside; how often it died."""
    deaths = 0
    worker = trial.start("trial.max_running=16", instance="one", **more)
    deadline = time.monotonic() + 150
    while "put aside" not in worker.log():
        assert time.monotonic() < deadline, worker.log()
        if worker.process.poll() is not None:
            deaths += 1
            worker = trial.start("trial.max_running=16", instance="one", **more)
        time.sleep(0.05)
    return deaths, worker


@pytest.mark.parametrize("verb, retries, limit, before", [("abort", 1, None, 200), ("gobble", 0, 700 << 20, 60)])
def test_a_message_that_kills_its_worker_is_put_aside_after_some_deaths_and_the_others_are_done_once(
        make_trial, verb, retries, limit, before):
    trial = make_trial()
    good = [(f"k{number % 20}", f"{number % 7} 0 2 done good{number}") for number in range(200)]
    trial.order(good[:before] + [("k3", f"0 {retries} 1 {verb} poison")] + good[before:])
    deaths, worker = until_put_aside(trial, memory_bytes=limit)
    trial.wait_done()
    outputs = trial.outputs()
    assert 3 <= deaths <= CRASHES_AT_MOST, deaths
    assert len(outputs.pop("poison")) == 1
    assert outputs == {f"good{number}": ["1", "2"] for number in range(200)}
    assert "put aside" in worker.log() and "vanished" in worker.log()
    assert worker.metric("dead_letters_total", reason="deadly") == worker.metric("jobs_total", result="dead") == 1
    # The count was the poison's: what comes next is not suspected, whoever dies.
    worker.kill()
    trial.order([(f"k{number}", f"0 0 1 done later{number}") for number in range(30)])
    trial.start(instance="one")
    trial.wait_done()
    assert all(numbers == ["1"] for one, numbers in trial.outputs().items() if one.startswith("later"))


def test_workers_that_end_in_order_leave_no_suspicion(make_trial):
    trial = make_trial()
    trial.order([("slow", "9000 0 1 done slow")] + [(f"k{number}", f"5 0 1 done t{number}") for number in range(20)])
    for _ in range(3):
        worker = trial.start("trial.drain=100ms")
        wait_for(lambda: worker.metric("slots", state="used") == 1, 30, "the slow task's start")
        assert worker.stop() == 0
        assert "unfinished work is given back" in worker.log()
    worker = trial.start()
    trial.wait_done()
    assert "vanished" not in "".join(one.log() for one in trial.workers)
    assert all(numbers == ["1"] for numbers in trial.outputs().values())


def test_a_worker_that_would_put_everything_aside_stops_and_says_so(make_trial):
    trial = make_trial()
    trial.order([(f"k{number % 9}", f"0 0 0 reject bad{number}") for number in range(400)])
    worker = trial.start("trial.max_rejected=50", "trial.max_running=8")
    wait_for(lambda: worker.ask("/healthz")[0] == 503, 30, "the valve")
    time.sleep(2)
    put_aside = len(trial.outputs())
    assert 50 <= put_aside < 70, put_aside
    assert "stopped" in worker.ask("/healthz")[1]
    assert worker.ask("/readyz")[0] == 503
    assert worker.metric("stopped") == 1
    assert "level=error" in worker.log() and "nearly all messages are put aside" in worker.log()
    assert worker.stop() == 0
    trial.start("trial.max_rejected=0")
    trial.wait_done()
    assert len(trial.outputs()) == 400


def test_a_stuck_task_holds_up_its_partition_only_at_the_bound_and_is_named_in_log_metric_and_health(make_trial):
    trial = make_trial(partitions=2)
    trial.order([("before", "0 0 1 done before"), ("stuck", "20000 0 1 done stuck")], partition=0)
    trial.order([(f"k{number}", f"0 0 1 done p0-{number}") for number in range(120)], partition=0)
    trial.order([(f"k{number}", f"0 0 1 done p1-{number}") for number in range(120)], partition=1)
    worker = trial.start("trial.max_ahead=50")
    wait_for(lambda: 'held up by its oldest message" partition=0 offset=1 ' in worker.log(), 30, "the log line")
    status, text = worker.ask("/healthz")
    assert status == 503 and "partition 0 is held up" in text and "offset 1" in text and 'key "stuck"' in text and "runs" in text
    assert worker.metric("partition_held_up", partition="0") == 1
    assert worker.metric("partition_watermark", partition="0") == 1 and worker.metric("partitions_paused") >= 1
    assert worker.metric("consumer_lag", partition="0") == 2 + 120 - 1
    wait_for(lambda: len(trial.outputs()) == 1 + 49 + 120, 30, "all that may be done meanwhile")
    # While its tasks are being committed, the other partition may be at the bound, too, for a moment.
    wait_for(lambda: worker.metric("partition_held_up", partition="1") == 0, 10, "the other partition")
    assert worker.metric("partition_held_up", partition="0") == 1
    trial.wait_done()
    wait_for(lambda: worker.ask("/healthz")[0] == 200, 10, "good health")
    outputs = trial.outputs()
    assert len(outputs) == 242 and all(numbers == ["1"] for numbers in outputs.values())


def test_one_key_with_100000_waiting_tasks_does_not_slow_the_others(make_trial):
    trial = make_trial(partitions=2)
    trial.order((("hog", f"20 0 1 done hog{number}") for number in range(100000)), partition=0)
    trial.order([(f"k{number}", f"1 0 1 done same{number}") for number in range(1000)], partition=0)
    trial.order([(f"k{number}", f"1 0 1 done other{number}") for number in range(1000)], partition=1)
    worker = trial.start()

    def others():
        return [one for one in trial.outputs() if not one.startswith("hog")]

    wait_for(lambda: len(others()) == 2000, 90, "all tasks of other keys")
    hogs = len(trial.outputs()) - 2000
    assert hogs < 20000, f"{hogs} tasks of the long queue were done before those of other keys"
    assert worker.metric("inflight") > 80000
    worker.kill()


def fill_the_map(trial, first):
    """Every other task waits behind the first, so that each finished one needs a place of its own in the map."""
    trial.order([("slow", first)])
    trial.order((key, f"0 0 1 done {name}") for number in range(1, 1500)
                for key, name in (("slow", f"slow{number}"), (f"k{number}", f"quick{number}")))


def all_are_done_once(trial):
    trial.wait_done(90)
    outputs = trial.outputs()
    assert len(outputs) == 2999 and all(numbers == ["1"] for numbers in outputs.values())


def test_with_a_full_map_the_oldest_task_holds_up_its_partition_and_a_restart_does_nothing_twice(make_trial):
    trial = make_trial(partitions=1)
    fill_the_map(trial, "15000 0 1 done slow0")
    worker = trial.start()
    wait_for(lambda: worker.metric("partition_held_up") == 1, 30, "the full map")
    wait_for(lambda: "the map of finished work is full" in worker.log(), 30, "the log line")
    assert "the map of finished work is full" in worker.ask("/healthz")[1]
    assert 3000 < worker.metric("offset_map_bytes") <= 4096
    assert 500 < len(trial.outputs()) < 1500
    worker.kill()
    # Ending in order is no death either, although what has no room in the map is given back.
    in_order = trial.start("trial.drain=1s")
    wait_for(lambda: in_order.metric("partition_held_up") == 1, 40, "the full map again")
    assert in_order.stop() == 0
    last = trial.start()
    wait_for(lambda: last.metric("jobs_known_total") > 0, 40, "the map to be read")
    assert "vanished" in in_order.log() and "vanished" not in last.log()
    all_are_done_once(trial)


def test_a_worker_whose_loop_stands_still_ends_by_itself(make_trial):
    trial = make_trial(partitions=1)
    stall = trial.directory / "stall"
    worker = trial.start(f"trial.stall={stall}", "trial.stall_for=50s")
    stall.touch()
    trial.order([("k", "0 0 1 done t")])
    wait_for(lambda: worker.process.poll() is not None, 45, "the end of the process")
    assert worker.process.returncode == 111 and "stands still" in worker.log()
    trial.start()
    trial.wait_done()
    assert trial.outputs() == {"t": ["1"]}


def test_after_deaths_with_a_full_map_the_oldest_task_goes_on(make_trial):
    """Tasks that are finished and have no room in the map do not use up the window of a careful owner."""
    trial = make_trial(partitions=1)
    fill_the_map(trial, "20 400 1 done slow0")
    for _ in range(3):
        worker = trial.start(instance="one")
        wait_for(lambda: worker.metric("partition_held_up") == 1 or trial.lag() == 0, 40, "the full map")
        worker.kill()
    trial.start(instance="one")
    all_are_done_once(trial)


def test_a_living_process_that_drops_everything_is_no_death(make_trial):
    trial = make_trial(partitions=1)
    stall = trial.directory / "stall"
    worker = trial.start(f"trial.stall={stall}", "trial.stall_for=9s")
    trial.order([("slow", "2000 0 1 done before"), ("slow", "5000 0 1 done slow")])
    wait_for(lambda: worker.metric("slots", state="used") == 1, 30, "the start")
    stall.touch()
    trial.order([("k", "0 0 1 done other")])
    trial.wait_done()
    assert "joining again" in worker.log() and "vanished" not in worker.log()
    assert sorted(trial.outputs()) == ["before", "other", "slow"]
