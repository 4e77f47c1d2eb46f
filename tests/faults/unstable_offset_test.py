"""What is settled stays settled when the committed offset cannot be told at once, because a dead worker's transaction still
holds it, and the group changes meanwhile. librdkafka then begins at the start of the partition."""
import random
import time

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.faults.bounce import GROUP, INPUT, OUTPUT, PARTITIONS, PREFIX
from tests.faults.check import parse_trace
from tests.faults.crew import Crew, guest
from tests.support.cluster import Cluster
from tests.support.fleet import wait_for

TASKS = 240
GUESTS = [guest(slot) for slot in range(4)]


@pytest.fixture
def cluster(tmp_path):
    cluster = Cluster(tmp_path / "kafka", "4.3.1", 1, GUESTS)
    cluster.start()
    cluster.create_topics([INPUT, OUTPUT], PARTITIONS)
    yield cluster
    cluster.stop()


@pytest.fixture
def crew(cluster, tmp_path):
    crew = Crew(cluster, PREFIX, tmp_path, random.Random(1))
    for slot in crew.slots:
        slot.is_wanted = False
    yield crew
    crew.kill_all()


def begin(crew, number):
    crew.add(number)
    crew.tend()
    role = crew.slots[number].role
    wait_for(lambda: "msg=ready" in role.log(), 40, f"worker {number} ready")


def open_transaction_on_offsets(cluster):
    """As a worker leaves it that is killed before its commit."""
    asking = Consumer({"bootstrap.servers": cluster.address, "group.id": GROUP})
    offsets = asking.committed([TopicPartition(INPUT, number) for number in range(PARTITIONS)], timeout=20)
    producer = Producer({"bootstrap.servers": cluster.address, "transactional.id": "dead", "transaction.timeout.ms": 60000})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.send_offsets_to_transaction(offsets, asking.consumer_group_metadata(), 30)
    asking.close()
    return producer


def test_settled_work_stays_settled_when_its_offset_is_told_late(cluster, crew):
    producer = Producer({"bootstrap.servers": cluster.address})
    for number in range(TASKS):
        producer.produce(INPUT, f"1 0 1 work t{number}", f"key-{number}")
    assert producer.flush(30) == 0
    begin(crew, 2)
    wait_for(lambda: sum(cluster.reader.lag(GROUP, INPUT).values()) == 0, 60, "the work to be done")
    crew.remove(2)
    wait_for(lambda: crew.tend() or crew.is_empty(), 30, "the worker's end")
    assert len(cluster.reader.read_all(OUTPUT)) == TASKS

    dead = open_transaction_on_offsets(cluster)
    begin(crew, 2)
    time.sleep(1)  # it asks for its offsets, again and again
    begin(crew, 3)
    time.sleep(3)  # the group changes while it asks
    dead.abort_transaction(30)
    assert producer.flush(30) == 0
    producer.produce(INPUT, "1 0 1 work last", "key-0")
    assert producer.flush(30) == 0
    wait_for(lambda: any(b" last " in one.value() for one in cluster.reader.read_all(OUTPUT)), 60, "new work to be done")
    wait_for(lambda: sum(cluster.reader.lag(GROUP, INPUT).values()) == 0, 60, "the work to be done")
    assert len(cluster.reader.read_all(OUTPUT)) == TASKS + 1
    traces = [crew.trace_path(slot) for slot in range(4) if crew.trace_path(slot).exists()]
    assert sum(len(parse_trace(path.read_text())) for path in traces) == TASKS + 1
