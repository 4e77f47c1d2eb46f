"""make bench-producer: signed GitHub pushes against a producer that has each one acknowledged by a real Kafka (acks=all,
idempotent) before it answers, beside the same HTTP library answering 200 without any work, in the same minutes and with the
same client. Nothing fails because of a time; a wrong answer or a missing event fails.
"""
import argparse
import hashlib
import hmac
import json
import os
import re
import statistics
import subprocess
import tempfile
from pathlib import Path

from tests.bench.bench import number, print_table
from tests.support.fleet import Fleet
from tests.support.kafka import ROOT, Broker, die_with_parent, end

PROGRAMS = ROOT / "build" / "release" / "bin"
SECRET = "the secret of the bench"
COMMIT = "5f2c1e0a9d3b4c6e8f7a1b2c3d4e5f60718293a4"
DISTINCT = 500
CONCURRENCIES = (1, 16, 64, 256)
AIM = 0.5
IDLE = 1000


def push(number_):
    """As large as a push of GitHub's with one commit."""
    person = {"name": "somebody", "email": "somebody@example.org", "username": "somebody"}
    commit = {"id": COMMIT, "tree_id": COMMIT, "distinct": True, "message": "a message of a usual length, for a usual change",
              "timestamp": "2026-01-02T03:04:05Z", "url": f"https://github.com/acme/app/commit/{COMMIT}", "author": person,
              "committer": person, "added": [], "removed": [], "modified": ["README.md"]}
    urls = {f"{name}_url": f"https://api.github.com/repos/acme/app/{name}" for name in "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN"}
    return json.dumps({"ref": f"refs/tags/v-1.{number_}.0-qa", "before": "0" * 40, "after": COMMIT, "created": True,
                       "deleted": False, "forced": False, "compare": "https://github.com/acme/app/compare/v-1.0.0-qa",
                       "repository": {"id": 186853002, "full_name": "acme/app", "owner": person, **urls}, "pusher": person,
                       "sender": person, "commits": [], "head_commit": commit}).encode()


def request(number_):
    body = push(number_)
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    return (f"POST /hooks/bench HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: GitHub-Hookshot/1\r\nAccept: */*\r\n"
            f"Content-Type: application/json\r\nX-GitHub-Event: push\r\nX-GitHub-Delivery: {number_:08d}-bench\r\n"
            f"X-Hub-Signature-256: sha256={signature}\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body


def cpu_seconds(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_kib(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text()).group(1))


class Bench:
    def __init__(self, broker, folder, scale):
        self.folder, self.scale = Path(folder), scale
        self.pairs = 3 if scale >= 1 else 1
        self.rows, self.sent = [], 0
        self.requests = self.folder / "requests"
        self.requests.write_bytes(b"".join(b"%d\n" % len(one) + one for one in map(request, range(DISTINCT))))
        (self.folder / "secret").write_text(SECRET)
        self.fleet = Fleet(broker, None, self.folder / "fleet", f"""
            producer: {{ listen = "127.0.0.1:0"; connections_maximum = 4096; hooks = (
              {{ name = "bench"; provider = "github"; secret_file = "{self.folder}/secret"; rate = 0; }} ); }};""")

    def __enter__(self):
        self.fleet.__enter__()
        role = self.fleet.start("producer")
        self.producer = role.pid
        self.port = int(re.search(r"msg=ready port=(\d+)", role.log()).group(1))
        self.bare = subprocess.Popen([PROGRAMS / "bare_listener"], stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent)
        self.bare_port = int(self.bare.stdout.readline())
        return self

    def __exit__(self, *_):
        end(self.bare, 5)
        self.fleet.__exit__()

    def load(self, port, status, count, connections, mode):
        done = subprocess.run([PROGRAMS / "hook_load", str(port), str(status), str(count), str(connections), mode, self.requests],
                              capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr or done.stdout
        seen = json.loads(done.stdout)
        assert seen["count"] == count and seen["wrong"] == 0
        return seen

    def measure(self, connections, mode):
        count = max(connections, round({1: 1500, 16: 10000, 64: 20000, 256: 20000}[connections] * self.scale))
        rates, bare_rates, seen, cpu = [], [], None, 0
        for _ in range(self.pairs):
            before = cpu_seconds(self.producer)
            seen = self.load(self.port, 202, count, connections, mode)
            self.sent += count
            cpu = (cpu_seconds(self.producer) - before) / count * 1e6
            bare = self.load(self.bare_port, 200, count, connections, mode)
            rates.append(count / seen["seconds"])
            bare_rates.append(count / bare["seconds"])
        ratio = statistics.median(a / b for a, b in zip(rates, bare_rates))
        rate, bare_rate = statistics.median(rates), statistics.median(bare_rates)
        name = f"{connections} at once, {'kept' if mode == 'keep' else 'new'} connections"
        print(f"{name}: {number(rate)} pushes/s, p50 {seen['p50_us'] / 1000:.1f} ms, p99 {seen['p99_us'] / 1000:.1f} ms, "
              f"{cpu:.0f} us CPU each; bare {number(bare_rate)}/s: {ratio:.2f}", flush=True)
        self.rows.append(("p", name, f"{number(rate)}/s", f"{number(bare_rate)}/s", f"{ratio:.2f}", f">= {AIM}"))

    def measure_idle(self):
        before = memory_kib(self.producer)
        idle = max(10, round(IDLE * min(1, self.scale)))
        crowd = subprocess.Popen([PROGRAMS / "hook_load", str(self.port), "idle", str(idle)], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent)
        assert crowd.stdout.readline() == "open\n"
        self.load(self.port, 202, 10, 1, "keep")
        self.sent += 10
        after = memory_kib(self.producer)
        print(f"{idle} idle connections: {before / 1024:.1f} -> {after / 1024:.1f} MiB", flush=True)
        self.rows.append(("p", f"{idle} idle connections", f"{after / 1024:.1f} MiB", f"{before / 1024:.1f} MiB", "", ""))
        crowd.stdin.close()
        crowd.wait(10)

    def check(self):
        """Acknowledged means stored."""
        stored = len(self.fleet.records("events"))
        assert stored == self.sent, f"{stored} events of {self.sent} pushes"


def run(broker, folder, scale):
    with Bench(broker, folder, scale) as bench:
        bench.measure_idle()
        for mode in ("keep", "new"):
            for connections in CONCURRENCIES:
                bench.measure(connections, mode)
        bench.check()
        return bench.rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", type=float, default=1)
    scale = parser.parse_args().scale
    with tempfile.TemporaryDirectory() as folder, Broker(Path(folder) / "kafka") as broker:
        print_table(run(broker, folder, scale))


if __name__ == "__main__":
    main()
