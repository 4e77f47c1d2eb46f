"""The copier against real stores, watched and disturbed by a proxy in between."""
import base64
import json
import time
import zlib
from datetime import datetime, timezone

import pytest

from tests.support.fleet import wait_for
from tests.support.proxy import Proxy
from tests.support.stores import MAIN

COMMIT = "%040x" % 0xc0b1e5
ERROR = "<Error><Code>{}</Code><Message>made up</Message><RequestId>r</RequestId></Error>"


@pytest.fixture
def watched(broker, make_fleet, new_account):
    """A fleet whose copier sees the store through a proxy: watched(store, fault) -> fleet, account, proxy."""
    proxies = []

    def make(store, fault=None, accounts=1, settings=(), external_id=None,
             settings_of_copier=("copier.retry_for=20s",)):
        fleet = make_fleet(broker, store)
        names = [new_account() for _ in range(accounts)] if isinstance(accounts, int) else accounts
        for account in names:
            store.add_account(account, external_id=external_id)
        fleet.must("map", "set", "branch/main", ",".join(names))
        proxy = Proxy(store.url, fault)
        proxies.append(proxy)
        fleet.start("resolver", *[word for one in settings for word in ("--set", one)])
        fleet.start("copier", *[word for one in settings_of_copier for word in ("--set", one)], env={"AWS_ENDPOINT_URL_S3": proxy.url})
        return fleet, names, proxy

    yield make
    for proxy in proxies:
        proxy.close()


def deploy(fleet, build, files, commit=COMMIT, **more):
    fleet.upload_build(build, files, **more)
    fleet.deploy(commit, build)
    return fleet.wait(commit)


FILES = {"index.html": b"<html>", "about/index.html": b"<html>2", "js/app.js": b"app", "css/site.css": b"css", "img/a.svg": b"svg"}


def test_assets_go_first_then_pages_and_the_trigger_last(watched, versitygw):
    # The first copies are slow: whoever does not wait for them is seen.
    fleet, (account,), proxy = watched(versitygw, lambda request: 0.3 if request.is_copy and "html" not in request.key else None)
    lines, code = deploy(fleet, f"order-{account}", FILES)
    assert code == 0, lines
    copies = proxy.copies()
    kinds = ["trigger" if one.key == "codebuild/artifacts" else "page" if one.key.endswith(".html") else "asset" for one in copies]
    assert kinds == ["asset"] * 3 + ["page"] * 2 + ["trigger"]
    for later in range(3, 6):
        earlier = [one for one, kind in zip(copies, kinds) if kind == "asset" or (kinds[later] == "trigger" and kind == "page")]
        assert all(one.ended <= copies[later].began for one in earlier)


def test_when_anything_fails_the_trigger_is_never_written(watched, versitygw):
    def fault(request):
        return (403, ERROR.format("AccessDenied")) if request.is_copy and request.key == "css/site.css" else None
    fleet, (account,), proxy = watched(versitygw, fault)
    lines, code = deploy(fleet, f"fail-{account}", FILES)
    assert code == 1 and lines[0]["outcome"] == "failed" and "css/site.css" in lines[0]["reason"]
    assert "codebuild/artifacts" not in [one.key for one in proxy.copies()]
    assert versitygw.objects(f"source-artifact-{account}", account) == {}


def test_health_names_the_job_that_holds_up_a_partition_and_what_it_is_doing(watched, versitygw, new_account):
    names = []
    while len(names) < 4:
        account = new_account()
        names += [account] if zlib.crc32(account.encode()) % 6 == 0 else []

    def fault(request):
        return (503, ERROR.format("SlowDown")) if request.is_copy and names[0] in request.bucket else None
    fleet, _, _ = watched(versitygw, fault, accounts=names, settings_of_copier=["copier.retry_for=12s", "copier.max_ahead=2"])
    fleet.upload_build(f"held-{names[0]}", FILES)
    fleet.deploy(COMMIT, f"held-{names[0]}")
    copier = fleet.roles[-1]
    status, text = wait_for(lambda: (lambda answer: answer[0] == 503 and "; job " in answer[1] and answer)(copier.ask("/healthz")),
                            30, "bad health")
    assert f'key "{names[0]}"' in text and f"/{names[0]} " in text and ("awaits" in text or "copies" in text or "is tried again" in text), text
    lines, _ = fleet.wait(COMMIT)
    assert {line["account"]: line["outcome"] for line in lines[:-1]} == {one: "failed" if one == names[0] else "succeeded" for one in names}
    wait_for(lambda: copier.ask("/healthz")[0] == 200, 10, "good health")
    assert copier.metric("retries_total", **{"class": "throttled"}) > 0


def test_a_copier_tells_how_many_of_its_kind_would_clear_what_it_sees_in_time(watched, versitygw):
    fleet, accounts, _ = watched(versitygw, lambda request: 0.2 if request.is_copy else None, accounts=12,
                                 settings_of_copier=["copier.max_running=1", "copier.clear_queue_in=2s"])
    copier = fleet.roles[-1]
    fleet.upload_build(f"wanted-{accounts[0]}", FILES)
    fleet.deploy(COMMIT, f"wanted-{accounts[0]}")
    wait_for(lambda: copier.metric("results_total") >= 4, 40, "some jobs' ends")
    page = dict(line.rsplit(" ", 1) for line in copier.ask("/metrics")[1].splitlines() if line.startswith("tagfleet_"))
    wanted = float(page["tagfleet_wanted_copiers"])
    waiting = sum(float(value) for name, value in page.items() if name.startswith("tagfleet_consumer_lag"))
    seconds_each = float(page['tagfleet_job_duration_seconds_sum{role="copier"}']) / float(page['tagfleet_job_duration_seconds_count{role="copier"}'])
    assert waiting >= 4 and seconds_each > 0.2
    assert wanted == pytest.approx(waiting * seconds_each / 2, rel=0.5)
    assert fleet.wait(COMMIT)[1] == 0
    wait_for(lambda: copier.ask("/metrics")[1].count("\ntagfleet_wanted_copiers 0\n") == 1, 20, "nothing more to do")


def test_an_account_in_backoff_holds_its_key_and_not_its_partition(watched, versitygw, new_account):
    names = []
    while len(names) < 4:
        account = new_account()
        names += [account] if zlib.crc32(account.encode()) % 6 == 0 else []
    troubled, others = names[0], names[1:]

    def fault(request):
        return (503, ERROR.format("SlowDown")) if request.is_copy and troubled in request.bucket else None
    fleet, _, proxy = watched(versitygw, fault, accounts=names, settings_of_copier=["copier.retry_for=8s"])
    lines, code = deploy(fleet, f"backoff-{troubled}", FILES)
    assert len({message.partition() for _, _, message in fleet.records("jobs")}) == 1
    ended = {line["account"]: line for line in lines[:-1]}
    assert code == 1 and ended[troubled]["outcome"] == "failed", ended[troubled]
    # Within an attempt of the job each object has attempts of its own.
    asked = [one.key for one in proxy.copies() if troubled in one.bucket]
    assert len(asked) > len(set(asked)), asked
    assert all(ended[one]["outcome"] == "succeeded" and ended[one]["finished"] < ended[troubled]["finished"] for one in others)


def test_partitions_that_went_while_they_were_paused_come_back_running(watched, versitygw):
    small = ["copier.max_tasks=8", "copier.max_running=1"]
    pause = [0.8]  # so that there is work left when the second has come
    fleet, names, proxy = watched(versitygw, lambda request: pause[0] if request.is_copy else None, accounts=14, settings_of_copier=small)
    fleet.upload_build(f"back-{names[0]}", {"index.html": b"<html>"})
    fleet.deploy(COMMIT, f"back-{names[0]}")
    wait_for(fleet.results, 30, "the first result")
    second = fleet.start("copier", *[word for one in small for word in ("--set", one)], env={"AWS_ENDPOINT_URL_S3": proxy.url})
    wait_for(lambda: "msg=succeeded" in second.log(), 30, "a result of the second copier")
    assert second.stop() == 0
    pause[0] = 0.2
    assert fleet.wait(COMMIT, timeout="60s")[1] == 0
    # What was paused when it left must be read again when it is back, also if nothing is ever paused again.
    fleet.must("map", "set", "branch/main", ",".join(names[:7]))
    lines, code = deploy(fleet, f"more-{names[0]}", {"index.html": b"more"}, commit="%040x" % 0xc0b1e8)
    assert code == 0 and len(lines) == 8, [role.log()[-800:] for role in fleet.roles]


@pytest.mark.parametrize("status, code", [(200, "InternalError"), (503, "SlowDown"), (500, "InternalError"), (200, "SlowDown")])
def test_a_passing_fault_is_tried_again_and_counted(watched, versitygw, status, code):
    seen = set()

    def fault(request):
        if not request.is_copy or request.key in seen:
            return None
        seen.add(request.key)
        return (status, ERROR.format(code))
    fleet, (account,), proxy = watched(versitygw, fault)
    lines, exit_code = deploy(fleet, f"again-{account}", FILES)
    assert exit_code == 0, lines
    assert versitygw.objects(f"frontend-{account}", account) == FILES
    result = fleet.results()[(lines[0]["deployment"], account)][0]
    assert all(item["attempts"] >= 2 for item in result["evidence"])
    assert len(proxy.copies()) >= 12


def test_every_request_says_whose_buckets_they_must_be(watched, versitygw):
    fleet, (account,), proxy = watched(versitygw)
    assert deploy(fleet, f"owner-{account}", FILES)[1] == 0
    copies = proxy.copies()
    assert len(copies) == 6
    assert {one.headers["x-amz-expected-bucket-owner"] for one in copies} == {account}
    assert {one.headers["x-amz-source-expected-bucket-owner"] for one in copies} == {MAIN}
    lists = [one for one in proxy.requests if "list-type" in one.query]
    assert {(one.bucket, one.headers["x-amz-expected-bucket-owner"]) for one in lists} == {
        (versitygw.source_bucket, MAIN), (f"frontend-{account}", account), (f"source-artifact-{account}", account)}


def test_a_bucket_that_belongs_to_somebody_else_gets_nothing(watched, versitygw, new_account):
    fleet, (account,), _ = watched(versitygw)
    stranger = new_account()
    versitygw.add_account(stranger, buckets=False)
    versitygw.remove_bucket(f"frontend-{account}", account)
    versitygw.client(stranger).create_bucket(Bucket=f"frontend-{account}")
    lines, code = deploy(fleet, f"stolen-{account}", FILES)
    assert code == 1 and lines[0]["outcome"] == "failed" and f"frontend-{account}" in lines[0]["reason"]
    assert versitygw.objects(f"frontend-{account}", stranger) == {}
    assert versitygw.objects(f"source-artifact-{account}", account) == {}


def test_a_listing_of_many_pages_is_copied_whole(watched, minio):
    fleet, (account,), proxy = watched(minio)
    files = {f"js/chunk-{n:04d}.js": b"%d" % n for n in range(1203)} | {"index.html": b"<html>"}
    lines, code = deploy(fleet, f"pages-{account}", files)
    assert code == 0 and lines[0]["objects"] == 1205, lines
    assert minio.objects(f"frontend-{account}", account) == files
    assert len([one for one in proxy.requests if one.bucket == minio.source_bucket and "list-type" in one.query]) >= 2


def test_what_was_listed_while_the_build_was_uploading_is_listed_again(watched, versitygw):
    """The copier looks while half of the front end is there and the archive is not; the other half must not be missed."""
    fleet, (account,), proxy = watched(versitygw)
    build = f"half-{account}"
    fleet.upload_build(build, {"js/one.js": b"1"}, archive=None)
    fleet.deploy(COMMIT, build)
    wait_for(lambda: [one for one in proxy.requests if build in str(one.query)], 30, "a look at the source")
    fleet.upload_build(build, {"js/one.js": b"1", "js/two.js": b"2", "index.html": b"<html>"})
    lines, code = fleet.wait(COMMIT)
    assert code == 0
    assert versitygw.objects(f"frontend-{account}", account) == {"js/one.js": b"1", "js/two.js": b"2", "index.html": b"<html>"}


def test_a_trigger_that_an_interrupted_deployment_owes_is_written(watched, versitygw):
    """The same archive is in place already, but the new front end came after it: the pipeline has not seen that yet."""
    fleet, (account,), proxy = watched(versitygw)
    client = versitygw.client(account)
    files = {"index.html": b"<html>", "js/app.js": b"app"}
    build = f"owed-{account}"
    client.put_object(Bucket=f"source-artifact-{account}", Key="codebuild/artifacts", Body=b"archive" + build.encode())
    time.sleep(1.1)
    for key, body in files.items():
        client.put_object(Bucket=f"frontend-{account}", Key=key, Body=body)
    lines, code = deploy(fleet, build, files)
    assert code == 0 and lines[0]["outcome"] == "succeeded"
    assert [one.key for one in proxy.copies()] == ["codebuild/artifacts"]
    lines, code = deploy(fleet, build, files, commit="%040x" % 0xc0b1e7)
    assert code == 0 and lines[0]["outcome"] == "unchanged"
    assert fleet.roles[-1].metric("objects_total", state="copied") == 1
    assert fleet.roles[-1].metric("objects_total", state="unchanged") == 2 + 3


def test_an_awkward_key_arrives_as_it_is(watched, versitygw):
    fleet, (account,), _ = watched(versitygw)
    files = {key: key.encode() for key in ("a b.txt", "a+b.txt", "100%.txt", "what?.txt", "~tilde.txt", "größe-你好.txt", "a=b&c.txt",
                                           "quote'\".txt", "semi;colon.txt", "(paren).txt", "a..b.txt", "star*.txt")}
    assert deploy(fleet, f"keys-{account}", files)[1] == 0
    assert versitygw.objects(f"frontend-{account}", account) == files


def test_a_large_object_is_copied_by_the_store_and_not_through_the_copier(watched, versitygw):
    fleet, (account,), proxy = watched(versitygw)
    large = bytes(range(256)) * (128 * 4096)
    lines, code = deploy(fleet, f"large-{account}", {"big.bin": large})
    assert code == 0, lines
    assert versitygw.objects(f"frontend-{account}", account) == {"big.bin": large}
    assert sum(len(one.body) for one in proxy.requests) == 0
    assert lines[0]["bytes"] >= len(large)


def test_a_large_copy_gets_the_time_its_size_needs(watched, versitygw):
    # Both copies are answered after six seconds; two seconds are all that a job is tried without getting on.
    def slow(request):
        return 6 if request.is_copy and request.key in ("big.bin", "small.bin") else None
    fleet, (account,), proxy = watched(versitygw, slow, settings_of_copier=["copier.retry_for=2s"])
    lines, code = deploy(fleet, f"slow-{account}", {"big.bin": bytes(128 << 20)})
    assert code == 0 and lines[0]["outcome"] == "succeeded", lines
    assert [one.key for one in proxy.copies()].count("big.bin") == 1
    lines, code = deploy(fleet, f"slower-{account}", {"small.bin": b"small"}, commit="%040x" % 0xc0b1e6)
    assert code == 1 and "small.bin" in lines[0]["reason"], lines


def test_content_type_and_metadata_come_along(watched, versitygw):
    fleet, (account,), _ = watched(versitygw)
    build = f"meta-{account}"
    versitygw.main_client().put_object(Bucket=versitygw.source_bucket, Key=f"{build}/frontend/a.css", Body=b"css",
                                       ContentType="text/css", CacheControl="max-age=60", Metadata={"origin": "tests"})
    assert deploy(fleet, build, {"index.html": b"<html>"})[1] == 0
    head = versitygw.client(account).head_object(Bucket=f"frontend-{account}", Key="a.css")
    assert (head["ContentType"], head["CacheControl"], head["Metadata"]) == ("text/css", "max-age=60", {"origin": "tests"})


def test_credentials_are_asked_for_once_per_account_and_shared(watched, minio):
    fleet, accounts, _ = watched(minio, accounts=3)
    before = len(minio.front.calls)
    for n in range(3):
        commit = "%040x" % (0xc0b200 + n)
        assert deploy(fleet, f"cache-{accounts[0]}-{n}", {"a.js": b"%d" % n}, commit=commit)[1] == 0
    assert sorted(call["RoleArn"].split(":")[4] for call in minio.front.calls[before:]) == sorted(accounts)


@pytest.mark.parametrize("given, code", [("right", 0), ("wrong", 1), (None, 1)])
def test_the_external_id_must_be_the_roles(watched, minio, given, code):
    settings = [f"resolver.external_id={given}"] if given else []
    fleet, (account,), _ = watched(minio, settings=settings, external_id="right")
    lines, exit_code = deploy(fleet, f"external-{account}", FILES)
    assert exit_code == code, lines
    if code:
        assert "AssumeRole" in lines[0]["reason"] and account in lines[0]["reason"]
        assert minio.objects(f"frontend-{account}", account) == {}


def test_a_role_that_may_not_read_the_build_is_told_what_to_do(watched, versitygw):
    fleet, (account,), _ = watched(versitygw)
    source = versitygw.source_bucket
    versitygw.main_client().put_bucket_policy(Bucket=source, Policy=json.dumps({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"AWS": [MAIN]}, "Action": "s3:*",
         "Resource": [f"arn:aws:s3:::{source}", f"arn:aws:s3:::{source}/*"]}]}))
    lines, code = deploy(fleet, f"denied-{account}", FILES)
    assert code == 1
    assert source in lines[0]["reason"] and "access denied" in lines[0]["reason"]


def test_a_job_that_cannot_be_read_fails_visibly_and_blocks_nobody(watched, versitygw):
    fleet, (account,), _ = watched(versitygw)
    known = {"specversion": "1.0", "type": "tagfleet.job.v1", "id": f"d-00000000000000ab/{account}", "source": "tests",
             "time": "2026-01-01T00:00:00.000Z", "data": {"deployment": "d-00000000000000ab", "account": account}}
    fleet.produce_garbage("jobs", account, json.dumps(known).encode())
    fleet.produce_garbage("jobs", account, b"{")
    lines, code = deploy(fleet, f"after-{account}", FILES)
    assert code == 0, lines
    failed = fleet.results()[("d-00000000000000ab", account)]
    assert [one["outcome"] for one in failed] == ["failed"] and "repository is missing" in failed[0]["reason"]
    copier = fleet.roles[-1]
    assert copier.metric("results_total", outcome="failed") == 1 and copier.metric("dead_letters_total") == 2
    dead = [value["data"] for _, value, _ in fleet.records("dead")]
    assert len(dead) == 2 and {one["role"] for one in dead} == {"copier"}
    assert base64.b64decode(dead[0]["value_base64"]) == json.dumps(known).encode()
    assert [one["outcome"] for one in fleet.deployments() if "jobs/" in one["event"]] == ["rejected"]


def test_jobs_of_a_suspended_account_are_skipped(watched, versitygw):
    fleet, (account, suspended), _ = watched(versitygw, accounts=2)
    entry = {"specversion": "1.0", "type": "tagfleet.account.v1", "id": suspended, "source": "tests",
             "time": "2026-01-01T00:00:00.000Z", "data": {"account": suspended, "state": "suspended", "credentials": "default"}}
    fleet.produce("accounts", suspended, entry)
    lines, code = deploy(fleet, f"suspended-{account}", FILES)
    assert code == 0
    assert {line["account"]: line["outcome"] for line in lines[:-1]} == {account: "succeeded", suspended: "skipped"}
    assert versitygw.objects(f"frontend-{suspended}", suspended) == {}


def test_a_broken_account_fails_fast_says_why_and_is_tried_again_after_a_pause(watched, versitygw):
    broken = [True]
    fleet, (account,), proxy = watched(
        versitygw, lambda request: (403, ERROR.format("AccessDenied")) if broken[0] and request.is_copy else None,
        settings_of_copier=["copier.breaker_failures=2", "copier.breaker_pause=10s"])
    fleet.upload_build(f"breaker-{account}", FILES)
    before, reasons = None, []
    for n in range(3):
        commit = "%040x" % (0xb4ea0 + n)
        fleet.deploy(commit, f"breaker-{account}", before=before)
        lines, code = fleet.wait(commit)
        assert code == 1
        before, reasons = commit, [*reasons, lines[0]["reason"]]
    assert all("may not write bucket" in reason for reason in reasons[:2])
    assert reasons[2].startswith(f"not tried: the last 2 jobs of account {account} failed, the last with: ") and reasons[1][:100] in reasons[2]
    assert fleet.roles[-1].metric("circuit_breaker", state="open") == 1
    broken[0] = False
    time.sleep(10.5)
    commit = "%040x" % 0xb4eaf
    fleet.deploy(commit, f"breaker-{account}", before=before)
    assert fleet.wait(commit)[1] == 0
    assert fleet.roles[-1].metric("circuit_breaker", state="open") == 0


def test_copies_of_one_build_keep_to_the_rate(watched, versitygw):
    fleet, names, proxy = watched(versitygw, accounts=3, settings_of_copier=["copier.copies_per_second=10"])
    lines, code = deploy(fleet, f"rate-{names[0]}", FILES)
    assert code == 0, lines
    assert len(proxy.copies()) == 3 * 6
    # At 10 a second the n-th begins n tenths of a second after the first or later, whatever else is slow; the first was signed
    # when it began.
    signed = min(datetime.strptime(one.headers["x-amz-date"], "%Y%m%dT%H%M%SZ") for one in proxy.copies())
    first = signed.replace(tzinfo=timezone.utc).timestamp() - time.time() + time.monotonic()
    began = sorted(one.began - first for one in proxy.copies())
    assert all(later > number / 10 - 0.3 for number, later in enumerate(began)), began
