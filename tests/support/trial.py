"""The engine with the worker of tests/support/tools/trial_worker.c: its topics, its orders, its processes."""
import os
import resource
import subprocess
import uuid
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from tests.support.fleet import Role, wait_for
from tests.support.kafka import ROOT, die_with_parent, end

BINARY = os.environ.get("TRIAL_BIN", str(ROOT / "build" / "release" / "bin" / "trial"))


class Trial:
    def __init__(self, broker, directory, partitions=3):
        self.broker, self.directory = broker, Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.prefix = f"e{uuid.uuid4().hex[:10]}."
        self.workers = []
        client = AdminClient({"bootstrap.servers": broker.address})
        created = client.create_topics(
            [NewTopic(self.prefix + name, partitions, 1) for name in ("trial-in", "trial-out")])
        for future in created.values():
            future.result(15)
        wait_for(lambda: all(broker.partitions(self.prefix + name) == partitions for name in ("trial-in", "trial-out")))

    def close(self):
        for worker in self.workers:
            worker.resume()
            end(worker.process, 20)

    def order(self, orders, partition=None):
        """Produces (key, "DURATION_MS RETRIES OUTPUTS VERB ID") pairs, in order."""
        failures = []
        producer = Producer({"bootstrap.servers": self.broker.address, "enable.idempotence": True,
                             "queue.buffering.max.messages": 500000})
        extra = {} if partition is None else {"partition": partition}
        for key, text in orders:
            producer.produce(self.prefix + "trial-in", text, key,
                             on_delivery=lambda error, _: error and failures.append(error), **extra)
            producer.poll(0)
        producer.flush(60)
        assert not failures, failures[:3]

    def start(self, *settings, instance=None, memory_bytes=None, wait_ready=True):
        log = self.directory / f"worker-{len(self.workers)}.log"
        sets = [word for one in settings for word in ("--set", one)]
        named = ["--instance", instance] if instance else []

        def prepare():
            die_with_parent()
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            if memory_bytes:
                resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))

        with open(log, "w") as stream:
            process = subprocess.Popen(
                [BINARY, "trial", *named, *sets], stdout=stream, stderr=stream, stdin=subprocess.DEVNULL,
                preexec_fn=prepare,
                env={**os.environ, "TAGFLEET_KAFKA_BROKERS": self.broker.address, "TAGFLEET_KAFKA_PREFIX": self.prefix})
        worker = Role("trial", process, log)
        self.workers.append(worker)
        if wait_ready:
            wait_for(lambda: "msg=ready" in worker.log() or process.poll() is not None, 40, "the worker's start")
        return worker

    def outputs(self, isolation="read_committed"):
        """{id: [what was written of it, ...]}: "NUMBER" of each output, or "rejected: REASON"."""
        found = {}
        for message in self.broker.read_all(self.prefix + "trial-out", isolation, 60):
            words = message.value().decode().split(" ", 5)
            found.setdefault(words[4], []).append(words[5])
        return found

    def lag(self):
        return sum(self.broker.lag(self.prefix + "trial", self.prefix + "trial-in").values())

    def wait_done(self, seconds=60):
        wait_for(lambda: self.lag() == 0, seconds, "the end of the work")
