"""Feeds tasks to a few workers while everything around them breaks, then judges what has come of it. The last line says
it, and the exit status is 0 only if every task has ended exactly once. A run can be done again from its seed, or from
the schedule in its folder.
    bounce.py --seconds 120 --seed 7 --brokers 3 --kafka 3.9.2"""
import argparse
import heapq
import itertools
import random
import shutil
import struct
import sys
import time
from pathlib import Path

from confluent_kafka import KafkaException, Producer

from tests.faults import load, schedule
from tests.faults.check import Output, judge, longest_gap_s, parse_trace
from tests.faults.crew import Crew, guest
from tests.faults.observer import Observer
from tests.support.cluster import Cluster
from tests.support.kafka import ROOT, VERSIONS

PARTITIONS = 12
TASKS = 10000
TASKS_PER_SECOND = 100  # of a longer run at least, so that faults always meet work
PREFIX = "bounce."
INPUT, OUTPUT, GROUP = PREFIX + "trial-in", PREFIX + "trial-out", PREFIX + "trial"
TICK_SECONDS = 0.05
BROKER_SECONDS = 150    # from the kill of a broker until the cluster is whole again
FINISH_SECONDS = 240    # from the last fault to the last output
END_SECONDS = 90        # from SIGTERM to the end of the last worker
CLOSED_SECONDS = 60     # until the broker has ended what killed workers had begun: 10 s, looked at every 10 s
VERDICT = ("lost", "doubled", "disordered", "redone_visible", "lag", "hung", "crashed", "untraced", "unseen")


class Run:
    def __init__(self, seed, seconds, brokers, kafka, folder, tasks=None, faults=None):
        self.seed, self.seconds, self.brokers, self.kafka = seed, seconds, brokers, kafka
        self.folder = Path(folder)
        self.tasks = load.tasks(seed, tasks or max(TASKS, TASKS_PER_SECOND * seconds))
        self.faults = faults if faults is not None else schedule.plan(seed, seconds, brokers)
        self.cluster = Cluster(self.folder / "kafka", kafka, brokers, [guest(slot) for slot in range(schedule.SLOTS)])
        self.crew = Crew(self.cluster, PREFIX, self.folder, random.Random(f"restarts {seed}"))
        self.observer = None
        self.producer = None
        self.not_stored = []
        self.fed = 0
        self.hits = 0
        self.actions = []
        self.action_numbers = itertools.count()
        self.broker_is_away = False
        self.broker_looked_at = self.broker_deadline = 0
        self.done_under_faults = 0
        self.line, self.is_clean = None, False

    # --- the run ---

    def execute(self):
        (self.folder / "schedule.json").write_text(schedule.to_json(self.faults))
        self.cluster.start()
        try:
            self.cluster.create_topics([INPUT, OUTPUT], PARTITIONS)
            self._say(f"seed {self.seed}, {self.brokers} x Kafka {self.kafka} at {self.cluster.address}, in {self.folder}")
            for fault in self.faults:
                self._say(f"  {fault.at:7.2f} s {fault.kind} {fault.target} {fault.arguments or ''}")
            self.observer = Observer(self.cluster.address, OUTPUT, PARTITIONS, self.tasks)
            self.producer = Producer({"bootstrap.servers": self.cluster.address, "enable.idempotence": True,
                                      "linger.ms": 5, "reconnect.backoff.max.ms": 500, "log_level": 0})
            self._bounce()
            self._finish()
            self._conclude()
        finally:
            self.crew.kill_all()
            self.cluster.stop()
        return self.is_clean

    def _say(self, text):
        print(text, flush=True)

    def _note(self, text):
        with open(self.folder / "events.log", "a") as log:
            now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
            log.write(f"{time.strftime('%H:%M:%S')} {now_ns} {time.monotonic() - self.began:.2f} {text}\n")

    def _at(self, at, action, *arguments):
        heapq.heappush(self.actions, (at, next(self.action_numbers), action, arguments))

    def _bounce(self):
        self.began = time.monotonic()
        self.began_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        for fault in self.faults:
            self._at(fault.at, self._hit, fault)
        while self.actions or self.fed < len(self.tasks) or self.broker_is_away:
            now = time.monotonic() - self.began
            while self.actions and self.actions[0][0] <= now:
                _, _, action, arguments = heapq.heappop(self.actions)
                action(*arguments)
            self._feed(now)
            self._tend()

    def _tend(self):
        self.crew.tend()
        if self.broker_is_away and time.monotonic() > self.broker_looked_at + 1:
            self._look_after_broker()
        time.sleep(TICK_SECONDS)

    def _feed(self, now):
        """In step with the run, the last tasks just before its last faults."""
        due = min(len(self.tasks), int(len(self.tasks) * now / self.seconds) + 1)
        for task in self.tasks[self.fed:due]:
            self.producer.produce(INPUT, task.order, task.key, on_delivery=self._stored)
        self.fed = max(self.fed, due)
        self.producer.poll(0)

    def _stored(self, error, _):
        if error is not None:
            self.not_stored.append(error)

    # --- faults ---

    def _hit(self, fault):
        if fault.touches == schedule.BROKER and self.broker_is_away:
            # One at a time: the one before is still catching up.
            self._at(time.monotonic() - self.began + 1, self._hit, fault)
            return
        is_hit = getattr(self, f"_{fault.touches}_fault")(fault)
        self.hits += is_hit
        self._note(f"{fault.kind} {fault.target} {fault.arguments} {'' if is_hit else 'has met nobody'}")

    def _later(self, fault, action, *arguments):
        self._at(time.monotonic() - self.began + fault.arguments["seconds"], self._end, fault, action, *arguments)

    def _end(self, fault, action, *arguments):
        action(*arguments)
        self._note(f"{fault.kind} {fault.target} is over")

    def _worker_fault(self, fault):
        is_hit = getattr(self.crew, fault.kind)(fault.target)
        if fault.kind == "pause" and is_hit:
            self._later(fault, self.crew.resume, fault.target)
        return is_hit

    def _network_fault(self, fault):
        proxies = self.cluster.proxies
        for name in self.cluster.proxies_of(guest(fault.target)):
            if fault.kind == "slow":
                proxies.slow(name, fault.arguments["latency_ms"], fault.arguments["jitter_ms"])
            else:
                getattr(proxies, fault.kind)(name)
        self._later(fault, self._heal_network, fault)
        return True

    def _heal_network(self, fault):
        for name in self.cluster.proxies_of(guest(fault.target)):
            if fault.kind == "cut":
                self.cluster.proxies.mend(name)
            else:
                self.cluster.proxies.heal(name)

    def _broker_fault(self, fault):
        self.broker_is_away, self.broker_looked_at = True, float("inf")
        self.broker_deadline = time.monotonic() + BROKER_SECONDS
        node = self.cluster.nodes[fault.target - 1]
        node.kill()
        self._later(fault, self._restart_broker, node)
        return True

    def _restart_broker(self, node):
        node.launch()
        self.broker_looked_at = time.monotonic()

    def _look_after_broker(self):
        self.cluster.relaunch_ended()
        if self.cluster.is_whole(0.5):
            self.broker_is_away = False
            self._note("the cluster is whole")
        elif time.monotonic() > self.broker_deadline:
            raise RuntimeError("a killed broker has not come back in time")
        self.broker_looked_at = time.monotonic()

    # --- afterwards ---

    def _wait(self, seconds, is_over):
        """Goes on tending until then; False when the time is up."""
        deadline = time.monotonic() + seconds
        while not is_over():
            if time.monotonic() > deadline:
                return False
            self._tend()
        return True

    def _lag(self):
        try:
            return sum(self.cluster.reader.lag(GROUP, INPUT).values())
        except KafkaException:
            return None

    def _finish(self):
        self._note("all faults are over")
        self.done_under_faults = len(self.observer.visible_at)
        self.crew.make_whole()
        if self.producer.flush(FINISH_SECONDS) > 0 or self.not_stored:
            raise RuntimeError(f"tasks that could not be fed: {self.not_stored[:3]}")
        self._wait(FINISH_SECONDS, lambda: len(self.observer.visible_at) == len(self.tasks))
        self._wait(FINISH_SECONDS / 4, lambda: self._lag() == 0)
        self._note("the work is over")
        self.crew.dismiss()
        self._wait(END_SECONDS, self.crew.is_empty)
        self._wait(CLOSED_SECONDS, lambda: self.cluster.open_transactions(OUTPUT) == 0)

    def _read_outputs(self):
        return [Output(one.partition(), one.offset(), one.key().decode(), one.value().decode())
                for one in self.cluster.reader.read_all(OUTPUT, seconds=120)]

    def _read_attempts(self):
        paths = [self.crew.trace_path(slot) for slot in range(schedule.SLOTS)]
        return [attempt for path in paths if path.exists() for attempt in parse_trace(path.read_text())]

    def _rebalances(self):
        """The group's generation, from the group's own record in the offsets topic."""
        generations = [0]
        for one in self.cluster.reader.read_all("__consumer_offsets", "read_uncommitted", 120):
            key, value = one.key(), one.value()
            if value is not None and struct.unpack_from(">h", key)[0] == 2 and key[4:].decode() == GROUP:
                length, = struct.unpack_from(">h", value, 2)
                generations.append(struct.unpack_from(">i", value, 4 + length)[0])
        self._note(f"generations of the group {generations}")
        return max(generations)

    def _conclude(self):
        lag, hung = self._lag(), self.cluster.open_transactions(OUTPUT)
        self.observer.stop()
        visible_at = self.observer.visible_at
        lines = [f"{at_ns} {order}\n" for order, at_ns in visible_at.items()]
        (self.folder / "visible.txt").write_text("".join(lines))
        judgement = judge(self.tasks, self._read_outputs(), self._read_attempts(), visible_at)
        # What the workers say. Of a killed one, that is what it had said until then: a transaction that it left open is
        # aborted by the broker and counted nowhere here.
        said = "".join(path.read_text() for path in self.crew.logs)
        counts = {**judgement.counts, "lag": lag, "hung": hung, "crashed": self.crew.counts["crashed"],
                  "rebalances": self._rebalances(), "aborted": said.count("transaction aborted"),
                  "fenced": said.count("the transactional producer is over"), "rejoined": said.count("joining again"),
                  "partitions_lost": said.count("partitions lost"), "asked_restart": self.crew.counts["asked_restart"]}
        told = ("attempts", "redone", "duplicates", "rebalances", "aborted", "fenced", "rejoined", "partitions_lost",
                "asked_restart")
        values = " ".join(f"{name}={counts.get(name, 0)}" for name in (*VERDICT, *told))
        self.is_clean = all(counts.get(name, 0) == 0 for name in VERDICT)
        share = 100 * self.done_under_faults // len(self.tasks)
        self.line = (f"soak: seed={self.seed} tasks={len(self.tasks)} faults={self.hits} {values} under_faults={share}% "
                     f"longest_stall={longest_gap_s(self.began_ns, visible_at):.1f}s brokers={self.brokers} kafka={self.kafka}")
        for text in [*(f"{name}: {text}" for name, texts in judgement.violations.items() for text in texts),
                     *self.crew.complaints]:
            self._say(text)


def folder_for(seed, brokers, kafka):
    folder = ROOT / "build" / "soak" / f"seed-{seed}-{brokers}-brokers-{kafka}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def bounce(seed, seconds, brokers, kafka, tasks=None, faults=None, is_kept=False):
    """A run in a folder of its own, which stays when the run fails."""
    folder = folder_for(seed, brokers, kafka)
    run = Run(seed, seconds, brokers, kafka, folder, tasks, faults)
    try:
        run.execute()
    except BaseException:
        print(f"the run of seed {seed} broke off; everything about it is in {folder}", flush=True)
        raise
    if not run.is_clean:
        print(f"the run of seed {seed} failed; everything about it is in {folder}", flush=True)
    elif not is_kept:
        shutil.rmtree(folder)
    print(run.line, flush=True)
    return run


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1)
    parser.add_argument("--kafka", choices=VERSIONS, default=VERSIONS[0])
    parser.add_argument("--tasks", type=int, help=f"{TASKS} or more by default")
    parser.add_argument("--schedule", type=Path, help="faults from this file instead of the seed")
    parser.add_argument("--keep", action="store_true", help="keep the folder of a run that succeeds")
    given = parser.parse_args()
    faults = schedule.from_json(given.schedule.read_text()) if given.schedule else None
    run = bounce(given.seed, given.seconds, given.brokers, given.kafka, given.tasks, faults, given.keep)
    return 0 if run.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
