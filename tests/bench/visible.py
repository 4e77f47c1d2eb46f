"""What an observer with read_committed could see of a topic: how much, and since when."""
import threading
import time

from confluent_kafka import Consumer, IsolationLevel, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

LOOK_SECONDS = 0.1  # one request for all partitions: not to be felt beside what is measured
QUIET_SECONDS = 1


class Ends:
    """The stable ends of a topic's partitions, added up: messages and markers."""

    def __init__(self, broker, topic, partitions):
        self.client = AdminClient({"bootstrap.servers": broker.address, "log_level": 0})
        self.asked = {TopicPartition(topic, number): OffsetSpec.latest() for number in range(partitions)}
        self.begin = self.now()

    def now(self, seconds=20):
        """A topic that has just been created has no leader for a moment."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.client.list_offsets(self.asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=20)
            try:
                return sum(one.result(30).offset for one in found.values())
            except KafkaException:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def watch(self, least, seconds, alive=lambda: True, look_seconds=LOOK_SECONDS):
        """Waits until there are at least so many more, and no more come. Returns when the end was first seen, and how
        much came per second after the first tenth: by then what was slow in the beginning is made up for."""
        deadline = time.monotonic() + seconds
        looks = []  # (when, how many more): the last that saw nothing new, and all that saw something new
        while True:
            at = time.monotonic()
            more = self.now() - self.begin
            if not looks or more != looks[-1][1]:
                looks.append((at, more))
            elif more == 0:
                looks[-1] = (at, 0)
            ended_at, seen = looks[-1]
            if seen >= least and at - ended_at >= QUIET_SECONDS:
                return ended_at, self._rate(looks, least)
            if at > deadline or not (alive() or seen >= least):
                raise AssertionError(f"{seen} of at least {least} messages became visible")
            time.sleep(look_seconds)

    @staticmethod
    def _rate(looks, messages):
        """The markers among what was seen are spread evenly. When all came at once, there is only the first look."""
        ended_at, total = looks[-1]
        began_at, before = next((look for look in looks[:-1] if look[1] >= total / 10), looks[0])
        return messages * (total - before) / total / max(ended_at - began_at, LOOK_SECONDS)


class Arrivals:
    """A consumer that notes when it saw which order: {id: monotonic seconds}."""

    def __init__(self, broker, topic, partitions):
        self.seen = {}
        self.count = 0
        self.is_over = False
        self.consumer = Consumer({"bootstrap.servers": broker.address, "group.id": "arrivals",
                                  "isolation.level": "read_committed", "enable.auto.commit": False,
                                  "fetch.wait.max.ms": 500, "auto.offset.reset": "earliest"})
        self.consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while not self.is_over:
            message = self.consumer.poll(0.2)
            if message is not None and message.error() is None:
                self.count += 1
                self.seen.setdefault(message.value().decode().split(" ")[4], time.monotonic())

    def close(self):
        self.is_over = True
        self.thread.join(30)
        self.consumer.close()
