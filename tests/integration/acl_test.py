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
    roles = {role: guarded.start(role) for role in ROLES}
    guarded.run("map", "map", "set", "branch/main", guarded.account)
    fleet.upload_build("build-1")
    import time
    def stimulus():
        sha = next(guarded.commits)
        fleet.must("emit", "--repository", "acme/app", "--ref", "refs/heads/main", "--commit", sha, "--build", "build-1")
        for topic in ("events", "jobs", "results"):
            fleet.produce_garbage(topic, "k", b"no message " + sha.encode())
        return sha
    def is_settled(sha):
        letters = [m for _, m, _ in fleet.records("dead") if sha in json.dumps(m) or True]
        told = [p for p in guarded.host.posts if p[1] == sha and p[3] == "success"]
        return len(letters) >= 3 * stim[0] and told
    stim = [0]
    for who in ("resolver", "copier", "notifier"):
        for right in guarded.rights[who]:
            role = roles[who]
            before = len(role.log())
            guarded.broker.forbid([(who, *right)])
            t = time.time()
            stim[0] += 1
            sha = stimulus()
            try:
                wait_for(lambda: "kafka-acls" in role.log()[before:] or role.process.poll() is not None, 12)
                print(who, right, "noticed", time.time() - t)
            except AssertionError:
                print(who, right, "NOT NOTICED", time.time() - t)
            time.sleep(0.5)
            import re
            port = re.findall("port=([0-9]+)", role.log())[0]
            import requests
            try: print("   health", requests.get(f"http://127.0.0.1:{port}/healthz").text)
            except Exception as e: print("  health", e)
            print("   ", role.process.poll(), role.log()[before:][:1500].replace("\n", "\n    "))
            guarded.broker.allow([(who, *right)])
            if role.process.poll() is not None:
                roles[who] = role = guarded.start(who)
            t = time.time()
            try:
                wait_for(lambda: is_settled(sha), 20)
                print("  settled", time.time() - t)
            except AssertionError:
                print("  NOT SETTLED", time.time() - t, role.log()[before:][-600:], guarded.host.requests[-1])
                stim[0] = len(fleet.records("dead")) // 3
    assert 0
