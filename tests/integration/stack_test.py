"""The image and the stack of docker/, from outside: through the ports that it publishes, while its containers are killed and
scaled."""
import hashlib
import hmac
import json
import os
import subprocess
from collections import Counter

import pytest
import requests
import yaml

from tests.support.fleet import BINARY, wait_for
from tests.support.kafka import ROOT
from tests.support.stack import SECRET, Engine, Stack, run

COMMIT = "5f2c1e0a9d3b4c6e8f7a1b2c3d4e5f60718293a4"
PAYLOAD = (ROOT / "tests" / "support" / "demo_push.json").read_text()
TENANTS = ("222222222222", "333333333333", "444444444444", "555555555555")
pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def stack():
    with Engine() as engine:
        if engine.trouble:
            pytest.skip(engine.trouble)
        made = Stack()
        try:
            made.start()
            yield made
        finally:
            made.stop()


def tagfleet(stack, *words, code=0):
    """A command of this machine, on the broker's published port."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CODEBUILD_", "TAGFLEET_"))}
    done = subprocess.run([BINARY, *words], env={**kept, "TAGFLEET_KAFKA_BROKERS": stack.broker.address}, text=True, timeout=180,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == code, f"{words}: {done.returncode} {done.stdout[-2000:]} {done.stderr[-2000:]}"
    return done.stdout


def push(stack, tag, commit=COMMIT):
    body = PAYLOAD.replace("@TAG@", tag).replace("@COMMIT@", commit).encode()
    headers = {"X-Event-Key": "repo:push", "Content-Type": "application/json", "X-Attempt-Number": "1",
               "X-Request-UUID": "6f1b7a60-1111-4222-8333-444455556666",
               "X-Hub-Signature": "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()}
    return requests.post(stack.hooks_url + "/hooks/acme", data=body, headers=headers, timeout=20).status_code


def wait(stack, ref, commit=COMMIT, code=0):
    return [json.loads(line) for line in tagfleet(stack, "wait", "--repository", "acme/app", "--ref", ref, "--commit", commit,
                                                  "--timeout", "150s", "--format", "json", code=code).splitlines()]


def test_the_main_job_through_the_published_ports(stack):
    files = {"index.html": b"<html>", **{f"js/{n}.js": b"x" * n for n in range(10)}}
    stack.upload_build("build-1", files)
    tagfleet(stack, "map", "set", "branch/main", TENANTS[0])
    tagfleet(stack, "map", "set", "prod", ",".join(TENANTS[1:]))
    tagfleet(stack, "emit", "--repository", "acme/app", "--ref", "refs/heads/main", "--commit", COMMIT, "--build", "build-1")
    wait(stack, "refs/heads/main")
    assert push(stack, "v-1.4.0-prod") == 202
    outcomes = {line["account"]: line["outcome"] for line in wait(stack, "refs/tags/v-1.4.0-prod", code=1) if "account" in line}
    assert outcomes == {TENANTS[1]: "succeeded", TENANTS[2]: "succeeded", TENANTS[3]: "failed"}, "the last one has lost a bucket"
    for tenant in TENANTS[:3]:
        assert stack.objects(tenant, f"frontend-{tenant}") == {name: len(body) for name, body in files.items()}
        assert list(stack.objects(tenant, f"source-artifact-{tenant}")) == ["codebuild/artifacts"]
    assert push(stack, "v-1.4.0-nobody") == 202
    wait(stack, "refs/tags/v-1.4.0-nobody", code=3)
    inside = stack.compose("run", "--rm", "tagfleet", "map", "show", "prod", "--format", "json").stdout
    assert json.loads(inside)["accounts"] == list(TENANTS[1:])


def test_containers_are_healthy_and_have_no_rights(stack):
    for role, count in (("producer", 1), ("resolver", 1), ("copier", 2)):
        stack.wait_ready(role, count)
        for container in stack.ids(role):
            wait_for(lambda: stack.inspect(container)["State"]["Health"]["Status"] == "healthy", 90, f"a healthy {role}")
            found = stack.inspect(container)
            assert found["Config"]["User"] == "10001" and found["HostConfig"]["ReadonlyRootfs"]
            assert found["HostConfig"]["CapDrop"] == ["ALL"] and found["HostConfig"]["Memory"] > 0
            process = run("docker", "exec", container, "cat", "/proc/1/status").stdout
            assert "CapEff:\t0000000000000000" in process and "NoNewPrivs:\t1" in process


def test_prometheus_finds_every_process_and_takes_the_rules(stack):
    stack.start_prometheus()

    def asked(path):
        try:
            return requests.get(f"{stack.prometheus_url}/api/v1/{path}", timeout=5).json()["data"]
        except requests.RequestException:
            return {}

    def targets():
        return sorted((one["health"], one["discoveredLabels"]["__meta_dns_name"]) for one in asked("targets").get("activeTargets", []))

    wait_for(lambda: targets() == [("up", "copier"), ("up", "copier"), ("up", "producer"), ("up", "resolver")], 90, "all processes")
    written = [group["name"] for file in (ROOT / "config/prometheus").glob("*.yml") for group in yaml.safe_load(file.read_text())["groups"]]
    assert sorted(group["name"] for group in asked("rules")["groups"]) == sorted(written)


def test_copiers_are_killed_and_scaled_while_they_work(stack):
    """Each account gets each deployment once, whatever happens to those who work on it; who was killed between the last copy
    and its result has left nothing to copy, and then it is "unchanged"."""
    accounts = [f"7000000000{n:02d}" for n in range(40)]
    files = {f"{n:02d}.js": b"x" * (1000 + n) for n in range(25)}
    for account in accounts:
        client = stack.client(account)
        client.create_bucket(Bucket=f"frontend-{account}")
        client.create_bucket(Bucket=f"source-artifact-{account}")
    tagfleet(stack, "map", "set", "all", ",".join(accounts))
    kill_one, kill_two = (lambda: run("docker", "kill", stack.ids("copier")[0])), (lambda: run("docker", "kill", *stack.ids("copier")[:2]))
    moves = [kill_one, lambda: stack.up("--scale", "copier=4", "copier"), kill_two,
             lambda: stack.up("--scale", "copier=1", "copier"), lambda: stack.up("--scale", "copier=3", "copier")]

    def told():
        results, wrong = stack.results()
        assert not wrong
        return Counter((deployment, account) for deployment, account, outcome in results
                       if account in accounts and outcome in ("succeeded", "unchanged"))

    refs = []
    for number, move in enumerate(moves, 1):
        stack.upload_build(f"build-all-{number}", {name: body + b"%d" % number for name, body in files.items()})
        commit = f"{number:040x}"
        ref = f"refs/tags/v-2.{number}-all"
        tagfleet(stack, "emit", "--repository", f"acme/shop-{number}", "--ref", ref, "--commit", commit, "--build", f"build-all-{number}")
        refs.append((f"acme/shop-{number}", ref, commit))
        move()
        assert move not in (kill_one, kill_two) or len(told()) < number * len(accounts), "all was done before the kill"
    for repository, ref, commit in refs:
        tagfleet(stack, "wait", "--repository", repository, "--ref", ref, "--commit", commit, "--timeout", "120s")
    stack.wait_ready("copier", 3)
    assert len(told()) == len(refs) * len(accounts) and set(told().values()) == {1}
    assert len([one for one in stack.results()[0] if one[1] in accounts]) == len(refs) * len(accounts)
    for account in accounts:
        assert set(stack.objects(account, f"frontend-{account}")) == set(files)
        assert list(stack.objects(account, f"source-artifact-{account}")) == ["codebuild/artifacts"]


def test_a_stop_drains(stack):
    stack.wait_ready("copier", 3)
    containers = {role: stack.ids(role) for role in ("producer", "resolver", "copier")}
    stack.compose("stop", "producer", "resolver", "copier")
    for role, ids in containers.items():
        for container in ids:
            state = stack.inspect(container)["State"]
            assert (state["ExitCode"], state["OOMKilled"]) == (0, False), role
            assert "msg=drained" in run("docker", "logs", container).stderr
