"""The webhooks' server towards the world: what is kept while the brokers are away, who gets in, and what strangers can do
to it."""
import gzip
import hashlib
import hmac
import json
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.support.fleet import wait_for

SECRET, NEXT_SECRET = "the secret of the hook", "the one after it"
COMMIT = "5f2c1e0a9d3b4c6e8f7a1b2c3d4e5f60718293a4"


def push(tag, repository="acme/app"):
    return json.dumps({"ref": f"refs/tags/{tag}", "before": "0" * 40, "after": COMMIT, "created": True, "deleted": False,
                       "forced": False, "head_commit": {"id": COMMIT, "timestamp": "2026-01-02T03:04:05Z"},
                       "repository": {"id": 7, "full_name": repository}, "pusher": {"name": "somebody"}}).encode()


def sign(content, secret=SECRET):
    return "sha256=" + hmac.new(secret.encode(), content, hashlib.sha256).hexdigest()


class Door:
    """A producer and a client that speaks as GitHub does."""

    def __init__(self, fleet, scheme="http", verify=None):
        self.fleet, self.verify = fleet, verify
        self.role = fleet.start("producer")
        log = self.role.log()
        self.port = int(re.search(r"msg=ready port=(\d+)", log).group(1))
        self.admin = f"http://127.0.0.1:{re.search(r'health and metrics.* port=([0-9]+)', log).group(1)}"
        self.url = f"{scheme}://127.0.0.1:{self.port}"

    def post(self, content, hook="github", secret=SECRET, **headers):
        headers = {"Content-Type": "application/json", "X-GitHub-Event": "push", "X-GitHub-Delivery": "d",
                   "X-Hub-Signature-256": sign(content, secret), **headers}
        return requests.post(f"{self.url}/hooks/{hook}", data=content, timeout=20, verify=self.verify,
                             headers={k: v for k, v in headers.items() if v is not None})

    def raw(self, content, patience=5, before_first=None):
        """Sends bytes as they are; gives back all that comes until the other side closes or is silent for so many seconds."""
        with socket.create_connection(("127.0.0.1", self.port)) as client:
            client.settimeout(before_first or patience)
            got = b""
            try:
                client.sendall(content)
                while True:
                    block = client.recv(65536)
                    if not block:
                        return got
                    got += block
                    client.settimeout(patience)
            except (TimeoutError, ConnectionError):
                return got

    def metric(self, name):
        text = requests.get(self.admin + "/metrics", timeout=10).text
        found = re.search(re.escape(name) + r" (\d+)", text)
        return int(found.group(1)) if found else None

    def is_well(self):
        return requests.get(self.admin + "/healthz", timeout=10).status_code == 200


def config(tmp_path, more="", hook=""):
    (tmp_path / "secret").write_text(SECRET + "\n")
    return f"""
        producer: {{ listen = "127.0.0.1:0"; body_maximum = 100000; connections_maximum = 50; {more} hooks = (
          {{ name = "github"; provider = "github"; secret_file = "{tmp_path}/secret"; {hook} }},
          {{ name = "other"; provider = "gitea"; secret_file = "{tmp_path}/secret"; }},
          {{ name = "patient"; provider = "bitbucket"; secret_file = "{tmp_path}/secret"; }} ); }};"""


def refs(fleet):
    return [value["data"]["ref"] for _, value, _ in fleet.records("events")]


# --- while the brokers are away ---

@pytest.fixture
def spooling(frail_broker, make_fleet, tmp_path):
    (tmp_path / "spool").mkdir()
    return make_fleet(frail_broker, config=config(tmp_path, f'spool = "{tmp_path}/spool"; spool_maximum = 65536;'))


def test_while_the_brokers_are_away_the_disk_takes_what_no_host_would_send_again(spooling):
    door = Door(spooling)
    assert door.post(push("v-1.0.0-qa")).status_code == 202 and door.is_well()
    spooling.broker.pause()
    try:
        # The first waits for the time-out, the others need not.
        assert door.post(push("v-1.0.1-qa")).status_code == 202
        for n in range(2, 12):
            assert door.post(push(f"v-1.0.{n}-qa")).status_code == 202
        assert not door.is_well()
        assert requests.get(door.admin + "/readyz", timeout=10).status_code == 200
        # Bitbucket sends again what is answered 503.
        pushed = (push("v-9.9.9-qa").decode(), {"X-Event-Key": "repo:push"})
        bitbucket = json.dumps({"repository": {"full_name": "acme/app"}, "push": {"changes": [
            {"old": None, "new": {"type": "tag", "name": "v-9.9.9-qa", "target": {"hash": COMMIT}}}]}}).encode()
        refused = door.post(bitbucket, "patient", **pushed[1], **{"X-Hub-Signature": sign(bitbucket)})
        assert refused.status_code == 503 and int(refused.headers["Retry-After"]) > 0
        door.role.kill()
    finally:
        spooling.broker.resume()
    # The next process finds on the disk what the killed one had promised.
    again = Door(spooling)
    assert again.post(push("v-1.0.12-qa")).status_code == 202
    wait_for(lambda: again.metric("tagfleet_spool_bytes") == 0, 30, "an empty spool")
    wait_for(again.is_well, 10, "health")
    assert list(dict.fromkeys(refs(spooling))) == [f"refs/tags/v-1.0.{n}-qa" for n in range(13)]
    assert again.role.stop() == 0


def test_killed_at_any_moment_the_spool_loses_nothing_that_was_answered(spooling):
    spooling.broker.pause()
    promised = []
    try:
        for round_ in range(3):
            door = Door(spooling)
            stop = threading.Event()

            def send(worker, door=door, stop=stop, round_=round_):
                for n in range(1000):
                    tag = f"v-{round_}.{worker}.{n}-qa"
                    try:
                        if stop.is_set() or door.post(push(tag)).status_code != 202:
                            return
                    except requests.RequestException:
                        return
                    promised.append("refs/tags/" + tag)

            with ThreadPoolExecutor(4) as pool:
                sending = [pool.submit(send, worker) for worker in range(4)]
                if round_ == 0:  # until the brokers' time is over
                    wait_for(lambda: promised, 30, "the disk to take the first")
                time.sleep(0.5)
                door.role.kill()
                stop.set()
                for one in sending:
                    one.result(30)
    finally:
        spooling.broker.resume()
    assert promised
    door = Door(spooling)
    wait_for(lambda: door.metric("tagfleet_spool_bytes") == 0, 30, "an empty spool")
    stored = refs(spooling)
    assert set(promised) <= set(stored)
    for worker in range(4):
        mine = [ref for ref in promised if ref.split(".")[1] == str(worker)]
        assert [ref for ref in dict.fromkeys(stored) if ref in mine] == mine


def test_a_full_spool_says_so_and_keeps_what_it_has(spooling):
    door = Door(spooling)
    spooling.broker.pause()
    try:
        answers = [door.post(push(f"v-1.0.{n}-qa")).status_code for n in range(150)]
        assert answers[0] == 202 and answers[-1] == 503
        kept = answers.index(503)
        assert set(answers[:kept]) == {202} and set(answers[kept:]) == {503}
        assert "the spool is full" in door.post(push("v-2.0.0-qa")).text
    finally:
        spooling.broker.resume()
    wait_for(lambda: door.metric("tagfleet_spool_bytes") == 0, 30, "an empty spool")
    assert list(dict.fromkeys(refs(spooling))) == [f"refs/tags/v-1.0.{n}-qa" for n in range(kept)]
    assert door.post(push("v-2.0.0-qa")).status_code == 202


def test_a_spool_belongs_to_one_producer(spooling):
    Door(spooling)
    second = spooling.start("producer", wait_ready=False)
    assert second.process.wait(20) == 100
    assert "each producer needs a folder of its own" in second.log()


# --- who gets in ---

def test_secrets_can_be_changed_while_it_runs(broker, make_fleet, tmp_path):
    door = Door(make_fleet(broker, config=config(tmp_path)))
    assert door.post(push("v-1.0.0-qa"), secret=NEXT_SECRET).status_code == 401
    (tmp_path / "secret").write_text(f"{NEXT_SECRET}\n{SECRET}\n")
    door.role.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "read again" in door.role.log(), 10, "the secrets read again")
    assert door.post(push("v-1.0.1-qa"), secret=NEXT_SECRET).status_code == 202
    assert door.post(push("v-1.0.2-qa"), secret=SECRET).status_code == 202
    (tmp_path / "secret").write_text("")
    door.role.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "secrets stay as they were" in door.role.log(), 10, "the complaint")
    assert door.post(push("v-1.0.3-qa"), secret=NEXT_SECRET).status_code == 202
    assert NEXT_SECRET not in door.role.log() and SECRET not in door.role.log()


def certificate(folder, name):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", folder / "tls.key",
                    "-out", folder / "tls.crt"], check=True, capture_output=True)


def subject_seen(port):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port)) as plain, context.wrap_socket(plain) as secure:
        der = secure.getpeercert(binary_form=True)
    return subprocess.run(["openssl", "x509", "-inform", "DER", "-noout", "-subject"], input=der, check=True,
                          capture_output=True).stdout.decode()


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1")
def test_tls_and_a_certificate_renewed_without_a_pause(broker, make_fleet, tmp_path):
    certificate(tmp_path, "the first")
    tls = f'tls_certificate = "{tmp_path}/tls.crt"; tls_key = "{tmp_path}/tls.key";'
    fleet = make_fleet(broker, config=config(tmp_path, tls))
    door = Door(fleet, "https", str(tmp_path / "tls.crt"))
    assert door.post(push("v-1.0.0-qa")).status_code == 202
    assert "the first" in subject_seen(door.port)
    with pytest.raises(ssl.SSLError):
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        old.set_ciphers("ALL:@SECLEVEL=0")
        with socket.create_connection(("127.0.0.1", door.port)) as plain, old.wrap_socket(plain):
            pass
    kept = requests.Session()
    kept.trust_env = False
    kept.verify = str(tmp_path / "tls.crt")
    assert kept.get(door.url, timeout=10).status_code == 404
    certificate(tmp_path, "the second")
    door.role.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "the second" in subject_seen(door.port), 10, "the new certificate")
    # A connection of before is answered, and asked to come again.
    assert kept.get(door.url, timeout=10).headers.get("Connection") == "close"
    assert door.post(push("v-1.0.1-qa")).status_code == 202
    (tmp_path / "tls.key").write_text("no key")
    door.role.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "the certificate stays as it was" in door.role.log(), 10, "the complaint")
    assert "the second" in subject_seen(door.port)
    assert b"HTTP" not in door.raw(b"POST /hooks/github HTTP/1.1\r\nHost: x\r\n\r\n")


def test_an_allow_list_counts_the_client_behind_our_proxies_and_nobody_elses_word(broker, make_fleet, tmp_path):
    fleet = make_fleet(broker, config=config(tmp_path, 'proxies = ( "127.0.0.0/8" );', 'allow = ( "192.0.2.0/24" );'))
    door = Door(fleet)
    for forwarded, status in [(None, 403), ("192.0.2.7", 202), ("198.51.100.1", 403), ("192.0.2.7, 198.51.100.1", 403),
                              ("198.51.100.1, 192.0.2.7", 202), ("192.0.2.7, 127.0.0.1", 202), ("nonsense", 403)]:
        assert door.post(push("v-1.0.0-qa"), **{"X-Forwarded-For": forwarded}).status_code == status, forwarded
    assert door.metric('tagfleet_deliveries_total{hook="github",outcome="wrong_address"}') == 4
    assert door.post(push("v-1.0.0-qa"), "other", **{"X-Gitea-Event": "push", "X-Hub-Signature-256": None,
                     "X-Gitea-Signature": sign(push("v-1.0.0-qa"))[7:]}).status_code == 202


def test_a_hook_has_a_rate_of_its_own_that_forgers_cannot_use_up(broker, make_fleet, tmp_path):
    door = Door(make_fleet(broker, config=config(tmp_path, hook="rate = 2;")))
    assert {door.post(push("v-1.0.0-qa"), secret="wrong").status_code for _ in range(30)} == {401}
    began = time.monotonic()
    answers = [door.post(push(f"v-1.0.{n}-qa")).status_code for n in range(40)]
    assert answers[:2] == [202] * 2 and answers.count(503) > 10
    assert answers.count(202) <= 2 + 2 * (time.monotonic() - began) + 1
    assert door.metric('tagfleet_deliveries_total{hook="github",outcome="too_often"}') == answers.count(503)
    other = push("v-1.0.0-qa")
    assert door.post(other, "other", **{"X-Gitea-Event": "push", "X-Gitea-Signature": sign(other)[7:]}).status_code == 202


def test_mistakes_of_the_front_door_are_told_all_at_once(broker, make_fleet, tmp_path):
    mistaken = config(tmp_path, 'tls_key = "x"; proxies = ( "10.0.0.1/8" );', 'allow = ( "everywhere" );')
    fleet = make_fleet(broker, config=mistaken.replace('name = "other"', 'name = "a/b"'))
    done = fleet.run("config", "check")
    assert done.returncode == 100
    for said in ("tls_certificate and tls_key belong together", "10.0.0.0/8 is meant", '"everywhere" is no network',
                 "hook a/b: a name is"):
        assert said in done.stderr
    assert fleet.start("producer", wait_ready=False).process.wait(20) == 100


# --- strangers ---

@pytest.fixture
def door(broker, make_fleet, tmp_path):
    return Door(make_fleet(broker, config=config(tmp_path)))


def request_of(content, *headers, method="POST", path="/hooks/github", version="1.1"):
    lines = [f"{method} {path} HTTP/{version}", "Host: x", "Content-Type: application/json", "X-GitHub-Event: push",
             f"X-Hub-Signature-256: {sign(content)}", *(headers or [f"Content-Length: {len(content)}"])]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def status_of(answer):
    return int(answer.split()[1]) if answer.startswith(b"HTTP/1.") else None


def test_hostile_payloads_are_refused_in_words(door):
    good = json.loads(push("v-1.0.0-qa"))
    payloads = {
        b"[" * 5000 + b"]" * 5000: 400,
        b'{"ref":"refs/tags/v-1-qa","ref":"refs/tags/v-2-qa"}': 400,
        b'{"ref":"refs/tags/v-1\\u0000-qa"}': 400,
        b'{"ref":"refs/tags/\xff\xfe"}': 400,
        b"\x00" * 100: 400,
        b"": 400,
        json.dumps({**good, "ref": "refs/tags/v-" + "1" * 50000}).encode(): 200,
        json.dumps({**good, "head_commit": {"id": "z" * 40}}).encode(): 200,
        json.dumps({**good, "repository": {"full_name": "a b\nc"}}).encode(): 400,
        b"x" * 100001: 413,
    }
    for content, status in payloads.items():
        answer = door.post(content)
        assert answer.status_code == status, (content[:60], answer.text)
        assert len(answer.text) < 1000
    assert refs(door.fleet) == []
    assert door.post(push("v-1.0.0-qa")).status_code == 202 and door.is_well()
    assert "refs/tags/v-1111" not in door.role.log() and max(map(len, door.role.log().splitlines())) < 2000


def test_hostile_http_is_refused_and_others_are_served(door):
    good = push("v-1.0.0-qa")
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (good[:7], good[7:]))
    cases = [
        (request_of(good) + good, 202),
        (request_of(good, version="1.0") + good, 202),
        (request_of(good, "Transfer-Encoding: chunked") + chunked + b"0\r\n\r\n", 202),
        (request_of(good, "Transfer-Encoding: chunked") + b"zz\r\n", 400),
        (request_of(good, f"Content-Length: {len(good)}", "Transfer-Encoding: chunked") + chunked + b"0\r\n\r\n", 400),
        (request_of(good, f"Content-Length: {len(good)}", f"Content-Length: {len(good)}") + good, 400),
        (request_of(good, f"Content-Length: {len(good)}", f"X-Hub-Signature-256: {sign(good)}") + good, 401),
        (request_of(good, f"Content-Length: {len(good)}", "Content-Encoding: gzip") + good, 415),
        (request_of(gzip.compress(good), f"Content-Length: {len(gzip.compress(good))}", "Content-Encoding: gzip")
         + gzip.compress(good), 415),
        (request_of(good, "Content-Length: 999999999999") + good, 413),
        (request_of(good, "Content-Length: -1") + good, 400),
        (request_of(b"", method="GET"), 405),
        (request_of(b"", method="DELETE", path="/hooks/github?x=1"), 405),
        (request_of(b"", "Content-Length: 0", method="BREW"), 405),
        (request_of(good, path="/hooks/github%00") + good, 404),
        (request_of(good, path="/hooks/../hooks/github") + good, 404),
        (request_of(good, path="/hooks/" + "a" * 40000) + good, 414),
        (b"POST /hooks/github HTTP/1.1\r\n\r\n", 400),
        (b"POST /hooks/github HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(150)) + b"\r\n", 431),
        (b"POST /hooks/github HTTP/1.1\r\nHost: x\r\nX-Long: " + b"y" * 60000 + b"\r\n\r\n", 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 200, None),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", None),
    ]
    assert door.post(good).status_code == 202
    for content, status in cases:
        got = door.raw(content, 0.7, 0.7 if status is None else 20)
        assert status_of(got) == status or (status in (414, 431) and got == b"") or (status is None and b" 20" not in got[:15]), \
            (content[:80], got[:200])
    # Each refusal has a counter, whatever its status.
    assert door.metric('tagfleet_requests_refused_total{status="414"}') == 1
    assert door.metric('tagfleet_requests_refused_total{status="431"}') == 2
    assert door.metric('tagfleet_requests_refused_total{status="other"}') == 1
    pipelined = door.raw((request_of(good) + good) * 3, 2)
    assert pipelined.count(b"HTTP/1.1 202") == 3
    assert door.is_well() and door.post(good).status_code == 202
    log = door.role.log()
    assert log.count("delivery refused") >= 15 and "somebody" not in log


def test_a_crowd_that_says_nothing_keeps_nobody_out(door):
    crowd = []
    try:
        for n in range(300):
            one = socket.create_connection(("127.0.0.1", door.port))
            one.setblocking(False)
            one.send([b"", b"P", b"POST /hooks/github HTTP/1.1\r\nHost: x\r\nContent-Length: 5000\r\n\r\n{"][n % 3])
            crowd.append(one)
            if n % 50 == 49:
                assert door.post(push(f"v-1.0.{n}-qa")).status_code == 202
    finally:
        for one in crowd:
            one.close()
    assert door.metric('tagfleet_requests_refused_total{status="0"}') >= 200
    assert door.post(push("v-2.0.0-qa")).status_code == 202


@pytest.mark.skipif(shutil.which("slowhttptest") is None, reason="slowhttptest is not installed")
def test_a_public_tool_for_slow_attacks_finds_the_service_available(door):
    url = f"{door.url}/hooks/github"
    attacks = [["-H", "-i", "1"], ["-B", "-s", "4096", "-i", "1"], ["-X", "-w", "10", "-y", "20", "-n", "2", "-z", "5"]]
    running = [subprocess.Popen(["slowhttptest", *attack, "-c", "100", "-r", "100", "-l", "8", "-p", "3", "-u", url, "-t", "POST"],
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for attack in attacks]
    answers = []
    while any(one.poll() is None for one in running):
        answers.append(door.post(push(f"v-1.0.{len(answers)}-qa")).status_code)
        time.sleep(0.2)
    reports = [one.communicate()[0] for one in running]
    assert set(answers) == {202}
    for report in reports:
        assert re.findall(r"service available:\S*\s+\S*?(YES|NO)", report)[-1] == "YES", report[-2000:]
    assert door.metric('tagfleet_requests_refused_total{status="0"}') > 50
