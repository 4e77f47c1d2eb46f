"""The promises, one test each, on a real broker; where S3 matters, on a store that verifies signatures."""
import json
import threading
import time

import pytest

from tests.support.fleet import wait_for

REPOSITORY = "acme/app"


def commit(n):
    return "%040x" % (0xfeed0000 + n)


def emit(fleet, ref, sha, build=None, before=None, repository=REPOSITORY):
    words = ["--repository", repository, "--ref", ref, "--commit", sha]
    words += ["--build", build] if build else []
    words += ["--before", before] if before else []
    done = fleet.run("emit", *words)
    assert done.returncode == 0, done.stderr
    return done


def push(fleet, before, after, ref="refs/heads/main", kind="branch_updated", delivery=None, **more):
    """A push as the producer would write it, with full control of what it says."""
    data = {"kind": kind, "origin": "webhook", "provider": "bitbucket", "repository": REPOSITORY, "ref": ref, **more}
    data.update({name: value for name, value in (("before", before), ("after", after), ("delivery", delivery)) if value})
    event = {"specversion": "1.0", "type": "tagfleet.event.v1", "id": "test", "source": "tests",
             "time": "2026-01-01T00:00:00.000Z", "data": data}
    fleet.produce("events", REPOSITORY, event)


def outcomes(fleet):
    """(ref, commit) -> outcomes in order."""
    found = {}
    for one in fleet.deployments():
        found.setdefault((one.get("ref"), one.get("commit")), []).append(one["outcome"])
    return found


@pytest.fixture
def resolving(any_broker, make_fleet):
    """A resolver whose artifacts are addressed by commit, so that every push deploys."""
    fleet = make_fleet(any_broker, config='resolver: { copies = ( { source = "{commit}/app.zip"; bucket = "b-{account}"; '
                                          'key = "app.zip"; trigger = true; } ); };')
    for tag, accounts in (("branch/main", "222222222222"), ("qa", "222222222222,333333333333")):
        stored = fleet.run("map", "set", tag, accounts)
        assert stored.returncode == 0, stored.stderr
    fleet.start("resolver")
    return fleet


def test_every_event_ends_visibly_and_bad_input_blocks_nobody(resolving):
    fleet = resolving
    fleet.produce_garbage("events", REPOSITORY, b"{ this is not JSON")
    fleet.produce_garbage("events", REPOSITORY, b'{"specversion":"1.0"}')
    emit(fleet, "refs/tags/prod", commit(1))
    emit(fleet, "refs/tags/v-1.0.0-nowhere", commit(1))
    emit(fleet, "refs/tags/v-1.0.0-qa", commit(1))
    wait_for(lambda: len(fleet.deployments()) == 5, 30, "five outcomes")
    found = outcomes(fleet)
    assert found[(None, None)] == ["rejected", "rejected"]
    assert found[("refs/tags/prod", commit(1))] == ["rejected"]
    assert found[("refs/tags/v-1.0.0-nowhere", commit(1))] == ["dropped"]
    assert found[("refs/tags/v-1.0.0-qa", commit(1))] == ["accepted"]
    assert len(fleet.records("dead")) == 2
    assert sorted(key for key, _, _ in fleet.records("jobs")) == ["222222222222", "333333333333"]


def test_the_same_event_delivered_many_times_is_one_deployment(resolving):
    for _ in range(5):
        push(resolving, None, commit(2), delivery="one")
    emit(resolving, "refs/tags/v-9-qa", commit(2))
    wait_for(lambda: ("refs/tags/v-9-qa", commit(2)) in outcomes(resolving), 30, "the last event")
    assert outcomes(resolving)[("refs/heads/main", commit(2))] == ["accepted"]
    assert len(resolving.records("jobs")) == 3


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_reordered_pushes_end_at_the_newest_commit(broker, make_fleet, order):
    fleet = make_fleet(broker, config='resolver: { copies = ( { source = "{commit}/a"; bucket = "b-{account}"; key = "a"; } ); };')
    fleet.must("map", "set", "branch/main", "222222222222")
    fleet.start("resolver")
    chain = [(None, commit(1)), (commit(1), commit(2)), (commit(2), commit(3))]
    for n in order:
        push(fleet, *chain[n])
    wait_for(lambda: len(fleet.records("refs")) == 3, 30, "three decisions")
    assert fleet.records("refs")[-1][1]["data"]["commit"] == commit(3)
    deployed = [value["data"]["commit"] for _, value, _ in fleet.records("jobs")]
    assert deployed[-1] == commit(3) and deployed == sorted(deployed)


def test_a_redelivered_older_push_does_not_overwrite_and_a_rollback_does(resolving):
    push(resolving, None, commit(1), delivery="a")
    push(resolving, commit(1), commit(2), delivery="b")
    push(resolving, None, commit(1), delivery="a")
    push(resolving, commit(2), commit(1), delivery="c", forced=True)
    push(resolving, commit(1), commit(2), delivery="b", redelivered=True)
    emit(resolving, "refs/tags/v-1-qa", commit(9))
    wait_for(lambda: ("refs/tags/v-1-qa", commit(9)) in outcomes(resolving), 30, "the last event")
    jobs = [value["data"]["commit"] for _, value, _ in resolving.records("jobs") if value["data"]["tag"] == "branch/main"]
    # The way back is a deployment of its own: whoever waits for it is not told of the first.
    accepted = [one["deployment"] for one in resolving.deployments()
                if one["outcome"] == "accepted" and one["tag"] == "branch/main"]
    assert len(set(accepted)) == len(accepted) == 3
    refs = [value["data"]["commit"] for key, value, _ in resolving.records("refs") if key.endswith("refs/heads/main")]
    assert refs[-1] == commit(1)
    assert jobs[:2] == [commit(1), commit(2)] and jobs[2:] == [commit(1)]


def test_a_tag_deleted_and_created_again_deploys_again(resolving):
    ref = "refs/tags/v-2-qa"
    push(resolving, None, commit(3), ref, "tag_created", delivery="a")
    push(resolving, commit(3), None, ref, "ref_deleted", delivery="b")
    push(resolving, None, commit(3), ref, "tag_created", delivery="c")
    push(resolving, commit(3), commit(4), ref, "tag_moved", delivery="d")
    wait_for(lambda: outcomes(resolving).get((ref, commit(4))), 30, "the moved tag")
    assert outcomes(resolving)[(ref, commit(3))] == ["accepted", "accepted"]
    assert outcomes(resolving)[(ref, None)] == ["ignored"]
    ids = {one["deployment"] for one in resolving.deployments() if one["outcome"] == "accepted"}
    assert len(ids) == 3


def test_an_older_build_that_finishes_late_is_superseded(broker, make_fleet):
    fleet = make_fleet(broker)
    fleet.must("map", "set", "branch/main", "222222222222")
    fleet.start("resolver")
    emit(fleet, "refs/heads/main", commit(2), "build-2", before=commit(1))
    emit(fleet, "refs/heads/main", commit(1), "build-1", before=commit(0))
    wait_for(lambda: len(fleet.deployments()) == 2, 30, "two outcomes")
    assert outcomes(fleet) == {("refs/heads/main", commit(2)): ["accepted"], ("refs/heads/main", commit(1)): ["superseded"]}


def test_a_push_waits_for_its_build_and_a_tag_waits_with_it(broker, make_fleet):
    fleet = make_fleet(broker)
    fleet.must("map", "set", "branch/main", "222222222222")
    fleet.must("map", "set", "qa", "333333333333")
    fleet.start("resolver")
    push(fleet, None, commit(5))
    push(fleet, None, commit(5), "refs/tags/v-5-qa", "tag_created")
    wait_for(lambda: len(fleet.deployments()) == 2, 30, "two outcomes")
    emit(fleet, "refs/heads/main", commit(5), "build-5")
    wait_for(lambda: len(fleet.deployments()) == 4, 30, "both deployments")
    assert outcomes(fleet) == {("refs/heads/main", commit(5)): ["noted", "accepted"],
                               ("refs/tags/v-5-qa", commit(5)): ["noted", "accepted"]}
    assert {value["data"]["build"] for _, value, _ in fleet.records("jobs")} == {"build-5"}


def test_a_change_of_the_map_counts_for_every_event_accepted_after_it(resolving):
    fleet = resolving
    for n in range(15):
        account = "%012d" % (700000000000 + n)
        assert fleet.run("map", "set", "race", account).returncode == 0
        emit(fleet, f"refs/tags/v-{n}-race", commit(n + 1))
    def decided():
        return {value["data"]["version"]: key for key, value, _ in fleet.records("jobs") if value["data"]["tag"] == "race"}
    wait_for(lambda: len(decided()) == 15, 40, "all decided")
    # A decision that comes late may see a still newer map, never an older one than was stored when its event was.
    assert all(int(account) - 700000000000 >= int(version) for version, account in decided().items())
    assert decided()["14"] == "%012d" % 700000000014


def test_one_tag_reaches_ten_thousand_accounts(resolving, tmp_path):
    accounts = ["%012d" % n for n in range(10000)]
    file = tmp_path / "map.json"
    file.write_text(json.dumps({"all": accounts}))
    assert resolving.run("map", "apply", "-f", str(file)).returncode == 0
    emit(resolving, "refs/tags/v-1-all", commit(6))
    wait_for(lambda: ("refs/tags/v-1-all", commit(6)) in outcomes(resolving), 60, "accepted")
    jobs = [key for key, _, _ in resolving.records("jobs")]
    assert sorted(jobs) == accounts


def test_killed_anywhere_every_job_still_ends_in_exactly_one_result(any_broker, versitygw, make_fleet, new_account):
    """Resolver and copiers are killed, stopped beyond their session and restarted while deployments run."""
    fleet = make_fleet(any_broker, versitygw)
    accounts = [new_account() for _ in range(6)]
    for account in accounts:
        versitygw.add_account(account)
    fleet.must("map", "set", "branch/main", ",".join(accounts))
    resolver = fleet.start("resolver", "--instance", "r")
    copiers = [fleet.start("copier", "--instance", f"c{n}") for n in range(2)]
    builds = 6
    for n in range(builds):
        fleet.upload_build(f"kill-{accounts[0]}-{n}", {f"f{i}.js": b"%d" % (i * n) for i in range(8)} | {"index.html": b"%d" % n})
        emit(fleet, "refs/heads/main", commit(100 + n), f"kill-{accounts[0]}-{n}", before=commit(99 + n))
        if n == 1:
            copiers[0].kill()
            copiers[0] = fleet.start("copier", "--instance", "c0", wait_ready=False)
        if n == 2:
            resolver.kill()
            resolver = fleet.start("resolver", "--instance", "r", wait_ready=False)
        if n == 3:
            copiers[1].pause()
    time.sleep(13)
    copiers[1].resume()
    newest = commit(100 + builds - 1)
    lines, code = fleet.wait(newest, timeout="90s")
    assert code == 0, (lines, [role.log()[-1500:] for role in fleet.roles])
    accepted = {one["deployment"]: one for one in fleet.deployments() if one["outcome"] == "accepted"}
    wait_for(lambda: len(fleet.results()) == len(accepted) * len(accounts), 60, "a result for every job")
    results = fleet.results()
    assert all(len(found) == 1 for found in results.values()), results
    assert {data["outcome"] for found in results.values() for data in found} <= {"succeeded", "superseded", "unchanged"}
    last = f"kill-{accounts[0]}-{builds - 1}"
    for account in accounts:
        found = versitygw.objects(f"source-artifact-{account}", account)
        assert found == {"codebuild/artifacts": b"archive" + last.encode()}
        assert versitygw.objects(f"frontend-{account}", account)["index.html"] == b"%d" % (builds - 1)


def test_an_account_role_and_key_that_disagree_write_nothing(broker, minio, make_fleet, new_account):
    fleet = make_fleet(broker, minio)
    a, b = new_account(), new_account()
    for account in (a, b):
        minio.add_account(account)
    fleet.upload_build(f"iso-{a}")
    fleet.must("map", "set", "branch/main", a)
    fleet.start("resolver")
    emit(fleet, "refs/heads/main", commit(7), f"iso-{a}")
    job = wait_for(lambda: fleet.records("jobs"), 30, "the job")[0][1]
    job["data"]["role"] = job["data"]["role"].replace(a, b)
    job["data"]["deployment"] = "d-00000000000000aa"
    job["id"] = f"d-00000000000000aa/{a}"
    fleet.produce("jobs", a, job)
    fleet.start("copier")
    found = wait_for(lambda: fleet.results("d-00000000000000aa"), 30, "its result")
    data = found[("d-00000000000000aa", a)][0]
    assert data["outcome"] == "failed" and "another account" in data["reason"]
    assert minio.objects(f"frontend-{b}", b) == {}


def test_no_secret_is_written_anywhere(broker, minio, make_fleet, new_account):
    fleet = make_fleet(broker, minio)
    account = new_account()
    minio.add_account(account)
    fleet.upload_build(f"quiet-{account}")
    fleet.must("map", "set", "branch/main", account)
    fleet.start("resolver", "--set", "log.level=debug")
    fleet.start("copier", "--set", "log.level=debug")
    emit(fleet, "refs/heads/main", commit(8), f"quiet-{account}")
    assert fleet.wait(commit(8))[1] == 0
    written = "".join(role.log() for role in fleet.roles)
    written += "".join(str(message.value()) for topic in ("results", "jobs", "refs", "dead") for _, _, message in fleet.records(topic))
    for secret in ("main-secret-key", f"secret-{account}", "AWS4-HMAC-SHA256", "x-amz-security-token"):
        assert secret not in written


def test_a_flood_of_one_key_does_not_block_the_others(resolving):
    """One repository's events are decided in order while another's go on."""
    threads = [threading.Thread(target=push, args=(resolving, commit(n), commit(n + 1))) for n in range(20)]
    for thread in threads:
        thread.start()
    emit(resolving, "refs/tags/v-1-qa", commit(1), repository="other/app")
    for thread in threads:
        thread.join()
    wait_for(lambda: any(one.get("repository") == "other/app" for one in resolving.deployments()), 30, "the other one")
