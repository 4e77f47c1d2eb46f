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
        """Waits until there are at least so many more, and no more come. Returns the times when the topic was last
        seen as it had been, and first seen as it is in the end."""
        deadline = time.monotonic() + seconds
        seen, empty_at, last_at = self.begin, time.monotonic(), None
        while True:
            at = time.monotonic()
            now = self.now()
            if now == self.begin:
                empty_at = at
            elif now != seen:
                seen, last_at = now, at
            if seen - self.begin >= least and at - last_at >= QUIET_SECONDS:
                return empty_at, last_at
            if at > deadline or not (alive() or seen - self.begin >= least):
                raise AssertionError(f"{seen - self.begin} of at least {least} messages became visible")
            time.sleep(look_seconds)


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
