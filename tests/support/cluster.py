"""Kafka nodes of which each has one listener more per guest. A guest is reached through proxies of its own, so that its
network can be cut without touching the other guests, the nodes among themselves, or the tests' own client."""
import time
from pathlib import Path

from confluent_kafka import IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from tests.support.kafka import START_SECONDS, Broker, end, free_ports
from tests.support.toxiproxy import Toxiproxy


class Node(Broker):
    """One of the cluster, broker and controller."""

    def __init__(self, directory, version, number, cluster, ports):
        super().__init__(directory, version)
        self.number, self.cluster = number, cluster
        self.port, self.controller_port, *self.guest_ports = ports

    @property
    def address(self):
        """Of all nodes, since this one may be away."""
        return self.cluster.address

    def _properties(self):
        cluster, copies = self.cluster, len(self.cluster.nodes)
        voters = ",".join(f"{node.number}@127.0.0.1:{node.controller_port}" for node in cluster.nodes)
        names = [guest.upper() for guest in cluster.guests]
        inside = [f"{name}://127.0.0.1:{port}" for name, port in zip(names, self.guest_ports)]
        outside = [f"{name}://127.0.0.1:{cluster.proxy_ports[guest, self.number]}"
                   for name, guest in zip(names, cluster.guests)]
        plain = f"PLAINTEXT://127.0.0.1:{self.port}"
        return [
            "process.roles=broker,controller", f"node.id={self.number}", f"controller.quorum.voters={voters}",
            f"listeners={','.join([plain, f'CONTROLLER://127.0.0.1:{self.controller_port}', *inside])}",
            f"advertised.listeners={','.join([plain, *outside])}",
            "listener.security.protocol.map=" + ",".join(f"{name}:PLAINTEXT" for name in ["PLAINTEXT", "CONTROLLER", *names]),
            "controller.listener.names=CONTROLLER", "inter.broker.listener.name=PLAINTEXT",
            f"log.dirs={self.directory}/data", "auto.create.topics.enable=false",
            f"default.replication.factor={copies}", f"min.insync.replicas={cluster.least_in_sync}",
            f"offsets.topic.replication.factor={copies}", "offsets.topic.num.partitions=4",
            f"transaction.state.log.replication.factor={copies}",
            f"transaction.state.log.min.isr={cluster.least_in_sync}", "transaction.state.log.num.partitions=4",
            "group.initial.rebalance.delay.ms=0", "broker.session.timeout.ms=3000", "broker.heartbeat.interval.ms=500",
            "log.cleaner.dedupe.buffer.size=16777216", "num.network.threads=2", "num.io.threads=4"]


class Cluster:
    """One node, or three of which any one may be away."""

    def __init__(self, directory, version, count, guests):
        self.directory, self.guests = Path(directory), guests
        self.directory.mkdir(parents=True, exist_ok=True)
        self.least_in_sync = 2 if count > 2 else 1
        each = 2 + len(guests)
        ports = free_ports(1 + count * (each + len(guests)))
        self.proxies = Toxiproxy(self.directory / "toxiproxy.log", ports.pop())
        self.proxy_ports = {(guest, number): ports.pop() for guest in guests for number in range(1, count + 1)}
        self.nodes = []
        for number in range(1, count + 1):
            own = [ports.pop() for _ in range(each)]
            self.nodes.append(Node(self.directory / f"node-{number}", version, number, self, own))

    @property
    def address(self):
        return ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    @property
    def reader(self):
        """The tests' own client, which no fault of a guest's network touches."""
        return self.nodes[0]

    def address_for(self, guest):
        return ",".join(f"127.0.0.1:{self.proxy_ports[guest, node.number]}" for node in self.nodes)

    def proxies_of(self, guest):
        return [f"{guest}-{node.number}" for node in self.nodes]

    def start(self):
        self.proxies.start()
        for node in self.nodes:
            for guest, port in zip(self.guests, node.guest_ports):
                self.proxies.add(f"{guest}-{node.number}", self.proxy_ports[guest, node.number], port)
        for node in self.nodes:
            node.launch()
        deadline = time.monotonic() + 2 * START_SECONDS
        while not self.is_whole():
            if time.monotonic() > deadline:
                raise RuntimeError(f"the cluster did not come up in time; see {self.directory}/node-*/log")
            self.relaunch_ended()
            time.sleep(0.2)

    def stop(self):
        for node in self.nodes:
            if node.process is not None and node.process.poll() is None:
                node.process.terminate()
        for node in self.nodes:
            if node.process is not None:
                end(node.process, 20)
        self.proxies.stop()

    def relaunch_ended(self):
        """A node whose port somebody else had taken meanwhile."""
        for node in self.nodes:
            if node.process.poll() is not None:
                node.launch()

    def is_whole(self, seconds=1):
        """Every node answers, and says that every partition has a leader and all its copies in step."""
        return all(self._sees_all(node, seconds) for node in self.nodes)

    def _sees_all(self, node, seconds):
        client = AdminClient({"bootstrap.servers": f"127.0.0.1:{node.port}", "log_level": 0})
        try:
            found = client.list_topics(timeout=seconds)
        except KafkaException:
            return False
        return len(found.brokers) == len(self.nodes) and all(
            one.leader >= 0 and len(one.isrs) == len(one.replicas)
            for topic in found.topics.values() for one in topic.partitions.values())

    def create_topics(self, names, partitions):
        client = AdminClient({"bootstrap.servers": self.address})
        topics = [NewTopic(name, partitions, len(self.nodes)) for name in names]
        for made in client.create_topics(topics, operation_timeout=30).values():
            made.result(40)

    def ends(self, topic, isolation):
        """The end of each partition as readers of that isolation see it; they differ while a transaction is open."""
        client = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        numbers = client.list_topics(topic, timeout=10).topics[topic].partitions
        asked = {TopicPartition(topic, number): OffsetSpec.latest() for number in numbers}
        found = client.list_offsets(asked, isolation_level=isolation, request_timeout=10)
        return {one.partition: result.result(15).offset for one, result in found.items()}

    def open_transactions(self, topic):
        """How many partitions have an end that only read_uncommitted sees."""
        committed = self.ends(topic, IsolationLevel.READ_COMMITTED)
        uncommitted = self.ends(topic, IsolationLevel.READ_UNCOMMITTED)
        return sum(committed[number] != uncommitted[number] for number in uncommitted)
