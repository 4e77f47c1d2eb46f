"""The stack of docker/compose.yaml under a name and on ports of its own, as somebody starts it on a laptop."""
import fcntl
import json
import os
import shutil
import subprocess
import uuid

from tests.support import messages
from tests.support.fleet import wait_for
from tests.support.kafka import ROOT, Broker, free_ports
from tests.support.stores import MAIN, s3_client

COMPOSE_FILE = ROOT / "docker" / "compose.yaml"
SUPPORT = ROOT / "tests" / "support" / "docker"
SECRET = (ROOT / "docker" / "laptop" / "hook.secret").read_text()
# A machine may have a client of another place in front of Debian's own.
PATH = "/usr/sbin:/usr/bin:/sbin:/bin:" + os.environ["PATH"]


def run(*command, seconds=60, env=None, check=True):
    done = subprocess.run([str(word) for word in command], text=True, timeout=seconds, env={**os.environ, "PATH": PATH, **(env or {})},
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 0 or not check, f"{command}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done


class Engine:
    """Docker's, this machine's or one that is started and ends with the last who uses it. `trouble` says why there is none."""

    def __enter__(self):
        (ROOT / "build" / "docker").mkdir(parents=True, exist_ok=True)
        self.use = open(ROOT / "build" / "docker" / ".users", "w")
        fcntl.flock(self.use, fcntl.LOCK_SH)
        done = run(SUPPORT / "engine.sh", "up", seconds=300, check=False)
        self.trouble = None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no Docker engine"])[-1]
        return self

    def __exit__(self, *_):
        self.use.close()
        run(SUPPORT / "engine.sh", "down")


def compose_command():
    new = shutil.which("docker", path=PATH) and run("docker", "compose", "version", check=False).returncode == 0
    return ["docker", "compose"] if new else ["docker-compose"]


class Stack:
    def __init__(self):
        self.project = f"tagfleet{uuid.uuid4().hex[:8]}"
        self.image = "tagfleet:test"
        self.environment = {"TAGFLEET_IMAGE": self.image}
        self.broker = Broker.__new__(Broker)
        self.command = [*compose_command(), "-p", self.project, "-f", COMPOSE_FILE]

    def start(self):
        run(SUPPORT / "images.sh", "stack", seconds=400)
        run("make", "-s", "image", f"IMAGE={self.image}", "CI=1", seconds=400, env={"MAKEFLAGS": ""})
        # Only now, since whoever comes may take them as long as they are not bound.
        hooks, kafka, aws = free_ports(3)
        self.hooks_url, self.aws_url = f"http://127.0.0.1:{hooks}", f"http://127.0.0.1:{aws}"
        self.environment.update(TAGFLEET_HOOKS_PORT=str(hooks), TAGFLEET_KAFKA_PORT=str(kafka), TAGFLEET_AWS_PORT=str(aws))
        self.broker.port = kafka
        self.up()

    def start_prometheus(self):
        port = free_ports(1)[0]
        self.prometheus_url = f"http://127.0.0.1:{port}"
        self.environment["TAGFLEET_PROMETHEUS_PORT"] = str(port)
        self.up("prometheus")

    def stop(self):
        self.compose("--profile", "commands", "--profile", "monitoring", "down", "-v", "-t", "5", seconds=120)

    def compose(self, *words, seconds=120, check=True):
        return run(*self.command, *words, seconds=seconds, env=self.environment, check=check)

    def up(self, *words):
        self.compose("up", "-d", "--no-build", *words)

    def ids(self, service):
        """Of the containers that run."""
        return run("docker", "ps", "-q", "--filter", f"label=com.docker.compose.project={self.project}", "--filter",
                   f"label=com.docker.compose.service={service}").stdout.split()

    def inspect(self, container):
        return json.loads(run("docker", "inspect", container).stdout)[0]

    def is_ready(self, container, role):
        return run("docker", "exec", container, "tagfleet", "health", role, "--ready", check=False).returncode == 0

    def wait_ready(self, role, count):
        wait_for(lambda: len(self.ids(role)) == count and all(self.is_ready(one, role) for one in self.ids(role)), 90,
                 f"{count} {role} that take work")

    def client(self, account):
        """S3 as that account sees it."""
        import boto3
        sts = boto3.client("sts", endpoint_url=self.aws_url, region_name="us-east-1", aws_access_key_id="laptop",
                           aws_secret_access_key="laptop")
        got = sts.assume_role(RoleArn=f"arn:aws:iam::{account}:role/anything", RoleSessionName="tests")["Credentials"]
        return s3_client(self.aws_url, got["AccessKeyId"], got["SecretAccessKey"], got["SessionToken"])

    def objects(self, account, bucket):
        return {one["Key"]: one["Size"] for one in self.client(account).list_objects_v2(Bucket=bucket).get("Contents", [])}

    def upload_build(self, build, files):
        source = self.client(MAIN)
        for key, body in {**{f"frontend/{name}": body for name, body in files.items()}, "SourceArtifact.zip": b"archive"}.items():
            source.put_object(Bucket=f"cicd-source-artifact-{MAIN}", Key=f"{build}/{key}", Body=body)

    def results(self):
        """[(deployment, account, outcome)] of all results, and complaints about their form."""
        records = self.broker.read_all("tagfleet.results")
        wrong = [complaint for record in records for complaint in messages.wrong_with_record("results", record)]
        data = [json.loads(record.value()) for record in records]
        return [(one["data"]["deployment"], one["data"]["account"], one["data"]["outcome"]) for one in data
                if one["type"] == "tagfleet.result.v1"], wrong
