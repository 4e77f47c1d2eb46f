"""Sees the outputs as a consumer with read_committed sees them, while the run goes on."""
import threading
import time

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from tests.faults.check import split_output


class Observer:
    """visible_at: when the last of a task's outputs was seen, by order, in nanoseconds of CLOCK_BOOTTIME. The outputs were
    visible a little earlier, so what began after this moment surely began too late."""

    def __init__(self, address, topic, partitions, tasks):
        self.missing = {task.order: set(task.expected) for task in tasks}
        self.visible_at = {}
        self.failure = None
        self._is_ending = threading.Event()
        self._consumer = Consumer({"bootstrap.servers": address, "group.id": "observer", "enable.auto.commit": False,
                                   "isolation.level": "read_committed", "auto.offset.reset": "earliest",
                                   "reconnect.backoff.max.ms": 500, "fetch.wait.max.ms": 50, "log_level": 0})
        self._consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(partitions)])
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self):
        try:
            while not self._is_ending.is_set():
                messages = [one for one in self._consumer.consume(500, 0.05) if one.error() is None]
                now_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
                for message in messages:
                    self._see(message.value().decode(), now_ns)
        except Exception as failure:
            self.failure = failure

    def _see(self, value, now_ns):
        order, rest = split_output(value)
        missing = self.missing.get(order)
        if missing is not None and rest in missing:
            missing.remove(rest)
            if not missing:
                self.visible_at[order] = now_ns

    def stop(self):
        self._is_ending.set()
        self._thread.join(30)
        self._consumer.close()
        if self.failure is not None:
            raise self.failure
