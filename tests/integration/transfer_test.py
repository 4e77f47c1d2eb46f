"""Objects in parts, through the copier and by manifest, with what goes wrong on the way; a proxy in front of a real store
watches and disturbs."""
import hashlib
import json

import pytest

from tests.support.fleet import wait_for
from tests.support.proxy import Proxy
from tests.support.stores import MAIN

COMMIT = "%040x" % 0x7a45
ERROR = "<Error><Code>{}</Code><Message>made up</Message><RequestId>r</RequestId></Error>"
MIB = 1 << 20
IN_PARTS = ["copier.multipart_threshold=5242880", "copier.part_size=5242880", "copier.parts_at_once=2"]
RELAYED = ["resolver.mode=relay", "copier.relay_part_size=5242880", "copier.relay_parts=4"]
BIG = b"".join(hashlib.sha256(n.to_bytes(4, "big")).digest() * 32 for n in range(22 * 1024))


class Run:
    """A fleet whose copiers see the store through a proxy."""

    def __init__(self, fleet, proxy, accounts, settings):
        self.fleet, self.proxy, self.accounts, self.settings = fleet, proxy, accounts, settings
        self.store, self.account = fleet.store, accounts[0]
        self.build = f"transfer-{self.account}"
        self.resolver = self.start("resolver")

    def start(self, role):
        own = [one for one in self.settings if one.startswith(role)]
        return self.fleet.start(role, *[word for one in own for word in ("--set", one)], env={"AWS_ENDPOINT_URL_S3": self.proxy.url})

    def deploy(self, files):
        self.fleet.upload_build(self.build, files)
        self.fleet.deploy(COMMIT, self.build)

    def end(self):
        lines, code = self.fleet.wait(COMMIT, timeout="90s")
        return {line["account"]: line for line in lines[:-1]}, code

    def uploads(self, account=None):
        """What is left of multipart uploads in the account's buckets."""
        account = account or self.account
        return [one["Key"] for bucket in (f"frontend-{account}", f"source-artifact-{account}")
                for one in self.store.owner_client(account).list_multipart_uploads(Bucket=bucket).get("Uploads", [])]

    def objects(self, account=None):
        account = account or self.account
        return self.store.objects(f"frontend-{account}", account)


@pytest.fixture
def transfer(broker, versitygw, make_fleet, new_account):
    proxies = []

    def make(settings, fault=None, accounts=1, store=None, copiers=1):
        store = store or versitygw
        fleet = make_fleet(broker, store)
        names = [new_account() for _ in range(accounts)]
        for account in names:
            store.add_account(account)
        fleet.must("map", "set", "branch/main", ",".join(names))
        proxies.append(Proxy(store.url, fault))
        run = Run(fleet, proxies[-1], names, ["copier.retry_for=30s", *settings])
        run.copiers = [run.start("copier") for _ in range(copiers)]
        return run

    yield make
    for proxy in proxies:
        proxy.close()


def test_each_part_names_the_source_it_was_listed_with(transfer):
    run = transfer(IN_PARTS)
    run.deploy({"big.bin": BIG})
    ended, code = run.end()
    assert code == 0, ended
    parts = run.proxy.parts()
    etag = run.store.main_client().head_object(Bucket=run.store.source_bucket, Key=f"{run.build}/frontend/big.bin")["ETag"]
    assert len(parts) == 5 and {one.headers["x-amz-copy-source-if-match"] for one in parts} == {etag}
    assert all(one.headers["x-amz-expected-bucket-owner"] == run.account and one.headers["x-amz-source-expected-bucket-owner"] == MAIN
               for one in parts)
    ranges = sorted(tuple(map(int, one.headers["x-amz-copy-source-range"].removeprefix("bytes=").split("-"))) for one in parts)
    assert ranges[0][0] == 0 and ranges[-1][1] == len(BIG) - 1
    assert all(left[1] + 1 == right[0] for left, right in zip(ranges, ranges[1:]))
    assert run.objects() == {"big.bin": BIG} and run.uploads() == []


@pytest.mark.parametrize("way", [IN_PARTS, RELAYED], ids=["in parts", "relayed"])
def test_a_part_that_is_denied_fails_the_job_and_leaves_no_upload(way, transfer):
    run = transfer(way, lambda request: (403, ERROR.format("AccessDenied")) if request.query.get("partNumber") == ["3"] else None)
    run.deploy({"big.bin": BIG})
    ended, code = run.end()
    assert code == 1 and "big.bin" in ended[run.account]["reason"]
    wait_for(lambda: run.uploads() == [], 20, "no upload left")
    assert run.objects() == {}


@pytest.mark.parametrize("way", [IN_PARTS, RELAYED], ids=["in parts", "relayed"])
def test_errors_in_the_middle_cost_a_part_and_not_the_object(way, transfer):
    seen = set()

    def fault(request):
        number = request.query.get("partNumber", [""])[0]
        if number in ("2", "4") and number not in seen and "uploadId" in request.query:
            seen.add(number)
            return (200, ERROR.format("InternalError")) if number == "2" and way is IN_PARTS else (503, ERROR.format("SlowDown"))
        if request.method == "POST" and "uploadId" in request.query and "complete" not in seen:
            seen.add("complete")
            return 200, ERROR.format("SlowDown")
        return None

    run = transfer(way, fault)
    run.deploy({"big.bin": BIG})
    ended, code = run.end()
    assert code == 0 and ended[run.account]["attempts"] == 1, ended
    assert seen == {"2", "4", "complete"} and len(run.proxy.parts()) == 5 + 2
    assert run.objects() == {"big.bin": BIG} and run.uploads() == []


@pytest.mark.parametrize("way", [IN_PARTS, RELAYED], ids=["in parts", "relayed"])
def test_a_completion_whose_answer_is_lost_is_found_to_have_happened(way, transfer):
    lost = []

    def fault(request):
        if request.method == "POST" and "uploadId" in request.query and not lost:
            lost.append(request)
            return "lose"
        # This store would answer the repeated request as the first, as S3 does; others do not know the upload any more.
        return (404, ERROR.format("NoSuchUpload")) if request.method == "POST" and "uploadId" in request.query else None

    run = transfer(way, fault)
    run.deploy({"big.bin": BIG})
    ended, code = run.end()
    assert code == 0 and ended[run.account]["attempts"] == 1 and lost[0].status == 200, ended
    assert run.objects() == {"big.bin": BIG}
    assert len(run.proxy.parts()) == 5


@pytest.mark.parametrize("way", [IN_PARTS, RELAYED], ids=["in parts", "relayed"])
def test_a_killed_copiers_upload_is_aborted_by_the_next(way, transfer):
    run = transfer(way, lambda request: 1.0 if "partNumber" in request.query else None)
    run.deploy({"big.bin": BIG})
    wait_for(lambda: len(run.proxy.parts()) >= 2, 30, "two parts on their way")
    run.copiers[0].kill()
    assert run.uploads() == ["big.bin"]
    run.proxy.fault = lambda request: None
    run.start("copier")
    ended, code = run.end()
    assert code == 0 and run.objects() == {"big.bin": BIG}, ended
    wait_for(lambda: run.uploads() == [], 20, "no upload left")


@pytest.mark.parametrize("way", [IN_PARTS, RELAYED], ids=["in parts", "relayed"])
def test_a_copier_that_ends_aborts_what_it_cannot_finish(way, transfer):
    run = transfer([*way, "copier.drain=200ms"], lambda request: 2.0 if "partNumber" in request.query else None)
    run.deploy({"big.bin": BIG})
    wait_for(lambda: run.proxy.parts(), 30, "a part on its way")
    assert run.copiers[0].stop() == 0
    wait_for(lambda: run.uploads() == [], 20, "no upload left")
    run.proxy.fault = lambda request: None
    run.start("copier")
    assert run.end()[1] == 0 and run.objects() == {"big.bin": BIG}


def test_a_role_that_may_not_abort_is_named_in_a_warning(transfer):
    def fault(request):
        if request.query.get("partNumber") == ["2"]:
            return 403, ERROR.format("AccessDenied")
        return (403, ERROR.format("AccessDenied")) if request.method == "DELETE" else None

    run = transfer(IN_PARTS, fault)
    run.deploy({"big.bin": BIG})
    assert run.end()[1] == 1
    warning = wait_for(lambda: [line for line in run.copiers[0].log().splitlines() if "left an upload open" in line], 20, "the warning")[0]
    assert "level=warning" in warning and f"frontend-{run.account}" in warning and "s3:AbortMultipartUpload" in warning


@pytest.mark.parametrize("way", [IN_PARTS, RELAYED], ids=["in parts", "relayed"])
def test_a_source_that_changes_in_the_middle_is_not_mixed(way, transfer):
    newer = BIG[::-1]
    changed = []

    def fault(request):
        if request.query.get("partNumber") == ["3"] and not changed:
            changed.append(True)
            run.store.main_client().put_object(Bucket=run.store.source_bucket, Key=f"{run.build}/frontend/big.bin", Body=newer)
        return None

    run = transfer(way, fault)
    run.deploy({"big.bin": BIG})
    ended, code = run.end()
    assert code == 0 and changed, ended
    assert run.objects() in ({"big.bin": newer}, {"big.bin": BIG})
    assert run.uploads() == []


def test_a_second_deployment_finds_large_objects_unchanged(transfer):
    run = transfer(IN_PARTS)
    run.deploy({"big.bin": BIG})
    assert run.end()[1] == 0
    before = len(run.proxy.parts())
    run.fleet.must("emit", "--repository", "acme/app", "--ref", "refs/heads/main", "--commit", "%040x" % 0x7a46, "--build", run.build,
                   "--before", COMMIT)
    lines, code = run.fleet.wait("%040x" % 0x7a46)
    assert code == 0 and len(run.proxy.parts()) == before
    evidence = {item["key"]: item for item in run.fleet.results()[(lines[-1]["deployment"], run.account)][0]["evidence"]}
    assert evidence["big.bin"]["unchanged"] and evidence["big.bin"]["check"] in ("etag", "checksum")


def test_a_relayed_source_is_read_once_for_all_accounts(transfer):
    run = transfer([*RELAYED, "copier.relay_parts=3"], accounts=12)
    run.deploy({"big.bin": BIG, "index.html": b"<html>"})
    ended, code = run.end()
    assert code == 0, ended
    reads = [(one.key, one.headers.get("range")) for one in run.proxy.requests if one.method == "GET" and "/frontend/" in one.key]
    assert len([key for key, _ in reads if key.endswith("big.bin")]) == 5, reads
    assert {one.headers["authorization"].split("Credential=")[1].split("/")[0] for one in run.proxy.requests
            if one.method == "GET" and "/frontend/" in one.key} == {run.store.environment()["AWS_ACCESS_KEY_ID"]}
    assert not run.proxy.copies()
    for account in run.accounts:
        assert run.objects(account) == {"big.bin": BIG, "index.html": b"<html>"}


def test_a_slow_account_does_not_hold_up_the_others_of_a_relay(transfer):
    slow = []

    def fault(request):
        return 6.0 if "partNumber" in request.query and slow and request.bucket == f"frontend-{slow[0]}" else None

    run = transfer([*RELAYED, "copier.relay_parts=3", "copier.retry_for=100s"], fault, accounts=6)
    slow.append(run.accounts[2])
    run.deploy({"big.bin": BIG * 2})
    ended, code = run.end()
    assert code == 0, ended
    others = [ended[account]["finished"] for account in run.accounts if account != slow[0]]
    assert max(others) < ended[slow[0]]["finished"]
    sent = sorted((one for one in run.proxy.parts() if one.bucket == f"frontend-{slow[0]}"), key=lambda one: one.ended)
    assert max(one.ended for one in run.proxy.parts() if one.bucket != f"frontend-{slow[0]}") < sent[-1].ended
    assert run.objects(slow[0]) == {"big.bin": BIG * 2}


def manifest_of(files, **changes):
    objects = [{"key": f"frontend/{key}", "size": len(body), "sha256": hashlib.sha256(body).hexdigest()} for key, body in files.items()]
    return json.dumps({"objects": [{**one, **changes.get(one["key"].removeprefix("frontend/"), {})} for one in objects]})


FILES = {"index.html": b"<html>", "app.js": b"app", "secret.map": b"not to be shipped"}
BY_MANIFEST = ["resolver.manifest={build}/manifest.json", "copier.artifact_wait=6s"]


def put_manifest(run, text):
    run.store.main_client().put_object(Bucket=run.store.source_bucket, Key=f"{run.build}/manifest.json", Body=text)


ARCHIVE = [{"key": "SourceArtifact.zip"}]


@pytest.mark.parametrize("way", [[], ["resolver.mode=relay"]], ids=["copied", "relayed"])
def test_nothing_is_copied_that_the_manifest_does_not_name(way, transfer):
    run = transfer([*BY_MANIFEST, *way])
    named = json.loads(manifest_of({key: FILES[key] for key in ("index.html", "app.js")}))
    put_manifest(run, json.dumps({"objects": named["objects"] + ARCHIVE}))
    run.deploy(FILES)
    ended, code = run.end()
    assert code == 0, ended
    assert run.objects() == {key: FILES[key] for key in ("index.html", "app.js")}
    (result,), = run.fleet.results().values()
    assert result["left_out"] == 1
    evidence = {item["key"]: item for item in result["evidence"]}
    if way == []:
        assert evidence["app.js"]["checksum"] == "sha256:" + hashlib.sha256(b"app").hexdigest()
        assert evidence["app.js"]["check"] == "checksum"


def test_what_the_manifest_names_is_waited_for(transfer):
    run = transfer(BY_MANIFEST)
    put_manifest(run, json.dumps({"objects": [{"key": "frontend/late.js"}, {"key": "SourceArtifact.zip"}]}))
    run.deploy(FILES)
    wait_for(lambda: run.proxy.requests, 20, "the first look")
    run.store.main_client().put_object(Bucket=run.store.source_bucket, Key=f"{run.build}/frontend/late.js", Body=b"late")
    ended, code = run.end()
    assert code == 0 and run.objects() == {"late.js": b"late"}, ended


def test_what_the_manifest_names_and_never_comes_times_out_by_name(transfer):
    run = transfer(BY_MANIFEST)
    put_manifest(run, json.dumps({"objects": [{"key": "frontend/never.js"}, {"key": "SourceArtifact.zip"}]}))
    run.deploy(FILES)
    ended, code = run.end()
    assert code == 1 and ended[run.account]["outcome"] == "timed_out" and "never.js is in the manifest but not there" in ended[run.account]["reason"]
    assert run.objects() == {}


@pytest.mark.parametrize("way", [[], ["resolver.mode=relay"]], ids=["copied", "relayed"])
def test_bytes_that_are_not_the_manifests_never_start_the_pipeline(way, transfer):
    run = transfer([*BY_MANIFEST, *way, "copier.retry_for=3s"])
    named = json.loads(manifest_of(FILES, **{"app.js": {"sha256": "0" * 64}}))
    put_manifest(run, json.dumps({"objects": named["objects"] + ARCHIVE}))
    run.deploy(FILES)
    ended, code = run.end()
    assert code == 1 and "app.js" in ended[run.account]["reason"] and "SHA-256" in ended[run.account]["reason"], ended
    assert run.store.objects(f"source-artifact-{run.account}", run.account) == {}


def test_a_manifest_that_cannot_be_read_fails_the_job_and_says_why(transfer):
    run = transfer(BY_MANIFEST)
    put_manifest(run, '{"objects": [{"size": 1}]}')
    run.deploy(FILES)
    ended, code = run.end()
    assert code == 1 and "manifest.json" in ended[run.account]["reason"] and "object 1 has no key" in ended[run.account]["reason"]


def test_cache_control_goes_by_the_end_of_the_key_and_the_rest_stays(transfer, tmp_path):
    config = tmp_path / "cache.cfg"
    config.write_text('resolver: { cache_control = ( { suffix = ".html"; value = "no-cache"; }, { suffix = ""; value = "max-age=9"; } ); };')
    run = transfer([])
    run.resolver.stop()
    run.fleet.config = config
    run.start("resolver")
    client = run.store.main_client()
    for key in ("index.html", "app.js"):
        client.put_object(Bucket=run.store.source_bucket, Key=f"{run.build}/frontend/{key}", Body=b"x", ContentType="text/odd", Metadata={"a": "b"})
    client.put_object(Bucket=run.store.source_bucket, Key=f"{run.build}/SourceArtifact.zip", Body=b"zip")
    run.fleet.deploy(COMMIT, run.build)
    ended, code = run.end()
    assert code == 0, ended
    for key, value in (("index.html", "no-cache"), ("app.js", "max-age=9")):
        head = run.store.client(run.account).head_object(Bucket=f"frontend-{run.account}", Key=key)
        assert (head["CacheControl"], head["ContentType"], head["Metadata"]["a"]) == (value, "text/odd", "b")


def test_how_objects_are_written_is_said_in_every_way(transfer):
    for way in ([], IN_PARTS, RELAYED):
        key_arn = "arn:aws:kms:us-east-1:222222222222:key/1"
        run = transfer([*way, "resolver.encryption=aws:kms", f"resolver.kms_key={key_arn}", "resolver.bucket_key=true",
                        "resolver.storage_class=STANDARD", "resolver.acl=bucket-owner-full-control"])
        run.deploy({"big.bin": BIG})
        run.end()
        writes = [one for one in run.proxy.requests if one.key == "big.bin" and (
            (one.method == "PUT" and "partNumber" not in one.query) or "uploads" in one.query and one.method == "POST")]
        assert writes
        for one in writes:
            said = {name: one.headers.get(name) for name in (
                "x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id",
                "x-amz-server-side-encryption-bucket-key-enabled", "x-amz-storage-class", "x-amz-acl")}
            assert list(said.values()) == ["aws:kms", key_arn, "true", "STANDARD", "bucket-owner-full-control"]


@pytest.mark.parametrize("way", [[], IN_PARTS, RELAYED], ids=["copied", "in parts", "relayed"])
def test_with_new_only_nothing_is_overwritten(way, transfer):
    def fault(request):
        """No server that can be had judges If-None-Match on a copy: this one does, by looking whether the object is there."""
        if request.headers.get("if-none-match") == "*":
            there = run.store.client(run.account).list_objects_v2(Bucket=request.bucket, Prefix=request.key).get("KeyCount", 0)
            return (412, ERROR.format("PreconditionFailed")) if there else None
        return None

    run = transfer([*way, "resolver.new_only=true"], fault)
    run.store.client(run.account).put_object(Bucket=f"frontend-{run.account}", Key="other.bin", Body=b"somebody else's")
    run.deploy({"big.bin": BIG, "other.bin": BIG})
    ended, code = run.end()
    assert code == 1 and "other.bin is there already with other content" in ended[run.account]["reason"], ended
    assert run.objects()["other.bin"] == b"somebody else's"
    assert run.uploads() == []


def test_a_denied_copy_says_which_side_denied_it(transfer):
    sides = {"source": lambda request: request.method == "HEAD" and request.bucket.startswith("cicd-"), "target": lambda request: False}
    for side, also_denied in sides.items():
        run = transfer([], lambda request: (403, "" if request.method == "HEAD" else ERROR.format("AccessDenied"))
                       if request.is_copy or also_denied(request) else None)
        run.deploy({"a.js": b"a"})
        ended, code = run.end()
        reason = ended[run.account]["reason"]
        if side == "source":
            assert f"profile tenant-{run.account} may not read bucket {run.store.source_bucket}: add it to the bucket's policy" in reason
        else:
            assert f"profile tenant-{run.account} may not write bucket frontend-{run.account}: its own policy must allow s3:PutObject" in reason
