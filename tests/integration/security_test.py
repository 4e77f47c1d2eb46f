"""The ways into a Kafka that asks who is there, and what is said when it does not let a process in: in words that tell what would
be right, once, without the password, for as long as it lasts and no longer."""
import ctypes
import re
import socket
import ssl
import threading

import pytest
import requests
from confluent_kafka.admin import AdminClient

from tests.support.certificates import Authority
from tests.support.fleet import wait_for
from tests.support.kafka import free_ports

COMMIT = "5" * 40
REFUSED = "brokers and this process do not accept each other"
# Since then the SCRAM of librdkafka is what Kafka 4 takes.
SCRAM_IS_MENDED = ctypes.CDLL("librdkafka.so.1").rd_kafka_version() >= 0x02060100
WAYS = [("tls", None), ("sasl_tls", "PLAIN"), ("sasl_tls", "SCRAM-SHA-256"), ("sasl_tls", "SCRAM-SHA-512"), ("sasl_plaintext", "SCRAM-SHA-512")]


def look(role, path):
    port = re.search(r'msg="health and metrics".*port=([0-9]+)', role.log())[1]
    return requests.get(f"http://127.0.0.1:{port}/{path}", timeout=10)


class Impostor:
    """A TLS server that shows a certificate and knows no Kafka."""

    def __init__(self, certificate, key):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"
        threading.Thread(target=self._serve, args=(context,), daemon=True).start()

    def _serve(self, context):
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            try:
                context.wrap_socket(client, server_side=True).close()
            except OSError:
                client.close()

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


@pytest.fixture
def let_in(any_secure_broker):
    """A broker where the user "fleet" may do everything with the topics of a prefix, whatever way it comes in."""
    def allow(fleet):
        any_secure_broker.allow([("fleet", kind, fleet.prefix, "PREFIXED", "ALL") for kind in ("TOPIC", "GROUP", "TRANSACTIONAL_ID")])
        for bits in (256, 512):
            any_secure_broker.set_scram_password("fleet", any_secure_broker.password, bits)
        return any_secure_broker
    return allow


def test_every_way_in(let_in, any_secure_broker, make_fleet):
    fleet = make_fleet(any_secure_broker)
    broker = let_in(fleet)
    for listener, mechanism in WAYS:
        done = fleet.run("topics", "check", env=broker.environment("fleet", listener, mechanism))
        if (mechanism or "").startswith("SCRAM") and broker.version.startswith("4") and not SCRAM_IS_MENDED:
            assert done.returncode == 1 and "kafka.sasl_password_file" in done.stderr, done
            assert "Kafka 4: that refuses SCRAM of librdkafka before 2.6.1" in done.stderr
        else:
            assert done.returncode == 0, (listener, mechanism, done.stdout, done.stderr)


def test_roles_and_commands_come_in_with_certificates(let_in, any_secure_broker, make_fleet):
    fleet = make_fleet(any_secure_broker)
    broker = let_in(fleet)
    env = broker.environment("fleet", "tls")
    fleet.start("resolver", env=env)
    fleet.must("map", "set", "qa", "222222222222", env=env)
    where = ("--repository", "acme/app", "--ref", "refs/tags/v-1-nobody", "--commit", COMMIT)
    fleet.must("emit", *where, "--build", "b", env=env)
    assert fleet.run("wait", *where, "--timeout", "30s", env=env).returncode == 3
    assert "nobody" in fleet.must("status", env=env).stdout
    client = AdminClient({"bootstrap.servers": broker.address})
    members = client.describe_consumer_groups([fleet.prefix + "resolver"])[fleet.prefix + "resolver"].result(15).members
    assert [member.client_id for member in members] == ["tagfleet-resolver"]


def test_a_role_that_is_not_let_in_says_why_and_waits(secure_broker, make_fleet, tmp_path):
    fleet, broker = make_fleet(secure_broker), secure_broker
    strangers, own = Authority(tmp_path / "strangers"), broker.authority
    expired = own.sign("expired", days=-1)
    impostors = {"unknown authority": Impostor(*strangers.sign("broker")), "expired": Impostor(*expired),
                 "another host": Impostor(*own.sign("elsewhere", hosts="DNS:elsewhere.example.org"))}
    right, tls = broker.environment("fleet"), broker.environment("fleet", "tls")
    without_certificate = {name: value for name, value in tls.items() if "CERTIFICATE" not in name and "KEY" not in name}
    cases = {
        "wrong password": (broker.environment("nobody", password="the-wrong-password"), "are kafka.sasl_user, the password"),
        "unknown authority": ({**tls, "TAGFLEET_KAFKA_BROKERS": impostors["unknown authority"].address}, "self-signed certificate in certificate chain|unable to get local issuer"),
        "expired": ({**tls, "TAGFLEET_KAFKA_BROKERS": impostors["expired"].address}, "certificate has expired"),
        "another host": ({**tls, "TAGFLEET_KAFKA_BROKERS": impostors["another host"].address}, "mismatch"),
        "no certificate": (without_certificate, "kafka.certificate_file must be valid today, and signed"),
        "own expired": ({**tls, "TAGFLEET_KAFKA_CERTIFICATE_FILE": str(expired[0]), "TAGFLEET_KAFKA_KEY_FILE": str(expired[1])},
                        "kafka.certificate_file must be valid today, and signed"),
        "no TLS there": ({**right, "TAGFLEET_KAFKA_BROKERS": broker.address}, "may know no TLS: is kafka.security right"),
        "TLS there": ({"TAGFLEET_KAFKA_BROKERS": broker.at("tls")}, "is kafka.brokers right, and kafka.security what|may want TLS"),
        "nobody there": ({"TAGFLEET_KAFKA_BROKERS": f"127.0.0.1:{free_ports(1)[0]}"}, "is it running, and is kafka.brokers right"),
    }
    roles = {case: fleet.start("resolver", "--set", "aws.main_account=111111111111", env=env, wait_ready=False)
             for case, (env, _) in cases.items()}
    for case, role in roles.items():
        said = cases[case][1]
        wait_for(lambda: "trying again" in role.log(), 20, f"{case} is logged")
        wait_for(lambda: re.search(said, look(role, "healthz").text), 20, f"{case}: /healthz says {said}")
        assert look(role, "healthz").status_code == look(role, "readyz").status_code == 503
        assert re.search(said, role.log()) or case == "TLS there", (case, role.log())
    for case, role in roles.items():
        assert role.process.poll() is None, case
        assert role.log().count("trying again") == 1, (case, role.log())
        assert "the-wrong-password" not in role.log()
    for impostor in impostors.values():
        impostor.close()
    for role in roles.values():
        role.kill()


@pytest.mark.parametrize("any_secure_broker", ["3.9.2"], indirect=True)
def test_a_password_that_the_brokers_learn_later_lets_the_role_in(let_in, any_secure_broker, make_fleet):
    fleet = make_fleet(any_secure_broker)
    broker = let_in(fleet)
    env = {**broker.environment("fleet", mechanism="SCRAM-SHA-512", password="tomorrows-secret"), "TAGFLEET_LOG_LEVEL": "debug",
           "TAGFLEET_KAFKA_PROPERTIES": "debug=security"}
    role = fleet.start("resolver", "--set", "aws.main_account=111111111111", env=env, wait_ready=False)
    wait_for(lambda: REFUSED in role.log(), 20, "the wrong password is told")
    assert look(role, "readyz").status_code == 503
    broker.set_scram_password("fleet", "tomorrows-secret")
    wait_for(lambda: look(role, "readyz").status_code == 200, 30, "the role is let in")
    wait_for(lambda: look(role, "healthz").status_code == 200, 30, "all its connections are let in")
    assert "the brokers answer" in role.log()
    with open(f"/proc/{role.pid}/cmdline") as words:
        told = role.log() + words.read() + look(role, "metrics").text
    assert "tomorrows-secret" not in told and "facility=" in told
    broker.set_scram_password("fleet", broker.password)


def test_every_mistake_is_told_before_anything_is_touched(secure_broker, make_fleet):
    fleet = make_fleet(secure_broker)
    env = {"TAGFLEET_KAFKA_SECURITY": "sasl_tls", "TAGFLEET_KAFKA_CA_FILE": "/nowhere/ca.crt", "TAGFLEET_KAFKA_PROPERTIES": "no.such=1"}
    mistakes = ("/nowhere/ca.crt cannot be read", "needs kafka.sasl_mechanism", "needs kafka.sasl_user", "needs kafka.sasl_password_file", "no.such")
    for command in (("config", "check"), ("resolver", "--set", "aws.main_account=111111111111"), ("producer",)):
        done = fleet.run(*command, env=env)
        assert done.returncode == 100 and all(mistake in done.stderr for mistake in mistakes), (command, done.stderr)
    other = secure_broker.authority.sign("other")[1]
    env = {**secure_broker.environment("fleet", "tls"), "TAGFLEET_KAFKA_KEY_FILE": str(other)}
    done = fleet.run("config", "check", env=env)
    assert done.returncode == 100 and "a key in PEM that belongs to kafka.certificate_file" in done.stderr


def test_an_encrypted_key_is_opened_with_the_password_of_a_file(let_in, any_secure_broker, make_fleet, tmp_path):
    fleet = make_fleet(any_secure_broker)
    broker = let_in(fleet)
    env = broker.environment("fleet", "tls")
    certificate, key = broker.authority.sign("fleet", password="key-secret")
    (tmp_path / "password").write_text("key-secret\n")
    locked = {**env, "TAGFLEET_KAFKA_CERTIFICATE_FILE": str(certificate), "TAGFLEET_KAFKA_KEY_FILE": str(key)}
    assert fleet.run("topics", "check", env=locked).returncode == 1
    fleet.must("topics", "check", env={**locked, "TAGFLEET_KAFKA_KEY_PASSWORD_FILE": str(tmp_path / "password")})
