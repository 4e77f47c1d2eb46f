"""How processes begin, hold still and end: what whoever runs a fleet does to them."""
import re
import signal
import socket
import time

import pytest

from tests.support.fleet import Fleet, wait_for
from tests.support.kafka import Broker
from tests.support.trial import Trial


OPEN_HOOK = 'producer: { listen = "127.0.0.1:0"; hooks = ( { name = "a"; provider = "generic"; unsigned = true; } ); };'
BODY = b'{"repository":"acme/app","ref":"refs/tags/v-1.0.0-qa","commit":"4f2d6a1c9be07835d1a2f06c7e5b9348ac10de77"}'
PUSH = b"POST /hooks/a HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY


def port_of(producer):
    return int(re.search(r"msg=ready port=(\d+)", producer.log()).group(1))


def in_flight(producer):
    """Deliveries that are not stored yet, as the process tells when asked."""
    producer.signal(signal.SIGUSR1)
    told = re.findall(r"in flight, all told\" deliveries=(\d+)", producer.log())
    return int(told[-1]) if told else None


@pytest.fixture
def trial(broker, tmp_path):
    made = Trial(broker, tmp_path / "trial")
    yield made
    made.close()


def order(trial, first, count, milliseconds=0):
    trial.order([(f"k{number}", f"{milliseconds} 0 1 done t{number}") for number in range(first, first + count)])


def start_busy(trial, count, milliseconds, *settings, running=None):
    """A worker that has been given so many tasks, and of which as many run as may."""
    worker = trial.start(*settings)
    order(trial, 0, count, milliseconds)
    wait_for(lambda: worker.metric("slots", state="used") == (running or count), 30, "the start")
    return worker


def make_quiet(worker):
    worker.signal(signal.SIGTSTP)
    wait_for(lambda: worker.ask("/readyz") == (503, "not ready: quiet until SIGCONT\n"), 5, "the word that it takes nothing")


# --- quiet ---

def test_who_is_quiet_finishes_what_runs_however_long_and_takes_nothing_until_it_goes_on(trial):
    """Longer than the drain of an end, which is 100 ms here."""
    worker = start_busy(trial, 3, 4000, "trial.drain=100ms")
    make_quiet(worker)
    order(trial, 3, 5)
    wait_for(lambda: len(trial.outputs()) == 3, 20, "what was running")
    wait_for(lambda: "msg=drained" in worker.log(), 20, "the end of its membership")
    time.sleep(2)
    assert len(trial.outputs()) == 3 and worker.process.poll() is None
    assert worker.ask("/healthz")[0] == 200
    worker.signal(signal.SIGCONT)
    wait_for(lambda: len(trial.outputs()) == 8, 30, "the rest")
    assert worker.ask("/readyz")[0] == 200
    assert worker.stop() == 0
    assert all(numbers == ["1"] for numbers in trial.outputs().values())


def test_who_goes_on_before_all_has_ended_takes_work_at_once(trial):
    worker = start_busy(trial, 3, 300000, "trial.drain=100ms")
    make_quiet(worker)
    order(trial, 3, 9)
    worker.signal(signal.SIGCONT)
    wait_for(lambda: len(trial.outputs()) == 9, 30, "what has come since")
    assert worker.metric("slots", state="used") == 3 and worker.metric("memberships_total") == 1
    assert worker.ask("/readyz")[0] == 200
    assert worker.stop() == 0


def test_while_one_is_quiet_the_others_have_its_partitions(trial):
    quiet = trial.start()
    quiet.signal(signal.SIGTSTP)
    wait_for(lambda: "msg=drained" in quiet.log(), 20, "the end of its membership")
    other = trial.start()
    order(trial, 0, 30)
    trial.wait_done()
    assert other.metric("jobs_total", result="ok") == 30
    quiet.signal(signal.SIGHUP)
    assert quiet.process.wait(10) == 0


def test_a_quiet_producer_is_not_ready_and_stores_what_comes_all_the_same(broker, make_fleet):
    fleet = make_fleet(broker, config=OPEN_HOOK)
    producer = fleet.start("producer")
    wait_for(lambda: producer.ask("/readyz")[0] == 200, 20, "readiness")
    producer.signal(signal.SIGTSTP)
    wait_for(lambda: producer.ask("/readyz")[0] == 503, 5, "the word that it wants nothing")
    with socket.create_connection(("127.0.0.1", port_of(producer))) as client:
        client.sendall(PUSH)
        assert client.recv(1000).startswith(b"HTTP/1.1 202")
    producer.signal(signal.SIGCONT)
    wait_for(lambda: producer.ask("/readyz")[0] == 200, 5, "readiness again")


# --- looked at ---

def test_whoever_asks_is_told_what_is_in_flight_and_nothing_else_changes(trial):
    worker = start_busy(trial, 5, 3000, "trial.max_running=2", running=2)
    worker.signal(signal.SIGUSR1)
    wait_for(lambda: "in flight, all told" in worker.log(), 5, "the answer")
    lines = [line for line in worker.log().splitlines() if 'msg="in flight"' in line]
    assert len(lines) == 2 and all("runs, attempt 1" in line and "partition=" in line and "offset " in line for line in lines)
    assert "told=2 running=2" in worker.log()
    trial.wait_done()
    assert all(numbers == ["1"] for numbers in trial.outputs().values())


# --- changing hands ---

def test_how_partitions_go_is_counted(trial):
    def wait_parting(status):
        wait_for(lambda: first.metric("rebalances_total", status=status) == 1, 30, f"the end of a rebalance: {status}")

    first = trial.start("trial.drain=1s")
    second = trial.start("trial.drain=1s")
    wait_parting("idle")
    for partition in range(3):
        trial.order([(f"k{partition}", f"300000 0 1 done t{partition}")], partition)
    wait_for(lambda: first.metric("slots", state="used") + second.metric("slots", state="used") == 3, 20, "the start")
    trial.start("trial.drain=1s")
    wait_parting("timeout")
    assert first.metric("rebalances_total") == 2 and first.metric("jobs_total", result="cancelled") == 1


def test_partitions_whose_work_ends_in_time_count_as_drained(trial):
    """Of each key one task runs at any time: whenever the partition is wanted, one has to be waited for."""
    first = trial.start("trial.drain=60s")
    for partition in range(3):
        trial.order([(f"k{partition}", f"300 0 1 done t{partition}-{number}") for number in range(200)], partition)
    wait_for(lambda: first.metric("slots", state="used") == 3, 20, "the start")
    second = trial.start("trial.drain=60s")
    wait_for(lambda: first.metric("rebalances_total", status="drained") == 1, 30, "the end of a rebalance: drained")
    wait_for(lambda: second.metric("jobs_total", result="ok") > 0, 30, "the other's first")
    assert first.metric("jobs_total", result="cancelled") == 0
    assert all(numbers == ["1"] for numbers in trial.outputs().values())


# --- ending ---

def test_an_end_waits_for_what_runs_and_a_second_word_does_not(trial):
    patient = start_busy(trial, 1, 30000, "trial.drain=60s")
    patient.signal(signal.SIGTERM)
    wait_for(lambda: "msg=draining" in patient.log(), 5, "the drain")
    time.sleep(1)
    assert patient.process.poll() is None
    patient.signal(signal.SIGTERM)
    assert patient.process.wait(15) == 0
    assert 'msg="ending now"' in patient.log() and "given back" in patient.log()
    assert trial.outputs() == {}


def test_a_second_word_ends_a_producer_before_the_brokers_have_answered_and_nothing_is_acknowledged(frail_broker, make_fleet):
    fleet = make_fleet(frail_broker, config=OPEN_HOOK)
    producer = fleet.start("producer")
    wait_for(lambda: producer.ask("/readyz")[0] == 200, 20, "readiness")
    with socket.create_connection(("127.0.0.1", port_of(producer)), timeout=20) as client:
        frail_broker.pause()
        try:
            client.sendall(PUSH)
            wait_for(lambda: in_flight(producer) == 1, 10, "the delivery")
            producer.signal(signal.SIGTERM)
            wait_for(lambda: "msg=draining waiting=1" in producer.log(), 5, "the drain")
            producer.signal(signal.SIGTERM)
            assert producer.process.wait(15) == 0
        finally:
            frail_broker.resume()
        assert not client.recv(1000).startswith(b"HTTP/1.1 2")
    assert 'msg="ending now" waiting=1' in producer.log() and 'msg="drain over: not everything is stored" waiting=1' in producer.log()


# --- beginning ---

@pytest.mark.parametrize("role", ["producer", "resolver", "copier", "notifier"])
def test_a_role_tells_every_mistake_of_its_configuration_and_has_touched_nothing(role, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
        config = f"""kafka = {{ brokers = "127.0.0.1:{port}"; security = "sasl_tls"; }};
            {role} = {{ admin = 7; no_such = 1; }};
            log = {{ level = "loud"; }};"""
        fleet = Fleet(Broker(tmp_path / "never-started"), None, tmp_path / "fleet", config)
        done = fleet.run(role, timeout=20, env={"TAGFLEET_KAFKA_BROKERS": f"127.0.0.1:{port}", "TAGFLEET_AWS_MAIN_ACCOUNT": "1"})
        assert done.returncode == 100, done.stderr
        lines = done.stderr.splitlines()
        for wrong in (f"{role}.no_such", "log.level", "kafka.sasl_mechanism", "kafka.sasl_user", "kafka.sasl_password_file"):
            assert any(wrong in line for line in lines), (wrong, lines)
        assert any("tagfleet.cfg:2:" in line for line in lines)
        nobody.settimeout(0.5)
        with pytest.raises(TimeoutError):
            nobody.accept()


def test_roles_that_begin_without_brokers_wait_say_so_and_are_ready_only_when_they_are_heard(tmp_path):
    broker = Broker(tmp_path / "kafka", session_ms=2000)
    broker.start()
    config = 'producer: { listen = "127.0.0.1:0"; hooks = ( { name = "a"; provider = "generic"; unsigned = true; } ); };'
    fleet = Fleet(broker, None, tmp_path / "fleet", config)
    try:
        fleet.__enter__()
        broker.kill()
        impatient = fleet.start("copier", wait_ready=False)
        roles = [fleet.start(name, wait_ready=False) for name in ("producer", "resolver", "copier", "notifier")]
        for role in roles:
            wait_for(lambda: role.ask("/healthz")[0] == 503, 30, f"the {role.name}'s bad health")
            assert role.ask("/readyz")[0] == 503, role.name
            wait_for(lambda: re.search("level=(warning|error) .*broker", role.log()), 30, f"the {role.name}'s word")
        assert impatient.stop() == 0 and "msg=drained" in impatient.log()
        broker.start()
        for role in roles:
            wait_for(lambda: role.ask("/readyz")[0] == 200, 60, f"the {role.name}'s readiness")
            wait_for(lambda: role.ask("/healthz")[0] == 200, 20, f"the {role.name}'s good health")
    finally:
        fleet.__exit__()
        broker.stop()
    assert [role.process.returncode for role in roles] == [0, 0, 0, 0]
