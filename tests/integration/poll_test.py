"""The reconcile poll on a real broker, with a resolver, against a host from a script and against plain git."""
import hashlib
import hmac
import json
import os
import re
import subprocess
import time
from collections import Counter

import pytest
import requests

from tests.support.fleet import wait_for
from tests.support.git_host import GitHost

SECRET, TOKEN = "the hook's secret", "the-token"
RESOLVER = ('resolver: { copies = ( { source = "{commit}/app.zip"; bucket = "b-{account}"; key = "app.zip"; trigger = true; } ); };')
MAIN = "refs/heads/main"


def commit(n):
    return "%040x" % (0xfeed0000 + n)


def tag(n):
    return f"refs/tags/v-1.0.{n}-qa"


@pytest.fixture
def host():
    host = GitHost()
    yield host
    host.close()


@pytest.fixture
def make_polling(broker, make_fleet, tmp_path):
    """A fleet with a resolver, whose artifacts are addressed by commit, so that every ref deploys."""
    def make(repository, poll="1s"):
        (tmp_path / "token").write_text(TOKEN + "\n")
        (tmp_path / "hook").write_text(SECRET + "\n")
        fleet = make_fleet(broker, config=RESOLVER + f"""
            log: {{ level = "debug"; }};
            producer: {{ listen = "127.0.0.1:0"; hooks = ( {{ name = "acme"; provider = "bitbucket"; secret_file = "{tmp_path}/hook"; }},
                {{ name = "mirror"; provider = "bitbucket-server"; unsigned = true; }} );
              repositories = ( {{ name = "acme/app"; {repository}; poll = "{poll}"; }} ); }};""")
        fleet.must("map", "set", "branch/main", "222222222222")
        fleet.must("map", "set", "qa", "222222222222")
        fleet.start("resolver")
        return fleet

    def make_github(host, **more):
        return make(f'provider = "github"; api_url = "{host.url}"; token_file = "{tmp_path}/token"', **more)

    make.github = make_github
    return make


def polls(role):
    """How many looks have ended well."""
    return role.log().count("msg=polled")


def wait_polls(role, more=3):
    """Until so many further looks are over: whatever the poll has to say of the present it has said."""
    until = polls(role) + more
    wait_for(lambda: polls(role) >= until, 60, "further polls")


def outcomes(fleet):
    """(ref, commit) -> its outcomes."""
    found = {}
    for one in fleet.deployments():
        found.setdefault((one["ref"], one.get("commit")), []).append(one["outcome"])
    return found


def wait_outcome(fleet, ref, sha, outcome="accepted"):
    wait_for(lambda: outcome in outcomes(fleet).get((ref, sha), []), 60, f"{ref} at {sha} {outcome}")


def post(role, ref, before, after):
    """The host's webhook, as Bitbucket sends it."""
    kind, name = ("tag", ref.removeprefix("refs/tags/")) if ref.startswith("refs/tags/") else ("branch", ref.removeprefix("refs/heads/"))

    def side(sha):
        return sha and {"type": kind, "name": name, "target": {"type": "commit", "hash": sha}}

    body = json.dumps({"repository": {"full_name": "acme/app"}, "push": {"changes": [{"old": side(before), "new": side(after)}]}}).encode()
    signature = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    port = re.search(r"msg=ready port=(\d+)", role.log()).group(1)
    answer = requests.post(f"http://127.0.0.1:{port}/hooks/acme", data=body, timeout=20,
                           headers={"X-Event-Key": "repo:push", "X-Hub-Signature": signature, "Content-Type": "application/json"})
    assert answer.status_code == 202, answer.text


def started(fleet, host):
    """A producer that has made its first look, which deploys nothing."""
    role = fleet.start("producer")
    wait_for(lambda: marks(fleet), 60, "the first look to be remembered")
    return role


def marks(fleet):
    return {value["data"]["ref"] for _, value, _ in fleet.records("refs") if value["data"].get("polled")}


def test_with_every_third_hook_dropped_each_ref_is_deployed_exactly_once(make_polling, host):
    host.set(refs={MAIN: commit(0), tag(0): commit(0)})
    fleet = make_polling.github(host)
    role = started(fleet, host)
    pushes = [(tag(n), None, commit(n)) for n in range(1, 8)] + [(MAIN, commit(0), commit(1)), (MAIN, commit(1), commit(2)),
                                                                 (MAIN, commit(2), commit(3)), (tag(1), commit(1), commit(11)),
                                                                 (tag(2), commit(2), commit(12)), (tag(3), commit(3), None)]
    for number, (ref, before, after) in enumerate(pushes):
        host.move(ref, after)
        if number % 3 == 2:  # dropped
            if ref == MAIN or after is None or before is not None:
                wait_polls(role)  # so that each commit of a ref is seen
            continue
        post(role, ref, before, after)
    wanted = {(ref, after) for ref, _, after in pushes if after is not None}
    wait_for(lambda: wanted <= set(outcomes(fleet)), 90, "all to be decided")
    wait_for(lambda: "ignored" in outcomes(fleet).get((tag(3), None), []), 60, "the deletion")
    wait_polls(role, 4)
    found = outcomes(fleet)
    for one in wanted:
        assert found[one] == ["accepted"], (one, found[one])
    twice = [one for one, count in Counter(each["deployment"] for each in fleet.deployments()).items() if count > 1]
    assert not twice
    assert found[(tag(0), commit(0))] == found[(MAIN, commit(0))] == ["ignored"]
    origins = Counter(value["data"]["origin"] for _, value, _ in fleet.records("events") if not value["data"].get("baseline"))
    assert origins["poll"] >= 4 and origins["webhook"] >= 8


def test_the_first_look_deploys_nothing_and_what_comes_later_does(make_polling, host):
    old = {MAIN: commit(0), **{tag(n): commit(n) for n in range(7)}}
    host.set(refs=old)
    fleet = make_polling.github(host)
    role = started(fleet, host)
    wait_for(lambda: outcomes(fleet) == {(ref, sha): ["ignored"] for ref, sha in old.items()}, 60, "the first look")
    wait_for(lambda: role.metric("polls_total", result="ok") > 0, 60, "the end of a look")
    assert role.metric("poll_found_total") == 0
    role.stop()
    host.move(tag(20), commit(20))  # while nobody looked
    role = fleet.start("producer")
    wait_outcome(fleet, tag(20), commit(20))
    host.move("refs/tags/v-2.0.0-qa", commit(3))  # a promotion of an old commit
    wait_outcome(fleet, "refs/tags/v-2.0.0-qa", commit(3))
    post(role, tag(4), None, commit(4))  # the webhook of an old tag, delivered again by hand
    wait_outcome(fleet, tag(4), commit(4))
    fleet.deploy(commit(0), "build-1")  # a build of the old head
    wait_outcome(fleet, MAIN, commit(0))
    wait_polls(role)
    assert role.metric("poll_found_total") == 2 and role.metric("polls_total", result="ok") > 0
    accepted = sorted(ref for (ref, _), found in outcomes(fleet).items() for one in found if one == "accepted")
    assert accepted == sorted([tag(20), "refs/tags/v-2.0.0-qa", tag(4), MAIN])


def test_of_two_producers_that_poll_one_may_end_and_each_ref_is_deployed_once(make_polling, host):
    host.set(refs={MAIN: commit(0)})
    fleet = make_polling.github(host)
    one, other = fleet.start("producer"), fleet.start("producer")
    wait_for(lambda: marks(fleet), 60, "the first look to be remembered")
    wait_polls(one, 2)
    wait_polls(other, 2)
    for n in range(1, 9):
        host.move(tag(n), commit(n))
        host.move(MAIN, commit(n))
        wait_outcome(fleet, MAIN, commit(n))  # so that each commit of the branch is seen
        if n == 5:
            assert one.stop() == 0
    wanted = {(ref, commit(n)) for n in range(1, 9) for ref in (MAIN, tag(n))}
    wait_for(lambda: wanted <= set(outcomes(fleet)), 60, "all to be decided")
    wait_polls(other, 2)
    found = outcomes(fleet)
    assert found.pop((MAIN, commit(0))).count("ignored") >= 1
    assert found == {key: ["accepted"] for key in wanted}


def test_a_stale_listing_rolls_nothing_back(make_polling, host):
    host.set(refs={MAIN: commit(0), tag(0): commit(0)})
    fleet = make_polling.github(host, poll="10s")
    role = fleet.start("producer")
    wait_for(lambda: (MAIN, commit(0)) in outcomes(fleet), 60, "the first look")
    host.set(stale=dict(host.refs))  # a replica that lags
    host.move(MAIN, commit(1))
    host.move(tag(1), commit(1))
    post(role, MAIN, commit(0), commit(1))
    post(role, tag(1), None, commit(1))
    wait_outcome(fleet, MAIN, commit(1))
    wait_outcome(fleet, tag(1), commit(1))
    host.set(stale=None)
    wait_polls(role, 2)
    news = [value["data"] for _, value, _ in fleet.records("events") if value["data"]["origin"] == "poll" and not value["data"].get("baseline")]
    assert news == []


def test_an_unchanged_repository_costs_conditional_requests(make_polling, host):
    host.set(refs={MAIN: commit(0), **{tag(n): commit(n) for n in range(4)}})
    fleet = make_polling.github(host)
    role = started(fleet, host)
    wait_polls(role, 2)
    before, whole = host.count(304), host.count(200)
    wait_polls(role, 4)
    assert host.count(304) - before >= 9 and host.count(200) == whole
    assert TOKEN not in role.log()


def test_the_hosts_limit_is_honoured(make_polling, host):
    host.set(refs={MAIN: commit(0)}, failure=(403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 3000)}))
    fleet = make_polling.github(host)
    role = fleet.start("producer")
    wait_for(lambda: "too many requests" in role.log(), 60, "the limit")
    host.set(failure=None)
    post(role, tag(1), None, commit(1))  # webhooks go on
    wait_outcome(fleet, tag(1), commit(1))
    assert host.count() == 1


def test_a_host_in_trouble_is_asked_again_and_a_bad_token_is_told(make_polling, host):
    host.set(refs={MAIN: commit(0)}, failure=(502, {}))
    fleet = make_polling.github(host)
    role = fleet.start("producer")
    wait_for(lambda: "the host answers 502" in role.log(), 60, "the failure")
    host.set(failure=None, token="another")
    wait_for(lambda: "the token is missing, wrong" in role.log(), 60, "the refusal")
    host.set(token=TOKEN)
    wait_outcome(fleet, MAIN, commit(0), "ignored")


def test_plain_git_is_asked_with_ls_remote(make_polling, tmp_path):
    bare, work = tmp_path / "app.git", tmp_path / "work"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*words):
        done = subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "-C", str(work), *words], check=True,
                              env=kept, capture_output=True, text=True, timeout=30)
        return done.stdout.strip()

    work.mkdir()
    subprocess.run(["git", "init", "-q", "--bare", str(bare)], check=True, timeout=30)
    git("init", "-q", "-b", "main")
    git("commit", "-q", "--allow-empty", "-m", "one")
    first = git("rev-parse", "HEAD")
    git("remote", "add", "origin", str(bare))
    git("push", "-q", "origin", "main")
    fleet = make_polling(f'provider = "git"; url = "file://{bare}"')
    started(fleet, None)
    assert outcomes(fleet) == {(MAIN, first): ["ignored"]}
    git("commit", "-q", "--allow-empty", "-m", "two")
    second = git("rev-parse", "HEAD")
    git("tag", "-a", "v-1.0.0-qa", "-m", "annotated")
    git("tag", "v-1.0.1-qa", first)
    git("push", "-q", "origin", "main", "--tags")
    for ref, sha in ((MAIN, second), ("refs/tags/v-1.0.0-qa", second), ("refs/tags/v-1.0.1-qa", first)):
        wait_outcome(fleet, ref, sha)
    git("push", "-q", "origin", ":v-1.0.1-qa")
    wait_outcome(fleet, "refs/tags/v-1.0.1-qa", None, "ignored")


def test_a_webhook_that_does_not_say_which_refs_have_moved_brings_the_poll_forward(make_polling, host):
    host.set(refs={MAIN: commit(1)})
    fleet = make_polling.github(host, poll="24h")
    role = fleet.start("producer")
    wait_outcome(fleet, MAIN, commit(1), "ignored")
    wait_for(lambda: polls(role) > 0, 60, "the first look")
    host.move(tag(1), commit(1))
    body = {"eventKey": "mirror:repo_synchronized", "changes": [], "refLimitExceeded": True, "date": "2026-01-02T03:04:05+0000",
            "repository": {"id": 7, "slug": "app", "project": {"key": "ACME"}}}
    port = re.search(r"msg=ready port=(\d+)", role.log()).group(1)
    answer = requests.post(f"http://127.0.0.1:{port}/hooks/mirror", json=body, timeout=20,
                           headers={"X-Event-Key": "mirror:repo_synchronized"})
    assert answer.status_code == 200
    wait_outcome(fleet, tag(1), commit(1))


def test_every_mistake_of_a_repository_is_told_with_what_would_be_right(broker, make_fleet):
    fleet = make_fleet(broker, config="""producer: { repositories = (
      { name = "Acme/App"; provider = "github"; poll = "5 min"; url = "https://x/y"; },
      { name = "a/b"; provider = "git"; url = "ext::sh"; branches = (); tags = (); poll = "1h"; },
      { name = "a/b"; provider = "gitlab"; api_url = "https://u:s3cret@h"; token_file = "/nope"; } ); };""")
    done = fleet.run("config", "check")
    assert done.returncode == 100 and "s3cret" not in done.stderr
    for told in ("in lower case", "url is for provider git", "url must be https://", "nothing to poll", "api_url must be https://host",
                 "/nope: cannot be read", "is there twice"):
        assert told in done.stderr
