"""What the copier's benchmarks copy to: the stub, and object stores filled with many accounts at once."""
import json
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.support.kafka import ROOT, die_with_parent, end
from tests.support.stores import MAIN, MAIN_KEY, MAIN_SECRET, S3sFs, Versitygw

STUB = str(ROOT / "build" / "release" / "bin" / "s3_stub")
BUILD = "build-1"
ARCHIVE = f"{BUILD}/SourceArtifact.zip"
FRONTEND = f"{BUILD}/frontend/"
FILES = [f"{FRONTEND}assets/file-{n:02d}.js" for n in range(20)]
OBJECTS = {ARCHIVE: 256 << 10, **{name: 10 << 10 for name in FILES}}


def buckets_of(account):
    return f"frontend-{account}", f"source-artifact-{account}"


def body_of(key):
    return (key.encode() + b"\n") * (OBJECTS[key] // (len(key) + 1) + 1)


class Stub:
    """Takes everything and keeps nothing; counts."""
    name = "stub"
    token = "t" * 432  # as long as the one that the stub gives

    def __init__(self, accounts, delay_ms=0, objects=None):
        self.accounts, self.source_bucket = accounts, f"cicd-source-artifact-{MAIN}"
        self.objects, self.delay_ms = objects or OBJECTS, delay_ms

    def __enter__(self):
        words = [f"{key}={size}" for key, size in sorted(self.objects.items())]
        self.process = subprocess.Popen([STUB, self.source_bucket, "--delay-ms", str(self.delay_ms), *words], text=True,
                                        stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent)
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"
        return self

    def __exit__(self, *_):
        end(self.process)

    def counts(self):
        self.process.send_signal(signal.SIGUSR1)
        return json.loads(self.process.stdout.readline())

    def environment(self):
        return {"AWS_ACCESS_KEY_ID": MAIN_KEY, "AWS_SECRET_ACCESS_KEY": MAIN_SECRET, "AWS_REGION": "us-east-1",
                "AWS_ENDPOINT_URL_S3": self.url, "AWS_ENDPOINT_URL_STS": self.url}

    def settings(self):
        return [f"aws.main_account={MAIN}"]

    def key_of(self, account):
        return account, f"secret-{account}"

    profile_of = None


def make_bucket(session, url, key, bucket):
    request = AWSRequest("PUT", f"{url}/{bucket}", headers={})
    S3SigV4Auth(Credentials(*key), "s3", "us-east-1").add_auth(request)
    answer = session.put(request.url, headers=dict(request.headers), timeout=30)
    assert answer.status_code == 200, answer.text


class Filled:
    """A store with the build in its source bucket, and the empty buckets of every account."""
    token = "-"

    def fill(self):
        session = requests.Session()
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda pair: make_bucket(session, self.url, self.key_of(pair[0]), pair[1]),
                          [(account, bucket) for account in self.tenants for bucket in buckets_of(account)]))
        for key in OBJECTS:
            self.main_client().put_object(Bucket=self.source_bucket, Key=key, Body=body_of(key)[:OBJECTS[key]])


class FilledVersitygw(Filled, Versitygw):
    """A user for each account, who owns its buckets; the source may be read by all."""
    is_logging = False

    def __init__(self, directory, accounts):
        super().__init__(directory)
        self.tenants = accounts

    def key_of(self, account):
        return account, f"secret-{account}"

    def profile_of(self, account):
        return f"tenant-{account}"

    def start(self):
        super().start()
        self.fill()
        source = f"arn:aws:s3:::{self.source_bucket}"
        statements = [{"Effect": "Allow", "Principal": {"AWS": [MAIN]}, "Action": "s3:*", "Resource": [source, f"{source}/*"]},
                      {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject"], "Resource": [f"{source}/*"]},
                      {"Effect": "Allow", "Principal": "*", "Action": ["s3:ListBucket"], "Resource": [source]}]
        self.main_client().put_bucket_policy(Bucket=self.source_bucket, Policy=json.dumps(
            {"Version": "2012-10-17", "Statement": statements}))


class FilledS3sFs(Filled, S3sFs):
    """One key for everything."""

    def __init__(self, directory, accounts):
        super().__init__(directory)
        self.tenants = accounts

    def key_of(self, account):
        return MAIN_KEY, MAIN_SECRET

    def profile_of(self, account):
        return "all"

    def start(self):
        super().start()
        Path(self.directory / "credentials").write_text(
            f"[all]\naws_access_key_id = {MAIN_KEY}\naws_secret_access_key = {MAIN_SECRET}\n")
        Path(self.directory / "config").write_text("")
        self.fill()
