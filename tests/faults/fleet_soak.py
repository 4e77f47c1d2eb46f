"""A whole fleet under fire: producer, resolver and four copiers before a store that is slow and errs, everything killed in
turn while builds are pushed; then everything is compared with what was pushed. `make soak-fleet SECONDS=240 SEED=1`.

The faults and the pushes are functions of the seed; when they hit is up to the machine. The last line says what was wrong,
and the exit code is 0 only when nothing was. The folder of a run that failed is kept."""
import argparse
import hashlib
import hmac
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from tests.faults import fleet_check, fleet_schedule
from tests.support.fleet import Fleet
from tests.support.kafka import ROOT, Broker, die_with_parent, end, free_ports
from tests.support.stores import Versitygw

REPOSITORY = "acme/app"
SECRET = "a secret of the hook"
PUSH_SECONDS = 120       # for one push to be acknowledged, however often it is sent
SETTLE_SECONDS = 420     # for the fleet to finish when nothing hurts it any more
BURST = 4                # pushes in a row: some accounts get behind, and waiting jobs are superseded
PAYLOAD = json.loads((ROOT / "tests" / "support" / "demo_push.json").read_text())


def say(text):
    print(text, flush=True)


class Slot:
    """One place of the fleet: whoever has it dies and is started again under the same name."""

    def __init__(self, soak, name):
        self.soak, self.name = soak, name
        self.role = None
        self.ends = Counter()

    def start(self):
        kind = self.name.partition("-")[0]
        words = ["--instance", self.name] if kind != "producer" else []
        self.role = self.soak.fleet.start(kind, *words, env=self.soak.role_environment, wait_ready=False)

    def tend(self):
        code = self.role.process.poll()
        if code is not None:
            self.ends[code] += 1
            self.start()


class Sender(threading.Thread):
    """Pushes one after the other, each again and again until it is acknowledged, as a git host and a build do."""

    def __init__(self, soak, pushes, seconds):
        super().__init__(daemon=True)
        self.soak, self.pushes, self.seconds = soak, pushes, seconds
        self.again = 0
        self.failed = None

    def run(self):
        began = time.monotonic()
        try:
            for number, push in enumerate(self.pushes):
                time.sleep(max(0, began + self.seconds * (number - number % BURST) / len(self.pushes) - time.monotonic()))
                self.push(push)
        except Exception as error:
            self.failed = error

    def push(self, push):
        self.push_once(push)
        again = self.soak.repetitions.get(push.number)
        if again:
            self.until_stored(lambda attempt: self.hook(again, attempt + 1), again)

    def push_once(self, push):
        if push.how == "hook then emit":
            self.until_stored(lambda attempt: self.hook(push, attempt), push)
        if push.how == "tag":
            # The build is known from a branch that deploys nothing; the tag then deploys that very build.
            self.until_stored(lambda _: self.emit(push, "refs/heads/trunk"), push)
            self.until_stored(lambda attempt: self.hook(push, attempt), push)
        else:
            self.until_stored(lambda _: self.emit(push, push.ref), push)

    def until_stored(self, send, push):
        deadline = time.monotonic() + PUSH_SECONDS
        attempt = 1
        while not send(attempt):
            if time.monotonic() > deadline:
                raise RuntimeError(f"push {push.number} was not acknowledged within {PUSH_SECONDS} s")
            self.again += 1
            attempt += 1
            time.sleep(0.5)

    def emit(self, push, ref):
        before = ["--before", push.before] if push.before else []
        done = self.soak.fleet.run("emit", "--repository", REPOSITORY, "--ref", ref, "--commit", push.commit, "--build", push.build,
                                   *before, timeout=60)
        assert done.returncode in (0, 111), done.stderr
        return done.returncode == 0

    def hook(self, push, attempt):
        body = json.dumps(hook_body(push)).encode()
        try:
            answer = requests.post(self.soak.hook_url, data=body, timeout=5, headers={
                "X-Event-Key": "repo:push", "Content-Type": "application/json", "X-Attempt-Number": str(attempt),
                "X-Request-UUID": f"00000000-0000-4000-8000-{push.number:012d}",
                "X-Hub-Signature": "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()})
        except requests.RequestException:
            return False
        assert answer.status_code in (202, 503), (answer.status_code, answer.text)
        return answer.status_code == 202


def hook_body(push):
    """A Bitbucket push of the branch, or of the new tag."""
    body = json.loads(json.dumps(PAYLOAD).replace("@COMMIT@", push.commit).replace("@TAG@", push.ref.rpartition("/")[2]))
    change = body["push"]["changes"][0]
    if push.how != "tag":
        change["new"]["type"] = "branch"
        if push.before:
            old = json.loads(json.dumps(change["new"]).replace(push.commit, push.before))
            change.update(old=old, created=False)
    return body


class Soak:
    def __init__(self, folder, seed, seconds, pushes, accounts, is_rolling):
        self.folder, self.seed, self.seconds = Path(folder), seed, seconds
        self.accounts = [f"{222222222222 + n:012d}" for n in range(accounts)]
        self.pushes = fleet_schedule.pushes(seed, pushes)
        self.repetitions = fleet_schedule.repetitions(seed, self.pushes)
        self.faults = fleet_schedule.restarts(seconds) if is_rolling else fleet_schedule.faults(seed, seconds)
        self.good_ends = (0,) if is_rolling else (0, 111, -signal.SIGKILL)
        self.broker = Broker(self.folder / "kafka", session_ms=2000)
        self.store = Versitygw(self.folder / "store")
        self.front = None
        self.slots = {}

    # --- setting up ---

    def __enter__(self):
        port = free_ports(1)[0]
        self.hook_url = f"http://127.0.0.1:{port}/hooks/acme"
        (self.folder / "secret").write_text(SECRET + "\n")
        config = f"""producer: {{ listen = "127.0.0.1:{port}"; hooks = (
            {{ name = "acme"; provider = "bitbucket"; secret_file = "{self.folder}/secret"; }} ); }};"""
        self.broker.start()
        self.store.start()
        self.store.add_accounts(self.accounts)
        self.upload()
        self.start_front()
        self.fleet = Fleet(self.broker, self.store, self.folder / "fleet", config)
        self.fleet.__enter__()
        map_file = self.folder / "map.json"
        map_file.write_text(json.dumps({tag: fleet_schedule.accounts_of(tag, self.accounts) for tag in ("branch/main", "blue", "green")}))
        self.fleet.must("map", "apply", "-f", str(map_file))
        return self

    def __exit__(self, *_):
        self.fleet.__exit__()
        end(self.front, 5)
        self.store.stop()
        self.broker.stop()

    def upload(self):
        def put(push):
            for (kind, key), content in fleet_schedule.files(push.build).items():
                name = f"frontend/{key}" if kind == "frontend" else "SourceArtifact.zip"
                client.put_object(Bucket=self.store.source_bucket, Key=f"{push.build}/{name}", Body=content)
        client = self.store.main_client()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(put, self.pushes))

    def start_front(self):
        self.front = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.fleet_front", self.store.url.rpartition(":")[2], str(self.seed),
             str(self.folder / "front.json")], cwd=ROOT, stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent)
        self.role_environment = {"AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{int(self.front.stdout.readline())}"}

    # --- under fire ---

    def run(self):
        for name in fleet_schedule.ROLES:
            self.slots[name] = Slot(self, name)
            self.slots[name].start()
        sender = Sender(self, self.pushes, self.seconds * 0.9)
        sender.start()
        began = time.monotonic()
        due = [(fault.at, fault.what, fault.whom) for fault in self.faults]
        while due or sender.is_alive():
            due.sort()
            while due and time.monotonic() - began >= due[0][0]:
                _, what, whom = due.pop(0)
                due += self.strike(what, whom, time.monotonic() - began)
            for slot in self.slots.values():
                slot.tend()
            time.sleep(0.1)
        if sender.failed:
            raise sender.failed
        self.sent_again = sender.again
        say(f"all pushed, {time.monotonic() - began:.0f} s; the fleet finishes")

    def strike(self, what, whom, now):
        """Does what is due, and answers what is due later because of it."""
        if what == "restart":
            self.broker.kill()
            self.broker.start()
        elif what == "pause":
            self.store.pause()
            return [(now + fleet_schedule.STORE_SECONDS, "go on", whom)]
        elif what == "go on":
            (self.store if whom == "store" else self.slots[whom].role).resume()
        elif self.slots[whom].role.process.poll() is None:
            role = self.slots[whom].role
            number = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "end": signal.SIGTERM}[what]
            os.kill(role.pid, number)
            return [(now + fleet_schedule.STOPPED_SECONDS, "go on", whom)] if what == "stop" else []
        return []

    # --- afterwards ---

    def settle(self):
        """Waits for the results, but judges nothing: what is not there in time is missing."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            for slot in self.slots.values():
                slot.tend()
            if not fleet_check.missing(self.pushes, self.fleet.deployments(), self.fleet.results()):
                return
            time.sleep(3)
        say("it did not finish in time")

    def end_roles(self):
        """What a role that is asked to end does not drain, one line each."""
        for slot in self.slots.values():
            slot.role.process.terminate()
        return [f"{name} ended with {code}" for name, slot in self.slots.items() if (code := slot.role.stop()) != 0]

    def look(self, account):
        """A tenant's buckets as another client sees them: contents, versions and unfinished uploads."""
        client = self.store.client(account)
        contents, versions, uploads = {}, {}, []
        for kind in fleet_check.KINDS:
            bucket = f"{kind}-{account}"
            contents[(account, kind)] = self.store.objects(bucket, account)
            for page in client.get_paginator("list_object_versions").paginate(Bucket=bucket):
                for one in page.get("Versions", []):
                    versions.setdefault((bucket, one["Key"]), []).append((one["VersionId"], one["ETag"].strip('"')))
            uploads += [f"{bucket}/{one['Key']}" for one in client.list_multipart_uploads(Bucket=bucket).get("Uploads") or []]
        # The store's version ids begin with the time and sort by it.
        return contents, {name: [tag for _, tag in sorted(found)] for name, found in versions.items()}, uploads

    def judge(self):
        undrained = self.end_roles()
        deployments, results = self.fleet.deployments(), self.fleet.results()
        buckets, versions, uploads = {}, {}, []
        with ThreadPoolExecutor(4) as pool:
            for contents, found, left in pool.map(self.look, self.accounts):
                buckets.update(contents)
                versions.update(found)
                uploads += left
        main = self.store.main_client().list_multipart_uploads(Bucket=self.store.source_bucket)
        uploads += [f"{self.store.source_bucket}/{one['Key']}" for one in main.get("Uploads") or []]
        written = fleet_check.writes(self.store.access_log.read_text().splitlines())
        builds = [push.build for push in self.pushes]
        self.outcomes = Counter(one["outcome"] for found in results.values() for one in found)
        self.writes = len(written)
        return {
            "missing": fleet_check.missing(self.pushes, deployments, results),
            "doubled": fleet_check.doubled(self.pushes, deployments, results),
            "misread_map": fleet_check.misread_map(self.pushes, self.accounts, deployments),
            "failed": fleet_check.failed(results),
            "stale": fleet_check.stale(self.pushes, self.accounts, deployments, results, buckets),
            "torn": fleet_check.torn(self.pushes, self.accounts, buckets),
            "early_triggers": fleet_check.early_triggers(written, versions, builds),
            "uploads_left": uploads,
            "unmatched": fleet_check.unmatched(written, versions),
            "invalid": self.fleet.message_complaints() + self.fleet.log_complaints(),
            "crashes": self.crashes() + undrained,
        }

    def crashes(self):
        """Ends that nobody has asked for: 0 is a drain; under fire, 111 asks for the restart that it gets, -9 was us."""
        return [f"{name} ended {count} times with {code}" for name, slot in self.slots.items()
                for code, count in slot.ends.items() if code not in self.good_ends]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=240)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pushes", type=int, default=200)
    parser.add_argument("--accounts", type=int, default=100)
    parser.add_argument("--rolling", action="store_true", help="nothing but a rolling restart, twice")
    parser.add_argument("--folder", help="where servers and roles write; kept only when the run fails")
    return parser.parse_args()


def main():
    given = arguments()
    folder = Path(given.folder or tempfile.mkdtemp(prefix="tagfleet-soak-")).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    say(f"seed {given.seed}, folder {folder}")
    with Soak(folder, given.seed, given.seconds, given.pushes, given.accounts, given.rolling) as soak:
        for fault in soak.faults:
            say(f"  {fault.at:6.1f} s  {fault.what} {fault.whom}")
        soak.run()
        soak.settle()
        wrong = soak.judge()
    say(f"results {dict(soak.outcomes)}, writes {soak.writes}, front {(folder / 'front.json').read_text()}, "
        f"ends {({name: dict(slot.ends) for name, slot in soak.slots.items()})}")
    for name, lines in wrong.items():
        for line in lines[:10]:
            say(f"{name}: {line}")
    failed = any(wrong.values())
    if failed:
        say(f"the folder is kept: {folder}")
    else:
        shutil.rmtree(folder)
    say(f"soak-fleet: seed={given.seed} pushes={given.pushes} accounts={given.accounts} faults={len(soak.faults)} "
        f"sent_again={soak.sent_again} " + " ".join(f"{name}={len(lines)}" for name, lines in wrong.items()))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
