"""make bench-copier: jobs lie ready on a real Kafka, copiers start, and the last result becomes visible. Rates are copies
from the first account's start to the last result, beside ready-signed requests of a bare libcurl loop against the same
server in the same minute. Nothing fails because of a time; a count that is wrong fails.
"""
import argparse
import json
import math
import os
import re
import statistics
import subprocess
import tempfile
import time
from datetime import datetime
from pathlib import Path

from confluent_kafka import Producer

from tests.bench import peers
from tests.bench.bench import number, print_table, spread
from tests.bench.targets import ARCHIVE, FILES, FRONTEND, OBJECTS, FilledS3sFs, FilledVersitygw, Stub, body_of, buckets_of
from tests.bench.visible import Ends
from tests.support import messages
from tests.support.fleet import Fleet
from tests.support.kafka import ROOT, Broker
from tests.support.stores import MAIN, ROLE, s3_client
from tests.support.trial import Trial

REPLAY = str(ROOT / "build" / "release" / "bin" / "s3_replay")
RUN_SECONDS = 300
PARTITIONS = 12
COPIES = len(OBJECTS)
GIB = 1 << 30
# What proved best on the loopback.
UNLIMITED = ("copier.copies_per_second=1000000", "aws.sts_calls_per_second=100000")
LOCAL = ("copier.requests_at_once=64", *UNLIMITED)


def accounts_named(count):
    return [f"{200000000000 + n}" for n in range(count)]


def middle(values):
    return statistics.median(values)


def wall_seconds(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


class Bench:
    def __init__(self, broker, folder, scale):
        self.broker, self.folder, self.scale = broker, Path(folder), scale
        self.is_small = scale < 0.1  # to see that it works
        self.pairs = 3 if scale >= 1 else 1
        self.made = 0
        self.rows = []

    def size(self, count, least=2):
        return max(least, round(count * self.scale))

    def place(self):
        self.made += 1
        return self.folder / str(self.made)

    def say(self, letter, name, text, measured="-", yardstick="-", ratio="-", aim="-"):
        print(f"{letter}  {name}: {text}", flush=True)
        self.rows.append((letter, name, measured, yardstick, ratio, aim))


# --- one run of copiers ---

def job_for(store, account, deployment, prefix, objects, **more):
    frontend, archive = buckets_of(account)
    profile = store.profile_of(account) if store.profile_of else None
    login = {"credentials": "profile", "profile": profile} if profile else {
        "credentials": "assume_role", "role": f"arn:aws:iam::{account}:role/{ROLE}"}
    now = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
    copies = [{"source_bucket": store.source_bucket, "source_key": FRONTEND, "target_bucket": frontend, "target_key": prefix},
              {"source_bucket": store.source_bucket, "source_key": ARCHIVE, "target_bucket": archive,
               "target_key": peers.key_for(ARCHIVE, prefix), "trigger": True}]
    copies = copies[1:] if objects == 1 else copies
    data = {"deployment": deployment, "account": account, "repository": "acme/app", "application": "app",
            "ref": "refs/heads/main", "tag": "branch/main", "commit": "4f2d6a1c9be07835d1a2f06c7e5b9348ac10de77",
            "build": "build-1", "region": "us-east-1", "source_region": "us-east-1", "source_owner": MAIN, **login,
            "attempt": 1, "accepted": now, "copies": copies, **more}
    return {"specversion": "1.0", "type": "tagfleet.job.v1", "id": f"{deployment}/{account}", "source": "tagfleet/resolver",
            "subject": account, "time": now, "datacontenttype": "application/json", "data": data}


def store_jobs(fleet, jobs):
    failures = []
    producer = Producer({"bootstrap.servers": fleet.broker.address, "enable.idempotence": True})
    for job in jobs:
        producer.produce(fleet.prefix + "jobs", json.dumps(job), job["subject"], headers=list(messages.headers_of(job).items()),
                         on_delivery=lambda error, _: error and failures.append(error))
        producer.poll(0)
    assert producer.flush(60) == 0 and not failures, failures[:3]


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mib(pid):
    """The most there was."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()).group(1)) / 1024


class Run:
    """Jobs for all accounts, and what copiers made of them."""

    def __init__(self, bench, store, accounts, prefix, settings, copiers=1, are_copiers_first=False, objects=COPIES, **more):
        deployment = f"d-{bench.made:016x}"
        sets = [word for one in settings for word in ("--set", one)]
        with Fleet(bench.broker, store, bench.place(), partitions=PARTITIONS) as fleet:
            jobs = [job_for(store, account, deployment, prefix, objects, **more) for account in accounts]
            ends = Ends(bench.broker, fleet.prefix + "results", PARTITIONS)
            if not are_copiers_first:
                store_jobs(fleet, jobs)
            started = time.time()
            roles = [fleet.start("copier", *sets, wait_ready=are_copiers_first) for _ in range(copiers)]
            if are_copiers_first:
                spread(Trial, roles, PARTITIONS)
                started = time.time()
                store_jobs(fleet, jobs)
            ended = time.time() - time.monotonic() + self._watch(fleet, ends, roles, len(accounts))
            self.cpu = sum(cpu_seconds(one.pid) for one in roles)
            self.memory = max(memory_mib(one.pid) for one in roles)
            results = [value["data"] for _, value, _ in fleet.records("results")]
            wrong = [one for one in results if one["outcome"] != "succeeded" or one["objects"] != objects]
            assert not wrong, wrong[:2]
            assert sorted(one["account"] for one in results) == sorted(accounts), f"{len(results)} results"
        began = min(wall_seconds(one["started"]) for one in results)
        self.copies = len(accounts) * objects
        self.seconds, self.from_start = ended - began, ended - started
        self.rate = self.copies / self.seconds
        self.cpu_us = self.cpu / self.copies * 1e6

    @staticmethod
    def _watch(fleet, ends, roles, count):
        """When the last result became visible. The ends count markers of transactions, too: what is still missing shows
        when it is counted."""
        missing, seen = count, 0
        while missing > 0:
            ended_at = ends.watch(seen + missing, RUN_SECONDS, lambda: all(one.process.poll() is None for one in roles))[0]
            seen, missing = ends.now() - ends.begin, count - len(fleet.records("results"))
        return ended_at

    def __str__(self):
        return (f"{number(self.rate)} copies/s, last account after {self.seconds:.2f} s ({self.from_start:.1f} s from the "
                f"start), {self.cpu_us:.0f} us CPU per copy, {self.memory:.0f} MiB at most")


def replay(store, accounts, prefix, concurrency):
    """The same copies by ready-signed requests: copies per second, CPU in us per copy."""
    lines = []
    for account in accounts:
        frontend, archive = buckets_of(account)
        key = " ".join(store.key_of(account))
        lines += [f"{key} {store.token} {archive if name == ARCHIVE else frontend} {peers.key_for(name, prefix)} {store.source_bucket}/{name}"
                  for name in [*FILES, ARCHIVE]]
    done = subprocess.run([REPLAY, store.url, str(concurrency)], input="\n".join(lines) + "\n", text=True, check=True,
                          stdout=subprocess.PIPE, timeout=RUN_SECONDS)
    found = json.loads(done.stdout)
    assert found["copies"] == len(lines)
    return found["copies"] / max(found["seconds"], 0.001), found["cpu_seconds"] / found["copies"] * 1e6


def compare(runs, yardsticks):
    ratio = middle(run.rate / rate for run, (rate, _) in zip(runs, yardsticks))
    best = sorted(runs, key=lambda run: run.rate)[len(runs) // 2]
    rate, cpu = middle(rate for rate, _ in yardsticks), middle(cpu for _, cpu in yardsticks)
    return ratio, best, middle(run.cpu_us for run in runs), rate, cpu


# --- a: real stores ---

PEER_ACCOUNTS = {"boto3": 200, "rclone": 20, "mc": 20}


def check_sample(store, accounts, prefix):
    """A few of the copies, byte by byte, by a client that is not ours."""
    for account in accounts[:: max(1, len(accounts) // 5)]:
        client = s3_client(store.url, *store.key_of(account))
        for bucket, name in zip(buckets_of(account), (FILES[-1], ARCHIVE)):
            found = client.get_object(Bucket=bucket, Key=peers.key_for(name, prefix))["Body"].read()
            assert found == body_of(name)[:OBJECTS[name]], f"{bucket}/{name}"


def bench_store(bench, store, accounts):
    runs, yardsticks = [], []
    for turn in range(bench.pairs):
        yardsticks.append(replay(store, accounts, f"yard{turn}/", 8))
        runs.append(Run(bench, store, accounts, f"run{turn}/", LOCAL))
    check_sample(store, accounts, "run0/")
    ratio, run, cpu, rate, rate_cpu = compare(runs, yardsticks)
    bench.say("a", f"{store.name}, {number(len(accounts))} accounts",
              f"{run}; replay {number(rate)}/s, {rate_cpu:.0f} us; ratio {ratio:.2f}",
              f"{number(run.rate)}/s", f"{number(rate)}/s", f"{ratio:.2f}", "-")
    return run.rate


def bench_peers(bench, store, key, accounts, ours):
    for name, run in peers.PEERS.items():
        if not peers.is_here(name):
            bench.say("a", f"{name} on {store.name}", "skipped: not installed (tests/support/install.sh peers)")
            continue
        some = accounts[:bench.size(PEER_ACCOUNTS[name], 1)]
        try:
            seconds, cpu = run(store, key, some, f"{name}/")
        except peers.PeerFailed as failed:
            bench.say("a", f"{name} on {store.name}", f"skipped: {failed}")
            continue
        rate = len(some) * COPIES / seconds
        check_sample(store, some, f"{name}/")
        bench.say("a", f"{name} on {store.name}", f"{number(rate)} copies/s, {cpu / len(some) / COPIES * 1e6:,.0f} us CPU per copy "
                  f"({len(some)} accounts); the copier {ours / rate:.1f} times as fast",
                  f"{number(ours)}/s", f"{number(rate)}/s", f"{ours / rate:.1f}", "-")


def bench_a(bench):
    """A build of one archive and 20 files, to real stores on a RAM disk."""
    for kind, key in ((FilledVersitygw, ("root", "root-secret")), (FilledS3sFs, None)):
        if not os.access(kind.program, os.X_OK):
            bench.say("a", kind.name, "skipped: not installed (tests/support/install.sh peers)")
            continue
        for count in (200,) if bench.is_small else (200, 1000):
            accounts = accounts_named(bench.size(count))
            with kind(bench.place(), accounts) as store:
                ours = bench_store(bench, store, accounts)
                if count == 200:
                    bench_peers(bench, store, key or store.key_of(None), accounts, ours)


# --- b: nothing but the client ---

def check_counts(store, accounts, objects=COPIES):
    found = store.counts()
    assert found["copy"] == len(accounts) * objects and found["refused"] == 0, found
    return found


def bench_b(bench):
    """The same against the stub."""
    accounts = accounts_named(bench.size(1000))
    runs, yardsticks = [], []
    for _ in range(bench.pairs):
        with Stub(accounts) as store:
            yardsticks.append(replay(store, accounts, "yard/", 32))
        with Stub(accounts) as store:
            runs.append(Run(bench, store, accounts, "run/", LOCAL))
            found = check_counts(store, accounts)
    ratio, run, cpu, rate, rate_cpu = compare(runs, yardsticks)
    bench.say("b", f"stub, {number(len(accounts))} accounts",
              f"{run}; median {cpu:.0f} us (aim 60); {found['connections']} connections, {found['assume_role']} AssumeRole, "
              f"{found['list_source']} + {found['list_target']} listings, {found['head']} HEAD; replay {number(rate)}/s, "
              f"{rate_cpu:.0f} us; ratio {ratio:.2f}",
              f"{number(run.rate)}/s, {cpu:.0f} us", f"{number(rate)}/s, {rate_cpu:.0f} us", f"{ratio:.2f}", "0.6, 60 us")


# --- c: a store far away ---

DELAY_MS = 50
FEW, MANY = 128, 512


def bench_c(bench):
    """Each answer takes 50 ms: what more copiers do for the time to the last account, and what more requests at once do.
    The copiers are there before the jobs, else it would be a benchmark of how a group forms."""
    accounts = accounts_named(bench.size(5000))
    first = None
    variants = ((1, FEW), (2, FEW), (4, FEW), (1, MANY))
    for copiers, requests in variants[:2] if bench.is_small else variants:
        with Stub(accounts, DELAY_MS) as store:
            settings = (f"copier.requests_at_once={requests}", *UNLIMITED)
            run = Run(bench, store, accounts, "run/", settings, copiers, are_copiers_first=True)
            found = check_counts(store, accounts)
        first = first or run.seconds
        bench.say("c", f"{DELAY_MS} ms, {number(len(accounts))} accounts, {copiers} x {requests} requests",
                  f"{run}; {found['connections']} connections, {found['assume_role']} AssumeRole",
                  f"{run.seconds:.1f} s", f"{first:.1f} s", f"{first / run.seconds:.2f}",
                  f"{copiers * requests / FEW:.1f}" + (", 30 s" if copiers == 4 else ""))


# --- d: relay ---

RELAY_ACCOUNTS = 20


def bench_d(bench):
    """An archive that goes through the copier: read once, written to every account."""
    accounts = accounts_named(bench.size(RELAY_ACCOUNTS))
    size = bench.size(GIB, 32 << 20)
    with Stub(accounts, objects={ARCHIVE: size}) as store:
        run = Run(bench, store, accounts, "run/", LOCAL, objects=1, mode="relay")
        found = store.counts()
    rate = found["bytes_in"] / run.seconds
    bench.say("d", f"relay of {size >> 20} MiB to {len(accounts)} accounts",
              f"{rate / 1e6:,.0f} MB/s out, source read {found['bytes_out'] / size:.2f} times, {run.memory:.0f} MiB at most, "
              f"{run.cpu / (found['bytes_in'] / GIB):.2f} s CPU per GiB sent", f"{rate / 1e6:,.0f} MB/s",
              "source read once", f"{found['bytes_out'] / size:.2f}", "1.0")


# --- e: how many copiers ---

# Objects of a build, ms until S3 answers, accounts: enough to go on for some seconds.
SIZES = [(1, 10, 600), (1, 50, 600), (1, 200, 600), (21, 10, 600), (21, 50, 600), (21, 200, 400),
         (201, 10, 150), (201, 50, 150), (201, 200, 60)]
FLEETS = [(1000, 60), (1000, 300), (10000, 60), (10000, 300)]  # accounts, seconds to be done in


def build_of(objects):
    return {ARCHIVE: 256 << 10, **{f"{FRONTEND}assets/file-{n:03d}.js": 10 << 10 for n in range(objects - 1)}}


def bench_e(bench):
    """What one copier does as it comes, with its default limits: accounts a second, by the build and the distance of S3; and
    from that, how many are needed. That more copiers do as much more is what c shows."""
    for objects, delay_ms, count in SIZES[::4] if bench.is_small else SIZES:
        accounts = accounts_named(bench.size(count, 4))
        with Stub(accounts, delay_ms, build_of(objects)) as store:
            run = Run(bench, store, accounts, "run/", (), objects=objects, are_copiers_first=True)
            check_counts(store, accounts, objects)
        rate = len(accounts) / run.seconds
        fleets = ", ".join(f"{number(fleet)} in {seconds // 60} min: {math.ceil(fleet / rate / seconds)}" for fleet, seconds in FLEETS)
        bench.say("e", f"{objects} objects, {delay_ms} ms", f"{rate:.1f} accounts/s each; copiers for {fleets}", f"{rate:.1f} accounts/s")


BENCHES = {"a": bench_a, "b": bench_b, "c": bench_c, "d": bench_d, "e": bench_e}


def run(broker, folder, letters, scale):
    bench = Bench(broker, folder, scale)
    for letter in letters:
        BENCHES[letter](bench)
    return bench.rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="")
    parser.add_argument("--scale", type=float, default=1)
    options = parser.parse_args()
    letters = [one for one in options.only.split(",") if one] or list(BENCHES)
    print(f"{os.cpu_count()} cores for broker, store, copier and observer; load {os.getloadavg()[0]:.1f} before", flush=True)
    with tempfile.TemporaryDirectory() as folder, Broker(Path(folder) / "kafka") as broker:
        print_table(run(broker, folder, letters, options.scale))


if __name__ == "__main__":
    main()
