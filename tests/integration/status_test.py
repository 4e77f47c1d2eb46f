"""The notifier on a real broker, with a resolver, against hosts from a script: what they are told, and what happens to the
fleet when they do not listen."""
import json

import pytest

from tests.support import messages
from tests.support.fleet import wait_for
from tests.support.git_host import GitHost
from tests.support.stores import STORES

TOKEN = "the-token"
BY_COMMIT = 'copies = ( { source = "{commit}/app.zip"; bucket = "b-{account}"; key = "app.zip"; trigger = true; } );'
BY_BUILD = 'copies = ( { source = "{build}/app.zip"; bucket = "b-{account}"; key = "app.zip"; trigger = true; } );'
ACCOUNTS = ("222222222222", "333333333333", "444444444444")


def commit(n):
    return "%040x" % (0xfeed0000 + n)


@pytest.fixture
def make_host():
    made = []

    def make():
        made.append(GitHost())
        return made[-1]

    yield make
    for host in made:
        host.close()


@pytest.fixture
def host(make_host):
    return make_host()


@pytest.fixture
def make_telling(broker, make_fleet, tmp_path):
    """A fleet with a resolver, and hooks whose hosts are told: (provider, host, repositories) each."""
    def make(*hooks, resolver=BY_COMMIT, notifier="", **more):
        (tmp_path / "token").write_text(TOKEN + "\n")
        rows = ", ".join(f'{{ name = "hook{n}"; provider = "{provider}"; unsigned = true; status = true; api_url = "{host.url}"; '
                         f'token_file = "{tmp_path}/token"; repositories = ( "{repositories}" ); }}'
                         for n, (provider, host, repositories) in enumerate(hooks))
        fleet = make_fleet(broker, config=f"""
            resolver: {{ {resolver} }};
            producer: {{ hooks = ( {rows} ); }};
            notifier: {{ link = "https://deploy.example.org/deployments/{{deployment}}"; {notifier} }};""", **more)
        for tag in ("branch/main", "qa"):
            fleet.must("map", "set", tag, ",".join(ACCOUNTS))
        fleet.start("resolver")
        return fleet
    return make


def push(fleet, ref, sha, repository="acme/app", build=None, before=None):
    more = (["--build", build] if build else []) + (["--before", before] if before else [])
    fleet.must("emit", "--repository", repository, "--ref", ref, "--commit", sha, *more)


def deployment_of(fleet, sha, outcome="accepted"):
    """Its id, once it is there."""
    def find():
        return [one["deployment"] for one in fleet.deployments() if one.get("commit") == sha and one["outcome"] == outcome]
    return wait_for(find, 60, f"{sha} {outcome}")[-1]


def finish(fleet, deployment, account, outcome="succeeded"):
    """An account's result, as a copier writes it."""
    result = json.loads((messages.EXAMPLES / f"result.{outcome}.json").read_text())
    result["id"] = f"{deployment}/{account}"
    result["data"].update(deployment=deployment, account=account)
    fleet.produce("results", deployment, result)


def told(host, sha=None):
    """(state, description) of a commit in order."""
    return [(state, text) for _, one, _, state, text, _ in host.posts if sha in (None, one)]


def wait_told(host, sha, wanted, seconds=60):
    wait_for(lambda: told(host, sha) == wanted, seconds, f"{wanted}, there is")


def remembered(fleet):
    """deployment -> its row on `statuses`."""
    rows = {key: value and value["data"] for key, value, _ in fleet.records("statuses")}
    return {key: row for key, row in rows.items() if row is not None}


@pytest.mark.parametrize("provider,states", [
    ("github", ("pending", "failure", "success")), ("gitea", ("pending", "failure", "success")),
    ("gitlab", ("pending", "failed", "success")), ("bitbucket", ("INPROGRESS", "FAILED", "SUCCESSFUL")),
    ("bitbucket-server", ("INPROGRESS", "FAILED", "SUCCESSFUL"))])
def test_a_commit_is_pending_and_then_ends_with_counts_and_a_link(make_telling, host, provider, states):
    fleet = make_telling((provider, host, "*"))
    role = fleet.start("notifier")
    pending, failure, success = states
    push(fleet, "refs/heads/main", commit(1))
    push(fleet, "refs/tags/v-1.0.0-qa", commit(2))
    first, second = deployment_of(fleet, commit(1)), deployment_of(fleet, commit(2))
    wait_told(host, commit(1), [(pending, "0 of 3 accounts")])
    wait_told(host, commit(2), [(pending, "0 of 3 accounts")])
    for account, one, other in zip(ACCOUNTS, ("succeeded", "succeeded", "unchanged"), ("succeeded", "failed", "timed_out")):
        finish(fleet, first, account, one)
        finish(fleet, second, account, other)
    wait_told(host, commit(1), [(pending, "0 of 3 accounts"), (success, "3 accounts: 2 succeeded, 1 unchanged")])
    wait_told(host, commit(2), [(pending, "0 of 3 accounts"), (failure, "2 of 3 accounts failed (1 timed out): 1 succeeded")])
    links = {(sha, context, link) for _, sha, context, _, _, link in host.posts}
    assert links == {(commit(1), "tagfleet/branch/main", f"https://deploy.example.org/deployments/{first}"),
                     (commit(2), "tagfleet/qa", f"https://deploy.example.org/deployments/{second}")}
    assert {repository for repository, *_ in host.posts} == {"acme/app"}
    wait_for(lambda: not remembered(fleet), 60, "what is over to be forgotten")
    assert role.stop() == 0
    assert TOKEN not in role.log() + "".join(str(value) for _, value, _ in fleet.records("statuses"))


def test_what_really_became_of_a_deployment_is_told(make_telling, servers, host):
    """Resolver, copier and store; one account has no buckets, one is suspended."""
    store = servers("moto", STORES["moto"])
    fleet = make_telling(("github", host, "acme/*"), resolver="", store=store)
    for account in ACCOUNTS[:2]:
        store.add_account(account, buckets=account == ACCOUNTS[0])
    suspended = json.loads((messages.EXAMPLES / "account.suspended.json").read_text())
    suspended["data"].update(account=ACCOUNTS[2])
    fleet.produce("accounts", ACCOUNTS[2], suspended)
    fleet.start("copier")
    fleet.start("notifier")
    fleet.upload_build("build-1")
    fleet.deploy(commit(1), "build-1")
    wait_for(lambda: told(host)[-1:] == [("failure", "1 of 3 accounts failed: 1 succeeded, 1 skipped")], 90, "the end")
    assert told(host)[0] in [("pending", "1 of 3 accounts"), told(host)[-1]]


def test_a_killed_notifier_counts_on_and_repeats_nothing(make_telling, host):
    fleet = make_telling(("github", host, "*"))
    role = fleet.start("notifier", "--instance", "one")
    push(fleet, "refs/heads/main", commit(1))
    deployment = deployment_of(fleet, commit(1))
    wait_for(lambda: remembered(fleet).get(deployment, {}).get("state") == "pending", 60, "pending to be remembered")
    for account in ACCOUNTS[:2]:
        role.kill()
        finish(fleet, deployment, account)
        role = fleet.start("notifier", "--instance", "one")
        wanted = ACCOUNTS.index(account) + 1
        wait_for(lambda: remembered(fleet)[deployment]["succeeded"] == wanted, 60, f"{wanted} to be counted")
    role.kill()
    finish(fleet, deployment, ACCOUNTS[2], "unchanged")
    role = fleet.start("notifier", "--instance", "one")
    wait_for(lambda: not remembered(fleet), 60, "the end")
    role.kill()
    fleet.start("notifier", "--instance", "one")
    push(fleet, "refs/tags/v-1.0.0-qa", commit(2))
    wait_told(host, commit(2), [("pending", "0 of 3 accounts")])
    assert told(host, commit(1)) == [("pending", "0 of 3 accounts"), ("success", "3 accounts: 2 succeeded, 1 unchanged")]


@pytest.mark.timeout(300)
def test_a_host_that_is_down_slows_nothing_and_is_told_later(make_telling, make_host):
    down, up = make_host(), make_host()
    fleet = make_telling(("gitlab", down, "acme/*"), ("github", up, "*"))
    role = fleet.start("notifier")
    down.close()
    for n in range(1, 30):
        push(fleet, f"refs/tags/v-1.0.{n}-qa", commit(n))
    push(fleet, "refs/tags/v-1.0.0-qa", commit(100), repository="other/app")
    gone, heard = deployment_of(fleet, commit(1)), deployment_of(fleet, commit(100))
    for account in ACCOUNTS:
        finish(fleet, gone, account)
        finish(fleet, heard, account)
    wait_for(lambda: told(up, commit(100))[-1:] == [("success", "3 accounts: 3 succeeded")], 60, "the other host to hear")
    assert down.posts == [] and len(fleet.records("jobs")) == 3 * 30
    wait_for(lambda: "the host takes no status for now" in role.log(), 60, "the failure")
    down.open()
    for n in range(2, 30):  # tried again after up to a minute, if it has taken that long so far
        wait_told(down, commit(n), [("pending", "0 of 3 accounts")], 100)
    # Its end had come before the host heard of its beginning.
    wait_told(down, commit(1), [("success", "3 accounts: 3 succeeded")])


def test_the_hosts_limit_is_honoured_and_a_status_is_given_up_in_the_end(make_telling, host):
    host.set(failure=(429, {"Retry-After": "3000"}))
    fleet = make_telling(("github", host, "*"), notifier='retry_for = "0s";')
    role = fleet.start("notifier")
    for n in range(1, 5):
        push(fleet, f"refs/tags/v-1.0.{n}-qa", commit(n))
        deployment_of(fleet, commit(n))
    wait_for(lambda: len(remembered(fleet)) == 4, 60, "all to be given up")
    assert "status given up" in role.log() and role.metric("statuses_total", result="given_up") == 4
    assert {row.get("state") for row in remembered(fleet).values()} <= {None, "none"}
    assert host.count() <= 4


def test_a_host_that_refuses_is_complained_of_once(make_telling, host):
    host.set(token="another")
    fleet = make_telling(("github", host, "*"))
    role = fleet.start("notifier")
    for n in range(1, 5):
        push(fleet, f"refs/tags/v-1.0.{n}-qa", commit(n))
    deployments = [deployment_of(fleet, commit(n)) for n in range(1, 5)]
    wait_for(lambda: len(remembered(fleet)) == 4, 60, "all to be done with")
    assert role.log().count("the host takes no status of this repository") == 1
    assert role.metric("statuses_total", result="refused") == role.metric("statuses_total") == 4
    host.set(token=TOKEN)
    for account in ACCOUNTS:
        finish(fleet, deployments[0], account, "superseded")
    wait_told(host, commit(1), [("error", "3 of 3 accounts replaced by a newer deployment")])
    wait_for(lambda: role.metric("statuses_total", result="posted") == 1, 10, "the count")


def test_what_waits_for_its_build_does_not_wait_for_ever(make_telling, host):
    fleet = make_telling(("github", host, "*"), resolver=BY_BUILD)
    fleet.start("notifier")
    waits = ("pending", "waits for its build")
    push(fleet, "refs/heads/main", commit(1))
    wait_told(host, commit(1), [waits])
    wait_for(lambda: len(remembered(fleet)) == 1, 60, "it to be remembered")
    push(fleet, "refs/heads/main", commit(2), before=commit(1))
    wait_told(host, commit(2), [waits])
    wait_told(host, commit(1), [waits, ("error", "replaced by a newer commit before its build was published")])
    push(fleet, "refs/heads/main", commit(2), build="build-2")
    deployment = deployment_of(fleet, commit(2))
    for account in ACCOUNTS:
        finish(fleet, deployment, account)
    wait_for(lambda: told(host, commit(2))[-1] == ("success", "3 accounts: 3 succeeded"), 60, "the end")
    wait_for(lambda: not remembered(fleet), 60, "what is over to be forgotten")


def test_a_tag_that_deploys_nowhere_is_an_error_and_a_branch_is_nothing(make_telling, host):
    fleet = make_telling(("github", host, "acme/*"))
    role = fleet.start("notifier")
    push(fleet, "refs/heads/feature", commit(1))
    push(fleet, "refs/tags/v-1.0.0-nowhere", commit(1), repository="other/app")
    push(fleet, "refs/tags/prod", commit(2))
    push(fleet, "refs/tags/v-1.0.0-nowhere", commit(3))
    wait_for(lambda: len(host.posts) == 2, 60, "both tags")
    assert [state for state, _ in told(host)] == ["error", "error"] and told(host, commit(1)) == []
    assert {context for _, _, context, _, _, _ in host.posts} == {"tagfleet/prod", "tagfleet/nowhere"}
    fleet.produce_garbage("results", "d-0123456789abcdef", b"{ no result")
    wait_for(lambda: fleet.records("dead"), 60, "the letter")
    push(fleet, "refs/heads/main", commit(4))
    wait_told(host, commit(4), [("pending", "0 of 3 accounts")])
    assert role.stop() == 0


def test_history_is_not_told(make_telling, host):
    fleet = make_telling(("github", host, "*"))
    old = json.loads((messages.EXAMPLES / "deployment.accepted.json").read_text())
    skipped = json.loads((messages.EXAMPLES / "result.skipped.json").read_text())
    fleet.produce("results", skipped["data"]["deployment"], skipped)
    fleet.produce("results", old["data"]["deployment"], old)
    fleet.start("notifier")
    push(fleet, "refs/heads/main", commit(1))
    wait_told(host, commit(1), [("pending", "0 of 3 accounts")])
    assert {sha for _, sha, *_ in host.posts} == {commit(1)}


def test_mistakes_of_the_config_are_told_with_what_is_right(broker, make_fleet, tmp_path):
    (tmp_path / "token").write_text(TOKEN)

    def mistakes(hook, notifier=""):
        fleet = make_fleet(broker, config=f'producer: {{ hooks = ( {{ name = "h"; unsigned = true; status = true; {hook} }} ); }};\n{notifier}')
        done = fleet.run("config", "check")
        assert done.returncode == (100 if done.stderr else 0)
        return done.stderr
    token = f'token_file = "{tmp_path}/token";'
    assert mistakes(f'provider = "bitbucket"; {token}') == ""
    assert "provider gogs is not known; known are github, gitlab" in mistakes(f'provider = "gogs"; {token}')
    assert "api_url is needed" in mistakes(f'provider = "bitbucket-server"; {token}')
    assert "token_file is needed" in mistakes('provider = "github";')
    assert "repositories is empty" in mistakes(f'provider = "github"; {token} repositories = ( );')
    assert "placeholder" in mistakes(f'provider = "github"; {token}', 'notifier: { link = "https://h/{account}"; };')
