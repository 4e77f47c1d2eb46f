"""What is checked of every message: its schema, that it is a CloudEvent, and what topic, key and headers must say."""
import functools
import json
import os
import re
from datetime import datetime

from jsonschema import Draft7Validator, Draft202012Validator, FormatChecker
from jsonschema.validators import extend

from tests.support.kafka import ROOT

SCHEMAS = ROOT / "schemas"
EXAMPLES = SCHEMAS / "examples"
NAMES = ("account", "build", "commit_status", "dead_letter", "deployment", "event", "job", "map_entry", "ref_state", "result")
FIXTURES = os.environ.get("TAGFLEET_FIXTURES", str(ROOT.parent / "shared" / "fixtures"))
CLOUD_EVENT = "cloudevents/cloudevents.schema.json"

# Topic: its messages, and the key each must have.
TOPICS = {
    "events": {"event": "{repository}"},
    "refs": {"ref_state": "{repository} {ref}"},
    "builds": {"build": "{repository} {commit}"},
    "map": {"map_entry": "{tag}"},
    "accounts": {"account": "{account}"},
    "jobs": {"job": "{account}"},
    "results": {"deployment": "{deployment}", "result": "{deployment}"},
    "statuses": {"commit_status": "{deployment}"},
    "dead": {"dead_letter": None},
}
TABLES = ("refs", "builds", "map", "accounts", "statuses")

_formats = FormatChecker(formats=())


@_formats.checks("date-time", raises=ValueError)
def _is_date_time(text):
    """RFC 3339 with what its section 5.6 leaves open: a blank or t between date and time, z, a leap second."""
    if not isinstance(text, str):
        return True
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d):(\d\d)(\.\d+)?(?:[Zz]|[+-](\d\d:\d\d))", text, re.ASCII)
    if not found or int(found[3]) > 60:
        return False
    datetime.strptime(f"{found[1]} {found[2]}", "%Y-%m-%d %H:%M")
    datetime.strptime(found[5] or "00:00", "%H:%M")
    return True


@_formats.checks("uri-reference")
def _is_uri_reference(text):
    return not isinstance(text, str) or bool(re.fullmatch(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})*", text))


@functools.cache
def _pattern(text):
    """JSON Schema means ECMA-262, whose $ is the very end; Python's would let a newline pass."""
    return re.compile(re.sub(r"(?<!\\)\$", r"\\Z", text))


def _check_pattern(_, pattern, instance, __):
    from jsonschema import ValidationError
    if isinstance(instance, str) and not _pattern(pattern).search(instance):
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


_validator_class = extend(Draft202012Validator, {"pattern": _check_pattern})


@functools.cache
def schema(name):
    return json.loads((SCHEMAS / f"{name}.schema.json").read_text())


@functools.cache
def validator(name):
    return _validator_class(schema(name), format_checker=_formats)


@functools.cache
def by_type():
    """CloudEvents type -> name of the message."""
    return {schema(name)["properties"]["type"]["const"]: name for name in NAMES}


@functools.cache
def cloud_event_validator():
    """None when the fixtures are not there."""
    path = os.path.join(FIXTURES, CLOUD_EVENT)
    if not os.path.exists(path):
        return None
    with open(path) as file:
        return Draft7Validator(json.load(file), format_checker=_formats)


def examples():
    """(file name, name of the message, the message), all of them."""
    return [(path.name, path.name.split(".")[0], json.loads(path.read_text())) for path in sorted(EXAMPLES.glob("*.json"))]


def wrong_with(message, name):
    """What the schema and CloudEvents have against a message, as one line each."""
    found = [f"{error.json_path}: {error.message}"[:400] for error in validator(name).iter_errors(message)]
    cloud_event = cloud_event_validator()
    if cloud_event is not None:
        found += [f"as a CloudEvent: {error.json_path}: {error.message}"[:400] for error in cloud_event.iter_errors(message)]
    return found


def headers_of(message):
    """The headers of Kafka's protocol binding that go beside the structured body, and the one that tracing tools read."""
    headers = {"content-type": "application/cloudevents+json; charset=UTF-8"}
    headers.update({f"ce_{name}": message[name] for name in ("specversion", "id", "source", "type", "subject", "time")
                    if message.get(name) is not None})
    if message.get("traceparent") is not None:
        headers["traceparent"] = message["traceparent"]
    return headers


def wrong_with_record(topic, record):
    """What is wrong with one record of a topic (short name)."""
    if record.value() is None:
        return [] if topic in TABLES else ["has no value"]
    try:
        message = json.loads(record.value())
    except ValueError as error:
        return [f"not JSON: {error}"]
    kind = message.get("type") if isinstance(message, dict) else None
    name = by_type().get(kind) if isinstance(kind, str) else None
    if name not in TOPICS[topic]:
        return [f"type {kind!r} does not belong here"]
    found = wrong_with(message, name)
    if found:
        return found
    key = TOPICS[topic][name]
    if key is not None and (record.key() or b"").decode() != key.format(**message["data"]):
        found.append(f"key {record.key()!r} is not {key.format(**message['data'])!r}")
    headers = {header: value.decode() for header, value in record.headers() or []}
    if headers != headers_of(message):
        found.append(f"headers {headers} are not those of the body, {headers_of(message)}")
    return found
