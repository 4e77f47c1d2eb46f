"""A copier that has been replaced and does not know it: stopped beyond its session and woken in the middle of a job, or cut off
from the broker and not from S3. Each copier has a proxy of its own before the store, so that its requests are known as its.

What these tests cannot promise: Kafka cannot fence S3. A request that the store has received whole before its copier was
replaced may be carried out whenever the store gets to it, and a process that is stopped between its last look at the clock
and the system call that sends sends on waking. Both end with the request; neither starts another."""
import os
import signal
import socket
import threading
import time

import pytest

from tests.support.fleet import wait_for
from tests.support.kafka import VERSIONS, Broker, free_ports
from tests.support.proxy import Proxy

OLD, NEWER, NEXT = ("%040x" % (0xdead + n) for n in range(3))
FILES = {"app.js": b"app %d", "about.html": b"about %d", "index.html": b"<html> %d"}
ONE_AT_A_TIME = ("--set", "copier.copies_at_once=1")


def files(n):
    return {key: body % n for key, body in FILES.items()}


class Scene:
    """One account, an old copier with a job, and whoever takes over from it."""

    def __init__(self, fleet, store, account, fault=None):
        self.fleet, self.store, self.account = fleet, store, account
        store.add_account(account)
        fleet.must("map", "set", "branch/main", account)
        fleet.start("resolver")
        self.old_proxy, self.new_proxy = Proxy(store.url, fault), Proxy(store.url)
        self.old = self.new = None

    def start_old(self, *words, **more):
        self.old = self.fleet.start("copier", *ONE_AT_A_TIME, *words, env={"AWS_ENDPOINT_URL_S3": self.old_proxy.url, **more})

    def start_new(self, *words):
        self.new = self.fleet.start("copier", *ONE_AT_A_TIME, *words, env={"AWS_ENDPOINT_URL_S3": self.new_proxy.url}, wait_ready=False)

    def push(self, n, commit, before=None, contents=None):
        self.fleet.upload_build(f"zombie-{self.account}-{n}", contents or files(n))
        self.fleet.deploy(commit, f"zombie-{self.account}-{n}", before=before)

    def deployment(self, commit):
        return next(one["deployment"] for one in self.fleet.deployments() if one["commit"] == commit and one["outcome"] == "accepted")

    def outcomes(self, isolation="read_committed"):
        """(commit, outcome) of every result, those of aborted transactions too if asked for."""
        return sorted((value["data"]["commit"], value["data"]["outcome"]) for _, value, _ in self.fleet.records("results", isolation)
                      if value["type"] == "tagfleet.result.v1")

    def has_build(self, n):
        frontend = self.store.objects(f"frontend-{self.account}", self.account)
        archive = self.store.objects(f"source-artifact-{self.account}", self.account)
        return frontend == files(n) and archive == {"codebuild/artifacts": b"archive" + f"zombie-{self.account}-{n}".encode()}

    def wait_until_old_has_joined_again(self):
        wait_for(lambda: "joining again: everything in flight was dropped" in self.old.log(), 30, "the old copier's notice")
        wait_for(lambda: self.old.log().count("msg=ready") >= 2, 40, "the old copier's next membership")

    def replace_old(self, *words):
        """The old copier is stopped and stays so; a new one deploys a newer build."""
        self.start_new(*words)
        self.push(1, NEWER, before=OLD)
        lines, code = self.fleet.wait(NEWER, timeout="60s")
        assert code == 0 and lines[0]["outcome"] == "succeeded", lines
        assert self.has_build(1)

    def close(self):
        self.old.resume()
        self.old_proxy.close()
        self.new_proxy.close()


@pytest.fixture
def make_scene(make_fleet, new_account):
    made = []

    def make(broker, store, fault=None):
        made.append(Scene(make_fleet(broker, store), store, new_account(), fault))
        return made[-1]

    yield make
    for scene in made:
        scene.close()


def assert_it_stays_replaced(scene, requests_before):
    """The old copier, awake again, has sent nothing for the job that was taken from it and has published nothing; later it
    is a copier like any other."""
    scene.wait_until_old_has_joined_again()
    wait_for(lambda: scene.old.ask("/healthz")[0] == 200, 20, "the old copier's good health, though it has nothing to do")
    assert [(one.method, one.path) for one in scene.old_proxy.requests[requests_before:]] == []
    expected = [(OLD, "superseded"), (NEWER, "succeeded")]
    assert scene.outcomes() == expected and scene.outcomes("read_uncommitted") == expected
    assert scene.has_build(1)
    scene.push(2, NEXT, before=NEWER)
    assert scene.fleet.wait(NEXT, timeout="60s")[1] == 0
    assert scene.has_build(2)


def stop_at_last_page(scene):
    """The last request before the trigger: its answer will lie in the sleeping copier's socket."""
    stopped = []

    def fault(request):
        if request.is_copy and request.key == "index.html" and not stopped:
            stopped.append(os.kill(scene.old.pid, signal.SIGSTOP))
    scene.old_proxy.fault = fault
    return stopped


def test_a_copier_frozen_just_before_the_trigger_does_not_write_it_over_a_newer_build(broker, versitygw, make_scene):
    scene = make_scene(broker, versitygw)
    stopped = stop_at_last_page(scene)
    scene.start_old()
    scene.push(0, OLD)
    wait_for(lambda: stopped, 30, "the last page")
    scene.replace_old()
    before = len(scene.old_proxy.requests)
    assert "codebuild/artifacts" not in [one.key for one in scene.old_proxy.copies()]
    scene.old.resume()
    assert_it_stays_replaced(scene, before)


def test_a_copier_whose_name_another_has_taken_while_it_slept_writes_no_trigger(broker, versitygw, make_scene):
    """A successor of the same name takes over at once: the sleep is too short for the clock to tell. Two of one name is a
    mistake of whoever starts them, and which of them ends in the end is a race; what they have deployed is not."""
    scene = make_scene(broker, versitygw)
    stopped = stop_at_last_page(scene)
    scene.start_old("--instance", "one")
    scene.push(0, OLD)
    wait_for(lambda: stopped, 30, "the last page")
    scene.replace_old("--instance", "one")
    before = len(scene.old_proxy.requests)
    scene.old.resume()
    wait_for(lambda: scene.old.process.poll() is not None or "joining again" in scene.old.log(), 30, "the end of the old membership")
    assert scene.old.process.poll() in (None, 111)
    assert scene.old_proxy.requests[before:] == []
    # The successor may have been quicker than the push, and have done the older job, too.
    expected = [[(OLD, older), (NEWER, "succeeded")] for older in ("superseded", "succeeded")]
    assert scene.outcomes() in expected and scene.outcomes("read_uncommitted") in expected
    assert scene.has_build(1)


def test_a_copier_frozen_with_the_trigger_on_its_way_hangs_up_and_sends_no_other(broker, versitygw, make_scene):
    """The trigger has left the copier and is held back before the store. On waking the copier closes that connection, so
    that whatever still holds the request can know; if the store had it whole already, nobody could call it back."""
    def fault(request):
        if request.is_copy and request.key == "codebuild/artifacts" and not stopped:
            stopped.append(os.kill(scene.old.pid, signal.SIGSTOP))
            hung_up.append(request.wait_for_hang_up(90))
            return 503, "<Error><Code>SlowDown</Code></Error>"
    stopped, hung_up = [], []
    scene = make_scene(broker, versitygw, fault)
    scene.start_old()
    scene.push(0, OLD)
    wait_for(lambda: stopped, 30, "the trigger")
    scene.replace_old()
    before = len(scene.old_proxy.requests)
    assert hung_up == []
    scene.old.resume()
    wait_for(lambda: hung_up, 30, "the end of the held request")
    assert hung_up == [True]
    assert_it_stays_replaced(scene, before)


SEND = "44"  # the system call sendto, x86-64


def proc(pid, name):
    with open(f"/proc/{pid}/{name}") as file:
        return file.read()


def freeze_while_sending(pid, seconds=6):
    """Stops the process when it is in the middle of sending requests, not when it waits for answers. Three tries and the
    time beyond the session are shorter than the 30 s after which a process whose loop stood still ends by itself."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        os.kill(pid, signal.SIGSTOP)
        wait_for(lambda: proc(pid, "stat").rpartition(")")[2].split()[0] == "T", 5, "the stop")
        if proc(pid, "syscall").split()[0] == SEND:
            return True
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.001)
    return False


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="knows the system calls' numbers of x86-64 only")
def test_a_copier_frozen_while_it_sends_requests_sends_no_more_of_them_on_waking(broker, versitygw, make_fleet, new_account):
    """Stopped beyond its session between the requests of one turn, with others prepared. The one whose system call was
    interrupted goes out on waking; that one is all. Three copiers, since what a stop hits is luck."""
    fleet = make_fleet(broker, versitygw)
    accounts = [new_account() for _ in range(18)]
    versitygw.add_accounts(accounts)
    fleet.must("map", "set", "branch/main", ",".join(accounts))
    fleet.start("resolver")
    proxies = [Proxy(versitygw.url) for _ in range(3)]
    copiers = [fleet.start("copier", "--set", "copier.copies_at_once=64", env={"AWS_ENDPOINT_URL_S3": one.url}) for one in proxies]
    fleet.upload_build(f"mid-{accounts[0]}", {f"asset-{n:03d}.js": b"%d" % n for n in range(200)})
    fleet.deploy(OLD, f"mid-{accounts[0]}")
    wait_for(lambda: all(one.copies() for one in proxies), 30, "copies by each")
    frozen = [(copier, proxy) for copier, proxy in zip(copiers, proxies) if freeze_while_sending(copier.pid)]
    assert frozen
    time.sleep(10)  # beyond the session
    before = [len(proxy.requests) for _, proxy in frozen]
    for copier, _ in frozen:
        copier.resume()
        wait_for(lambda: "joining again: everything in flight was dropped" in copier.log(), 20, "the notice")
    assert fleet.wait(OLD, timeout="60s")[1] == 0
    for (_, proxy), count in zip(frozen, before):
        assert len(writes_without_a_look(proxy.requests[count:])) <= 1
    for proxy in proxies:
        proxy.close()


def writes_without_a_look(requests):
    """A job that is taken anew lists each of its buckets before it writes there; what is written without was prepared before."""
    listed, found = set(), []
    for one in requests:
        if "list-type" in one.query:
            listed.add(one.bucket)
        elif one.is_copy and one.bucket not in listed:
            found.append((one.bucket, one.key))
    return found


class Forwarder:
    """Passes bytes between a client and the broker until it is cut; a cut says nothing, as a broken network does."""

    def __init__(self, port):
        self.port = port
        self.is_open = threading.Event()
        self.is_open.set()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.own_port = self.listener.getsockname()[1]
        self.sockets = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        try:
            while True:
                client, _ = self.listener.accept()
                broker = socket.create_connection(("127.0.0.1", self.port))
                self.sockets += [client, broker]
                for one, other in ((client, broker), (broker, client)):
                    threading.Thread(target=self.carry, args=(one, other), daemon=True).start()
        except OSError:
            pass

    def carry(self, one, other):
        try:
            while data := one.recv(65536):
                self.is_open.wait()
                other.sendall(data)
        except OSError:
            pass
        for each in (one, other):
            each.close()

    def cut(self):
        self.is_open.clear()

    def heal(self):
        self.is_open.set()

    def close(self):
        self.heal()
        self.listener.close()
        for one in self.sockets:
            one.close()


class TwoDoorBroker(Broker):
    """Has a second listener, whose clients are sent through a forwarder for all they do."""

    def _configure(self):
        super()._configure()
        inner = free_ports(1)[0]
        self.forwarder = Forwarder(inner)
        path = self.directory / "server.properties"
        text = path.read_text()
        text = text.replace(",CONTROLLER://", f",FORWARDED://127.0.0.1:{inner},CONTROLLER://", 1)
        text = text.replace("PLAINTEXT:PLAINTEXT,", "PLAINTEXT:PLAINTEXT,FORWARDED:PLAINTEXT,", 1)
        path.write_text(text + f"advertised.listeners=PLAINTEXT://{self.address},FORWARDED://127.0.0.1:{self.forwarder.own_port}\n")

    def stop(self):
        super().stop()
        self.forwarder.close()


@pytest.fixture
def two_door_broker(servers):
    return servers("kafka-two-doors", lambda folder: TwoDoorBroker(folder, VERSIONS[0]))


def test_a_copier_that_is_cut_from_the_broker_starts_nothing_more_when_its_session_is_over(two_door_broker, versitygw, make_scene):
    """A long job, and the network to the broker ends in its middle; S3 answers on. The new owner comes when the broker gives
    the old one up: by then the old one must have stopped by itself."""
    scene = make_scene(two_door_broker, versitygw, lambda request: 0.25 if request.is_copy else None)
    forwarder = two_door_broker.forwarder
    scene.start_old(TAGFLEET_KAFKA_BROKERS=f"127.0.0.1:{forwarder.own_port}")
    long = {f"asset-{n:03d}.js": b"%d" % n for n in range(250)}
    scene.push(0, OLD, contents=long)
    wait_for(lambda: len(scene.old_proxy.copies()) >= 4, 30, "the first copies")
    forwarder.cut()
    scene.start_new()
    wait_for(lambda: scene.new_proxy.copies(), 60, "the new owner's first copy")
    taken_over = scene.new_proxy.copies()[0].began
    wait_for(lambda: "partitions lost" in scene.old.log() or "joining again" in scene.old.log(), 60, "the old copier's notice")
    count = len(scene.old_proxy.copies())
    time.sleep(2)  # eight copies long
    assert len(scene.old_proxy.copies()) == count
    late = [one for one in scene.old_proxy.copies() if one.began >= taken_over]
    assert [one.key for one in late] == []
    forwarder.heal()
    lines, code = scene.fleet.wait(OLD, timeout="170s")
    assert code == 0 and len(scene.outcomes("read_uncommitted")) == 1, lines
    assert scene.old.metric("rebalances_total", status="lost") == scene.old.log().count("partitions lost")
