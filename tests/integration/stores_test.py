"""One build with everything that is hard to copy, into every store by every way; what arrived is compared by boto3, not by
code of ours. What a store cannot hold or say is left out by name."""
import hashlib

import pytest
from botocore.exceptions import ClientError

COMMIT = "%040x" % 0x5704e
MIB = 1 << 20
SIZES = {"size/0": 0, "size/1": 1, "size/5MiB-1": 5 * MIB - 1, "size/5MiB": 5 * MIB, "size/5MiB and 1": 5 * MIB + 1}
LARGE = {"size/11MiB": 11 * MIB, "size/100MiB": 100 * MIB}
KEYS = ["a b", "plus+plus", "percent%41%zz", "question?mark=1&x", "tilde~", "hash#hash", "quote\"'quote", "Grüße/日本.txt", "semi;colon,comma",
        "back\\slash", "x/./dot", "x/../dots", "/leading", "double//slash", "star*", "brackets[1]{2}(3)", "at@colon:equals=", "new\u2028line",
        "emoji-\U0001f680", "<xml>&amp;", "trailing.", "x" * 200]
PLAIN_KEYS = [key for key in KEYS if not set("+%/") & set(key) and len(key) < 100]
HEADERS = {"ContentType": "text/x-odd; charset=utf-8", "CacheControl": "max-age=77", "ContentDisposition": 'attachment; filename="a b"',
           "ContentEncoding": "identity", "ContentLanguage": "de", "Metadata": {"owner": "team a", "n": "1"}}
WAYS = {
    "copied": [],
    "in parts": ["copier.multipart_threshold=5242880", "copier.part_size=5242880", "copier.parts_at_once=3"],
    "relayed": ["resolver.mode=relay", "copier.relay_part_size=5242880", "copier.relay_parts=3"],
}


def body_of(name, size):
    """Bytes that differ everywhere, so that a part in the wrong place shows."""
    seed = hashlib.sha256(name.encode()).digest()
    block = b"".join(hashlib.sha256(seed + n.to_bytes(4, "big")).digest() for n in range(min(size, 64 * 1024) // 32 + 1))
    return b"".join((n.to_bytes(8, "big") + block)[:64 * 1024] for n in range(size // (64 * 1024) + 1))[:size]


def read_all(client, bucket, prefix):
    found = {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page.get("Contents", []):
            found[item["Key"].removeprefix(prefix)] = client.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
    return found


def put_build(store, build, bodies, more):
    """Puts the objects; returns what the store then says it holds, and the keys that it refuses or calls by other names."""
    client, left_out, prefix = store.main_client(), [], f"{build}/frontend/"
    for key, body in bodies.items():
        try:
            client.put_object(Bucket=store.source_bucket, Key=prefix + key, Body=body, **more.get(key, {}))
        except ClientError as refusal:
            left_out.append(f"{key} ({refusal.response['Error']['Code']})")
    held = read_all(client, store.source_bucket, prefix)
    left_out += sorted(key for key in bodies if key not in held and not any(name.startswith(key + " (") for name in left_out))
    return held, left_out


@pytest.fixture
def deploy(broker, make_fleet, new_account):
    """deploy(store, bodies, settings) -> fleet, account, results of the account."""
    def run(store, prepare, settings, accounts=1, code=0):
        fleet = make_fleet(broker, store)
        names = [new_account() for _ in range(accounts)]
        for account in names:
            store.add_account(account)
        build = f"all-{names[0]}"
        prepare(build)
        store.main_client().put_object(Bucket=store.source_bucket, Key=f"{build}/SourceArtifact.zip", Body=b"zip")
        for role in ("resolver", "copier"):
            own = [one for one in settings if one.startswith(role) or one.startswith("aws")]
            fleet.start(role, *[word for one in own for word in ("--set", one)])
        fleet.must("map", "set", "branch/main", ",".join(names))
        fleet.deploy(COMMIT, build)
        lines, got = fleet.wait(COMMIT, timeout="120s")
        assert got == code, (lines, fleet.roles[-1].log()[-3000:])
        return fleet, names, lines
    return run


@pytest.mark.parametrize("way", WAYS)
def test_whatever_a_build_holds_arrives_byte_by_byte(way, copy_store, deploy):
    store = copy_store
    sizes = {**SIZES, **{key: size for key, size in LARGE.items() if size <= store.largest}}
    bodies = {**{key: body_of(key, size) for key, size in sizes.items()}, **{f"key/{key}": body_of(key, 33) for key in KEYS if store.lists_any_key or key in PLAIN_KEYS}}
    kept = {}

    def prepare(build):
        held, left_out = put_build(store, build, bodies, {})
        kept.update(held)
        print(f"{store.name} cannot hold {len(left_out)} of {len(bodies)} keys: {', '.join(left_out)}")

    fleet, (account,), lines = deploy(store, prepare, WAYS[way])
    found = store.objects(f"frontend-{account}", account)
    assert found.keys() == kept.keys()
    assert [key for key in kept if found[key] != kept[key]] == []
    assert len(kept.keys() & bodies.keys()) > len(bodies) / 2
    (result,), = fleet.results().values()
    assert result["objects"] == len(kept) + 1 and result["outcome"] == "succeeded"
    assert all(item.get("check", "answer") in ("etag", "checksum", "size", "answer") for item in result["evidence"])


@pytest.mark.parametrize("way", WAYS)
def test_metadata_content_headers_and_tags_arrive(way, copy_store, deploy):
    store = copy_store
    sizes = {"small.bin": 7, "large.bin": 6 * MIB}
    tags = "team=a%20b&tier=%2B1" if "tags" in store.holds else None

    def prepare(build):
        more = {**HEADERS, **({"Tagging": tags} if tags else {})}
        put_build(store, build, {key: body_of(key, size) for key, size in sizes.items()}, dict.fromkeys(sizes, more))

    _, (account,), _ = deploy(store, prepare, WAYS[way])
    client = store.owner_client(account)
    for key in sizes:
        head = client.head_object(Bucket=f"frontend-{account}", Key=key)
        told = {name: head.get(name) for name in HEADERS if name != "Metadata"}
        assert told == {name: value for name, value in HEADERS.items() if name != "Metadata"}
        assert {name: head["Metadata"].get(name) for name in HEADERS["Metadata"]} == HEADERS["Metadata"]
        if tags:
            got = client.get_object_tagging(Bucket=f"frontend-{account}", Key=key)["TagSet"]
            assert {tag["Key"]: tag["Value"] for tag in got} == {"team": "a b", "tier": "+1"}


def test_a_front_end_of_a_thousand_objects_arrives(copy_store, deploy):
    store = copy_store
    bodies = {f"dir{n % 7}/file-{n}.js": str(n).encode() for n in range(1000)}
    _, (account,), lines = deploy(store, lambda build: put_build(store, build, bodies, {}), [])
    assert lines[0]["objects"] == 1001
    assert store.objects(f"frontend-{account}", account) == bodies
