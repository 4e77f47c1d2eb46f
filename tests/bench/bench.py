"""make bench: each figure beside a yardstick that ran in the same minutes on the same broker. Nothing here fails because
of a time; a count that is wrong fails.

Rates are of what a read_committed observer could see, without the first tenth of the messages: starting a process,
joining a group and the first transaction, which is slow for everybody, are left out.
"""
import argparse
import json
import os
import re
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from confluent_kafka import Producer

from tests.bench.visible import Arrivals, Ends
from tests.support import messages
from tests.support.fleet import Fleet, wait_for
from tests.support.kafka import ROOT, TOOLS, Broker, die_with_parent, end
from tests.support.trial import Trial

BARE_LOOP = str(ROOT / "build" / "release" / "bin" / "bare_loop")
RUN_SECONDS = 120
REPOSITORY = "acme/app"


class Bench:
    def __init__(self, broker, folder, scale):
        self.broker, self.folder, self.scale = broker, Path(folder), scale
        self.pairs = 3 if scale >= 1 else 1
        self.made = 0
        self.filled = {}
        self.rows = []

    def size(self, count, least=1):
        return max(least, round(count * self.scale))

    def place(self):
        self.made += 1
        return self.folder / str(self.made)

    def say(self, letter, name, text, measured, yardstick, ratio, aim):
        print(f"{letter}  {name}: {text}", flush=True)
        self.rows.append((letter, name, measured, yardstick, ratio, aim))

    def bare(self, *words, **more):
        return subprocess.Popen([BARE_LOOP, words[0], self.broker.address, *map(str, words[1:])],
                                preexec_fn=die_with_parent, **more)

    def begin_fill(self, trial, count, order="0 0 1 done"):
        topic = trial.prefix + "trial-in"
        return self.bare("fill", topic, self.broker.partitions(topic), count, order)

    def fill(self, trial, count):
        process = self.begin_fill(trial, count)
        assert process.wait(RUN_SECONDS) == 0, "fill"
        self.filled[trial.prefix] = self.filled.get(trial.prefix, 0) + count
        stored = Ends(self.broker, trial.prefix + "trial-in", self.broker.partitions(trial.prefix + "trial-in")).begin
        assert stored == self.filled[trial.prefix], f"{stored} orders were stored"

    def count(self, topic):
        """How many messages are visible, and how many different orders."""
        process = self.bare("count", topic, stdout=subprocess.PIPE, text=True)
        found, different = process.communicate(timeout=RUN_SECONDS)[0].split()
        assert process.returncode == 0
        return int(found), int(different)

    def check(self, trial, count, different=None):
        found = self.count(trial.prefix + "trial-out")
        assert found == (count, different or count), f"{count} orders, but {found[0]} outputs of {found[1]} orders"


def middle(values):
    return statistics.median(values)


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))]


def number(value):
    return f"{value:,.0f}"


def seconds(value):
    return f"{value:.1f} s"


def milliseconds(value):
    return f"{value * 1000:.0f} ms"


# --- a: throughput ---

PARTITIONS = 6


def rate(bench, trial, count, ends, process):
    try:
        return ends.watch(count, RUN_SECONDS, lambda: process.poll() is None)[1]
    except AssertionError as stopped:
        lags = {one: bench.broker.lag(trial.prefix + one, trial.prefix + "trial-in") for one in ("trial", "bare", "copier")}
        raise AssertionError(f"{stopped}; {lags}; exit code {process.poll()}") from None


def engine_rate(bench, count):
    """Tasks per second, and tasks per transaction."""
    trial = Trial(bench.broker, bench.place(), partitions=PARTITIONS)
    try:
        bench.fill(trial, count)
        ends = Ends(bench.broker, trial.prefix + "trial-out", PARTITIONS)
        worker = trial.start(wait_ready=False)
        found = rate(bench, trial, count, ends, worker.process)
        per_commit = worker.metric("jobs_settled_total") / worker.metric("commits_total")
    finally:
        trial.close()
    bench.check(trial, count)
    return found, per_commit


def loop_rate(bench, count, size, copier=False):
    trial = Trial(bench.broker, bench.place(), partitions=PARTITIONS)
    names = [trial.prefix + name for name in ("trial-in", "trial-out")]
    bench.fill(trial, count)
    ends = Ends(bench.broker, names[1], PARTITIONS)
    if copier:
        process = subprocess.Popen(
            ["java", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", str(TOOLS / f"kafka-{bench.broker.version}/*"),
             "org.apache.kafka.tools.TransactionalMessageCopier", "--broker-list", bench.broker.address,
             "--input-topic", names[0], "--input-partition", "0", "--output-topic", names[1],
             "--max-messages", str(count), "--transaction-size", str(size), "--transactional-id", trial.prefix + "copier",
             "--consumer-group", trial.prefix + "copier", "--group-mode", "--use-group-metadata"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=die_with_parent)
    else:
        process = bench.bare("copy", *names, trial.prefix + "bare", size)
    try:
        found = rate(bench, trial, count, ends, process)
    finally:
        end(process, 20)
    bench.check(trial, count)
    return found


def bench_a(bench):
    """Tasks that do nothing, one output each."""
    count = bench.size(600000)
    ours, theirs, sizes = [], [], []
    for _ in range(bench.pairs):
        found, per_commit = engine_rate(bench, count)
        ours.append(found)
        sizes.append(per_commit)
        theirs.append(loop_rate(bench, count, max(1, round(per_commit))))
    size = max(1, round(middle(sizes)))
    copier = loop_rate(bench, count, size, copier=True)
    ratio = middle(one / other for one, other in zip(ours, theirs))
    bench.say("a", "no-op, 1 output",
              f"{number(middle(ours))}/s; bare loop {number(middle(theirs))}/s; ratio {ratio:.2f} (aim 0.8); "
              f"TransactionalMessageCopier {number(copier)}/s, {middle(ours) / copier:.1f} times as fast "
              f"({number(count)} messages, {number(size)} per transaction)",
              f"{number(middle(ours))}/s", f"{number(middle(theirs))}/s", f"{ratio:.2f}", "0.8")


# --- b: one tag, many accounts ---

RESOLVER = 'resolver: { copies = ( { source = "{commit}/app.zip"; bucket = "b-{account}"; key = "app.zip"; trigger = true; } ); };'


def commit(n):
    return "%040x" % (0xfeed0000 + n)


def push(fleet, producer, n, ref):
    """Stores an event as the producer would write it; the moment before."""
    data = {"kind": "branch_updated", "origin": "webhook", "provider": "bitbucket", "repository": REPOSITORY, "ref": ref,
            "after": commit(n), **({"before": commit(n - 1)} if n > 1 else {})}
    event = {"specversion": "1.0", "type": "tagfleet.event.v1", "id": "bench", "source": "tests",
             "time": "2026-01-01T00:00:00.000Z", "data": data}
    began = time.monotonic()
    producer.produce(fleet.prefix + "events", json.dumps(event), REPOSITORY,
                     headers=list(messages.headers_of(event).items()))
    assert producer.flush(30) == 0
    return began


def bench_b(bench):
    """One push for many accounts: from the event to all jobs, and the same jobs from a transactional producer."""
    accounts = bench.size(100000)
    with Fleet(bench.broker, None, bench.place(), RESOLVER) as fleet:
        entries = fleet.directory / "map.json"
        entries.write_text(json.dumps({"branch/main": [f"{10**11 + n}" for n in range(accounts)],
                                       "branch/warm": ["100000000000"]}))
        fleet.must("map", "apply", "-f", str(entries))
        fleet.start("resolver")
        producer = Producer({"bootstrap.servers": bench.broker.address, "enable.idempotence": True, "linger.ms": 0})
        jobs = fleet.prefix + "jobs"
        partitions = bench.broker.partitions(jobs)
        warm = Ends(bench.broker, jobs, partitions)
        push(fleet, producer, 1, "refs/heads/warm")
        warm.watch(1, 60)
        copy = Trial(bench.broker, bench.place(), partitions=partitions)
        target = copy.prefix + "trial-out"
        ours, theirs, replay = [], [], None
        for n in range(1, bench.pairs + 1):
            ends = Ends(bench.broker, jobs, partitions)
            began = push(fleet, producer, n, "refs/heads/main")
            ours.append(accounts / (ends.watch(accounts, RUN_SECONDS, look_seconds=0.03)[0] - began))
            if replay is None:
                replay = bench.bare("replay", jobs, target, accounts, bench.pairs, stdin=subprocess.PIPE,
                                    stdout=subprocess.PIPE, text=True)
                assert replay.stdout.readline() == "committed\n"
            ends = Ends(bench.broker, target, partitions)
            began = time.monotonic()
            replay.stdin.write("\n")
            replay.stdin.flush()
            theirs.append(accounts / (ends.watch(accounts, RUN_SECONDS, look_seconds=0.03)[0] - began))
        replay.communicate(timeout=60)
        found = bench.count(jobs)[0]
        assert found == 1 + accounts * bench.pairs, f"{found} jobs"
        assert bench.count(target)[0] == found, "the yardstick has written something else"
    ratio = middle(one / other for one, other in zip(ours, theirs))
    bench.say("b", f"resolver, 1 tag -> {number(accounts)} accounts",
              f"{number(middle(ours))} jobs/s, all visible after {accounts / middle(ours):.2f} s; the same bytes from a "
              f"transactional producer {number(middle(theirs))}/s; ratio {ratio:.2f} (aim 0.8)",
              f"{number(middle(ours))}/s", f"{number(middle(theirs))}/s", f"{ratio:.2f}", "0.8")


# --- c: latency ---

RATE = 20
WARM = 3 * RATE


def latencies(bench, is_bare, count):
    """Seconds from producing an order to seeing its output, without those of the first seconds."""
    trial = Trial(bench.broker, bench.place(), partitions=3)
    names = [trial.prefix + name for name in ("trial-in", "trial-out")]
    arrivals = Arrivals(bench.broker, names[1], 3)
    process = bench.bare("copy", *names, trial.prefix + "bare", 1) if is_bare else trial.start().process
    producer = Producer({"bootstrap.servers": bench.broker.address, "enable.idempotence": True, "linger.ms": 0})
    sent = {}
    try:
        begin = time.monotonic()
        for n in range(WARM + count):
            time.sleep(max(0, begin + n / RATE - time.monotonic()))
            sent[str(n)] = time.monotonic()
            producer.produce(names[0], f"0 0 1 done {n}", f"k{n}")
            producer.poll(0)
        assert producer.flush(30) == 0
        wait_for(lambda: len(arrivals.seen) == len(sent), 60, "all outputs")
    finally:
        end(process, 20)
        arrivals.close()
    bench.check(trial, len(sent))
    return [arrivals.seen[one] - sent[one] for one in sent if int(one) >= WARM]


def bench_c(bench):
    """One message every 50 ms: what the engine adds to a loop that commits each message."""
    count = bench.size(20 * RATE, RATE)
    ours, theirs = [], []
    for _ in range(bench.pairs):
        ours.append(latencies(bench, False, count))
        theirs.append(latencies(bench, True, count))
    figures = {name: [middle(percentile(run, share) for run in runs) for runs in (ours, theirs)]
               for name, share in (("p50", 0.5), ("p99", 0.99))}
    bench.say("c", f"latency at {RATE}/s", "; ".join(
        f"{name} {milliseconds(mine)}, bare loop with a transaction per message {milliseconds(bare)}, added {milliseconds(mine - bare)}"
        for name, (mine, bare) in figures.items()),
        " / ".join(milliseconds(figures[name][0]) for name in figures),
        " / ".join(milliseconds(figures[name][1]) for name in figures),
        f"{figures['p50'][0] / figures['p50'][1]:.2f}", "-")


# --- d: a worker is killed ---

SPREAD = 8


def held(trial, worker):
    """The partitions a worker reads."""
    return {int(one) for one in re.findall(r'^tagfleet_partition_incomplete_offsets\{.*partition="(\d+)"\}', worker.ask("/metrics")[1], re.M)}


def spread(trial, workers, partitions):
    def is_spread():
        found = [held(trial, worker) for worker in workers]
        return sum(map(len, found)) == partitions and all(len(one) == partitions // len(workers) for one in found)
    wait_for(is_spread, 60, "an even assignment")


def takeover(bench, trial, arrivals, producer, workers, is_restarted, sequence):
    """Kills one of the workers; seconds until the first output of what came after, from the partitions it had."""
    victim = workers[-1]
    lost = held(trial, victim)
    killed_at, sent, deadline = None, {}, time.monotonic() + 60
    begin = time.monotonic()
    for turn in range(10**6):
        time.sleep(max(0, begin + turn * 0.1 - time.monotonic()))
        assert time.monotonic() < deadline, "no takeover"
        if turn == 20:
            victim.kill()
            killed_at = time.monotonic()
            if is_restarted:
                workers[-1] = trial.start(instance=f"bench{len(workers)}", wait_ready=False)
        for partition in range(SPREAD):
            name = f"{next(sequence)}"
            producer.produce(trial.prefix + "trial-in", f"0 0 1 done {name}", f"k{partition}", partition=partition)
            if killed_at is not None and partition in lost:
                sent[name] = time.monotonic()
        producer.poll(0)
        found = [arrivals.seen[name] for name in sent if name in arrivals.seen]
        if found:
            break
    assert producer.flush(30) == 0
    if not is_restarted:
        workers[-1] = trial.start(instance=f"bench{len(workers)}")
    return min(found) - killed_at


def bench_d(bench):
    """From kill -9 of one of four workers to the first result from its partitions."""
    trial = Trial(bench.broker, bench.place(), partitions=SPREAD)
    arrivals = Arrivals(bench.broker, trial.prefix + "trial-out", SPREAD)
    producer = Producer({"bootstrap.servers": bench.broker.address, "enable.idempotence": True, "linger.ms": 0})
    sequence = iter(range(10**9))
    times = {True: [], False: []}
    try:
        workers = [trial.start(instance=f"bench{n}") for n in range(1, 5)]
        for _ in range(bench.pairs):
            for is_restarted in (True, False):
                spread(trial, workers, SPREAD)
                times[is_restarted].append(takeover(bench, trial, arrivals, producer, workers, is_restarted, sequence))
        asked = next(sequence)
        wait_for(lambda: len(arrivals.seen) == asked, 60, "all outputs")
    finally:
        trial.close()
        arrivals.close()
    bench.check(trial, asked)
    bench.say("d", "kill -9 of one of four", f"first result after {seconds(middle(times[True]))} when it is started again at once "
              f"under its name, after {seconds(middle(times[False]))} when the others have to take over (session time-out 10 s)",
              f"{seconds(middle(times[True]))} / {seconds(middle(times[False]))}", "session 10 s", "-", "-")


# --- e: memory and idle CPU ---

IDLE_SECONDS = 20


def resident_mib(worker):
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{worker.pid}/status").read_text()).group(1)) / 1024


def cpu_seconds(worker):
    fields = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def settle(bench, trial, worker, ends, total):
    """All work done, and a little rest in which the engine may give memory back."""
    ends.watch(total, RUN_SECONDS, lambda: worker.process.poll() is None)
    wait_for(lambda: worker.metric("inflight") == 0, 60, "nothing in memory")
    time.sleep(3)
    return resident_mib(worker)


def bench_e(bench):
    """Resident memory after few and after many tasks, and what a worker without work costs."""
    many = bench.size(1000000, 2000)
    trial = Trial(bench.broker, bench.place(), partitions=PARTITIONS)
    try:
        worker = trial.start()
        ends = Ends(bench.broker, trial.prefix + "trial-out", PARTITIONS)
        fresh = resident_mib(worker)
        bench.fill(trial, 1000)
        few_mib = settle(bench, trial, worker, ends, 1000)
        bench.fill(trial, many - 1000)
        many_mib = settle(bench, trial, worker, ends, many)
        before, began = cpu_seconds(worker), time.monotonic()
        time.sleep(max(3, IDLE_SECONDS * min(1, bench.scale)))
        idle = (cpu_seconds(worker) - before) / (time.monotonic() - began)
    finally:
        trial.close()
    bench.check(trial, many, max(1000, many - 1000))
    bench.say("e", "memory and idle CPU",
              f"{few_mib:.1f} MiB after 1,000 tasks, {many_mib:.1f} MiB after {number(many)} (aim: the same), {fresh:.1f} when ready; "
              f"idle {100 * idle:.2f} % of a core (aim 0.5 %)",
              f"{many_mib:.1f} MiB", f"{few_mib:.1f} MiB", f"{many_mib / few_mib:.2f}", "1.0")


# --- f: more workers ---

TASK_MS = 20
AT_ONCE = 8


def spread_rate(bench, count_of_workers, count):
    trial = Trial(bench.broker, bench.place(), partitions=12)
    ends = Ends(bench.broker, trial.prefix + "trial-out", 12)
    try:
        workers = [trial.start(f"trial.max_running={AT_ONCE}") for _ in range(count_of_workers)]
        spread(trial, workers, 12)
        filling = bench.begin_fill(trial, count, f"{TASK_MS} 0 1 done")
        found = ends.watch(count, RUN_SECONDS)[1]
        assert filling.wait(30) == 0
    finally:
        trial.close()
    bench.check(trial, count)
    return found


def bench_f(bench):
    """Tasks that wait, with 1, 2 and 4 workers: what one can do is bounded by max_running, not by the machine."""
    most = AT_ONCE * 1000 / TASK_MS
    rates = {count: spread_rate(bench, count, bench.size(count * most * 10, 240)) for count in (1, 2, 4)}
    bench.say("f", f"{TASK_MS} ms tasks, {AT_ONCE} at once",
              "; ".join(f"{count} workers {number(found)}/s" for count, found in rates.items()) +
              f" (at most {number(most)}/s each); 4 workers are {rates[4] / rates[1]:.2f} times as fast as 1 (aim 4)",
              f"{number(rates[4])}/s", f"4 x {number(rates[1])}/s", f"{rates[4] / rates[1] / 4:.2f}", "1.0")


BENCHES = {"a": bench_a, "b": bench_b, "c": bench_c, "d": bench_d, "e": bench_e, "f": bench_f}


def run(broker, folder, letters, scale):
    bench = Bench(broker, folder, scale)
    for letter in letters:
        BENCHES[letter](bench)
    return bench.rows


def print_table(rows):
    table = [("", "benchmark", "measured", "yardstick", "ratio", "aim"), *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    print()
    for row in table:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="")
    parser.add_argument("--scale", type=float, default=1)
    options = parser.parse_args()
    letters = [one for one in options.only.split(",") if one] or list(BENCHES)
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores for broker, worker and observer; load {load:.1f} before", flush=True)
    with tempfile.TemporaryDirectory() as folder, Broker(Path(folder) / "kafka") as broker:
        print_table(run(broker, folder, letters, options.scale))


if __name__ == "__main__":
    main()
