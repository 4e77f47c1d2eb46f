"""Real Apache Kafka for the tests: one KRaft node on free loopback ports, and a client that is not ours."""
import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (AclBinding, AclBindingFilter, AclOperation, AclPermissionType, AdminClient, AlterConfigOpType,
                                   ConfigEntry, ConfigResource, ResourcePatternType, ResourceType, ScramCredentialInfo,
                                   ScramMechanism, UserScramCredentialUpsertion)

from tests.support.certificates import Authority

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "build" / "tools"
VERSIONS = ("4.3.1", "3.9.2")
START_SECONDS = 60
CLUSTER_ID = "4L6g3nShT-eMCtK--X86sw"


def free_ports(count):
    """Ports that were free a moment ago, below those that the system gives to outgoing connections: who is down for a while
    gets its own back."""
    found = set()
    while len(found) < count:
        port = random.SystemRandom().randrange(15000, 32000)
        with socket.socket() as one:
            try:
                one.bind(("127.0.0.1", port))
                found.add(port)
            except OSError:
                pass
    return list(found)


def die_with_parent():
    """A server does not outlive the test run, however that ends, and hears its signals, even when the run is under nohup."""
    ctypes.CDLL("libc.so.6").prctl(1, signal.SIGKILL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


def end(process, seconds=15):
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return process.returncode


class Broker:
    """One that is to be killed needs a short session with its controller, or it waits for the end of its former self; one that
    is not needs a long one, or it loses its partitions whenever the machine is busy."""

    def __init__(self, directory, version=VERSIONS[0], session_ms=9000):
        self.version = version
        self.session_ms = session_ms
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.process = None
        self.port = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def _java(self, *arguments):
        jars = TOOLS / f"kafka-{self.version}"
        return ["java", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{jars}/*", *arguments]

    def _properties(self):
        self.port, controller = free_ports(2)
        return [
            "process.roles=broker,controller", "node.id=1",
            f"controller.quorum.voters=1@127.0.0.1:{controller}",
            f"listeners=PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}",
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "controller.listener.names=CONTROLLER", "inter.broker.listener.name=PLAINTEXT",
            f"log.dirs={self.directory}/data", "auto.create.topics.enable=false",
            "offsets.topic.replication.factor=1", "offsets.topic.num.partitions=4",
            "transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1",
            "transaction.state.log.num.partitions=4", "group.initial.rebalance.delay.ms=0",
            f"broker.session.timeout.ms={self.session_ms}", "broker.heartbeat.interval.ms=400",
            "log.cleaner.dedupe.buffer.size=16777216", "num.network.threads=2", "num.io.threads=4"]

    def _configure(self):
        properties = self.directory / "server.properties"
        properties.write_text("\n".join([*self._properties(), ""]))
        with open(self.directory / "format.log", "w") as log:
            subprocess.run(self._java("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(properties)),
                           stdout=log, stderr=log, check=True)

    def launch(self):
        """Starts the process and does not wait for its first answer."""
        if not (self.directory / "server.properties").exists():
            self._configure()
        log = open(self.directory / "log", "a")
        self.process = subprocess.Popen(self._java("kafka.Kafka", str(self.directory / "server.properties")),
                                        stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
                                        preexec_fn=die_with_parent)
        log.close()

    def _move(self):
        """To other ports."""
        shutil.rmtree(self.directory / "data", ignore_errors=True)
        (self.directory / "server.properties").unlink()
        (self.directory / "log").unlink()
        self.launch()

    def start(self):
        """Somebody else may take a port before it is bound here. Nobody has been told of it when this is the first start."""
        may_move = not (self.directory / "server.properties").exists()
        self.launch()
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                said = (self.directory / "log").read_text()
                if not may_move or "Address already in use" not in said:
                    raise RuntimeError("the broker ended: " + said[-2000:])
                may_move = False
                self._move()
            try:
                AdminClient({"bootstrap.servers": self.address, "log_level": 0}).list_topics(timeout=2)
                return
            except Exception:
                time.sleep(0.1)
        raise RuntimeError("the broker did not answer in time")

    def stop(self):
        if self.process is not None:
            end(self.process, 20)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def pause(self):
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self):
        """Goes on, and waits until every partition has its leader again: a node that slept long has been fenced."""
        os.kill(self.process.pid, signal.SIGCONT)
        client = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                topics = client.list_topics(timeout=2).topics.values()
                if all(one.leader >= 0 for topic in topics for one in topic.partitions.values()):
                    return
            except Exception:
                pass
            time.sleep(0.2)
        raise RuntimeError("the broker did not come back in time")

    # --- an independent client ---

    @staticmethod
    def _watermarks(consumer, topic, partition, seconds=20):
        """A topic that has just been created has no leader for a moment."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)
            except KafkaException:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def read_all(self, topic, isolation="read_committed", seconds=30):
        """Every message up to the present end of the topic."""
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": "tests", "isolation.level": isolation,
                             "enable.auto.commit": False, "auto.offset.reset": "earliest",
                             "enable.partition.eof": True})
        try:
            partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            starts, ends = [], {}
            for number in partitions:
                low, high = self._watermarks(consumer, topic, number)
                starts.append(TopicPartition(topic, number, low))
                ends[number] = high
            consumer.assign(starts)
            position = {one.partition: one.offset for one in starts}
            messages = []
            deadline = time.monotonic() + seconds
            while any(position[number] < ends[number] for number in ends):
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{topic} could not be read to its end")
                message = consumer.poll(1)
                if message is None:
                    continue
                if message.error() is None:
                    messages.append(message)
                    position[message.partition()] = message.offset() + 1
                elif message.error().code() == -191:
                    position[message.partition()] = message.offset()
            return messages
        finally:
            consumer.close()

    def partitions(self, topic):
        """How many the topic has; 0 when it does not exist."""
        found = AdminClient({"bootstrap.servers": self.address}).list_topics(timeout=10).topics
        return len(found[topic].partitions) if topic in found else 0

    def set_topic_config(self, topic, name, value):
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)])
        client = AdminClient({"bootstrap.servers": self.address})
        client.incremental_alter_configs([resource])[resource].result(15)

    def delete_topic(self, topic):
        client = AdminClient({"bootstrap.servers": self.address})
        client.delete_topics([topic])[topic].result(15)

    def produce(self, topic, key, value, headers=None, partition=None):
        extra = {} if partition is None else {"partition": partition}
        self.produce_all([dict(topic=topic, key=key, value=value, headers=headers, **extra)])

    def produce_all(self, messages):
        failures = []
        producer = Producer({"bootstrap.servers": self.address, "enable.idempotence": True})
        for message in messages:
            producer.produce(**message, on_delivery=lambda error, _: failures.append(error))
        producer.flush(15)
        if failures != [None] * len(messages):
            raise RuntimeError(f"not stored: {failures}")

    def lag(self, group, topic):
        """Messages and markers between the committed offsets and the ends, by partition."""
        consumer = Consumer({"bootstrap.servers": self.address, "group.id": group, "enable.auto.commit": False})
        try:
            numbers = consumer.list_topics(topic, timeout=10).topics[topic].partitions
            committed = consumer.committed([TopicPartition(topic, number) for number in numbers], timeout=30)
            lag = {}
            for one in committed:
                low, high = self._watermarks(consumer, topic, one.partition)
                lag[one.partition] = high - (one.offset if one.offset >= 0 else low)
            return lag
        finally:
            consumer.close()


class SecureBroker(Broker):
    """One that asks who is there: PLAIN and SCRAM over TLS, client certificates, and SASL without TLS, for names that may do
    nothing unless told so. The tests' own client comes in without encryption, as one who may do everything."""

    users = ("producer", "resolver", "copier", "notifier", "emit", "wait", "map", "plan", "topics-create", "topics-check",
             "keda", "fleet", "nobody")
    password = "the-right-password"

    def __init__(self, directory, version=VERSIONS[0]):
        super().__init__(directory, version)
        self.authority = Authority(self.directory / "authority")
        self.ports = {}

    def _properties(self):
        certificate, key = self.authority.sign("broker")
        store = self.directory / "broker.pem"
        store.write_text(key.read_text() + certificate.read_text() + self.authority.certificate.read_text())
        names = ("sasl_tls", "tls", "sasl_plaintext")
        properties = super()._properties()
        self.ports = dict(zip(names, free_ports(len(names))))
        listeners = {"SASL_SSL": "sasl_tls", "SSL": "tls", "SASL_PLAINTEXT": "sasl_plaintext"}
        added = ",".join(f"{kafka}://127.0.0.1:{self.ports[name]}" for kafka, name in listeners.items())
        users = " ".join(f'user_{user}="{self.password}"' for user in self.users)
        plain = f'org.apache.kafka.common.security.plain.PlainLoginModule required {users};'
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        changed = [f"{one},{added}" if one.startswith("listeners=")
                   else one + ",SASL_SSL:SASL_SSL,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT" if "protocol.map" in one else one
                   for one in properties]
        return [*changed, "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
                *[f"listener.name.{listener}.{mechanism}.sasl.jaas.config={login}" for listener in ("sasl_ssl", "sasl_plaintext")
                  for mechanism, login in (("plain", plain), ("scram-sha-256", scram), ("scram-sha-512", scram))],
                "listener.name.ssl.ssl.client.auth=required", "ssl.principal.mapping.rules=RULE:^CN=([^,]*).*$/$1/,DEFAULT",
                "ssl.keystore.type=PEM", f"ssl.keystore.location={store}", "ssl.truststore.type=PEM",
                f"ssl.truststore.location={self.authority.certificate}",
                "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "super.users=User:ANONYMOUS"]

    def at(self, listener):
        return f"127.0.0.1:{self.ports[listener]}"

    def environment(self, user, listener="sasl_tls", mechanism="PLAIN", password=None):
        """What a process needs to come in as that user, with the password or, on "tls", a certificate."""
        common = {"TAGFLEET_KAFKA_BROKERS": self.at(listener), "TAGFLEET_KAFKA_SECURITY": listener}
        if "tls" in listener:
            common["TAGFLEET_KAFKA_CA_FILE"] = str(self.authority.certificate)
        if listener == "tls":
            certificate, key = self.authority.sign(user)
            return {**common, "TAGFLEET_KAFKA_CERTIFICATE_FILE": str(certificate), "TAGFLEET_KAFKA_KEY_FILE": str(key)}
        file = self.directory / f"{user}.password"
        file.write_text((password or self.password) + "\n")
        return {**common, "TAGFLEET_KAFKA_SASL_MECHANISM": mechanism, "TAGFLEET_KAFKA_SASL_USER": user,
                "TAGFLEET_KAFKA_SASL_PASSWORD_FILE": str(file)}

    def admin_as(self, user):
        """A client that is not ours, for that user."""
        return AdminClient({"bootstrap.servers": self.at("sasl_tls"), "security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN",
                            "ssl.ca.location": str(self.authority.certificate), "sasl.username": user,
                            "sasl.password": self.password, "log_level": 0})

    def _admin(self):
        return AdminClient({"bootstrap.servers": self.address, "log_level": 0})

    def set_scram_password(self, user, password, mechanism=512):
        name = ScramMechanism.SCRAM_SHA_512 if mechanism == 512 else ScramMechanism.SCRAM_SHA_256
        info = ScramCredentialInfo(name, 4096)
        change = UserScramCredentialUpsertion(user, info, password.encode())
        admin = self._admin()
        admin.alter_user_scram_credentials([change])[user].result(15)

    @staticmethod
    def _acl(kind, user, resource, name, pattern, operation):
        return kind(ResourceType[resource], name, ResourcePatternType[pattern], f"User:{user}", "*", AclOperation[operation],
                    AclPermissionType.ALLOW)

    def allow(self, acls):
        """(user, resource type, name, LITERAL or PREFIXED, operation) each; returns when they count."""
        admin, bindings = self._admin(), [self._acl(AclBinding, *acl) for acl in acls]
        for done in admin.create_acls(bindings).values():
            done.result(15)
        self._await_acls(admin, acls, lambda known: set(bindings) <= known)

    def forbid(self, acls):
        """Takes back what allow has given."""
        admin, filters = self._admin(), [self._acl(AclBindingFilter, *acl) for acl in acls]
        for done in admin.delete_acls(filters).values():
            done.result(15)
        gone = {self._acl(AclBinding, *acl) for acl in acls}
        self._await_acls(admin, acls, lambda known: not gone & known)

    @staticmethod
    def _await_acls(admin, acls, is_so, seconds=15):
        """The controller has decided; the broker hears of it a moment later."""
        deadline = time.monotonic() + seconds
        while True:
            known = set()
            for user in {acl[0] for acl in acls}:
                everything = AclBindingFilter(ResourceType.ANY, None, ResourcePatternType.ANY, f"User:{user}", None, AclOperation.ANY,
                                              AclPermissionType.ANY)
                known |= set(admin.describe_acls(everything).result(15))
            if is_so(known):
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"the broker does not know of {acls} in time")
            time.sleep(0.02)
