"""Servers are started when a test first needs them, once per run, on free ports, in temporary folders; they end with the
run. Every fleet has a topic prefix of its own, so tests share brokers without seeing each other."""
import itertools

import pytest

from tests.support.fleet import Fleet
from tests.support.kafka import VERSIONS, Broker, SecureBroker
from tests.support.stores import STORES, S3sFs

_accounts = itertools.count(222222222222)


def pytest_terminal_summary(terminalreporter):
    """A skipped test says so by name, whatever the verbosity."""
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        terminalreporter.write_line(f"skipped: {report.nodeid.rpartition('/')[2]}: {reason.removeprefix('Skipped: ')}")


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    """Starts and keeps what is asked for by name."""
    kept = {}

    def get(name, make):
        if name not in kept:
            server = make(tmp_path_factory.mktemp(name.replace(".", "-")))
            server.start()
            kept[name] = server
        return kept[name]

    yield get
    for server in kept.values():
        server.stop()


@pytest.fixture(scope="session")
def broker(servers):
    return servers(f"kafka-{VERSIONS[0]}", lambda folder: Broker(folder, VERSIONS[0]))


@pytest.fixture(scope="session")
def frail_broker(servers):
    """One to be stopped and killed, so that the others' tests do not feel it."""
    return servers("kafka-frail", lambda folder: Broker(folder, VERSIONS[0]))


@pytest.fixture(scope="session", params=VERSIONS)
def any_broker(request, servers):
    return servers(f"kafka-{request.param}", lambda folder: Broker(folder, request.param))


@pytest.fixture(scope="session")
def secure_broker(servers):
    """The newest; it knows the names of config/kafka-acls.txt and some that nobody has given a right."""
    return servers(f"secure-kafka-{VERSIONS[0]}", lambda folder: SecureBroker(folder, VERSIONS[0]))


@pytest.fixture(scope="session", params=VERSIONS)
def any_secure_broker(request, servers):
    return servers(f"secure-kafka-{request.param}", lambda folder: SecureBroker(folder, request.param))


@pytest.fixture(scope="session", params=list(STORES))
def store(request, servers):
    return servers(request.param, STORES[request.param])


@pytest.fixture(scope="session", params=[*STORES, S3sFs.name])
def copy_store(request, servers):
    """Those that judge whole fleets, and one that only copies."""
    if request.param == S3sFs.name and not S3sFs.program.exists():
        pytest.skip("s3s-fs is not here: it needs Rust 1.92 or newer")
    return servers(request.param, STORES.get(request.param, S3sFs))


@pytest.fixture(scope="session")
def minio(servers):
    return servers("minio", STORES["minio"])


@pytest.fixture(scope="session")
def versitygw(servers):
    return servers("versitygw", STORES["versitygw"])


@pytest.fixture
def new_account():
    """Ids that no other test of this run uses."""
    return lambda: f"{next(_accounts):012d}"


@pytest.fixture
def make_fleet(tmp_path):
    made = []

    def make(broker, store=None, config=None):
        fleet = Fleet(broker, store, tmp_path / f"fleet{len(made)}", config)
        fleet.__enter__()
        made.append(fleet)
        return fleet

    yield make
    for fleet in made:
        fleet.__exit__()
    complaints = [complaint for fleet in made for complaint in fleet.log_complaints() + fleet.message_complaints()]
    assert not complaints, f"{len(complaints)} complaints about messages and logs:\n" + "\n".join(complaints[:20])
