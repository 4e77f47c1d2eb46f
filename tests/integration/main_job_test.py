"""The main job: from a build's emit, or a push, to the objects in the tenants' buckets, on every store."""
import pytest

COMMITS = ["%040x" % (0xabc0 + n) for n in range(9)]


@pytest.fixture
def running(any_broker, store, make_fleet):
    fleet = make_fleet(any_broker, store)
    fleet.start("resolver")
    fleet.start("copier")
    return fleet


def test_a_build_reaches_every_account_of_its_branch_and_a_tag_promotes_it(running, new_account):
    fleet, store = running, running.store
    accounts = [new_account() for _ in range(3)]
    for account in accounts:
        store.add_account(account)
    build = f"build-{accounts[0]}"
    files = {"index.html": b"<html>", "js/app.js": b"code", "odd + key ~?é.txt": b"odd", "empty.css": b""}
    fleet.upload_build(build, files)
    assert fleet.run("map", "set", "branch/main", ",".join(accounts[:2])).returncode == 0
    assert fleet.run("map", "set", "qa", accounts[2]).returncode == 0

    fleet.deploy(COMMITS[0], build)
    lines, code = fleet.wait(COMMITS[0])
    assert code == 0, (lines, [role.log() for role in fleet.roles])
    assert {line["account"]: line["outcome"] for line in lines[:-1]} == dict.fromkeys(accounts[:2], "succeeded")
    assert lines[-1]["outcome"] == "finished" and lines[-1]["succeeded"] == 2

    tagged = fleet.run("emit", "--repository", "acme/app", "--ref", "refs/tags/v-1.0.0-qa", "--commit", COMMITS[0])
    assert tagged.returncode == 0
    lines, code = fleet.wait(COMMITS[0], ref="refs/tags/v-1.0.0-qa")
    assert code == 0 and lines[-1]["build"] == build and lines[0]["account"] == accounts[2]

    for account in accounts:
        assert store.objects(f"frontend-{account}", account) == files
        assert store.objects(f"source-artifact-{account}", account) == {"codebuild/artifacts": b"archive" + build.encode()}
    evidence = fleet.results()[(lines[-1]["deployment"], accounts[2])][0]["evidence"]
    assert {item["key"] for item in evidence} == {*files, "codebuild/artifacts"}
    assert all(item["etag"] for item in evidence)


def test_one_broken_account_fails_alone_and_says_why(running, new_account):
    fleet, store = running, running.store
    good, broken = new_account(), new_account()
    store.add_account(good)
    store.add_account(broken, buckets=False)
    build = f"build-{good}"
    fleet.upload_build(build)
    fleet.must("map", "set", "branch/main", f"{good},{broken}")
    fleet.deploy(COMMITS[1], build)
    lines, code = fleet.wait(COMMITS[1])
    outcomes = {line["account"]: line for line in lines[:-1]}
    assert code == 1
    assert outcomes[good]["outcome"] == "succeeded"
    assert outcomes[broken]["outcome"] == "failed"
    assert f"frontend-{broken}" in outcomes[broken]["reason"] or f"source-artifact-{broken}" in outcomes[broken]["reason"]


def test_the_same_build_again_is_unchanged(running, new_account):
    fleet, store = running, running.store
    account = new_account()
    store.add_account(account)
    build = f"build-{account}"
    fleet.upload_build(build)
    fleet.must("map", "set", "branch/main", account)
    fleet.must("map", "set", "qa", account)
    fleet.deploy(COMMITS[2], build)
    assert fleet.wait(COMMITS[2])[1] == 0
    fleet.must("emit", "--repository", "acme/app", "--ref", "refs/tags/v-1-qa", "--commit", COMMITS[2])
    lines, code = fleet.wait(COMMITS[2], ref="refs/tags/v-1-qa")
    assert code == 0 and lines[0]["outcome"] == "unchanged"


def test_an_artifact_that_comes_late_is_waited_for(running, new_account):
    fleet, store = running, running.store
    account = new_account()
    store.add_account(account)
    build = f"build-{account}"
    fleet.upload_build(build, archive=None)
    fleet.must("map", "set", "branch/main", account)
    fleet.deploy(COMMITS[3], build)
    lines, code = fleet.wait(COMMITS[3], timeout="3s")
    assert code == 124
    fleet.upload_build(build)
    lines, code = fleet.wait(COMMITS[3])
    assert code == 0 and lines[0]["outcome"] == "succeeded"


def test_all_three_stores_are_drained_and_no_offset_is_left_behind(running, new_account):
    fleet, store = running, running.store
    account = new_account()
    store.add_account(account)
    fleet.upload_build(f"build-{account}")
    fleet.must("map", "set", "branch/main", account)
    fleet.deploy(COMMITS[4], f"build-{account}")
    assert fleet.wait(COMMITS[4])[1] == 0
    from tests.support.fleet import wait_for
    wait_for(lambda: sum(fleet.broker.lag(fleet.prefix + "copier", fleet.prefix + "jobs").values()) == 0, 20, "lag 0")
    wait_for(lambda: sum(fleet.broker.lag(fleet.prefix + "resolver", fleet.prefix + "events").values()) == 0, 20, "lag 0")
    assert [role.stop() for role in fleet.roles] == [0, 0]
