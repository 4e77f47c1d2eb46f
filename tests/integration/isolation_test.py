"""One account's job with another's role, bucket, profile or region: nothing is written, and the result says why. And no
secret is ever written anywhere."""
import json
import re

import pytest

from tests.support.fleet import wait_for
from tests.support.messages import TOPICS
from tests.support.stores import MAIN_SECRET, ROLE

COMMIT = "%040x" % 0x150
FORGED = "d-00000000000f0e9d"


@pytest.fixture
def neighbours(broker, make_fleet, new_account):
    """neighbours(store) -> fleet, two accounts, and a function that lets the copier do the first one's job as changed."""
    def make(store, settings=()):
        fleet = make_fleet(broker, store)
        mine, other = new_account(), new_account()
        for account in (mine, other):
            store.add_account(account)
        fleet.upload_build(f"isolated-{mine}")
        fleet.must("map", "set", "branch/main", mine)
        fleet.start("resolver")
        fleet.deploy(COMMIT, f"isolated-{mine}")
        job = wait_for(lambda: [value for _, value, _ in fleet.records("jobs")], 30, "the job")[0]
        fleet.start("copier", "--set", "copier.retry_for=4s", *[word for one in settings for word in ("--set", one)])
        assert fleet.wait(COMMIT)[1] == 0
        for bucket in (f"frontend-{mine}", f"source-artifact-{mine}"):
            for key in store.objects(bucket, mine):
                store.owner_client(mine).delete_object(Bucket=bucket, Key=key)

        def forge(change):
            forged = json.loads(json.dumps(job))
            forged["data"]["deployment"] = FORGED
            forged["id"] = f"{FORGED}/{mine}"
            change(forged["data"])
            fleet.produce("jobs", mine, forged)
            return wait_for(lambda: fleet.results(FORGED), 60, "the forged job's result")[(FORGED, mine)][0]

        return fleet, mine, other, forge
    return make


def everything(store, *accounts):
    return {bucket: store.objects(bucket, account) for account in accounts for bucket in (f"frontend-{account}", f"source-artifact-{account}")}


def into_buckets_of(other):
    def change(data):
        for copy in data["copies"]:
            copy["target_bucket"] = re.sub(r"\d{12}", other, copy["target_bucket"])
    return change


def test_another_accounts_role_is_refused(neighbours, minio):
    fleet, mine, other, forge = neighbours(minio)
    before, calls = everything(minio, mine, other), len(minio.front.calls)
    result = forge(lambda data: data.update(role=f"arn:aws:iam::{other}:role/{ROLE}"))
    assert result["outcome"] == "failed" and f"belongs to another account than {mine}" in result["reason"]
    assert everything(minio, mine, other) == before and len(minio.front.calls) == calls


def test_another_accounts_bucket_is_refused_by_its_owners_id(neighbours, versitygw):
    fleet, mine, other, forge = neighbours(versitygw)
    # Even where the other account has opened its bucket to everybody.
    for bucket in (f"frontend-{other}", f"source-artifact-{other}"):
        versitygw.client(other).put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": {"AWS": [mine, other]}, "Action": "s3:*", "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]}]}))
    before = everything(versitygw, mine, other)
    result = forge(into_buckets_of(other))
    assert result["outcome"] == "failed" and f"frontend-{other}" in result["reason"] and "access denied" in result["reason"]
    assert everything(versitygw, mine, other) == before


def test_another_accounts_bucket_is_refused_by_the_sessions_policy(neighbours, minio):
    fleet, mine, other, forge = neighbours(minio)
    before = everything(minio, mine, other)
    result = forge(into_buckets_of(other))
    assert result["outcome"] == "failed" and f"frontend-{other}" in result["reason"]
    assert everything(minio, mine, other) == before


def test_a_session_can_do_no_more_than_its_job_needs(neighbours, minio):
    fleet, mine, other, forge = neighbours(minio)
    policy = json.loads([call for call in minio.front.calls if f":{mine}:" in call["RoleArn"]][-1]["Policy"])
    named = {resource for statement in policy["Statement"] for resource in statement["Resource"]}
    assert {resource.removeprefix("arn:aws:s3:::").split("/")[0] for resource in named} == {
        f"frontend-{mine}", f"source-artifact-{mine}", minio.source_bucket}
    assert all(action != "s3:*" and "Delete" not in action for statement in policy["Statement"]
               for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]))


def test_another_accounts_profile_is_refused(neighbours, versitygw):
    fleet, mine, other, forge = neighbours(versitygw)
    before = everything(versitygw, mine, other)
    result = forge(lambda data: data.update(profile=f"tenant-{other}"))
    assert result["outcome"] == "failed" and f"tenant-{other}" in result["reason"], result
    assert everything(versitygw, mine, other) == before


def test_another_accounts_profile_and_buckets_are_refused(neighbours, versitygw):
    fleet, mine, other, forge = neighbours(versitygw)
    before = everything(versitygw, mine, other)

    def change(data):
        data.update(profile=f"tenant-{other}")
        into_buckets_of(other)(data)

    result = forge(change)
    assert result["outcome"] == "failed" and f"frontend-{other}" in result["reason"], result
    assert everything(versitygw, mine, other) == before


def test_another_accounts_region_is_refused(neighbours, versitygw):
    fleet, mine, other, forge = neighbours(versitygw)
    before = everything(versitygw, mine, other)
    result = forge(lambda data: data.update(region="eu-west-1"))
    assert result["outcome"] == "failed" and "region" in result["reason"], result
    assert everything(versitygw, mine, other) == before


def test_another_partitions_region_is_refused(neighbours, minio):
    fleet, mine, other, forge = neighbours(minio)
    before, calls = everything(minio, mine, other), len(minio.front.calls)
    result = forge(lambda data: data.update(region="us-gov-west-1"))
    assert result["outcome"] == "failed" and "another partition than region us-gov-west-1" in result["reason"]
    assert everything(minio, mine, other) == before and len(minio.front.calls) == calls


def test_no_secret_is_written_anywhere(neighbours, minio):
    """Everything that the fleet writes while it works, fails and is asked: messages, logs, results, health and metrics."""
    fleet, mine, other, forge = neighbours(minio, ["log.level=debug"])
    minio.front.fail(f"arn:aws:iam::{mine}:role/{ROLE}", 1, 403, "AccessDenied")
    forge(into_buckets_of(other))
    fleet.run("where")
    asked = [role.ask(path)[1] for role in fleet.roles for path in ("/healthz", "/readyz", "/metrics")]
    for role in fleet.roles:
        assert role.stop() == 0
    written = {f"log of {role.name}": role.log() for role in fleet.roles} | {f"admin {n}": text for n, text in enumerate(asked)}
    for topic in TOPICS:
        for n, record in enumerate(fleet.broker.read_all(fleet.prefix + topic, "read_uncommitted")):
            written[f"{topic} {n}"] = f"{record.key()} {record.value()} {record.headers()}"
    secrets = [MAIN_SECRET, f"secret-{mine}", f"secret-{other}", *minio.front.issued]
    assert len(minio.front.issued) >= 4 and len(written) > 10
    found = [(name, secret[:12]) for name, text in written.items() for secret in secrets if secret in text]
    assert found == []
