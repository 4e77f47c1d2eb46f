"""The webhooks' server as a git host sees it, and emit as a build sees it."""
import hashlib
import hmac
import json
import re
import socket
import threading
from pathlib import Path

import pytest
import requests

from tests.support.fleet import wait_for

SECRET, OLD_SECRET = "a secret of the hook", "the one before"
PAYLOAD = (Path(__file__).parents[1] / "support" / "demo_push.json").read_text()
COMMIT = "5f2c1e0a9d3b4c6e8f7a1b2c3d4e5f60718293a4"


def body(tag="v-1.4.0-prod", commit=COMMIT):
    return PAYLOAD.replace("@TAG@", tag).replace("@COMMIT@", commit).encode()


def sign(content, secret=SECRET):
    return "sha256=" + hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()


class Server:
    def __init__(self, fleet, *arguments):
        self.role = fleet.start("producer", *arguments)
        port = re.search(r"msg=ready port=(\d+)", self.role.log()).group(1)
        self.url = f"http://127.0.0.1:{port}"

    def post(self, content, path="/hooks/acme", signature=None, content_type="application/json", **headers):
        headers = {"X-Event-Key": "repo:push", "X-Hub-Signature": signature or sign(content), "Content-Type": content_type,
                   "X-Request-UUID": "6f1b7a60-1111-4222-8333-444455556666", "X-Attempt-Number": "1", **headers}
        return requests.post(self.url + path, data=content, headers={k: v for k, v in headers.items() if v}, timeout=20)


def config(tmp_path):
    (tmp_path / "secret").write_text(f"{SECRET}\n{OLD_SECRET}\n")
    return f"""
        producer: {{ listen = "127.0.0.1:0"; body_maximum = 65536; hooks = (
          {{ name = "acme"; provider = "bitbucket"; secret_file = "{tmp_path}/secret"; }},
          {{ name = "open"; provider = "bitbucket"; unsigned = true; }} ); }};"""


@pytest.fixture
def fleet(broker, make_fleet, tmp_path):
    return make_fleet(broker, config=config(tmp_path))


@pytest.fixture
def server(fleet):
    return Server(fleet)


def events(fleet):
    return [value["data"] for _, value, _ in fleet.records("events")]


def test_a_signed_push_is_stored_before_it_is_acknowledged(fleet, server):
    answer = server.post(body())
    assert answer.status_code == 202
    assert json.loads(answer.text.splitlines()[0])["data"]["ref"] == "refs/tags/v-1.4.0-prod"
    key, value, _ = fleet.records("events")[0]
    assert key == value["data"]["repository"] == "acme/app"
    assert value["data"]["kind"] == "tag_created" and value["data"]["after"] == COMMIT
    assert value["data"]["delivery"] == "6f1b7a60-1111-4222-8333-444455556666"


def test_all_changes_of_a_push_become_events_in_their_order(fleet, server):
    push = json.loads(body())
    change = push["push"]["changes"][0]
    push["push"]["changes"] = [json.loads(json.dumps(change).replace("v-1.4.0-prod", f"v-1.4.{n}-prod")) for n in range(7)]
    assert server.post(json.dumps(push).encode()).status_code == 202
    assert [one["ref"] for one in events(fleet)] == [f"refs/tags/v-1.4.{n}-prod" for n in range(7)]


def test_only_the_hooks_own_secrets_open_it(fleet, server):
    content = body()
    assert server.post(content, signature=sign(content, OLD_SECRET)).status_code == 202
    for wrong in (sign(content, "another"), sign(content + b" "), sign(content).upper(), "sha256=", "x"):
        refused = server.post(content, signature=wrong)
        assert refused.status_code == 401 and "signature" in refused.text
    assert server.post(content, **{"X-Hub-Signature": None}).status_code == 401
    assert server.post(content, path="/hooks/open", **{"X-Hub-Signature": None}).status_code == 202
    assert len(events(fleet)) == 2
    assert "an unsigned hook" in server.role.log()


def test_what_cannot_be_an_event_gets_the_answer_that_fits(fleet, server):
    assert server.post(body(), path="/hooks/nobody").status_code == 404
    assert requests.get(server.url + "/hooks/acme", timeout=10).status_code == 405
    assert server.post(body(), content_type="text/plain").status_code == 415
    assert server.post(b"x" * 70000).status_code == 413
    assert server.post(b"{").status_code == 400
    assert server.post(b'{"push":{"changes":[]}}').status_code == 400
    ignored = server.post(b'{"comment":{}}', **{"X-Event-Key": "pullrequest:created"})
    assert ignored.status_code == 200 and "not a push" in ignored.text
    assert server.post(body()).status_code == 202
    assert len(events(fleet)) == 1


def test_while_the_broker_is_away_nothing_is_acknowledged(frail_broker, make_fleet, tmp_path):
    fleet = make_fleet(frail_broker, config=config(tmp_path))
    server = Server(fleet)
    assert server.post(body()).status_code == 202
    fleet.broker.pause()
    try:
        refused = server.post(body("v-1.4.1-prod"))
        emitted = fleet.run("emit", "--repository", "a/b", "--ref", "branch/main", "--commit", COMMIT)
    finally:
        fleet.broker.resume()
    assert refused.status_code == 503 and int(refused.headers["Retry-After"]) > 0
    assert emitted.returncode == 111 and emitted.stdout == ""
    wait_for(lambda: server.post(body("v-1.4.1-prod")).status_code == 202, 30, "stored again")
    assert "refs/tags/v-1.4.1-prod" in [one["ref"] for one in events(fleet)]


def test_a_slow_client_does_not_keep_the_others_waiting(server):
    host, port = server.url.removeprefix("http://").split(":")
    slow = [socket.create_connection((host, int(port))) for _ in range(20)]
    for one in slow:
        one.sendall(b"POST /hooks/acme HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
    assert server.post(body()).status_code == 202
    for one in slow:
        one.close()


def test_what_was_being_taken_is_stored_before_the_server_ends(fleet, server):
    answers = []
    threads = [threading.Thread(target=lambda n=n: answers.append(server.post(body(f"v-1.5.{n}-prod")).status_code))
               for n in range(20)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert server.role.stop() == 0
    assert answers == [202] * 20
    assert sorted(one["ref"] for one in events(fleet)) == sorted(f"refs/tags/v-1.5.{n}-prod" for n in range(20))


def test_a_hook_without_a_secret_must_say_so(broker, make_fleet):
    fleet = make_fleet(broker, config='producer: { hooks = ( { name = "a"; provider = "bitbucket"; } ); };')
    role = fleet.start("producer", wait_ready=False)
    assert role.process.wait(20) == 100
    assert "unsigned = true" in role.log()


def test_emit_takes_everything_from_codebuild(fleet):
    build = {"CODEBUILD_BUILD_ID": "project:6f1b7a60-1111-4222-8333-444455556666", "CODEBUILD_BUILD_SUCCEEDING": "1",
             "CODEBUILD_WEBHOOK_TRIGGER": "tag/v-1.4.0-prod", "CODEBUILD_RESOLVED_SOURCE_VERSION": COMMIT,
             "CODEBUILD_SOURCE_REPO_URL": "https://bitbucket.org/Acme/App.git"}
    done = fleet.run("emit", env=build)
    assert done.returncode == 0, done.stderr
    data = events(fleet)[0]
    assert (data["repository"], data["ref"], data["after"]) == ("acme/app", "refs/tags/v-1.4.0-prod", COMMIT)
    assert data["build"] == "6f1b7a60-1111-4222-8333-444455556666" and data["kind"] == "build_published"
    failed = fleet.run("emit", env={**build, "CODEBUILD_BUILD_SUCCEEDING": "0"})
    assert failed.returncode == 1 and "the build has failed" in failed.stderr
    assert fleet.run("emit").returncode == 1
    assert len(events(fleet)) == 1


def test_emit_says_where_the_event_went_and_follows_it(fleet, new_account, tmp_path):
    fleet.start("resolver")
    account = new_account()
    fleet.must("map", "set", "qa", account, "--reason", "t")
    words = ["emit", "--repository", "acme/app", "--commit", COMMIT, "--build", "b1", "--ref"]
    # This waits for as long as it takes; for the next a resolver that is at work has two seconds.
    dropped = fleet.run(*words, "refs/tags/v-1.0.0-nowhere", "--wait", "--timeout", "30s")
    assert dropped.returncode == 3 and "dropped" in dropped.stdout
    [stored], code = fleet.lines(*words, "refs/tags/v-1.0.0-qa")
    key, value, message = next(one for one in fleet.records("events") if one[1]["data"]["ref"] == "refs/tags/v-1.0.0-qa")
    assert code == 0 and stored["event"] == value["id"] and stored["outcome"] == "accepted"
    assert (stored["topic"], stored["partition"], stored["offset"]) == (message.topic(), message.partition(), message.offset())
    assert [stored["deployment"]] == [one["deployment"] for one in fleet.deployments() if one["outcome"] == "accepted"]
    assert fleet.run(*words, "refs/tags/nonsense", "--wait").returncode == 4
    assert fleet.run(*words, "refs/tags/v-1.0.1-qa", "--wait", "--timeout", "1s").returncode == 124
    assert fleet.run(*words, "refs/tags/v-1.0.1-qa", "--timeout", "1s").returncode == 2


def test_emit_takes_all_lines_of_a_file_or_none(fleet, tmp_path):
    lines = [{"repository": "acme/app", "ref": f"refs/tags/v-1.0.{n}-qa", "commit": COMMIT, "build": f"b{n}"} for n in range(3000)]
    file = tmp_path / "events.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)) + '\n{"repository": "acme/app"}\n{"nonsense": 1}\n')
    refused = fleet.run("emit", "--from-file", str(file))
    assert refused.returncode == 1 and "line 3001: ref is needed" in refused.stderr and "line 3002:" in refused.stderr
    assert events(fleet) == []
    done = fleet.run("emit", "--from-file", "-", input="\n".join(map(json.dumps, lines)))
    assert done.returncode == 0, done.stderr
    assert [one["build"] for one in events(fleet)] == [f"b{n}" for n in range(3000)]
    assert fleet.run("emit", "--from-file", str(file), "--ref", "branch/main").returncode == 2
    assert fleet.run("emit", "--from-file", str(tmp_path / "nowhere")).returncode == 1


def test_webhook_parse_prints_the_neutral_events_offline(fleet, tmp_path):
    headers = tmp_path / "headers"
    headers.write_text(f"X-Event-Key: repo:push\nX-Hub-Signature: {sign(body())}\n")
    done = fleet.run("webhook", "parse", "bitbucket", "--headers", str(headers), "--secret", SECRET, input=body())
    assert done.returncode == 0
    line = json.loads(done.stdout)
    assert list(line) == ["kind", "provider", "repository", "repository_id", "ref", "before", "after", "forced", "reason"]
    assert line["kind"] == "tag_created" and line["repository"] == "acme/app" and line["before"] is None
    forged = fleet.run("webhook", "parse", "bitbucket", "--headers", str(headers), "--secret", "wrong", input=body())
    assert forged.returncode == 1 and forged.stdout == b""
    assert fleet.run("webhook", "parse", "bitbucket", input=b"{}x").returncode == 1
    assert fleet.run("webhook", "parse", "subversion", input=b"{}").returncode == 2
