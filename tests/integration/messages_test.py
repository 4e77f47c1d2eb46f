"""Schemas, examples and codecs are three tellings of one contract: here they are held against each other. A mutation of an
example is refused by schema and codec alike or by neither; what one of them cannot say is listed by name."""
import copy
import json
import os
import re
import subprocess
from collections import Counter

import pytest
import yaml
from jsonschema import Draft202012Validator

from tests.support import messages
from tests.support.kafka import ROOT

EXAMPLES = messages.examples()
IDS = [file for file, _, _ in EXAMPLES]
LARGEST = 2 ** 53 - 1

# Texts that each definition of the schemas accepts and refuses.
TEXTS = {
    "text": (["x", "with blanks, é and \u2028", "line\nbreak\n", "1"], ["", "nul\0", "\0"]),
    "account": (["000000000000", "999999999999"],
                ["", "22222222222", "2222222222222", "22222222222a", " 22222222222", "222222222222\n", "+22222222222", "２２２２２２２２２２２２"]),
    "commit": (["0123abc", "f" * 40, "0" * 39 + "1", "a" * 64],
               ["", "abcdef", "a" * 65, "0" * 40, "0" * 7, "A" * 40, "g" * 40, "a" * 40 + "\n", "abc defa"]),
    "ref": (["refs/heads/main", "refs/tags/v-1.0.0-qa", "refs/heads/größe/@", "refs/heads/a/b.c", "refs/heads/a.lockd", "refs/heads/-", "refs/heads/{}",
             "refs/heads/" + "x" * 1013],
            ["", "main", "refs/heads/", "refs/heads", "refs/notes/x", "refs/heads/a/", "refs/heads/a//b", "refs/heads/a..b", "refs/heads/a@{1}",
             "refs/heads/.a", "refs/heads/a/.b", "refs/heads/a.", "refs/heads/a.lock", "refs/heads/a.lock/b", "refs/heads/a b", "refs/heads/a\n",
             "refs/heads/a\x7f", *(f"refs/heads/a{c}b" for c in "~^:?*[\\\t\0"), "refs/heads/" + "x" * 1014, " refs/heads/a", "Refs/heads/a"]),
    "repository": (["acme/app", "a", "größe", "x" * 256, "group/sub.group/app_1"],
                   ["", "Acme/app", "acme app", "acme/app\n", "acme\x7f", "x" * 257, "\0", "acme\t"]),
    "arn": (["arn:aws:kms:us-east-1:222222222222:key/1", "arn:"], ["", "key/1", "ARN:aws", " arn:aws"]),
    "header_value": (["no-cache", "max-age=9, public", "~"], ["", "a\n", "größe", "\x7f", "\t"]),
    "deploy_tag": (["qa", "branch/main", "x" * 128, "größe", "A"], ["", "a,b", "a b", "qa\n", "x" * 129, "\x01", "\x7f"]),
    "artifact_name": (["6f1c2a77", "app/1187", "a.b", "x" * 256, ".a", "a/./b"],
                      ["", ".", "..", "a/../b", "/a", "a/", "a//b", "a b", "{commit}", "a\\b", "a\n", "x" * 257, "a..b", "}", "\x7f"]),
    "deployment_id": (["d-0123456789abcdef"], ["", "d-", "d-0123456789ABCDEF", "d-0123456789abcde", "d-0123456789abcdef0", "x-0123456789abcdef",
                                               "d-0123456789abcdef\n"]),
    "base64": (["", "QQ==", "QUI=", "QUJD", "+/+/"], ["Q", "QQ", "QQ=", "Q===", "====", "QQ==QQ==", "QU-_", "QUJD\n", "Q=JD"]),
    "time": (["1970-01-01T00:00:00Z", "2024-02-29T23:59:60.123456789Z", "2026-01-02t03:04:05z", "2026-01-02 03:04:05.1+05:30", "9999-12-31T23:59:59.999Z"],
             ["", "2026-01-02", "2026-01-02T03:04:05", "2026-13-02T03:04:05Z", "2026-00-02T03:04:05Z", "2026-01-32T03:04:05Z", "2026-02-30T03:04:05Z",
              "2026-02-29T00:00:00Z", "2100-02-29T00:00:00Z", "2026-04-31T00:00:00Z", "2026-01-00T00:00:00Z", "2026-01-02T24:00:00Z",
              "2026-01-02T03:60:05Z", "2026-01-02T03:04:61Z", "2026-01-02T03:04:05.Z", "2026-01-02T03:04:05+24:00", "2026-01-02T03:04:05+01",
              "2026-01-02T03:04:05Z\n", "1969-12-31T23:59:59Z", "02026-01-02T03:04:05Z", "2026-1-02T03:04:05Z", "２０２６-01-02T03:04:05Z"]),
    "object_key": (["", "a", "x" * 1024, "/a//../b "], ["x" * 1025, "\0"]),
}
NUMBERS = ([0, 1, LARGEST, 1.0, 1e3], [-1, 1.5, LARGEST + 1, LARGEST + 2, 1e300, -0.5])
OTHER_TYPES = [None, True, False, 7, "text", [], {}, ["x"], [7], [None], {"x": 1}]

# (name, message, path, value, schema accepts, codec accepts): where they differ, and why they must.
EXCEPTIONS = [
    # JSON Schema counts characters, the codecs count bytes, as Kafka and S3 do.
    ("bytes, not characters: repository", "event", "data.repository", "é" * 200, True, False),
    ("bytes, not characters: ref", "event", "data.ref", "refs/heads/" + "é" * 600, True, False),
    ("bytes, not characters: deploy tag", "map_entry", "data.tag", "é" * 100, True, False),
    ("bytes, not characters: artifact name", "build", "data.build", "é" * 200, True, False),
    ("bytes, not characters: object key", "job", "data.copies.0.target_key", "é" * 600, True, False),
    # A regular expression does not calculate with offsets.
    ("an offset leads out of the years: before 1970", "event", "time", "1970-01-01T00:30:00+01:00", True, False),
    ("an offset leads out of the years: after 9999", "event", "time", "9999-12-31T23:59:59-01:00", True, False),
    # The codecs refuse the whole body before they look at fields; a schema is silent about fields it does not know.
    ("NUL in a field that nobody knows", "event", "data.unknown", "a\0b", True, False),
    ("half of a surrogate pair", "event", "data.actor", "\ud800", True, False),
    # The codecs do not take URI references apart; what they write is checked by the schema's format.
    ("grammar of URI references", "event", "source", "not a reference", False, True),
]


def codec_check():
    """The program that tells the codecs' verdict; any mode's will do, the newest build counts."""
    built = sorted(ROOT.glob("build/*/bin/codec_check"), key=lambda path: path.stat().st_mtime)
    path = os.environ.get("TAGFLEET_CODEC_CHECK") or (built and str(built[-1]))
    assert path, "codec_check is not built: make build/debug/bin/codec_check MODE=debug"
    return path


def codec_verdicts(all_messages):
    lines = "".join(json.dumps(one) + "\n" for one in all_messages)
    done = subprocess.run([codec_check()], input=lines, text=True, errors="replace", stdout=subprocess.PIPE, check=True, timeout=120)
    verdicts = done.stdout.splitlines()
    assert len(verdicts) == len(all_messages)
    return verdicts


def schema_accepts(name, message):
    return messages.validator(name).is_valid(message)


def parent_of(message, path):
    for step in path[:-1]:
        message = message[step]
    return message


def with_value(message, path, value):
    changed = copy.deepcopy(message)
    parent_of(changed, path)[path[-1]] = value
    return changed


def without(message, path):
    changed = copy.deepcopy(message)
    del parent_of(changed, path)[path[-1]]
    return changed


def objects_of(value, shape, path=()):
    """Every object of a message with its schema: the envelope, data, the items of lists."""
    yield path, value, shape
    for field, inner in shape["properties"].items():
        if "properties" in inner and isinstance(value.get(field), dict):
            yield from objects_of(value[field], inner, (*path, field))
        elif "properties" in inner.get("items", {}):
            for n, item in enumerate(value.get(field) or []):
                yield from objects_of(item, inner["items"], (*path, field, n))


def definition_of(shape):
    return shape.get("$ref", "").rpartition("/")[2]


def values_for(shape):
    """(value, whether the field as such allows it; None: the other rules decide) for one field."""
    definition = definition_of(shape)
    if definition in TEXTS:
        good, bad = TEXTS[definition]
        if shape.get("format") == "uri-reference":
            good = ["tagfleet/map", "urn:tagfleet:poll", "https://git.example.com/hooks?x=%20"]
        yield from ((text, None) for text in good)
        yield from ((text, False) for text in bad)
    if definition == "count":
        yield from ((number, None) for number in NUMBERS[0])
        yield from ((number, False) for number in NUMBERS[1])
    if "enum" in shape:
        yield from ((choice, None) for choice in shape["enum"])
        yield from ((choice.upper(), False) for choice in shape["enum"] if choice and choice.upper() not in shape["enum"])
        yield from ((choice + "\n", False) for choice in shape["enum"] if choice)
    if "const" in shape:
        yield from ((shape["const"] + "0", False), (shape["const"].upper() + "X", False))
    items = shape.get("items", {})
    if definition_of(items) in TEXTS:
        good, bad = TEXTS[definition_of(items)]
        yield from (([text], None) for text in good)
        yield from (([*good, text], False) for text in bad)
        yield [good[0], good[0]], False if shape.get("uniqueItems") else None
    if "properties" in items:
        yield from (([other], False) for other in OTHER_TYPES)
    yield from ((other, None) for other in OTHER_TYPES)


def mutations():
    """(what was done, name, message, verdict that both must give or None when they only have to agree)."""
    for file, name, example in EXAMPLES:
        shape = messages.schema(name)
        yield f"{file} as it is", name, example, True
        for path, value, inner in objects_of(example, shape):
            where = f"{file} {'.'.join(map(str, path)) or 'envelope'}"
            yield f"{where}: unknown field", name, with_value(example, (*path, "unknown_field"), {"any": ["thing", 1, None]}), True
            for field in value:
                required = field in inner.get("required", [])
                yield f"{where}: without {field}", name, without(example, (*path, field)), False if required else None
                yield f"{where}: {field} null", name, with_value(example, (*path, field), None), False if required else None
            for field, kind in inner["properties"].items():
                # The type chooses the codec; message_parse's own check of it is for the unit tests.
                if field == "data":
                    continue
                for other, verdict in values_for(kind):
                    yield f"{where}: {field} = {other!r}"[:200], name, with_value(example, (*path, field), other), verdict
        yield from ((f"{file} data = {other!r}", name, with_value(example, ("data",), other), False) for other in OTHER_TYPES)


@pytest.mark.parametrize("name", messages.NAMES)
def test_a_schema_is_valid_and_describes_every_property(name):
    schema = messages.schema(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["properties"]["type"]["const"] == f"tagfleet.{name.replace('_', '-')}.v1"
    assert schema["$id"] == f"urn:tagfleet:{name.replace('_', '-')}:v1"

    def described(shape, path):
        for field, inner in shape["properties"].items():
            assert inner.get("description"), f"{path}{field} has no description"
            assert "additionalProperties" not in inner, f"{path}{field}: consumers ignore unknown fields"
            for deeper in (inner, inner.get("items", {})):
                if "properties" in deeper:
                    described(deeper, f"{path}{field}.")
    described(schema, "")


def test_every_schema_has_a_codec_and_examples_and_no_file_is_left_over():
    assert sorted(path.name for path in messages.SCHEMAS.glob("*.schema.json")) == [f"{name}.schema.json" for name in messages.NAMES]
    assert {name for _, name, _ in EXAMPLES} == set(messages.NAMES)
    assert {file for file, name, _ in EXAMPLES if file == f"{name}.json"} == {f"{name}.json" for name in messages.NAMES}


def test_a_definition_is_the_same_in_every_schema():
    seen = {}
    for name in messages.NAMES:
        for definition, shape in messages.schema(name)["$defs"].items():
            assert seen.setdefault(definition, shape) == shape, f"{definition} of {name} differs"
    assert set(seen) == {*TEXTS, "count"}


def test_a_schema_has_the_fields_of_its_codec():
    """Names, nesting and presence, read from the codecs' own tables."""
    told = subprocess.run([codec_check(), "--fields"], text=True, stdout=subprocess.PIPE, check=True).stdout
    codecs = set(told.splitlines())
    schemas = set()

    def add(kind, shape, path):
        for field, inner in shape["properties"].items():
            schemas.add(f"{kind} {path}{field} {'required' if field in shape.get('required', []) else 'optional'}")
            if "properties" in inner.get("items", {}):
                add(kind, inner["items"], f"{path}{field}.")
    for kind, name in messages.by_type().items():
        add(kind, messages.schema(name)["properties"]["data"], "")
    assert len(codecs) > 100 and codecs == schemas


@pytest.mark.parametrize("file,name,example", EXAMPLES, ids=IDS)
def test_an_example_is_valid(file, name, example):
    errors = [f"{error.json_path}: {error.message}" for error in messages.validator(name).iter_errors(example)]
    assert not errors
    assert codec_verdicts([example]) == ["ok"]


@pytest.mark.parametrize("name", messages.NAMES)
def test_the_full_example_has_every_field(name):
    """All that the schema knows, except what contradicts the rest; lists have an item with everything."""
    example = json.loads((messages.EXAMPLES / f"{name}.json").read_text())
    present, known = set(), set()
    for path, value, shape in objects_of(example, messages.schema(name)):
        place = tuple(step for step in path if isinstance(step, str))
        present |= {(place, field) for field in value}
        known |= {(place, field) for field in shape["properties"]}
    assert known - present <= ({((), "subject")} if name == "dead_letter" else set())


def test_every_example_is_a_cloud_event():
    validator = messages.cloud_event_validator()
    if validator is None:
        pytest.skip(f"{len(EXAMPLES)} examples not held against {messages.CLOUD_EVENT}: not in {messages.FIXTURES} (TAGFLEET_FIXTURES)")
    for file, _, example in EXAMPLES:
        assert not [error.message for error in validator.iter_errors(example)], file
        for field in ("specversion", "id", "source", "type"):
            assert not validator.is_valid(without(example, (field,))), f"{file} without {field}"


def test_every_choice_has_an_example():
    for name in messages.NAMES:
        for field, shape in messages.schema(name)["properties"]["data"]["properties"].items():
            # How an event became known and in what state an account is changes no other field, nor does what may be absent.
            if "enum" in shape and None not in shape["enum"] and field != "origin":
                found = {example["data"][field] for _, other, example in EXAMPLES if other == name}
                missing = set(shape["enum"]) - found
                assert not missing, f"{name}.{field}: {missing}"


def test_schema_and_codec_agree_on_every_mutation():
    table = list(mutations())
    verdicts = codec_verdicts([message for _, _, message, _ in table])
    wrong, counts = [], Counter()
    for (what, name, message, wanted), verdict in zip(table, verdicts):
        by_codec, by_schema = verdict == "ok", schema_accepts(name, message)
        counts[by_codec] += 1
        if by_codec != by_schema or wanted not in (None, by_codec):
            wrong.append(f"{what}: schema {'accepts' if by_schema else 'refuses'}, codec says {verdict}")
    assert not wrong, f"{len(wrong)} of {len(table)}:\n" + "\n".join(wrong[:30])
    assert counts[True] > 2000 and counts[False] > 10000, counts


@pytest.mark.parametrize("what,name,path,value,by_schema,by_codec", EXCEPTIONS, ids=[one[0] for one in EXCEPTIONS])
def test_where_schema_and_codec_differ_they_differ_as_said(what, name, path, value, by_schema, by_codec):
    example = json.loads((messages.EXAMPLES / f"{name}.json").read_text())
    steps = [int(step) if step.isdigit() else step for step in path.split(".")]
    changed = with_value(example, steps, value)
    assert schema_accepts(name, changed) == by_schema
    assert (codec_verdicts([changed]) == ["ok"]) == by_codec


class Record:
    """A record as confluent_kafka gives it, for checking the check."""

    def __init__(self, key, value, headers):
        self.key, self.value, self.headers = (lambda: key), (lambda: value), (lambda: headers)


def test_the_check_of_records_sees_what_is_wrong():
    event = json.loads((messages.EXAMPLES / "event.json").read_text())
    body, key = json.dumps(event).encode(), event["data"]["repository"].encode()
    headers = [(name, value.encode()) for name, value in messages.headers_of(event).items()]
    other = [(name, b"x" if name == "ce_id" else value) for name, value in headers]
    assert messages.wrong_with_record("events", Record(key, body, headers)) == []
    assert messages.wrong_with_record("map", Record(b"qa", None, None)) == []
    for topic, record in [("jobs", Record(key, body, headers)), ("events", Record(b"x", body, headers)), ("events", Record(key, body, other)),
                          ("events", Record(key, body, None)), ("events", Record(key, body[1:], headers)), ("events", Record(key, None, headers)),
                          ("events", Record(key, b"[]", headers)), ("events", Record(key, body.replace(b"refs/heads/", b"heads/"), headers))]:
        assert len(messages.wrong_with_record(topic, record)) >= 1


def test_a_fleet_complains_of_what_no_test_has_owned_up_to(broker, make_fleet):
    fleet = make_fleet(broker)
    fleet.produce("events", "acme/app", json.loads((messages.EXAMPLES / "event.json").read_text()))
    fleet.produce_garbage("events", "acme/app", b"{ on purpose")
    assert fleet.message_complaints() == []
    fleet.broker.produce(fleet.prefix + "jobs", "222222222222", b"{ by mistake", partition=2)
    complaints = fleet.message_complaints()
    fleet.garbage.add(("jobs", b"{ by mistake"))
    assert len(complaints) == 1 and complaints[0].startswith(f"{fleet.prefix}jobs/2/0: not JSON")


# --- AsyncAPI ---

def asyncapi():
    return yaml.safe_load((messages.SCHEMAS / "asyncapi.yaml").read_text())


def references(node):
    if isinstance(node, dict):
        for key, value in node.items():
            yield from [value] if key == "$ref" else references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_reference_of_asyncapi_resolves():
    document = asyncapi()
    found = list(references(document))
    assert len(found) > 30
    for reference in found:
        file, _, pointer = reference.partition("#")
        node = json.loads((messages.SCHEMAS / file).read_text()) if file else document
        for step in pointer.split("/")[1:]:
            assert step in node, f"{reference} leads nowhere"
            node = node[step]


def test_asyncapi_has_the_topics_of_the_program():
    """Read from the table that creates them."""
    source = (ROOT / "workers" / "common" / "kafka" / "topics.c").read_text()
    rows = re.findall(r'\{"(\w+)", (\d+), "(\w+)", ([\d* L]+)\}', source)
    program = {name: (int(partitions), policy, eval(retention.replace("L", ""))) for name, partitions, policy, retention in rows}
    assert set(program) == set(messages.TOPICS)
    document = asyncapi()
    described = {}
    for name, channel in document["channels"].items():
        assert channel["address"] == "{prefix}" + name
        kafka = channel["bindings"]["kafka"]
        assert kafka["topic"] == channel["address"]
        settings = kafka["topicConfiguration"]
        described[name] = (kafka["partitions"], *settings["cleanup.policy"], settings.get("retention.ms", 0))
        kinds = {messages.by_type()[document["components"]["messages"][message["$ref"].rsplit("/", 1)[1]]["name"]]
                 for message in channel["messages"].values()}
        assert kinds == set(messages.TOPICS[name])
    assert described == program


def test_asyncapi_says_of_every_message_its_schema_and_key():
    found = set()
    for message in asyncapi()["components"]["messages"].values():
        name = messages.by_type()[message["name"]]
        assert message["payload"]["schema"]["$ref"] == f"./{name}.schema.json"
        assert message["payload"]["schemaFormat"] == "application/schema+json;version=draft-2020-12"
        assert message["contentType"] == "application/cloudevents+json"
        assert message["bindings"]["kafka"]["key"]["description"]
        found.add(name)
    assert found == set(messages.NAMES)


def test_every_channel_has_somebody_who_writes_and_somebody_who_reads():
    used = {"send": set(), "receive": set()}
    for operation in asyncapi()["operations"].values():
        used[operation["action"]].add(operation["channel"]["$ref"].rsplit("/", 1)[1])
    assert used["send"] == set(messages.TOPICS)
    assert used["receive"] == set(messages.TOPICS) - {"dead"}
