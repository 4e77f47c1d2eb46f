"""The program under test as a user runs it: one-shot commands, and roles in the background."""
import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path

from tests.support import messages
from tests.support.kafka import ROOT, die_with_parent, end

BINARY = os.environ.get("TAGFLEET_BIN", str(ROOT / "build" / "tagfleet"))
READY_SECONDS = 40


def wait_for(predicate, seconds=30, what="the condition"):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = predicate()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"{what} did not come true within {seconds} s")


class Role:
    def __init__(self, name, process, log):
        self.name, self.process, self.log_path = name, process, log
        self.pid = process.pid

    def log(self):
        return self.log_path.read_text()

    def stop(self, seconds=20):
        self.resume()
        return end(self.process, seconds)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def signal(self, number):
        os.kill(self.pid, number)

    def ask(self, path):
        """(status, text) of the role's admin listener."""
        port = wait_for(lambda: re.search(r'"health and metrics".*port"?[=:]"?(\d+)', self.log()), 20, "the admin listener").group(1)
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as answer:
            return answer.code, answer.read().decode()

    def metric(self, name, page=None, **labels):
        """The number of a metric, summed over what has these labels; of a page that was read before, or as it is now."""
        total = 0
        for line in (page or self.ask("/metrics")[1]).splitlines():
            if re.match(rf"tagfleet_{name}[{{ ]", line) and all(f'{key}="{value}"' in line for key, value in labels.items()):
                total += float(line.rsplit(" ", 1)[1])
        return total

    def pause(self):
        self.signal(signal.SIGSTOP)

    def resume(self):
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)


class Fleet:
    def __init__(self, broker, store, directory, config=None, partitions=6):
        self.broker, self.store, self.partitions = broker, store, partitions
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.prefix = f"t{uuid.uuid4().hex[:10]}."
        self.roles = []
        self.garbage = set()
        self.config = None
        if config is not None:
            self.config = self.directory / "tagfleet.cfg"
            self.config.write_text(config)

    def __enter__(self):
        created = self.run("topics", "create", "--partitions", str(self.partitions))
        assert created.returncode == 0, created.stderr
        return self

    def __exit__(self, *_):
        for role in self.roles:
            role.resume()
            if role.process.poll() is None:
                role.process.terminate()
        for role in self.roles:
            end(role.process, 20)

    def environment(self, extra=None):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CODEBUILD_", "TAGFLEET_"))}
        return {**kept, "TAGFLEET_KAFKA_BROKERS": self.broker.address, "TAGFLEET_KAFKA_PREFIX": self.prefix,
                "TAGFLEET_AWS_MAIN_ACCOUNT": "111111111111",
                **(self.store.environment() if self.store else {}), **(extra or {})}

    def command(self, *arguments):
        sets = [word for one in (self.store.settings() if self.store else []) for word in ("--set", one)]
        config = ["--config", str(self.config)] if self.config else []
        return [BINARY, *arguments, *config, *sets]

    def run(self, *arguments, input=None, env=None, timeout=90):
        return subprocess.run(self.command(*arguments), input=input, env=self.environment(env), timeout=timeout,
                              text=not isinstance(input, bytes), stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def must(self, *arguments, **more):
        """A command that has to succeed."""
        done = self.run(*arguments, **more)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done

    def lines(self, *arguments, **more):
        """A command's JSON lines and its exit code."""
        done = self.run(*arguments, "--format", "json", **more)
        return [json.loads(line) for line in done.stdout.splitlines()], done.returncode

    def start(self, role, *arguments, env=None, wait_ready=True):
        log = self.directory / f"{role}-{len(self.roles)}.log"
        with open(log, "w") as stream:
            process = subprocess.Popen(self.command(role, *arguments), env=self.environment(env), stdout=stream,
                                       stderr=stream, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent)
        started = Role(role, process, log)
        self.roles.append(started)
        if wait_ready:
            wait_for(lambda: "msg=ready" in started.log() or process.poll() is not None, READY_SECONDS, f"{role} ready")
            assert process.poll() is None, started.log()
        return started

    def records(self, topic, isolation="read_committed"):
        """The topic's messages as (key, parsed value or None, message)."""
        return [(m.key().decode() if m.key() else None, json.loads(m.value()) if m.value() else None, m)
                for m in self.broker.read_all(self.prefix + topic, isolation)]

    def produce(self, topic, key, message):
        """A well-formed message as a role would write it."""
        self.broker.produce(self.prefix + topic, key, json.dumps(message), headers=list(messages.headers_of(message).items()))

    def produce_garbage(self, topic, key, value):
        """Bytes that are no message, on purpose: message_complaints passes over them."""
        self.garbage.add((topic, value))
        self.broker.produce(self.prefix + topic, key, value)

    def log_complaints(self):
        """What a sanitizer or an assertion has said while a role ran."""
        words = ("Sanitizer", "runtime error:", "Assertion", "out of memory")
        return [f"{role.log_path.name}: {line}" for role in self.roles for line in role.log().splitlines()
                if any(word in line for word in words)]

    def message_complaints(self):
        """What is wrong with the messages of all topics, those of aborted transactions too."""
        found = []
        for topic in messages.TOPICS:
            for record in self.broker.read_all(self.prefix + topic, "read_uncommitted"):
                if (topic, record.value()) not in self.garbage:
                    found += [f"{record.topic()}/{record.partition()}/{record.offset()}: {wrong}"
                              for wrong in messages.wrong_with_record(topic, record)]
        return found

    def results(self, deployment=None):
        """Results per account as {(deployment, account): [data, ...]}."""
        found = {}
        for _, value, _ in self.records("results"):
            if value["type"] == "tagfleet.result.v1" and deployment in (None, value["data"]["deployment"]):
                data = value["data"]
                found.setdefault((data["deployment"], data["account"]), []).append(data)
        return found

    def deployments(self):
        return [value["data"] for _, value, _ in self.records("results") if value["type"] == "tagfleet.deployment.v1"]

    def upload_build(self, build, files=None, archive=b"archive"):
        """A build as CodeBuild leaves it: the archive and a front end."""
        client = self.store.main_client()
        for name, body in (files or {"index.html": b"<html>" + build.encode(), "js/app.js": b"app " + build.encode()}).items():
            client.put_object(Bucket=self.store.source_bucket, Key=f"{build}/frontend/{name}", Body=body)
        if archive is not None:
            client.put_object(Bucket=self.store.source_bucket, Key=f"{build}/SourceArtifact.zip", Body=archive + build.encode())

    def deploy(self, commit, build, ref="refs/heads/main", repository="acme/app", before=None):
        extra = ["--before", before] if before else []
        emitted = self.run("emit", "--repository", repository, "--ref", ref, "--commit", commit, "--build", build, *extra)
        assert emitted.returncode == 0, emitted.stderr

    def wait(self, commit, ref="refs/heads/main", repository="acme/app", timeout="60s"):
        return self.lines("wait", "--repository", repository, "--ref", ref, "--commit", commit, "--timeout", timeout)
