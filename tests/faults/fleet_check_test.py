"""The checks of the fleet under fire can fail: each sees the one thing that it is for."""
import copy

import pytest

from tests.faults import fleet_check, fleet_schedule

ACCOUNTS = ["222222222222", "333333333333"]
FRONT, ARCHIVE = f"frontend-{ACCOUNTS[0]}", f"source-artifact-{ACCOUNTS[0]}"
TRIGGER = "codebuild/artifacts"


def push(number, tag="branch/main"):
    return fleet_schedule.Push(number, "emit", f"refs/{number}", tag, f"c{number}", None, f"build-{number}")


PUSHES = [push(0), push(1), push(2, "green")]


def deployment(one):
    return {"outcome": "accepted", "deployment": f"d-{one.number}", "ref": one.ref, "commit": one.commit,
            "accounts": fleet_schedule.accounts_of(one.tag, ACCOUNTS)}


@pytest.fixture
def facts():
    """All is well: the first account has the newest push of its tag, the second that of the branch."""
    deployments = [deployment(one) for one in PUSHES]
    results = {(one["deployment"], account): [{"outcome": "succeeded"}] for one in deployments for account in one["accounts"]}
    buckets = {}
    for account, newest in fleet_schedule.newest(PUSHES, ACCOUNTS).items():
        for (kind, key), content in fleet_schedule.files(newest.build).items():
            buckets.setdefault((account, kind), {})[key] = content
    return deployments, results, buckets


def test_all_is_well_when_all_is_well(facts):
    deployments, results, buckets = facts
    assert fleet_check.missing(PUSHES, deployments, results) == []
    assert fleet_check.doubled(PUSHES, deployments, results) == []
    assert fleet_check.misread_map(PUSHES, ACCOUNTS, deployments) == []
    assert fleet_check.failed(results) == []
    assert fleet_check.stale(PUSHES, ACCOUNTS, deployments, results, buckets) == []
    assert fleet_check.torn(PUSHES, ACCOUNTS, buckets) == []


def test_a_lost_push_is_missing(facts):
    deployments, results, _ = facts
    assert len(fleet_check.missing(PUSHES, deployments[1:], results)) == 1


def test_a_lost_result_is_missing(facts):
    deployments, results, _ = facts
    del results[("d-1", ACCOUNTS[1])]
    assert fleet_check.missing(PUSHES, deployments, results) == [f"no result: d-1/{ACCOUNTS[1]}"]


def test_a_push_that_is_two_deployments_is_doubled(facts):
    deployments, results, _ = facts
    again = dict(deployments[0], deployment="d-again", accounts=[])
    assert len(fleet_check.doubled(PUSHES, [*deployments, again], results)) == 1


def test_two_results_are_doubled_also_when_they_say_the_same(facts):
    deployments, results, _ = facts
    results[("d-1", ACCOUNTS[1])] *= 2
    assert len(fleet_check.doubled(PUSHES, deployments, results)) == 1


def test_a_result_of_no_deployment_is_doubled(facts):
    deployments, results, _ = facts
    results[("d-1", "444444444444")] = [{"outcome": "succeeded"}]
    assert len(fleet_check.doubled(PUSHES, deployments, results)) == 1


def test_a_deployment_for_the_wrong_accounts_has_misread_the_map(facts):
    deployments, _, _ = facts
    deployments[2] = dict(deployments[2], accounts=ACCOUNTS)
    assert len(fleet_check.misread_map(PUSHES, ACCOUNTS, deployments)) == 1


def test_a_failed_result_is_seen_also_of_an_older_deployment(facts):
    _, results, _ = facts
    results[("d-0", ACCOUNTS[0])] = [{"outcome": "superseded"}]
    assert fleet_check.failed(results) == []
    results[("d-0", ACCOUNTS[0])] = [{"outcome": "failed", "reason": "made up"}]
    assert len(fleet_check.failed(results)) == 1


@pytest.mark.parametrize("outcome", ["failed", "superseded", "timed_out"])
def test_a_newest_deployment_that_did_not_get_there_is_stale(facts, outcome):
    deployments, results, buckets = facts
    results[("d-2", ACCOUNTS[0])] = [{"outcome": outcome}]
    assert len(fleet_check.stale(PUSHES, ACCOUNTS, deployments, results, buckets)) == 1


def test_an_older_builds_trigger_is_stale(facts):
    deployments, results, buckets = facts
    buckets[(ACCOUNTS[0], "source-artifact")][TRIGGER] = fleet_schedule.files("build-1")[("source-artifact", TRIGGER)]
    assert len(fleet_check.stale(PUSHES, ACCOUNTS, deployments, results, buckets)) == 1


@pytest.mark.parametrize("change", [{"index.html": b"index.html of build-1\n"}, {"index.html": None}, {"more": b"more"}])
def test_one_byte_or_object_too_few_or_too_many_is_torn(facts, change):
    _, _, buckets = facts
    bucket = copy.copy(buckets[(ACCOUNTS[0], "frontend")]) | change
    buckets[(ACCOUNTS[0], "frontend")] = {key: content for key, content in bucket.items() if content is not None}
    assert len(fleet_check.torn(PUSHES, ACCOUNTS, buckets)) == 1


def history(*written):
    """The log and the versions of (key, build) in this order."""
    lines, versions = [], {}
    for key, build in written:
        target = (ARCHIVE, key) if key == TRIGGER else (FRONT, key)
        lines.append(target)
        content = fleet_schedule.files(build)[(target[0].rpartition("-")[0], key)]
        versions.setdefault(target, []).append(fleet_check.etag(content))
    return lines, versions


def whole(build):
    return [(key, build) for key in (*fleet_schedule.FRONT, TRIGGER)]


def test_triggers_after_whole_builds_are_not_early():
    assert fleet_check.early_triggers(*history(*whole("a"), *whole("b"), (TRIGGER, "b")), ["a", "b"]) == []


@pytest.mark.parametrize("late", fleet_schedule.FRONT)
def test_a_trigger_before_any_object_of_its_build_is_early(late):
    before = [one for one in whole("b") if one[0] not in (late, TRIGGER)]
    written = history(*whole("a"), *before, (TRIGGER, "b"), (late, "b"))
    assert len(fleet_check.early_triggers(*written, ["a", "b"])) == 1


def test_a_trigger_of_an_older_build_over_a_newer_one_is_seen():
    assert len(fleet_check.early_triggers(*history(*whole("a"), *whole("b"), (TRIGGER, "a")), ["a", "b"])) == 1


def test_a_trigger_of_no_known_build_is_seen():
    assert len(fleet_check.early_triggers(*history(*whole("a")), ["b"])) == 1


def test_a_write_that_the_log_does_not_tell_is_unmatched():
    written, versions = history(*whole("a"))
    assert fleet_check.unmatched(written, versions) == []
    assert len(fleet_check.unmatched(written[1:], versions)) == 1
    assert len(fleet_check.unmatched([*written, written[0]], versions)) == 1


LINE = ("222222222222 {bucket} [25/November/2026:16:03:04 +0000] 127.0.0.1 222222222222 DTQQUTX7158X0RA7 {operation} index.html "
        "/{bucket}/index.html {status} {error} 220 0 0 0 - tagfleet - 7R+i3= SigV4 - AuthHeader - - arn:aws:s3:::/x Yes")


def test_the_stores_log_is_read_for_writes_that_were_done():
    def line(bucket=FRONT, operation="s3_CopyObject", status=200, error="-"):
        return LINE.format(bucket=bucket, operation=operation, status=status, error=error)
    lines = ["log starts 2026-11-25 16:03:04", line(), line(operation="s3_GetObject"), line(status=403, error="AccessDenied"),
             line(bucket="cicd-source-artifact-111111111111"), line(operation="s3_PutObject")]
    assert fleet_check.writes(lines) == [(FRONT, "index.html")] * 2


def test_faults_and_pushes_are_functions_of_the_seed():
    assert fleet_schedule.faults(7, 100) == fleet_schedule.faults(7, 100) != fleet_schedule.faults(8, 100)
    assert fleet_schedule.pushes(7, 50) == fleet_schedule.pushes(7, 50) != fleet_schedule.pushes(8, 50)


def test_what_a_host_repeats_is_an_earlier_hook():
    made = fleet_schedule.pushes(7, 100)
    repeated = fleet_schedule.repetitions(7, made)
    assert repeated and all(one.how != "emit" and one.number <= number for number, one in repeated.items())


def test_every_role_is_killed_stopped_and_ended_whatever_the_seed():
    for seed in range(5):
        happens = {(one.what, one.whom) for one in fleet_schedule.faults(seed, 100)}
        assert happens >= {(what, whom) for what in ("kill", "stop", "end") for whom in fleet_schedule.ROLES}
        assert happens >= {("restart", "broker"), ("pause", "store")}
