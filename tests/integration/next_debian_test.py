"""The program as the next Debian's compiler and libraries make it (tests/support/docker/suite.sh unit trixie), beside a broker of this
machine: what only newer libraries can."""
import pytest

from tests.support.kafka import ROOT
from tests.support.stack import Engine, run

IMAGE = "tagfleet-unit-tests:trixie"
BUILD = ROOT / "build" / "trixie"


@pytest.fixture(scope="module")
def engine():
    with Engine() as made:
        if made.trouble:
            pytest.skip(made.trouble)
        assert run("docker", "image", "inspect", IMAGE, check=False).returncode == 0, "tests/support/docker/suite.sh unit trixie makes it"
        yield made


def within(environment, *words, folder):
    variables = [word for name, value in environment.items() for word in ("-e", f"{name}={value}")]
    return run("docker", "run", "--rm", "--init", "--network", "host", "-v", f"{ROOT}:/tagfleet:ro", "-v", f"{BUILD}:/tagfleet/build:ro",
               "-v", f"{folder}:{folder}:ro", *variables, IMAGE, "build/tagfleet", *words, check=False)


@pytest.mark.parametrize("mechanism, bits", [("SCRAM-SHA-256", 256), ("SCRAM-SHA-512", 512)])
def test_scram_comes_into_the_newest_kafka_and_a_wrong_password_does_not(engine, secure_broker, make_fleet, mechanism, bits):
    fleet = make_fleet(secure_broker)
    secure_broker.allow([("fleet", "TOPIC", fleet.prefix, "PREFIXED", "ALL")])
    secure_broker.set_scram_password("fleet", secure_broker.password, bits)
    prefix = {"TAGFLEET_KAFKA_PREFIX": fleet.prefix}
    right = within({**secure_broker.environment("fleet", mechanism=mechanism), **prefix}, "topics", "check", folder=secure_broker.directory)
    assert right.returncode == 0, right.stderr
    wrong = within({**secure_broker.environment("fleet", mechanism=mechanism, password="no"), **prefix}, "topics", "check",
                   folder=secure_broker.directory)
    assert wrong.returncode == 1 and "kafka.sasl_password_file" in wrong.stderr and "Kafka 4" not in wrong.stderr, wrong
