"""A fleet of today takes over from the first version: its messages lie on the topics, its offsets are committed, part of its work
is undone. tests/support/first/ is what the first version wrote."""
import json

import pytest
from confluent_kafka import Consumer, TopicPartition

from tests.support import messages
from tests.support.fleet import wait_for
from tests.support.kafka import ROOT
from tests.support.stores import STORES

COMMIT, UNBUILT, BUILD = "1" * 40, "2" * 40, "build-7"
ACCOUNTS = ("222222222222", "333333333333", "444444444444")


def commit_offsets(fleet, group, topic, offsets):
    """{partition: (offset, metadata)}, as a worker of that group commits them."""
    consumer = Consumer({"bootstrap.servers": fleet.broker.address, "group.id": fleet.prefix + group, "enable.auto.commit": False})
    try:
        consumer.commit(offsets=[TopicPartition(fleet.prefix + topic, partition, *one) for partition, one in offsets.items()],
                        asynchronous=False)
    finally:
        consumer.close()


def record(fleet, topic, message):
    key = messages.TOPICS[topic][messages.by_type()[message["type"]]]
    return dict(topic=fleet.prefix + topic, key=key.format(**message["data"]) if key else None, value=json.dumps(message),
                headers=list(messages.headers_of(message).items()))


@pytest.fixture
def left_behind(broker, servers, make_fleet, new_account):
    """The first version's fleet at the moment of its end: one account's job of a deployment is done, as the offset's map says,
    while one before it is not."""
    store = servers("moto", STORES["moto"])
    accounts = [new_account() for _ in ACCOUNTS]
    for account in accounts:
        store.add_account(account)
    fleet = make_fleet(broker, store)
    fleet.accounts = accounts
    fleet.upload_build(BUILD)
    first = {}
    for path in (ROOT / "tests/support/first").glob("*.jsonl"):
        text = path.read_text()
        for old, new in zip(ACCOUNTS, accounts):
            text = text.replace(old, new)
        first[path.stem] = [json.loads(line) for line in text.splitlines()]
    late = next(job for job in first["jobs"] if job["data"]["account"] == accounts[0])
    first["jobs"].sort(key=lambda job: job is not late)
    written = [(topic, message) for topic, all_of in first.items() for message in all_of
               if message["type"] != "tagfleet.result.v1" or message["id"] != late["id"]]
    broker.produce_all([record(fleet, topic, message) for topic, message in written] +
                       [dict(topic=fleet.prefix + "map", key="gone", value=None)])
    ends = {message.partition(): (message.offset() + 1,) for message in broker.read_all(fleet.prefix + "events")}
    commit_offsets(fleet, "resolver", "events", ends)
    jobs = broker.read_all(fleet.prefix + "jobs")
    ends = {message.partition(): (message.offset() + 1,) for message in jobs}
    partition = next(message.partition() for message in jobs if json.loads(message.value())["id"] == late["id"])
    count = len([message for message in jobs if message.partition() == partition])
    assert count > 1, "jobs behind the one that is not done"
    ends[partition] = (0, "v1:" + ",".join(map(str, range(1, count))))
    commit_offsets(fleet, "copier", "jobs", ends)
    fleet.late = late["data"]["deployment"]
    return fleet


def test_what_the_first_version_left_is_known_finished_and_built_on(left_behind):
    fleet, (one, two, three) = left_behind, left_behind.accounts
    lines, code = fleet.lines("map", "show", "qa")
    assert code == 0 and one in str(lines) and three in str(lines)
    assert fleet.run("map", "show", "gone").returncode == 1
    assert fleet.wait(COMMIT, ref="refs/tags/v-1.0.0-nobody")[1] == 3
    assert fleet.wait(COMMIT, ref="refs/tags/vx")[1] == 4
    lines, _ = fleet.lines("status", fleet.late)
    assert {line["account"]: line["outcome"] for line in lines if "account" in line and line["outcome"] == "succeeded"} == {two: "succeeded"}
    results = len(fleet.records("results"))

    fleet.start("resolver")
    fleet.start("copier")
    lines, code = fleet.wait(COMMIT)
    assert code == 0 and lines[-1]["succeeded"] + lines[-1]["unchanged"] == 2
    # Nothing but the one job was undone.
    assert len(fleet.records("results")) == results + 1

    # A redelivery of the first event is known.
    first = json.loads((ROOT / "tests/support/first/events.jsonl").read_text().splitlines()[0])
    fleet.produce("events", "acme/app", first)
    # The build of a commit that the first version had noted; a tag on a build that the first version had published.
    fleet.deploy(UNBUILT, BUILD)
    assert fleet.wait(UNBUILT)[1] == 0
    fleet.must("emit", "--repository", "acme/app", "--ref", "refs/tags/v-2.0.0-qa", "--commit", COMMIT)
    lines, code = fleet.wait(COMMIT, ref="refs/tags/v-2.0.0-qa")
    assert code == 0 and lines[-1]["build"] == BUILD and {line.get("account") for line in lines} == {one, three, None}
    accepted = [one["deployment"] for one in fleet.deployments() if one["outcome"] == "accepted"]
    assert len(accepted) == len(set(accepted)) == 4


def test_topics_check_tells_what_a_newer_version_wants_and_what_mends_it(broker, make_fleet):
    fleet = make_fleet(broker)
    assert fleet.run("topics", "check").returncode == 0
    broker.set_topic_config(fleet.prefix + "results", "retention.ms", "1000")
    broker.set_topic_config(fleet.prefix + "events", "min.insync.replicas", "2")
    broker.delete_topic(fleet.prefix + "statuses")
    wait_for(lambda: broker.partitions(fleet.prefix + "statuses") == 0, what="the topic is gone")
    checked = fleet.run("topics", "check", "--accounts", "100000")
    told = dict(line.split(": ", 1) for line in checked.stdout.splitlines())
    assert checked.returncode == 1 and {name.removeprefix(fleet.prefix) for name in told} == {"statuses", "results", "events", "jobs"}
    assert "`tagfleet topics create` makes it" in told[fleet.prefix + "statuses"]
    assert told[fleet.prefix + "results"].endswith(
        f"kafka-configs.sh --bootstrap-server {broker.address} --alter --topic {fleet.prefix}results --add-config retention.ms=31536000000")
    assert told[fleet.prefix + "events"].endswith("--add-config min.insync.replicas=1")
    assert "has 6 partitions" in told[fleet.prefix + "jobs"] and told[fleet.prefix + "jobs"].endswith("--partitions 120")
    assert "statuses created" in fleet.must("topics", "create").stdout
    broker.set_topic_config(fleet.prefix + "results", "retention.ms", "31536000000")
    broker.set_topic_config(fleet.prefix + "events", "min.insync.replicas", "1")
    wait_for(lambda: fleet.run("topics", "check").returncode == 0, what="all is mended")


def test_topics_are_made_for_a_number_of_accounts(broker, make_fleet):
    fleet = make_fleet(broker)
    fleet.prefix += "few."
    assert fleet.must("topics", "create", "--accounts", "20").stdout.startswith("24 partitions of jobs for 20 accounts\n")
    assert broker.partitions(fleet.prefix + "jobs") == 24
    assert fleet.run("topics", "check", "--accounts", "20").returncode == 0
    assert fleet.run("topics", "check", "--accounts", "30").returncode == 1
    for wrong in (("--accounts", "0"), ("--accounts", "12x"), ("--accounts", "5", "--partitions", "5")):
        assert fleet.run("topics", "create", *wrong).returncode == 2
