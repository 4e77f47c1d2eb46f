"""A real git host, with git itself, its own webhooks and its own API: what the recordings and the scripted host say of one
must be what it does. What is expected is what git says of its clone."""
import itertools
import re
from collections import Counter

import pytest

from tests.support.fleet import wait_for
from tests.support.git_server import OWNER, PAGE, PASSWORD, PROGRAM, GitServer

SECRET = "the hook's secret"
ACCOUNT = "222222222222"
MAIN = "refs/heads/main"
PUSHES, ALL = ("push",), ("push", "create", "delete")
RESOLVER = 'resolver: { copies = ( { source = "{commit}/app.zip"; bucket = "b-{account}"; key = "app.zip"; trigger = true; } ); };'
_numbers = itertools.count()


@pytest.fixture(scope="module")
def host(servers):
    if not PROGRAM.exists():
        pytest.skip("Gitea is not here: it needs Go 1.26.2 or newer and a C compiler")
    return servers("gitea", GitServer)


@pytest.fixture
def repository(host, tmp_path):
    return host.make_repository(f"app-{next(_numbers)}", tmp_path / "clone")


@pytest.fixture
def make_fleet_of(broker, make_fleet, host, tmp_path):
    """A fleet whose producer takes the repository's webhook, asks its API when it is to poll, and whose resolver, when it
    has one, deploys every ref."""
    def make(repository, poll=False, deploys=False):
        (tmp_path / "hook").write_text(SECRET + "\n")
        polled = ""
        if poll:
            (tmp_path / "token").write_text(host.make_token(repository.name.replace("/", "-"), "read:repository") + "\n")
            polled = f"""repositories = ( {{ name = "{repository.name}"; provider = "gitea"; api_url = "{host.url}";
                         token_file = "{tmp_path}/token"; poll = "1s"; branches = ( "*" ); }} );"""
        fleet = make_fleet(broker, config=RESOLVER + f"""
            log: {{ level = "debug"; }};
            producer: {{ listen = "127.0.0.1:0"; hooks = ( {{ name = "acme"; provider = "gitea"; secret_file = "{tmp_path}/hook"; }} );
                         {polled} }};""")
        if poll or deploys:  # the poll knows from the resolver what was told
            for tag in ("branch/main", "branch/stage", "qa"):
                fleet.must("map", "set", tag, ACCOUNT)
            fleet.start("resolver")
        return fleet

    return make


def hook_url(role):
    return f"http://127.0.0.1:{re.search(r'msg=ready port=([0-9]+)', role.log()).group(1)}/hooks/acme"


def events(fleet):
    """(id, data) of all neutral events but those of a baseline, in the order of the topic."""
    return [(value["id"], value["data"]) for _, value, _ in fleet.records("events") if not value["data"].get("baseline")]


def told(fleet, origin=None):
    """How often each (kind, ref, after) was told, each event once."""
    once = {name: data for name, data in events(fleet) if origin in (None, data["origin"])}
    return Counter((data["kind"], data["ref"], data.get("after")) for data in once.values())


def wait_told(fleet, wanted, origin=None):
    """Until all of it was told; then it must be all that was."""
    wanted = Counter(wanted)
    wait_for(lambda: not wanted - told(fleet, origin), 30, f"{wanted - told(fleet, origin)}")
    assert told(fleet, origin) == wanted


def tag(number):
    return f"v-1.{number}.0-qa"


def tag_ref(number):
    return f"refs/tags/{tag(number)}"


def outcomes(fleet):
    """(ref, commit) -> its outcomes."""
    found = {}
    for one in fleet.deployments():
        found.setdefault((one["ref"], one.get("commit")), []).append(one["outcome"])
    return found


def looks(role, more):
    """Until so many further polls have ended well: what the poll has to say of the present it has said."""
    until = role.log().count("msg=polled") + more
    wait_for(lambda: role.log().count("msg=polled") >= until, 60, "further polls")


@pytest.mark.parametrize("hears", [PUSHES, ALL], ids=["pushes", "pushes-and-creations"])
def test_each_push_becomes_the_event_that_git_says(repository, make_fleet_of, hears):
    fleet = make_fleet_of(repository)
    role = fleet.start("producer")
    hook = repository.add_hook(hook_url(role), SECRET, hears)
    wanted = []

    def expect(*more):
        wanted.extend(more)
        wait_told(fleet, wanted)

    first = repository.commit("one")
    repository.push("main")
    expect(("branch_updated", MAIN, first))
    repository.commit("two")
    head = repository.commit("three")
    repository.push("main")
    expect(("branch_updated", MAIN, head))
    repository.git("tag", tag(0), first)
    repository.push(tag(0))
    expect(("tag_created", tag_ref(0), first))
    repository.git("tag", "-a", "-m", "annotated", tag(1), head)
    repository.push(tag(1))
    assert repository.git("rev-parse", tag(1)) != repository.commit_of(tag(1)) == head
    expect(("tag_created", tag_ref(1), head))
    repository.git("tag", "-f", tag(0), head)
    repository.push("-f", tag(0))
    expect(("tag_created", tag_ref(0), head))  # Gitea does not say where it was
    repository.push(f":{tag(1)}")
    expect(("ref_deleted", tag_ref(1), None))
    repository.push("main~1:refs/heads/stage")
    expect(("branch_updated", "refs/heads/stage", repository.commit_of("main~1")))
    for number in range(2, 9):
        repository.git("tag", *(["-a", "-m", "annotated"] if number % 2 else []), tag(number), f"main~{number % 3}")
    repository.push(*map(tag, range(2, 9)))
    expect(*[("tag_created", tag_ref(number), repository.commit_of(tag(number))) for number in range(2, 9)])
    repository.git("reset", "-q", "--hard", first)
    other = repository.commit("another history")
    repository.push("-f", "main")
    expect(("branch_updated", MAIN, other))
    repository.push(":stage")  # of which Gitea sends no push
    repository.git("tag", tag(9))
    repository.push(tag(9))
    expect(("tag_created", tag_ref(9), other), *([("ref_deleted", "refs/heads/stage", None)] if hears == ALL else []))
    before = role.log().count("delivery taken")
    repository.test_hook(hook)
    repository.git("tag", tag(10))
    repository.push(tag(10))
    expect(("tag_created", tag_ref(10), other))
    assert role.log().count("delivery taken") == before + 1
    every = [name for name, _ in events(fleet)]
    # The creation of the very first branch comes before any push.
    assert len(every) - len(set(every)) <= (1 if hears == ALL else 0)
    assert {data["repository"] for _, data in events(fleet)} == {repository.name}
    assert all(data["delivery"] and data["actor"] == "acme" and data["origin"] == "webhook" for _, data in events(fleet))


def test_a_hook_with_another_secret_is_refused(repository, make_fleet_of):
    fleet = make_fleet_of(repository)
    role = fleet.start("producer")
    repository.add_hook(hook_url(role), "not " + SECRET, ALL)
    repository.commit("one")
    repository.push("main")
    wait_for(lambda: role.log().count("status=401") == 2, 30, "the refusal of the push and of the creation")
    assert "delivery taken" not in role.log() and events(fleet) == []


def test_an_annotated_tag_that_is_deleted_and_created_again_is_deployed_again(repository, make_fleet_of):
    fleet = make_fleet_of(repository, deploys=True)
    repository.commit("before the hook")
    repository.push("main")
    repository.add_hook(hook_url(fleet.start("producer")), SECRET, PUSHES)
    key = (tag_ref(0), repository.commit_of("main"))
    for times in (1, 2):
        repository.git("tag", "-a", "-m", "annotated", tag(0))
        repository.push(tag(0))
        wait_for(lambda: outcomes(fleet).get(key) == times * ["accepted"], 60, f"deployment {times}")
        repository.git("tag", "-d", tag(0))
        repository.push(f":{tag(0)}")


def test_the_poll_alone_tells_what_git_says(repository, make_fleet_of):
    first = repository.commit("one")
    for number in range(2 * PAGE + 1):
        repository.git("tag", *(["-a", "-m", "annotated"] if number % 2 else []), tag(number))
    repository.push("main", *map(tag, range(2 * PAGE + 1)))
    fleet = make_fleet_of(repository, poll=True)
    role = fleet.start("producer")
    old = {(MAIN, first): ["ignored"], **{(tag_ref(number), first): ["ignored"] for number in range(2 * PAGE + 1)}}
    wait_for(lambda: outcomes(fleet) == old, 60, "the baseline, of several pages")
    looks(role, 2)
    assert outcomes(fleet) == old and events(fleet) == []
    head = repository.commit("two")
    repository.git("tag", tag(30))
    repository.git("tag", "-a", "-m", "annotated", tag(31), first)
    repository.git("tag", "-f", tag(0), head)
    repository.push("-f", "main", "main:refs/heads/stage", *map(tag, (30, 31, 0)), f":{tag(5)}")
    wanted = [("branch_updated", MAIN, head), ("branch_updated", "refs/heads/stage", head), ("tag_created", tag_ref(30), head),
              ("tag_created", tag_ref(31), first), ("tag_moved", tag_ref(0), head), ("ref_deleted", tag_ref(5), None)]
    wait_told(fleet, wanted, "poll")
    looks(role, 2)
    wait_told(fleet, wanted)
    wait_for(lambda: len(outcomes(fleet)) == len(old) + len(wanted), 30, "all outcomes")
    new = {key: found for key, found in outcomes(fleet).items() if key not in old}
    assert new == {(ref, after): ["accepted" if after else "ignored"] for _, ref, after in wanted}


def test_webhook_and_poll_together_deploy_each_ref_once(repository, make_fleet_of):
    first = repository.commit("one")
    repository.push("main")
    fleet = make_fleet_of(repository, poll=True)
    role = fleet.start("producer")
    wait_for(lambda: outcomes(fleet) == {(MAIN, first): ["ignored"]}, 60, "the baseline")
    repository.add_hook(hook_url(role), SECRET, ALL)
    wanted = set()

    def push(*refs):
        repository.push("-f", *[ref.rpartition("/")[2] for ref in refs])
        wanted.update((ref, repository.commit_of(ref)) for ref in refs)

    for number in range(4):
        head = repository.commit(f"number {number}")
        repository.git("tag", *(["-a", "-m", "annotated"] if number % 2 else []), tag(number))
        push(MAIN, tag_ref(number))
        wait_for(lambda: (MAIN, head) in outcomes(fleet), 60, "the branch's head")
    repository.git("tag", "-f", tag(2), first)
    push(tag_ref(2))
    back = (tag_ref(3), head)
    repository.git("tag", "-f", tag(3), first)
    push(tag_ref(3))
    wait_for(lambda: wanted <= set(outcomes(fleet)), 60, "all outcomes")
    repository.git("tag", "-f", tag(3), head)  # which is the first event once more, as Gitea tells it
    push(tag_ref(3))
    wait_for(lambda: len(outcomes(fleet)[back]) == 2, 60, "the way back")
    looks(role, 2)
    assert outcomes(fleet) == {(MAIN, first): ["ignored"], **{key: (2 if key == back else 1) * ["accepted"] for key in wanted}}


@pytest.mark.parametrize("login", ["a token", "user and password"])
def test_plain_git_looks_into_a_private_repository_with_what_its_token_file_holds(repository, broker, make_fleet, host, tmp_path, login):
    token = host.make_token(repository.name.replace("/", "-"), "read:repository") if login == "a token" else f"{OWNER}:{PASSWORD}"
    (tmp_path / "token").write_text("not-the-one\n")
    fleet = make_fleet(broker, config=RESOLVER + f"""
        producer: {{ listen = "127.0.0.1:0"; repositories = ( {{ name = "{repository.name}"; provider = "git"; poll = "1s";
                     url = "{host.url}/{repository.name}.git"; token_file = "{tmp_path}/token"; }} ); }};""")
    fleet.must("map", "set", "qa", ACCOUNT)
    fleet.start("resolver")
    first = repository.commit("one")
    repository.push("main")
    role = fleet.start("producer")
    wait_for(lambda: role.metric("polls_total", result="failed") > 0, 60, "a look that is refused")
    assert events(fleet) == [] and outcomes(fleet) == {}
    (tmp_path / "token").write_text(token + "\n")
    wait_for(lambda: outcomes(fleet) == {(MAIN, first): ["ignored"]}, 60, "the baseline")
    repository.git("tag", "-a", "-m", "annotated", tag(0))
    repository.push(tag(0))
    wait_for(lambda: outcomes(fleet).get((tag_ref(0), first)) == ["accepted"], 60, "the deployment of the tag")
    assert token not in role.log()
