"""config/kafka-acls.txt is what each role and command needs: the main job under exactly these rights, one name for each, and
without any single one of them something fails, says so, and goes on when the right is there again."""
import json
import shlex

import pytest

from tests.support import messages
from tests.support.fleet import wait_for
from tests.support.git_host import GitHost
from tests.support.kafka import ROOT
from tests.support.stores import STORES

ROLES = ("producer", "resolver", "copier", "notifier")
COMMIT = "%040x"


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

    def __init__(self, fleet, broker, host):
        self.fleet, self.broker, self.host = fleet, broker, host
        self.rights = rights(fleet.prefix)
        broker.allow([(who, *right) for who, all_of in self.rights.items() for right in all_of])
        self.commits = iter(COMMIT % (0xac1 << 20 | n) for n in range(1000))
        self.logs = {}

    def run(self, who, *command):
        return self.fleet.run(*command, env=self.broker.environment(who))

    def start(self, role):
        return self.fleet.start(role, env=self.broker.environment(role))


@pytest.fixture
def guarded(secure_broker, servers, make_fleet, new_account, tmp_path):
    host = GitHost()
    (tmp_path / "token").write_text("the-token\n")
    store = servers("moto", STORES["moto"])
    account = new_account()
    store.add_account(account)
    fleet = make_fleet(secure_broker, store, config=f"""
        producer: {{ listen = "127.0.0.1:0"; hooks = ( {{ name = "hook"; provider = "github"; unsigned = true; status = true;
            api_url = "{host.url}"; token_file = "{tmp_path}/token"; repositories = ( "*" ); }} );
            repositories = ( {{ name = "acme/polled"; provider = "github"; api_url = "{host.url}"; token_file = "{tmp_path}/token"; poll = "1s"; }} ); }};""")
    made = Guarded(fleet, secure_broker, host)
    made.account = account
    yield made
    host.close()


def test_the_whole_job_runs_under_exactly_these_rights(guarded):
    fleet = guarded.fleet
    fleet.broker.delete_topic(fleet.prefix + "accounts")
    done = guarded.run("topics-create", "topics", "create")
    assert done.returncode == 0, done.stderr + done.stdout
    done = guarded.run("topics-check", "topics", "check")
    print(done.stdout, done.stderr)
    roles = {role: guarded.start(role) for role in ROLES}
    done = guarded.run("map", "map", "set", "branch/main", guarded.account)
    assert done.returncode == 0, done.stderr
    build = f"build-{guarded.account}"
    fleet.upload_build(build)
    sha = next(guarded.commits)
    done = guarded.run("emit", "emit", "--repository", "acme/app", "--ref", "refs/heads/main", "--commit", sha, "--build", build)
    assert done.returncode == 0, done.stderr
    done = guarded.run("wait", "wait", "--repository", "acme/app", "--ref", "refs/heads/main", "--commit", sha, "--timeout", "30s")
    assert done.returncode == 0, done.stderr + done.stdout
    done = guarded.run("plan", "plan", "refs/heads/main", "--repository", "acme/app", "--commit", sha)
    print(done)
    for name, role in roles.items():
        print(name, role.log())
    assert 0
