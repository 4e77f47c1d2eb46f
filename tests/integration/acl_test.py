"""config/kafka-acls.txt is what each role and command needs: the main job under exactly these rights, one name for each, and
without any single one of them something fails, says so, and goes on when the right is there again."""
import itertools
import re
import shlex

import pytest
import requests
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from tests.support.fleet import wait_for
from tests.support.git_host import GitHost
from tests.support.kafka import ROOT
from tests.support.stores import STORES

ROLES = ("producer", "resolver", "copier", "notifier")


def rights(prefix):
    """{who: [(resource type, name, pattern, operation), ...]} of the file, for another prefix."""
    found = {}
    for line in (ROOT / "config/kafka-acls.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            who, *words = shlex.split(line)
            flags = dict(zip(words[::2], words[1::2]))
            kind = next(one for one in ("topic", "group", "transactional-id") if f"--{one}" in flags)
            found.setdefault(who, []).append((
                kind.replace("-", "_").upper(), flags[f"--{kind}"].replace("tagfleet.", prefix),
                flags.get("--resource-pattern-type", "literal").upper(),
                {"DescribeConfigs": "DESCRIBE_CONFIGS"}.get(flags["--operation"], flags["--operation"].upper())))
    return found


class Guarded:
    """A fleet whose every process has a name of its own at the brokers."""

    def __init__(self, fleet, broker, host, account):
        self.fleet, self.broker, self.host, self.account = fleet, broker, host, account
        self.rights = rights(fleet.prefix)
        self.commits = (f"{0xac1 << 20 | n:040x}" for n in itertools.count())
        self.letters = 0
        self.roles = {}
        broker.allow([(who, *right) for who, all_of in self.rights.items() for right in all_of])

    def run(self, who, *command):
        return self.fleet.run(*command, env=self.broker.environment(who))

    def start(self, role, **more):
        self.roles[role] = self.fleet.start(role, env=self.broker.environment(role), **more)

    def port(self, role, message):
        """Where a role listens, from the line of its log that says so."""
        return re.search(f'msg="?{message}.*port=([0-9]+)', self.roles[role].log())[1]

    def health(self, role):
        return requests.get(f"http://127.0.0.1:{self.port(role, 'health and metrics')}/healthz", timeout=10)

    def tend(self, role):
        """Starts a role again that asks for it, as whatever starts services does: librdkafka may hang when it leaves a group
        whose right has just gone, and then the process ends with 111. It may lack the right still, and with it its group."""
        if self.roles[role].process.poll() == 111:
            self.start(role, wait_ready=False)

    def log(self, role):
        self.tend(role)
        return "".join(one.log() for one in self.fleet.roles if one.name == role)

    def health_is(self, role, status=None, word=""):
        self.tend(role)
        try:
            answer = self.health(role)
        except (TypeError, requests.RequestException):  # it is just beginning
            return False
        return word in answer.text and status in (None, answer.status_code)

    def hook(self):
        """A push; the status of its answer."""
        body = {"ref": "refs/heads/other", "before": "0" * 40, "after": next(self.commits), "repository": {"full_name": "acme/app"},
                "created": True, "deleted": False, "forced": False, "commits": []}
        return requests.post(f"http://127.0.0.1:{self.port('producer', 'ready')}/hooks/hook", json=body, timeout=10,
                             headers={"X-GitHub-Event": "push", "X-GitHub-Delivery": body["after"]}).status_code

    def use(self):
        """A build for one more commit, and an unreadable message for each role: all rights of the workers are used. Returns
        what tells whether all of it has come to its end."""
        sha = next(self.commits)
        garbage, topics = f"no message {sha}".encode(), ("events", "jobs", "results")
        self.fleet.garbage |= {(topic, garbage) for topic in topics}
        self.fleet.broker.produce_all([dict(topic=self.fleet.prefix + topic, key="key", value=garbage) for topic in topics])
        self.letters += len(topics)
        self.fleet.deploy(sha, "build-1")
        return lambda: any(post[1] == sha and post[3] == "success" for post in self.host.posts) \
            and len(self.fleet.records("dead")) == self.letters


@pytest.fixture
def guarded(secure_broker, servers, make_fleet, new_account, tmp_path):
    host = GitHost()
    host.move("refs/heads/main", "1" * 40)
    (tmp_path / "token").write_text(host.token + "\n")
    store, account = servers("moto", STORES["moto"]), new_account()
    store.add_account(account)
    github = f'provider = "github"; api_url = "{host.url}"; token_file = "{tmp_path}/token"'
    fleet = make_fleet(secure_broker, store, config=f"""
        producer: {{ listen = "127.0.0.1:0"; repositories = ( {{ name = "acme/app"; {github}; poll = "1s"; }} );
            hooks = ( {{ name = "hook"; {github}; unsigned = true; status = true; repositories = ( "acme/app" ); }} ); }};""")
    fleet.upload_build("build-1")
    made = Guarded(fleet, secure_broker, host, account)
    yield made
    # A right on any topic is enough for some requests, so that the next test is to find none.
    secure_broker.forbid([(who, *right) for who, all_of in made.rights.items() for right in all_of])
    host.close()


def test_the_whole_job_runs_under_exactly_these_rights(guarded):
    fleet, emitted = guarded.fleet, next(guarded.commits)
    fleet.broker.delete_topic(fleet.prefix + "accounts")
    commit = ("--repository", "acme/app", "--ref", "refs/heads/main", "--commit", emitted)
    before = (("topics-create", "topics", "create"), ("topics-check", "topics", "check"),
              ("map", "map", "set", "branch/main", guarded.account), ("map", "map", "list"))
    after = (("emit", "emit", *commit, "--build", "build-1"), ("wait", "wait", *commit, "--timeout", "60s"), ("wait", "status"),
             ("plan", "plan", "refs/heads/main", "--repository", "acme/app", "--commit", emitted))
    for who, *command in before:
        done = guarded.run(who, *command)
        assert done.returncode == 0, (who, done.stdout, done.stderr)
    for role in ROLES:
        guarded.start(role)
    for who, *command in after:
        done = guarded.run(who, *command)
        assert done.returncode == 0, (who, done.stdout, done.stderr)
    wait_for(guarded.use(), 60, "all rights used")
    assert guarded.hook() == 202
    wait_for(lambda: any(b"tagfleet/poll" in event.value() for event in fleet.broker.read_all(fleet.prefix + "events")), 60, "a poll")
    for role in guarded.roles.values():
        assert "kafka-acls" not in role.log(), role.log()


@pytest.mark.timeout(600)
def test_a_role_that_lacks_one_right_says_so_and_goes_on_when_it_has_it(guarded):
    fleet = guarded.fleet
    fleet.must("map", "set", "branch/main", guarded.account)
    for role in ROLES[1:]:
        guarded.start(role)
    wait_for(guarded.use(), 60, "the first build")
    # What one role lacks does not keep the others from using the rights that they are to lack: unreadable messages use all
    # but those of the notifier's table.
    table = [right for right in guarded.rights["notifier"] if right[1] == fleet.prefix + "statuses"]
    columns = [[(who, right) for right in guarded.rights[who] if right not in table] for who in ("resolver", "copier", "notifier")]
    rounds = [[one for one in row if one is not None] for row in itertools.zip_longest(*columns)]
    for lacking in [*rounds, *([("notifier", right)] for right in table)]:
        told = {who: len(guarded.log(who)) for who, _ in lacking}
        guarded.broker.forbid([(who, *right) for who, right in lacking])
        for who, (_, name, _, operation) in lacking:
            # A role reads the tables that it writes itself only when it begins.
            if operation == "READ" and ("TOPIC", name, "LITERAL", "WRITE") in guarded.rights[who]:
                assert guarded.roles[who].stop() == 0
                guarded.start(who)
        is_done = guarded.use()
        for who, right in lacking:
            wait_for(lambda: "kafka-acls" in guarded.log(who)[told[who]:], 40, f"{who} tells that it lacks {right}")
            wait_for(lambda: guarded.health_is(who, word="kafka-acls"), 40, f"/healthz of {who} tells that it lacks {right}")
        guarded.broker.allow([(who, *right) for who, right in lacking])
        wait_for(lambda: [guarded.tend(who) for who, _ in lacking] and is_done(), 60, f"{lacking} are there again, and the work goes on")
        for who, right in lacking:
            wait_for(lambda: guarded.health_is(who, status=200), 40, f"/healthz of {who} is green again after {right}")
            assert guarded.roles[who].process.poll() is None, (who, right)


def test_a_producer_that_lacks_one_right_answers_503_and_says_why(guarded):
    broker, (events, refs) = guarded.broker, guarded.rights["producer"]
    guarded.start("producer")
    log = guarded.roles["producer"].log
    broker.forbid([("producer", *events)])
    assert guarded.hook() == 503
    wait_for(lambda: "kafka-acls" in log(), 60, "the missing right is told")
    assert guarded.health("producer").status_code == 503
    broker.allow([("producer", *events)])
    wait_for(lambda: guarded.hook() == 202, 60, "the right counts again")
    told = len(log())
    broker.forbid([("producer", *refs)])
    guarded.host.move("refs/heads/main", next(guarded.commits))
    wait_for(lambda: "kafka-acls" in log()[told:], 60, "the missing right of the poll is told")
    broker.allow([("producer", *refs)])


def test_a_producer_that_begins_without_its_right_waits_for_it(guarded):
    broker, (events, _) = guarded.broker, guarded.rights["producer"]
    broker.forbid([("producer", *events)])
    guarded.start("producer")
    wait_for(lambda: guarded.hook() == 503, 20, "an answer")
    wait_for(lambda: guarded.hook() == 503 and "kafka-acls" in guarded.roles["producer"].log(), 20, "the missing right is told")
    assert guarded.health("producer").status_code == 503
    broker.allow([("producer", *events)])
    wait_for(lambda: guarded.hook() == 202, 60, "the right counts")
    wait_for(lambda: guarded.health("producer").status_code == 200, 20, "green again")
    assert guarded.roles["producer"].process.poll() is None


def test_a_command_that_lacks_one_right_fails_and_says_so(guarded):
    guarded.fleet.must("map", "set", "branch/main", guarded.account)
    commit = "c" * 40
    commands = {
        "emit": ("emit", "--repository", "acme/app", "--ref", "refs/heads/main", "--commit", commit, "--build", "build-1"),
        "wait": ("status",), "map": ("map", "add", "qa", guarded.account), "topics-create": ("topics", "create"),
        "plan": ("plan", "refs/heads/main", "--repository", "acme/app", "--commit", commit, "--build", "build-1"),
        "topics-check": ("topics", "check")}
    assert {*commands, *ROLES, "keda"} == set(guarded.rights)
    for who, command in commands.items():
        for right in guarded.rights[who]:
            guarded.broker.forbid([(who, *right)])
            denied = guarded.run(who, *command)
            guarded.broker.allow([(who, *right)])
            assert denied.returncode != 0 and "kafka-acls" in denied.stderr, (who, right, denied)
        allowed = guarded.run(who, *command)
        assert allowed.returncode == 0, (who, allowed)


def lag_as_keda_sees_it(guarded):
    """It asks for the partitions, for their ends, and for what the group has committed."""
    admin, lag = guarded.broker.admin_as("keda"), 0
    for role, input_topic in (("resolver", "events"), ("copier", "jobs")):
        topic, group = guarded.fleet.prefix + input_topic, guarded.fleet.prefix + role
        described = admin.list_topics(topic, timeout=10).topics[topic]
        if described.error is not None:
            raise KafkaException(described.error)
        asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(20)
        committed = {(one.topic, one.partition): one.offset for one in asked.topic_partitions}
        ends = admin.list_offsets({TopicPartition(topic, number): OffsetSpec.latest() for number in described.partitions})
        lag += sum(end.result(20).offset - committed.get((topic, one.partition), 0) for one, end in ends.items())
    return lag


def test_keda_sees_the_lag_with_its_rights_and_not_without_any_of_them(guarded):
    guarded.fleet.must("map", "set", "branch/main", guarded.account)
    for role in ROLES[1:]:
        guarded.start(role)
    wait_for(guarded.use(), 60, "a build")
    wait_for(lambda: lag_as_keda_sees_it(guarded) == 0, 30, "no lag")
    guarded.roles["resolver"].stop()
    guarded.roles["copier"].stop()
    guarded.fleet.deploy(next(guarded.commits), "build-1")
    assert lag_as_keda_sees_it(guarded) == 1
    for right in guarded.rights["keda"]:
        guarded.broker.forbid([("keda", *right)])
        with pytest.raises(KafkaException, match="AUTHORIZATION_FAILED"):
            lag_as_keda_sees_it(guarded)
        guarded.broker.allow([("keda", *right)])
